package imapserver

import (
	"fmt"
	"strings"
	"testing"
)

// TestMetadataTooMany: an account has a thousand annotations, and no more.
func TestMetadataTooMany(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.start()
	defer e.stop()
	nc := e.dialLogin()
	defer nc.Close()
	c := newClient(t, nc)
	for i := range 10 {
		var values strings.Builder
		for j := range 100 {
			fmt.Fprintf(&values, " /private/%d-%d \"%d\"", i, j, j)
		}
		c.ok("SETMETADATA INBOX (%s)", values.String()[1:])
	}
	// MUST 5464 4.3 #4: a new one beyond the limit is refused
	if _, reply := c.command(`SETMETADATA Sent (/private/0-0 "x")`); !strings.HasPrefix(reply, "NO [METADATA TOOMANY] ") {
		t.Errorf("one more: got %s", reply)
	}
	c.ok(`SETMETADATA INBOX (/private/0-0 "x" /private/0-1 NIL)`)
	c.ok(`SETMETADATA Sent (/private/0-0 "x")`)
	if got := c.ok(`GETMETADATA INBOX (DEPTH 1) /private`); len(got) != 1 || strings.Count(got[0], "/private/") != 999 {
		t.Errorf("all: got %q", got)
	}
}
