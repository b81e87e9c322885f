package imap

import (
	"strconv"

	"github.com/mjl-/mox/message"
)

// envQuotedMax is the longest string, in bytes, that is sent as a quoted string.
// Longer ones are literals: some clients read lines into small buffers.
const envQuotedMax = 1000

// envEmpty is used where a message has no envelope.
var envEmpty message.Envelope

// AppendEnvelope appends the value of ENVELOPE (RFC 9051, section 7.5.2). Sender
// and Reply-To default to From. Nothing is decoded. Nil is an envelope of a
// message without header fields.
func AppendEnvelope(b []byte, e *message.Envelope) []byte {
	if e == nil {
		e = &envEmpty
	}
	b = append(b, '(')
	b = appendNString(b, e.Date)
	b = append(b, ' ')
	b = appendNString(b, e.Subject)
	sender, replyTo := e.Sender, e.ReplyTo
	if len(sender) == 0 {
		sender = e.From
	}
	if len(replyTo) == 0 {
		replyTo = e.From
	}
	for _, list := range [...][]message.Address{e.From, sender, replyTo, e.To, e.Cc, e.Bcc} {
		b = append(b, ' ')
		b = envAppendAddresses(b, list)
	}
	b = append(b, ' ')
	b = appendNString(b, e.InReplyTo)
	b = append(b, ' ')
	b = appendNString(b, e.MessageID)
	return append(b, ')')
}

// envAppendAddresses appends a list of addresses, between which there is no
// space.
func envAppendAddresses(b []byte, list []message.Address) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for _, a := range list {
		b = append(b, '(')
		b = appendNString(b, a.Name)
		b = append(b, ' ')
		b = appendNString(b, a.Adl)
		b = append(b, ' ')
		b = envAppendMailbox(b, a)
		b = append(b, ' ')
		b = appendNString(b, a.Host)
		b = append(b, ')')
	}
	return append(b, ')')
}

// envAppendMailbox appends addr-mailbox: the name of a group, or a local part
// without the quotes it needs in a header.
func envAppendMailbox(b []byte, a message.Address) []byte {
	if a.Host == "" {
		return appendNString(b, a.Mailbox)
	}
	return envAppendString(b, unquoted(a.Mailbox)) // NIL would make it the end of a group.
}

// unquoted returns a local part without quotes and backslashes around it.
func unquoted(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// appendNString appends s as a string, or NIL if it is empty.
func appendNString(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return envAppendString(b, s)
}

// envAppendString appends s as a quoted string, or as a literal if it has bytes
// of 8 bits, which not all clients accept in quotes, or is long. NUL can't be
// sent at all, and a line break is none of the value: they are left out.
func envAppendString(b []byte, s string) []byte {
	literal := len(s) > envQuotedMax
	size := 0
	for i := range len(s) {
		switch c := s[i]; {
		case envLeftOut(c):
			continue
		case c >= 0x80:
			literal = true
		}
		size++
	}
	if literal {
		b = append(b, '{')
		b = strconv.AppendInt(b, int64(size), 10)
		b = append(b, "}\r\n"...)
	} else {
		b = append(b, '"')
	}
	for i := range len(s) {
		c := s[i]
		if envLeftOut(c) {
			continue
		}
		if !literal && (c == '"' || c == '\\') {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	if !literal {
		b = append(b, '"')
	}
	return b
}

func envLeftOut(c byte) bool { return c == 0 || c == '\r' || c == '\n' }
