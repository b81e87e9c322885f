package dsn

import (
	"bytes"
	"unicode/utf8"

	"github.com/mjl-/mox/message"
)

const (
	// fullMax bounds a message that is returned as a whole, in bytes.
	fullMax = 10 << 20

	// headersMax bounds a header section that is returned, in bytes. Most have less
	// than 16 KiB.
	headersMax = 128 << 10
)

// originalPart returns the part with what the sender sent.
func (m *Message) originalPart(utf8 bool) part {
	if m.Full && len(m.Original) <= fullMax {
		if p, ok := m.fullPart(utf8); ok {
			return p
		}
	}
	return headersPart(m.Original, utf8)
}

// fullPart returns the whole message. It is not ok if the message would have to be
// changed: parts of type message can't be encoded (RFC 2046, section 5.2.1).
func (m *Message) fullPart(utf8Path bool) (p part, ok bool) {
	msg := m.Original
	eightBit := !isASCII(string(msg))
	switch {
	case eightBit && !utf8Path && !m.EightBit || hasLongLine(msg) || hasOddLines(msg) || bytes.IndexByte(msg, 0) >= 0:
		return part{}, false
	case !eightBit:
		return part{"message/rfc822", "", msg}, true
	}
	header := message.NewHeader(msg)
	switch {
	case !message.NeedsSMTPUTF8(header):
		return part{"message/rfc822", "8bit", msg}, true
	case utf8Path && utf8.Valid(header.Raw()):
		return part{"message/global", "8bit", msg}, true
	}
	return part{}, false
}

// hasOddLines tells whether there are line breaks other than CRLF.
func hasOddLines(b []byte) bool {
	n := bytes.Count(b, []byte("\r\n"))
	return bytes.Count(b, []byte("\r")) != n || bytes.Count(b, []byte("\n")) != n
}

// headersPart returns the header section that msg begins with. It is encoded
// where it must be: RFC 6522, section 4, and RFC 6533, sections 4.5 and 6.3.
func headersPart(msg []byte, utf8Path bool) part {
	body := headerLines(msg)
	encode := hasLongLine(body) || bytes.IndexByte(body, 0) >= 0
	p := part{contentType: "text/rfc822-headers", body: body}
	if !isASCII(string(body)) {
		encode = encode || !utf8Path || !utf8.Valid(body)
		p.encoding = "8bit"
		if utf8.Valid(body) {
			p.contentType = "message/global-headers"
		}
	}
	if encode {
		p.encoding = quotedPrintable
		p.body = encodeQuotedPrintable(body)
	}
	return p
}

// headerLines returns the lines of the header section that msg begins with, each
// ending in CRLF, as many whole fields as headersMax allows. What could be taken
// for more line breaks becomes a space.
func headerLines(msg []byte) []byte {
	var body []byte
	fields := 0 // Where the last field that is whole ends.
	for line := range bytes.Lines(msg) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			fields = len(body)
		}
		if len(body)+len(line)+2 > headersMax {
			return body[:fields]
		}
		body = append(body, bytes.ReplaceAll(line, []byte("\r"), []byte(" "))...)
		body = append(body, "\r\n"...)
	}
	return body
}
