package imapserver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mjl-/mox/store"
)

// keywordNames returns names for n keywords.
func keywordNames(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("k%d", i)
	}
	return strings.Join(names, " ")
}

// TestKeywordsFull: a mailbox that can have no more keywords says so.
func TestKeywordsFull(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "2"})
	defer e.stop()
	e.start()
	c, other := newClient(t, e.dialLogin()), newClient(t, e.dialLogin())
	c.ok("SELECT INBOX")
	other.ok("SELECT INBOX")
	permanent := func(lines []string) (list []string) {
		for _, line := range lines {
			if strings.Contains(line, "[PERMANENTFLAGS (") {
				list = append(list, line)
			}
		}
		return list
	}
	// In several commands, as a line has a limit.
	names := strings.Fields(keywordNames(store.KeywordsMax))
	for len(names) > 0 {
		n := min(len(names), 100)
		got := permanent(c.ok("STORE 1 +FLAGS.SILENT (%s)", strings.Join(names[:n], " ")))
		names = names[n:]
		// MUST 9051 7.1 #5: at the limit of keywords PERMANENTFLAGS comes without \*
		if full := len(names) == 0; full != (len(got) == 1) {
			t.Fatalf("with %d keywords to go: %q", len(names), got)
		}
		for _, line := range got {
			if strings.Contains(line, `\*`) || !strings.Contains(line, " k499)") {
				t.Errorf("got %q", line)
			}
		}
	}
	if _, reply := c.command("STORE 2 +FLAGS (another)"); !strings.HasPrefix(reply, "NO [LIMIT]") {
		t.Errorf("got %s", reply)
	}
	for _, lines := range [][]string{other.ok("NOOP"), other.ok("SELECT INBOX")} {
		if got := permanent(lines); len(got) != 1 || strings.Contains(got[0], `\*`) {
			t.Errorf("another session: got %q", got)
		}
	}
}
