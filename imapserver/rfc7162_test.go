package imapserver

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var modSeqRegexp = regexp.MustCompile(`(?:MODSEQ \(?)(\d+)`)

// modSeqs returns the mod-sequences of responses, also those of codes.
func modSeqs(t *testing.T, lines ...string) (list []int64) {
	t.Helper()
	for _, m := range modSeqRegexp.FindAllStringSubmatch(strings.Join(lines, "\n"), -1) {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil || n <= 0 {
			t.Errorf("mod-sequence %s: %v", m[1], err)
		}
		list = append(list, n)
	}
	return list
}

// TestModSeqs: mod-sequences of changes that sessions make side by side.
func TestModSeqs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "5"})
	defer e.stop()
	e.start()
	const sessions, changes = 3, 20
	told := make([][]int64, sessions)
	var all sync.WaitGroup
	for i := range sessions {
		c := newClient(t, e.dialLogin())
		c.ok("SELECT INBOX (CONDSTORE)")
		// MUST 7162 3.1: each message has a mod-sequence of 63 bits above 0
		if n := len(modSeqs(t, c.ok("FETCH 1:* (MODSEQ)")...)); n != 5 {
			t.Errorf("%d mod-sequences", n)
		}
		all.Go(func() {
			for n := range changes {
				lines := c.ok("STORE %d +FLAGS.SILENT (s%dn%d)", i+1, i, n)
				for _, line := range lines {
					if strings.HasPrefix(line, fmt.Sprint(i+1, " FETCH ")) { // Others change other messages.
						told[i] = append(told[i], modSeqs(t, line)...)
					}
				}
			}
		})
	}
	all.Wait()
	var together []int64
	for i, list := range told {
		// MUST 7162 3.1 #3: a later change of a session has a greater one
		// MUST 7162 3.1 #4: a change of flags gives a message a new one
		// MUST 7162 3.1.3 #1,8: a successful STORE gives a message a new one
		if len(list) != changes || !slices.IsSorted(list) {
			t.Errorf("session %d: %d", i, list)
		}
		together = append(together, list...)
	}
	slices.Sort(together)
	// MUST 7162 3.1 #2: each STORE has a mod-sequence of its own
	if n := len(slices.Compact(together)); n != sessions*changes {
		t.Errorf("%d changes have %d mod-sequences", sessions*changes, n)
	}
}

// TestHeldBack: a client that can't be told now who is gone is told a HIGHESTMODSEQ
// from which on it can ask.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "5"})
	defer e.stop()
	e.start()
	c, other := newClient(t, e.dialLogin()), newClient(t, e.dialLogin())
	c.ok("ENABLE QRESYNC")
	validity := codeNumber(t, c.ok("SELECT INBOX"), "UIDVALIDITY")
	other.ok("ENABLE QRESYNC")
	other.ok("SELECT INBOX")
	other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
	_, reply := other.command("EXPUNGE")
	gone := modSeqs(t, reply)
	other.ok("STORE 1 +FLAGS.SILENT (\\Seen)")
	lines := c.ok("FETCH 5 (FLAGS)")
	held := codeNumber(t, lines, "HIGHESTMODSEQ")
	// MUST 7162 3.2 #4: HIGHESTMODSEQ is below that of a removal that is held back
	if len(gone) != 1 || held >= gone[0] || slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "VANISHED") }) {
		t.Errorf("gone with %d, told %q", gone, lines)
	}
	c.nc.Close()
	again := newClient(t, e.dialLogin())
	again.ok("ENABLE QRESYNC")
	// MUST 7162 3.2 #3: a client that loses its connection then can ask for what it missed
	lines = again.ok("SELECT INBOX (QRESYNC (%d %d))", validity, held)
	if !slices.Contains(lines, "VANISHED (EARLIER) 2") {
		t.Errorf("got %q", lines)
	}
}

// TestModSeqOfMetadata: an annotation is a change of its mailbox.
func TestModSeqOfMetadata(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	defer e.stop()
	e.start()
	c := newClient(t, e.dialLogin())
	highest := func() int64 {
		list := modSeqs(t, c.ok("STATUS INBOX (HIGHESTMODSEQ)")...)
		if len(list) != 1 {
			t.Fatal(fmt.Sprint(list))
		}
		return list[0]
	}
	before := highest()
	c.ok(`SETMETADATA INBOX (/private/comment "x")`)
	// MUST 7162 3.2 #2: SETMETADATA moves the mod-sequence of the mailbox
	if after := highest(); after <= before {
		t.Errorf("%d, then %d", before, after)
	}
}
