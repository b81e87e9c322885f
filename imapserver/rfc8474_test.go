package imapserver

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestObjectIDs: ids of all kinds are given once.
func TestObjectIDs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "5"})
	defer e.stop()
	e.start()
	c := newClient(t, e.dialLogin())
	ids := func(item string, lines []string) (list []string) {
		for _, m := range regexp.MustCompile(item+` \(([^)]*)\)`).FindAllStringSubmatch(strings.Join(lines, "\n"), -1) {
			list = append(list, m[1])
		}
		slices.Sort(list)
		return list
	}
	differ := func(what string, list []string, count int) {
		t.Helper()
		if n := len(slices.Compact(slices.Clone(list))); n != count || len(list) != count {
			t.Errorf("%s: %d of %q differ, want %d", what, n, list, count)
		}
	}
	var mailboxes []string
	for range 2 {
		c.ok("CREATE x")
		c.ok("CREATE y")
		lines := c.ok(`LIST "" (x y) RETURN (STATUS (MAILBOXID))`)
		mailboxes = append(mailboxes, ids("MAILBOXID", lines)...)
		c.ok("DELETE x")
		c.ok("DELETE y")
	}
	slices.Sort(mailboxes)
	// MUST 8474 4 #2: mailboxes that are there at the same time have different MAILBOXIDs
	// MUST 8474 4 #3: a mailbox that has the name of an earlier one has another MAILBOXID
	differ("mailboxes", mailboxes, 4)
	c.ok("SELECT INBOX")
	lines := c.ok("FETCH 1:* (EMAILID THREADID)")
	emails, threads := ids("EMAILID", lines), ids("THREADID", lines)
	differ("emails", emails, 5)
	// MUST 8474 5.2 #4: no EMAILID is a THREADID
	differ("emails and threads", slices.Sorted(slices.Values(slices.Concat(emails, threads))), 10)
}
