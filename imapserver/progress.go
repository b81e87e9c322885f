package imapserver

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mjl-/mox/imap"
)

// progressEvery is the time from the begin of a command to the first INPROGRESS
// response, and between two. RFC 9585, section 4, has them for commands that a
// client would otherwise take for stuck.
const progressEvery = 10 * time.Second

// progressState is how far the command that runs has told its client that it is.
type progressState struct {
	next time.Time // When to tell more.
	told int       // The last progress told: it never falls.
	sent int64     // What conn had sent when progressQuiet last looked.
}

// beginProgress starts the time of a command.
func (s *session) beginProgress(now time.Time) {
	s.progressed = progressState{next: now.Add(progressEvery), sent: s.conn.sent.Load()}
}

// progress tells the client how far a long command is (RFC 9585): done of goal
// things, or of an unknown number if goal is not above zero. It is cheap, and is to
// be called for each batch, where a response can begin; most calls do nothing. If
// the client is gone the command is cancelled.
func (s *session) progress(done, goal int) {
	if time.Now().Before(s.progressed.next) {
		return
	}
	s.tellProgress(done, goal)
}

// progressQuiet is progress for a command with many responses: it tells nothing
// unless the client got nothing for a while.
func (s *session) progressQuiet(done, goal int) {
	now := time.Now()
	if now.Before(s.progressed.next) {
		return
	}
	if sent := s.conn.sent.Load(); sent != s.progressed.sent {
		s.progressed.sent, s.progressed.next = sent, now.Add(progressEvery)
		return
	}
	s.tellProgress(done, goal)
}

func (s *session) tellProgress(done, goal int) {
	p := &s.progressed
	if !s.disabled("INPROGRESS") {
		done = max(done, p.told)
		p.told = done
		s.out.Response("*", inProgress(s.tag, done, goal))
	}
	if err := s.out.Flush(); err != nil {
		s.lost = err
		s.cancel() // Nobody waits for what the command finds.
	}
	p.next, p.sent = time.Now().Add(progressEvery), s.conn.sent.Load()
}

// inProgress returns the response (RFC 9585, section 5). Progress stays below the
// goal: only the reply says that all is done.
func inProgress(tag string, done, goal int) imap.Response {
	of := "NIL"
	if goal > 0 {
		done = min(done, goal-1)
		of = strconv.Itoa(goal)
	}
	return imap.OK(fmt.Sprintf(`INPROGRESS ("%s" %d %s)`, tag, done, of), "still working")
}
