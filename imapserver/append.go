package imapserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// appendRequest is a parsed APPEND, up to the first message.
type appendRequest struct {
	dest string
	appendMessage
}

// appendMessage is what a client says of a message that it sends.
type appendMessage struct {
	flags    []string
	received time.Time // Zero if not given.
	message  imap.Literal
}

// parseAppend parses the arguments of APPEND up to the first message. It and those
// that follow are parsed by parseAppendMessage.
//
//	append = "APPEND" SP mailbox 1*append-message
func parseAppend(d *imap.Decoder) (req appendRequest) {
	d.SP()
	req.dest = d.Mailbox()
	req.appendMessage = parseAppendMessage(d)
	return req
}

// parseAppendMessage parses what comes before a message, RFC 9051, section 9, and RFC
// 3516, section 7, with the message of RFC 6855:
//
//	append-message = [SP flag-list] [SP date-time] SP append-data
func parseAppendMessage(d *imap.Decoder) (m appendMessage) {
	d.SP()
	if d.Peek('(') {
		m.flags = d.FlagList()
		d.SP()
	}
	if d.Peek('"') {
		m.received = d.DateTime()
		d.SP()
	}
	m.message = d.MessageLiteral()
	return m
}

// append puts messages into a mailbox, all of them or none (RFC 9051, section 6.3.12,
// and RFC 3502). What can refuse a message is checked before the client is asked to
// send it.
func (s *session) append(ctx context.Context, _ command, req appendRequest) (imap.Response, error) {
	a := &appending{s: s, dest: req.dest}
	defer a.discard()
	for m, more := req.appendMessage, true; more; {
		rest, err := a.take(ctx, m)
		if err == nil {
			m, more, err = a.next(rest)
		}
		if err != nil {
			return imap.Response{}, err
		}
	}
	code, err := a.commit(ctx, nil)
	if err != nil {
		return imap.Response{}, fmt.Errorf("appending %d messages to %q: %w", len(a.messages), req.dest, err)
	}
	return imap.OK(code, "appended"), nil
}

// appendMessagesMax bounds the messages of one APPEND: each has a file before there
// is a reply.
const appendMessagesMax = 1000

// next parses what follows a message: another one, or the end of the command.
func (a *appending) next(rest string) (m appendMessage, more bool, err error) {
	switch {
	case a.s.isEnd(rest):
		return m, false, nil
	case a.s.disabled("MULTIAPPEND"):
		return m, false, errNotEnd()
	case len(a.messages) == appendMessagesMax:
		return m, false, imap.No("LIMIT", "more than %d messages in a command", appendMessagesMax)
	}
	d := a.s.decoder(rest)
	m = parseAppendMessage(d)
	return m, true, d.End()
}

// isEnd reports whether what follows a message is nothing.
func (s *session) isEnd(rest string) bool {
	return strings.Trim(rest, " ") == "" && (rest == "" || !s.server.opts.Pedantic)
}

func errNotEnd() error { return imap.Bad("expected the end of the command behind the message") }

// commit stores the messages, and returns the response code with their UIDs. With
// them goes what before does, which is not nil for a REPLACE.
func (a *appending) commit(ctx context.Context, before func(tx *store.Tx) error) (code string, err error) {
	var mb store.Mailbox
	var uids []store.UID
	err = a.s.account.UpdateFrom(ctx, a.s.watch, func(tx *store.Tx) (err error) {
		uids = uids[:0]
		mb, err = tx.Mailbox(a.dest)
		if errors.Is(err, store.ErrNoMailbox) {
			return tryCreate(a.dest)
		} else if err != nil {
			return err
		}
		if before != nil {
			if err := before(tx); err != nil {
				return err
			}
		}
		for _, m := range a.messages {
			placed, err := tx.Append(&mb, m.staged, m.opts)
			if err != nil {
				return err
			}
			uids = append(uids, placed.UID)
		}
		if mb.Use == store.UseSent {
			return tx.RecordSent(a.sentTo())
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return string(imap.AppendNums(fmt.Appendf(nil, "APPENDUID %d ", mb.UIDValidity), uids)), nil
}
