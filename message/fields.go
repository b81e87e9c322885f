package message

import (
	"bytes"
	"strings"
)

// field is a header field that matters for the structure of a message.
type field uint8

const (
	fieldNone field = iota
	fieldType
	fieldEncoding
	fieldID
	fieldDescription
	fieldMD5
	fieldDisposition
	fieldLanguage
	fieldLocation
	fieldDate // From here on, only for the envelope.
	fieldSubject
	fieldFrom
	fieldSender
	fieldReplyTo
	fieldTo
	fieldCc
	fieldBcc
	fieldInReplyTo
	fieldMessageID
)

// fieldNameMax is the length of the longest name fieldByName knows.
const fieldNameMax = len("content-transfer-encoding")

func fieldByName(name []byte, kind kind) field {
	var lower [fieldNameMax]byte
	if len(name) > len(lower) {
		return fieldNone
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	f := fieldNone
	switch string(lower[:len(name)]) {
	case "content-type":
		f = fieldType
	case "content-transfer-encoding":
		f = fieldEncoding
	case "content-id":
		f = fieldID
	case "content-description":
		f = fieldDescription
	case "content-md5":
		f = fieldMD5
	case "content-disposition":
		f = fieldDisposition
	case "content-language":
		f = fieldLanguage
	case "content-location":
		f = fieldLocation
	case "date":
		f = fieldDate
	case "subject":
		f = fieldSubject
	case "from":
		f = fieldFrom
	case "sender":
		f = fieldSender
	case "reply-to":
		f = fieldReplyTo
	case "to":
		f = fieldTo
	case "cc":
		f = fieldCc
	case "bcc":
		f = fieldBcc
	case "in-reply-to":
		f = fieldInReplyTo
	case "message-id":
		f = fieldMessageID
	}
	if f >= fieldDate && kind != kindMessage {
		return fieldNone
	}
	return f
}

// fieldName returns the name of the header field that starts on line, and what
// follows the colon. The name is nil if the line is not the start of a field.
// White space before the colon is obsolete (RFC 5322, section 4.5.8).
func fieldName(line []byte) (name, rest []byte) {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return nil, nil
	}
	name = bytes.TrimRight(line[:i], " \t")
	if len(name) == 0 {
		return nil, nil
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return nil, nil
		}
	}
	return name, line[i+1:]
}

// isBlank tells if a line, with its line break, is the one after a header.
func isBlank(line []byte) bool {
	return len(line) == 1 && line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n'
}

// header collects what one header section says about a part.
type header struct {
	kind     kind
	part     *Part
	seen     uint32 // Bits by field.
	current  field
	typ      string
	cut      int64 // If not 0, the header passes a limit and is cut at this offset.
	cutLines int64 // Line feeds before cut.
}

// header reads a header section, and sets the offsets of the part. Ended means
// that a delimiter or the end came before a blank line. Descend is false if a
// limit was passed: what remains is body, and not to be taken apart.
//
// A line that is not a field is skipped. But if it is the first, there is no
// header: nobody would want to read the text as one.
func (p *parser) header(h *header) (end stop, ended, descend bool) {
	s := &p.scanner
	start := s.offset()
	h.part.HeaderOffset = start
	for n := 0; ; n++ {
		line, _ := s.line()
		at := s.offset()
		h.part.BodyOffset = at
		if len(line) == 0 {
			p.flush(h)
			return stop{bound: -1, end: at, lines: s.lines}, true, false
		}
		if isBlank(line) {
			p.flush(h)
			s.advance(len(line))
			h.part.BodyOffset = s.offset()
			return stop{}, false, true
		}
		if len(p.bounds) > 0 && bytes.HasPrefix(line, dashes) {
			if bound, closing := p.delimiter(line); bound >= 0 {
				p.flush(h)
				return stop{bound, closing, at, s.lines}, true, false
			}
		}
		if n == 0 && !startsHeader(line) {
			p.oddity("no header")
			return stop{}, false, true
		}
		if n >= headerFieldsMax || !p.headerLine(h, start+headerSizeMax) {
			p.flush(h)
			p.oddity("header too large")
			return stop{}, false, false
		}
	}
}

// startsHeader tells if line can be the first of a header. A line as in mbox
// files is accepted: some programs leave it there.
func startsHeader(line []byte) bool {
	name, _ := fieldName(line)
	return name != nil || bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))
}

// headerLine reads a line of a header that may not go beyond offset limit. It
// returns false if it does.
func (p *parser) headerLine(h *header, limit int64) bool {
	s := &p.scanner
	h.cut, h.cutLines = s.offset(), s.lines
	line, whole := s.line()
	text := line
	if !isSpace(line[0]) {
		p.flush(h)
		name, rest := fieldName(line)
		if h.current = fieldByName(name, h.kind); h.current != fieldNone {
			text = rest
		}
	}
	for {
		if s.offset()+int64(len(line)) > limit {
			s.skipLine()
			return false
		}
		if h.current != fieldNone {
			p.value = append(p.value, bytes.TrimRight(text, "\r\n")...)
		}
		s.advance(len(line))
		if whole {
			h.cut = 0
			return true
		}
		line, whole = s.line()
		text = line
	}
}

// flush ends the current field. Of a repeated field the first counts, since
// what checks a message elsewhere does the same; only recipients are joined.
func (p *parser) flush(h *header) {
	f := h.current
	h.current = fieldNone
	if f == fieldNone {
		return
	}
	raw := bytes.Trim(p.value, " \t\r\n")
	p.value = p.value[:0]
	again := h.seen&(1<<f) != 0
	h.seen |= 1 << f
	if again && (f < fieldTo || f > fieldBcc) || len(raw) == 0 || !p.keep(len(raw)) {
		return
	}
	value := string(raw)
	if f >= fieldDate {
		p.envelopeField(h.part, f, value)
		return
	}
	part := h.part
	switch f {
	case fieldType:
		h.typ = value
	case fieldEncoding:
		part.Encoding = encodingToken(value)
	case fieldID:
		part.ID = value
	case fieldDescription:
		part.Description = value
	case fieldMD5:
		part.MD5 = value
	case fieldDisposition:
		part.Disposition, part.DispositionParams = parseDisposition(value)
		part.DispositionParams = p.keepParams(part.DispositionParams)
	case fieldLanguage:
		part.Language = parseLanguages(value)
		p.budget -= 16 * len(part.Language)
	case fieldLocation:
		part.Location = value
	}
}

func (p *parser) envelopeField(part *Part, f field, value string) {
	e := part.Envelope
	if e == nil {
		e = &Envelope{}
		part.Envelope = e
	}
	switch f {
	case fieldDate:
		e.Date = value
	case fieldSubject:
		e.Subject = value
	case fieldFrom:
		e.From = p.addresses(nil, value)
	case fieldSender:
		e.Sender = p.addresses(nil, value)
	case fieldReplyTo:
		e.ReplyTo = p.addresses(nil, value)
	case fieldTo:
		e.To = p.addresses(e.To, value)
	case fieldCc:
		e.Cc = p.addresses(e.Cc, value)
	case fieldBcc:
		e.Bcc = p.addresses(e.Bcc, value)
	case fieldInReplyTo:
		e.InReplyTo = value
	case fieldMessageID:
		e.MessageID = value
	}
}

// addresses adds the addresses in value to list, as far as limits allow.
func (p *parser) addresses(list []Address, value string) []Address {
	have := len(list)
	most := min(addressesMax-have, p.budget/addressCost)
	list = appendAddresses(list, value, most)
	if len(list)-have >= most-1 {
		p.oddity("structure too large")
	}
	p.budget -= addressCost * (len(list) - have)
	return list
}

func (p *parser) keepParams(params []Param) []Param {
	if !p.keep(paramCost * len(params)) {
		return nil
	}
	return params
}

// apply sets the media type, with its defaults (RFC 2045, section 5.2, and RFC
// 2046, section 5.1.5), and makes sure that a message has an envelope.
func (h *header) apply(p *parser) {
	part := h.part
	if h.kind == kindMessage && part.Envelope == nil {
		part.Envelope = &Envelope{}
	}
	if typ, subtype, params, ok := parseContentType(h.typ); ok {
		part.Type, part.Subtype, part.Params = typ, subtype, p.keepParams(params)
		return
	}
	if h.typ != "" {
		p.oddity("bad content-type")
	}
	if h.kind == kindDigest && h.typ == "" {
		part.Type, part.Subtype = "MESSAGE", "RFC822"
		return
	}
	part.Type, part.Subtype = "TEXT", "PLAIN"
	part.Params = []Param{{"CHARSET", "US-ASCII"}}
}

// encodingToken returns the first word of a Content-Transfer-Encoding in upper
// case; comments and what some senders add are left out.
func encodingToken(s string) string {
	s = skipComments(s)
	if i := strings.IndexAny(s, " \t;(\"\r\n"); i > 0 {
		s = s[:i]
	}
	return strings.ToUpper(strings.Trim(s, "\""))
}

// parseLanguages parses a Content-Language (RFC 3282).
func parseLanguages(s string) []string {
	var tags []string
	for tag := range strings.SplitSeq(s, ",") {
		if i := strings.IndexByte(tag, '('); i >= 0 {
			tag = tag[:i]
		}
		if tag = trimSpace(tag); tag != "" && len(tags) < languagesMax {
			tags = append(tags, tag)
		}
	}
	return tags
}
