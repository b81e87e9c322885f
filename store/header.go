package store

import (
	"bytes"
	"io"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/message"
)

// Limits of what is kept of a header, in bytes. What is not kept is only named, so
// that who looks for it must open the file of a message that has it.
const (
	headerValueMax      = 1 << 10 // Of one field.
	headerReferencesMax = 8 << 10 // Of References, which threads are made of.
	headerKeptMax       = 12 << 10
	headerNamedMax      = 4 << 10 // After that, fields are not even named.
)

// headerTraces begin the names of fields that are long, in most messages, and hardly
// ever looked for: traces, signatures, and what filters say to themselves. Those that
// end in "-" stand for all with this begin.
var headerTraces = []string{
	"received", "received-spf", "authentication-results", "dkim-signature", "domainkey-signature",
	"arc-", "x-ms-", "x-microsoft-", "x-forefront-", "x-google-", "x-gm-", "x-sg-", "x-proofpoint-", "x-received",
}

// The third kind of line in a kept header, for what the limits left out.
const headerMore = "*\n"

// headerFields returns what is kept of a header section, so that a search for a field
// opens no file: a line for each field, with its name in lower case. After the name
// comes ":" and the value, unfolded; or "=" if the value is the one in the envelope; or
// nothing if the value is not kept. A line "*" says that there may be other fields.
func headerFields(raw []byte, env *message.Envelope) []byte {
	var kept, named []byte
	for f := range message.NewHeader(raw).Fields() {
		name := strings.ToLower(f.Name)
		if short := headerTrace(name); short != "" {
			named = nameField(named, short)
			continue
		}
		value := f.Value()
		limit := headerValueMax
		if name == "references" {
			limit = headerReferencesMax
		}
		switch {
		case strings.ContainsAny(name, "=*"): // It would be taken for another kind of line.
			named = nameField(named, "*")
		case inEnvelope(env, name, value):
			kept = append(append(kept, name...), "=\n"...)
		case len(value) > limit || len(kept)+len(name)+len(value) > headerKeptMax || strings.IndexByte(value, '\n') >= 0:
			named = nameField(named, name)
		default:
			kept = append(append(append(append(kept, name...), ':'), value...), '\n')
		}
	}
	return append(kept, named...)
}

// headerTrace returns under which name a field is only named, "" if it is to be kept.
func headerTrace(name string) string {
	for _, t := range headerTraces {
		if name == t || t[len(t)-1] == '-' && strings.HasPrefix(name, t) {
			return t
		}
	}
	return ""
}

// nameField names a field, unless it is named already.
func nameField(named []byte, name string) []byte {
	switch {
	case bytes.HasSuffix(named, []byte(headerMore)) || hasLine(named, name):
		return named
	case len(named)+len(name) > headerNamedMax:
		return append(named, headerMore...)
	}
	return append(append(named, name...), '\n')
}

// hasLine tells whether a line is one of lines.
func hasLine(lines []byte, line string) bool {
	for l := range bytes.Lines(lines) {
		if len(l) == len(line)+1 && string(l[:len(line)]) == line {
			return true
		}
	}
	return false
}

// inEnvelope tells whether a field can be had from the envelope, byte by byte.
func inEnvelope(env *message.Envelope, name, value string) bool {
	if env == nil || value == "" || strings.ContainsAny(value, "\x00\r\n") {
		return false
	}
	switch name {
	case "subject":
		return env.Subject == value
	case "date":
		return env.Date == value
	case "message-id":
		return env.MessageID == value
	case "in-reply-to":
		return env.InReplyTo == value
	}
	return false
}

// envelopeFields are those that a kept header can leave to the envelope.
var envelopeFields = map[string]imap.EnvelopeField{
	"subject": imap.EnvelopeSubject, "date": imap.EnvelopeDate, "message-id": imap.EnvelopeMessageID, "in-reply-to": imap.EnvelopeInReplyTo,
}

// headerOf returns what is kept of a message's header.
func headerOf(r io.ReaderAt, part *message.Part) []byte {
	h, err := message.ReadHeader(r, part)
	if err != nil {
		return []byte(headerMore)
	}
	return headerFields(h.Raw(), part.Envelope)
}

// keptHeader returns what is kept for an Email: of its prefix, then of its file.
func keptHeader(prefix []byte, an *Analysis) []byte {
	if len(an.Header) == 0 && len(prefix) == 0 {
		return []byte("\n") // There are no fields, which is not the same as not knowing them.
	}
	return append(headerFields(prefix, nil), an.Header...)
}

// Field returns the values of a header field, those of the prefix included, in order.
// Nothing is decoded. It returns false if they are not all kept: who needs them has to
// read the file.
func (s *Structure) Field(name string) (values []string, known bool) {
	if len(s.Header) == 0 {
		return nil, false
	}
	name = strings.ToLower(name)
	switch {
	case name == "" || strings.ContainsAny(name, ":\n"):
		return nil, true // No field has such a name.
	case strings.ContainsAny(name, "=*"):
		return nil, false // See headerFields.
	}
	if short := headerTrace(name); short != "" {
		return nil, !hasLine(s.Header, short) && !hasLine(s.Header, strings.TrimSuffix(headerMore, "\n"))
	}
	for line := range bytes.Lines(s.Header) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		rest, ok := bytes.CutPrefix(line, []byte(name))
		switch {
		case string(line) == headerMore[:1], ok && len(rest) == 0:
			return nil, false
		case ok && rest[0] == ':':
			values = append(values, string(rest[1:]))
		case ok && string(rest) == "=":
			v, _ := imap.EnvelopeString(s.Envelope, envelopeFields[name])
			values = append(values, v)
		}
	}
	return values, true
}
