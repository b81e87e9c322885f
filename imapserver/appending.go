package imapserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// appending receives the messages of an APPEND or REPLACE.
type appending struct {
	s        *session
	dest     string
	replaced *store.Entry // The message that goes when these come, nil for none.
	messages []incoming
	size     int64 // Of the messages, in bytes.
}

// incoming is a message that was received, in a file.
type incoming struct {
	staged *store.Staged
	opts   store.AppendOptions
}

// discard removes what was not stored.
func (a *appending) discard() {
	for _, m := range a.messages {
		if err := m.staged.Discard(); err != nil { // Does nothing once it is appended.
			a.s.log.Error("discarding message", "err", err)
		}
	}
}

// take receives a message and returns what follows it on its line. If that announces
// another literal, it is in s.unread.
func (a *appending) take(ctx context.Context, m appendMessage) (rest string, err error) {
	opts := store.AppendOptions{Received: m.received}
	if opts.Flags, opts.Keywords, err = store.ParseFlags(m.flags); err != nil {
		return "", err
	}
	if err := a.check(ctx, m.message.Size); err != nil {
		return "", err
	}
	staged, err := a.s.receive(ctx, m.message)
	if staged != nil {
		a.messages = append(a.messages, incoming{staged, opts})
		a.size += m.message.Size
	}
	if a.s.lost != nil {
		return "", a.s.lost
	}
	rest, restErr := a.s.readLine()
	if restErr != nil {
		a.s.lost = restErr
		return "", restErr
	}
	rest, restErr = unwrap(m.message, rest)
	if lit, ok := imap.ParseLiteral(rest); ok {
		a.s.unread = &lit
	}
	return rest, errors.Join(restErr, err)
}

// check finds reasons to refuse a message that is not sent yet.
func (a *appending) check(ctx context.Context, size int64) error {
	switch most := a.s.server.opts.AppendSizeMax; {
	case size > most:
		return imap.No("TOOBIG", "message is larger than %d bytes", most)
	case size == 0:
		return imap.No("CANNOT", "message is empty")
	}
	_, err := a.s.mailbox(ctx, a.dest)
	if errors.Is(err, store.ErrNoMailbox) {
		return tryCreate(a.dest)
	} else if err != nil {
		return err
	}
	n, size := int64(len(a.messages))+1, a.size+size
	if a.replaced != nil {
		n, size = n-1, size-int64(a.replaced.Size)
	}
	return a.s.account.CheckQuotaOf(n, size)
}

// sentTo returns the recipients of the messages, as they are remembered of those that
// are submitted: they are known from now on.
func (a *appending) sentTo() (to []store.SentTo) {
	for _, m := range a.messages {
		at := m.opts.Received
		if at.IsZero() {
			at = time.Now()
		}
		env := m.staged.Analysis().Envelope
		for _, field := range []imap.EnvelopeField{imap.EnvelopeTo, imap.EnvelopeCc, imap.EnvelopeBcc} {
			for _, address := range imap.EnvelopeAddresses(env, field) {
				domain, err := dns.ParseDomain(address.Host)
				if err != nil || address.Mailbox == "" {
					continue // A group, or nothing that mail can be sent to.
				}
				if len(to) == sentToMax {
					return to
				}
				known := a.s.server.opts.Canonical(smtp.Address{Localpart: smtp.Localpart(address.Mailbox), Domain: domain})
				to = append(to, store.SentTo{Address: strings.ToLower(string(known.Localpart) + "@" + known.Domain.XName(false)), First: at, Last: at})
			}
		}
	}
	return to
}

// sentToMax bounds the recipients that are remembered of the messages of a command.
const sentToMax = 1000

// receive reads a message into a file. If the disk fails the rest of it is read and
// dropped, so that the session can go on. There can be a file, to be discarded, also
// with an error.
func (s *session) receive(ctx context.Context, lit imap.Literal) (*store.Staged, error) {
	s.unread = nil
	if err := s.continueLiteral(lit); err != nil {
		s.lost = err
		return nil, err
	}
	s.level = logfmt.LevelTraceData
	r := &literalReader{r: s.in, left: lit.Size}
	header := &headerWatch{r: r}
	staged, err := s.account.StageOf(ctx, lit.Size, header)
	if err != nil && r.err == nil {
		_, _ = io.Copy(io.Discard, r) // A failure is kept in r.
	}
	s.level = logfmt.LevelTrace
	switch {
	case r.err != nil:
		s.lost = fmt.Errorf("reading message: %w", r.err)
		return staged, s.lost
	case err != nil:
		return staged, fmt.Errorf("storing message: %w", err)
	case r.nul && !lit.Binary && s.server.opts.Pedantic:
		return staged, imap.Bad("NUL in literal: literal8 can have it")
	}
	return staged, s.checkHeader(header)
}

// literalReader reads a literal, and keeps the error of the connection apart
// from those of where it is written to.
type literalReader struct {
	r    io.Reader
	left int64
	nul  bool // A byte was NUL, as only those of a literal8 can be (RFC 3516).
	err  error
}

func (l *literalReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	l.nul = l.nul || bytes.IndexByte(p[:n], 0) >= 0
	if err != nil && l.left > 0 {
		l.err = err
	}
	return n, err
}
