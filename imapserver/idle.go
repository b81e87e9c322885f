package imapserver

import (
	"context"
	"strings"

	"github.com/mjl-/mox/imap"
)

// idle tells the client of changes as they happen, until it says DONE (RFC
// 9051, section 6.3.13). A second goroutine waits for that; it reads nothing but
// the one line and is gone when idle returns.
func (s *session) idle(ctx context.Context, _ command, _ nothing) (imap.Response, error) {
	s.out.Raw("+ idling").CRLF()
	s.tell(ctx, false)
	if err := s.out.Flush(); err != nil {
		s.lost = err
		return imap.Response{}, err
	}
	s.conn.readMax = idleMax
	type line struct {
		text string
		err  error
	}
	done := make(chan line, 1)
	go func() {
		if err := s.in.Wait(); err != nil {
			done <- line{"", err}
			return
		}
		text, err := s.readLine()
		done <- line{text, err}
	}()
	for {
		select {
		case <-s.watch.Signal():
			s.tell(ctx, false)
			if s.out.Buffered() == 0 {
				continue
			}
			if err := s.out.Flush(); err != nil {
				s.conn.interrupt(errStopping) // Ends the other goroutine.
				<-done
				s.lost = err
				return imap.Response{}, err
			}
		case l := <-done:
			if l.err != nil {
				s.lost = l.err
				return imap.Response{}, l.err
			}
			if !strings.EqualFold(strings.TrimRight(l.text, " "), "DONE") {
				return imap.Response{}, imap.Bad("expected DONE")
			}
			return imap.OK("", "done"), nil
		}
	}
}
