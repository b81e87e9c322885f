package imapserver

import (
	"context"
	"errors"
	"strings"

	"github.com/mjl-/mox/imap"
)

// idle tells the client of changes as they happen, until it says DONE (RFC 9051,
// section 6.3.13).
func (s *session) idle(ctx context.Context, _ command, _ nothing) (imap.Response, error) {
	s.out.Raw("+ idling").CRLF()
	s.conn.readMax = idleMax
	err := s.listen(ctx, false)
	s.conn.readMax = commandMax
	var text string
	if err == nil {
		text, err = s.readLine()
	}
	if err != nil {
		s.lost = err
		return imap.Response{}, err
	}
	if !strings.EqualFold(strings.TrimRight(text, " "), "DONE") {
		return imap.Response{}, imap.Bad("expected DONE")
	}
	return imap.OK("", "done"), nil
}

// listen waits until the client sends something, and tells it of changes meanwhile.
// With keepNumbers those wait that shift sequence numbers.
//
// There is no second goroutine: when something happens the read is woken, by a
// deadline that has passed already. While it waits, the session holds no buffers.
func (s *session) listen(ctx context.Context, keepNumbers bool) error {
	s.conn.waiting.Store(true)
	defer s.conn.waiting.Store(false)
	for {
		if err := s.tellNow(ctx, keepNumbers); err != nil {
			return err
		}
		if err := s.in.Wait(); !errors.Is(err, errWake) {
			return err
		}
	}
}

// tellNow tells the client of changes at once.
func (s *session) tellNow(ctx context.Context, keepNumbers bool) error {
	s.announce(ctx, keepNumbers)
	if s.lost != nil {
		return s.lost
	}
	if s.out.Buffered() == 0 {
		return s.out.Err()
	}
	return s.out.Flush()
}
