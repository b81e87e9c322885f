package interop

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// servedWithin is how long a well-behaved client may wait for what normally
// takes milliseconds, while others are hostile and the machine is busy.
const servedWithin = 10 * time.Second

// probe is a well-behaved client that goes on while others are hostile: it
// delivers, logs in, searches and fetches, and measures how long it waits.
type probe struct {
	t    *testing.T
	stop chan struct{}
	done sync.WaitGroup

	rounds  int
	longest time.Duration
}

// roundsMin is how often a probe is served at least: it goes on until then.
const roundsMin = 5

// probeMailbox gets what the probe appends: what others do with Inbox, and how
// much is in it, should not matter.
const probeMailbox = "Archive"

// watch begins a probe. It ends, and the test fails if it was not served in
// time, when end is called.
func (s *server) watch(t *testing.T) *probe {
	t.Helper()
	p := &probe{t: t, stop: make(chan struct{})}
	session := s.imap(t, probeMailbox)
	p.done.Go(func() {
		for {
			begin := time.Now()
			if err := p.round(s, session); err != nil {
				t.Errorf("well-behaved client, after %d rounds: %v", p.rounds, err)
				return
			}
			p.rounds++
			p.longest = max(p.longest, time.Since(begin))
			select {
			case <-p.stop:
				if p.rounds >= roundsMin {
					return
				}
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return p
}

func (p *probe) round(s *server, session *imapPeer) error {
	p.t.Helper()
	if err := goSMTP(s, "Subject: probe\r\n\r\nhello\r\n"); err != nil {
		return fmt.Errorf("delivering: %w", err)
	}
	// Fatal is not for goroutines, so each step is looked at.
	for _, command := range []string{
		"NOOP", fmt.Sprintf("APPEND %s {25+}\r\nSubject: probe\r\n\r\nhello\r\n", probeMailbox), "UID SEARCH SUBJECT probe", "FETCH * (FLAGS ENVELOPE BODY[])",
	} {
		if err := session.try(command); err != nil {
			return err
		}
	}
	return nil
}

// try runs a command that must succeed.
func (p *imapPeer) try(command string) error {
	p.tags++
	tag := fmt.Sprintf("t%d", p.tags)
	if err := p.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(p.conn, "%s %s\r\n", tag, command); err != nil {
		return err
	}
	for {
		r, err := p.tryResponse()
		if err != nil {
			return fmt.Errorf("%.50q: %w", command, err)
		}
		if r[0] == atom(tag) {
			if !strings.HasPrefix(r.text(), "OK") {
				return fmt.Errorf("%.50q: got %v", command, r)
			}
			return nil
		}
	}
}

// end ends the probe.
func (p *probe) end() {
	p.t.Helper()
	close(p.stop)
	p.done.Wait()
	p.t.Logf("a well-behaved client was served %d times, in %s at most", p.rounds, p.longest.Round(time.Millisecond))
	if p.longest > servedWithin {
		p.t.Errorf("a well-behaved client waited for %s; want at most %s", p.longest, servedWithin)
	}
}
