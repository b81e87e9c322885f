package imapserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/store"
)

// appendRequest is a parsed APPEND, up to the message.
type appendRequest struct {
	dest     string
	flags    []string
	received time.Time // Zero if not given.
	message  imap.Literal
}

// parseAppend parses the arguments of APPEND, RFC 9051, section 9, and RFC 3516,
// section 7, with the message of RFC 6855:
//
//	append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP append-data
func parseAppend(d *imap.Decoder) (req appendRequest) {
	d.SP()
	req.dest = d.Mailbox()
	d.SP()
	if d.Peek('(') {
		req.flags = d.FlagList()
		d.SP()
	}
	if d.Peek('"') {
		req.received = d.DateTime()
		d.SP()
	}
	req.message = d.MessageLiteral()
	return req
}

// append puts a message into a mailbox (RFC 9051, section 6.3.12). What can
// refuse it is checked before the client is asked to send it.
func (s *session) append(ctx context.Context, _ command, req appendRequest) (imap.Response, error) {
	flags, keywords, err := store.ParseFlags(req.flags)
	if err != nil {
		return imap.Response{}, err
	}
	if err := s.checkAppend(ctx, req); err != nil {
		return imap.Response{}, err
	}
	staged, err := s.receive(ctx, req.message)
	if err != nil {
		return imap.Response{}, err
	}
	defer func() {
		if err := staged.Discard(); err != nil { // Does nothing once it is appended.
			s.log.Error("discarding message", "err", err)
		}
	}()
	var mb store.Mailbox
	var m store.Message
	err = s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		mb, err = tx.Mailbox(req.dest)
		if errors.Is(err, store.ErrNoMailbox) {
			return tryCreate(req.dest)
		} else if err != nil {
			return err
		}
		m, err = tx.Append(&mb, staged, store.AppendOptions{Flags: flags, Keywords: keywords, Received: req.received})
		return err
	})
	if err != nil {
		return imap.Response{}, fmt.Errorf("appending to %q: %w", req.dest, err)
	}
	return imap.OK(fmt.Sprintf("APPENDUID %d %d", mb.UIDValidity, m.UID), "appended"), nil
}

// checkAppend finds reasons to refuse a message that is not sent yet.
func (s *session) checkAppend(ctx context.Context, req appendRequest) error {
	size := req.message.Size
	switch {
	case size > s.server.opts.AppendSizeMax:
		return imap.No("TOOBIG", "message is larger than %d bytes", s.server.opts.AppendSizeMax)
	case size == 0:
		return imap.No("CANNOT", "message is empty")
	}
	_, err := s.mailbox(ctx, req.dest)
	if errors.Is(err, store.ErrNoMailbox) {
		return tryCreate(req.dest)
	} else if err != nil {
		return err
	}
	return s.account.CheckQuota(size)
}

// receive reads the message of an APPEND into a file, and the end of the
// command. If the disk fails the rest of the message is read and dropped, so
// that the session can go on.
func (s *session) receive(ctx context.Context, lit imap.Literal) (*store.Staged, error) {
	s.unread = nil
	if err := s.continueLiteral(lit); err != nil {
		s.lost = err
		return nil, err
	}
	s.level = logfmt.LevelTraceData
	r := &literalReader{r: s.in, left: lit.Size}
	header := &headerWatch{r: r}
	staged, err := s.account.Stage(ctx, lit.Size, header)
	if err != nil && r.err == nil {
		_, _ = io.Copy(io.Discard, r) // A failure is kept in r.
	}
	s.level = logfmt.LevelTrace
	if r.err != nil {
		s.lost = fmt.Errorf("reading message: %w", r.err)
		return nil, errors.Join(s.lost, discard(staged))
	}
	if end := s.endOfCommand(lit); end != nil {
		return nil, errors.Join(end, discard(staged))
	}
	if err != nil {
		return nil, fmt.Errorf("storing message: %w", err)
	}
	if err := s.checkHeader(header); err != nil {
		return nil, errors.Join(err, discard(staged))
	}
	return staged, nil
}

func discard(staged *store.Staged) error {
	if staged == nil {
		return nil
	}
	return staged.Discard()
}

// endOfCommand reads what follows the message: nothing, since RFC 3502 is not
// announced.
func (s *session) endOfCommand(lit imap.Literal) error {
	line, err := s.readLine()
	if err != nil {
		s.lost = err
		return err
	}
	if line, err = unwrap(lit, line); err != nil {
		return err
	}
	if strings.Trim(line, " ") == "" && (line == "" || !s.server.opts.Pedantic) {
		return nil
	}
	if lit, ok := imap.ParseLiteral(line); ok {
		s.unread = &lit
	}
	return imap.Bad("expected the end of the command behind the message")
}

// literalReader reads a literal, and keeps the error of the connection apart
// from those of where it is written to.
type literalReader struct {
	r    io.Reader
	left int64
	err  error
}

func (l *literalReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	if err != nil && l.left > 0 {
		l.err = err
	}
	return n, err
}
