package imapserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// TestForgottenRemovals has a client come back after so long that the store has
// forgotten what was removed meanwhile: it is told of all that isn't there, but for
// what it can't have missed.
func TestForgottenRemovals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, map[string]string{"inbox": "9"})
		defer e.stop()
		e.start()
		session := func() *client {
			c := newClient(t, e.dialLogin())
			c.command("ENABLE QRESYNC")
			return c
		}
		resync := func(params string) []string {
			c := session()
			defer c.nc.Close()
			untagged, reply := c.command("SELECT INBOX (QRESYNC (%s))", params)
			if !strings.HasPrefix(reply, "OK") {
				t.Fatalf("%s: %s", params, reply)
			}
			return slices.DeleteFunc(untagged, func(line string) bool {
				return !strings.HasPrefix(line, "VANISHED") && !strings.Contains(line, " FETCH ")
			})
		}
		c := session()
		untagged, _ := c.command("SELECT INBOX")
		validity, modSeq := codeNumber(t, untagged, "UIDVALIDITY"), codeNumber(t, untagged, "HIGHESTMODSEQ")
		c.command("UID STORE 2:3,5 +FLAGS.SILENT (\\Deleted)")
		c.command("EXPUNGE")
		c.nc.Close()
		time.Sleep(181 * 24 * time.Hour)
		c = session()
		untagged, _ = c.command("SELECT INBOX")
		later := codeNumber(t, untagged, "HIGHESTMODSEQ")
		c.command("UID STORE 7 +FLAGS.SILENT (\\Deleted)")
		c.command("EXPUNGE")
		c.nc.Close()
		// MUST 7162 3.2.6 #6: with a mod-sequence older than what is remembered, all that is gone is told
		for _, tc := range []struct{ name, params, want string }{
			{"all", fmt.Sprintf("%d %d", validity, modSeq), "2:3,5,7"},
			{"some", fmt.Sprintf("%d %d 1:2,4:6,20:22", validity, modSeq), "2,5,20:22"},
			{"more than there ever were", fmt.Sprintf("%d %d 1:4294967295", validity, modSeq), "2:3,5,7,10:4294967295"},
			{"up to where it knows all", fmt.Sprintf("%d %d (1:3 1,4,6)", validity, modSeq), "7"},
			{"up to where it knows none", fmt.Sprintf("%d %d (2:3 2:3)", validity, modSeq), "2:3,5,7"},
			{"since less long", fmt.Sprintf("%d %d", validity, later), "7"},
		} {
			want := "VANISHED (EARLIER) " + tc.want
			if got := resync(tc.params); len(got) == 0 || got[0] != want {
				t.Errorf("%s: got %q, want %s", tc.name, got, want)
			}
		}
	})
}

// TestNewMessageTakenForForgotten has the store forget who went, and then a message come
// of which a session is not told yet: it has not vanished.
func TestNewMessageTakenForForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, map[string]string{"inbox": "3"})
		defer e.stop()
		e.start()
		c := newClient(t, e.dialLogin())
		c.ok("SELECT INBOX")
		c.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)")
		c.ok("EXPUNGE")
		c.nc.Close()
		time.Sleep(181 * 24 * time.Hour)
		c = newClient(t, e.dialLogin())
		c.ok("ENABLE QRESYNC")
		c.ok("SELECT INBOX")
		e.appendMessage("Inbox", testMessage(4))
		got := c.ok("UID FETCH 1:* (UID) (CHANGEDSINCE 1 VANISHED)")
		if len(got) == 0 || got[0] != "VANISHED (EARLIER) 1" {
			t.Errorf("got %q, want that UID 1 vanished alone", got)
		}
		c.nc.Close()
	})
}

// codeNumber returns the number of a response code.
func codeNumber(t *testing.T, lines []string, code string) (n int64) {
	t.Helper()
	for _, line := range lines {
		if _, rest, ok := strings.Cut(line, "["+code+" "); ok {
			if _, err := fmt.Sscanf(rest, "%d]", &n); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %q", code, lines)
	return 0
}

func TestRangesOf(t *testing.T) {
	t.Parallel()
	for want, uids := range map[string][]store.UID{
		"[]": nil, "[{7 7}]": {7}, "[{1 3} {5 5} {4294967294 4294967295}]": {1, 2, 3, 5, 1<<32 - 2, 1<<32 - 1},
	} {
		if got := fmt.Sprint(rangesOf(uids)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	var n []uint32
	for v := range numbersIn([]imap.NumRange{{First: 3, Last: 4}, {First: 1<<32 - 1, Last: 1<<32 - 1}}) {
		n = append(n, v)
	}
	if !slices.Equal(n, []uint32{3, 4, 1<<32 - 1}) {
		t.Errorf("got %v", n)
	}
}
