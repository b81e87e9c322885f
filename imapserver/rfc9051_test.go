package imapserver

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// TestNameReused: a name that was in use gets another UIDVALIDITY.
func TestNameReused(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	defer e.stop()
	e.start()
	c := newClient(t, e.dialLogin())
	validity := func(name string) string {
		_, value, _ := strings.Cut(strings.Join(c.ok("STATUS %s (UIDVALIDITY)", name), ""), "(UIDVALIDITY ")
		return strings.TrimSuffix(value, ")")
	}
	c.ok("CREATE x")
	first := validity("x")
	c.ok("APPEND x {1+}\r\nx")
	c.ok("DELETE x")
	c.ok("CREATE x")
	// MUST 9051 6.3.4 #4: a mailbox with the name of a deleted one has another UIDVALIDITY
	// MUST 9051 6.3.5 #3: a mailbox with the name of a deleted one has another UIDVALIDITY
	second := validity("x")
	if first == second || first == "" || second == "" {
		t.Errorf("UIDVALIDITY %s, then %s", first, second)
	}
	c.ok("RENAME x y")
	if got := validity("y"); got != second {
		t.Errorf("UIDVALIDITY of the renamed is %s, was %s", got, second)
	}
	c.ok("CREATE x")
	// MUST 9051 6.3.6 #2: a mailbox with the old name of a renamed one has another UIDVALIDITY
	if third := validity("x"); third == first || third == second {
		t.Errorf("UIDVALIDITY %s, after %s and %s", third, first, second)
	}
}

// TestIdleWithoutReading: who doesn't read what IDLE tells holds up nobody, and is
// cut off.
func TestIdleWithoutReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, map[string]string{"inbox": "3"})
		defer e.stop()
		e.start()
		deaf, other := newClient(t, e.dialLogin()), newClient(t, e.dialLogin())
		deaf.ok("SELECT INBOX")
		if _, err := io.WriteString(deaf.nc, "a IDLE\r\n"); err != nil || deaf.line() != "+ idling" {
			t.Fatal(err)
		}
		other.ok("SELECT INBOX")
		start := time.Now()
		// MUST 9051 5.3 #1,2: a session that can't write waits alone, and not for ever
		for i := range 100 {
			other.ok("STORE 1:3 +FLAGS.SILENT (k%d)", i)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the other session waited %v", d)
		}
		time.Sleep(10 * time.Minute)
		if _, err := io.ReadAll(deaf.br); err != nil {
			t.Errorf("got %v, want the end of the connection", err)
		}
		other.ok("NOOP")
	})
}
