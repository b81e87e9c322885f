package imapserver

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/message"
)

// envelopeFields are the header fields that ENVELOPE has as addresses.
var envelopeAddresses = map[string]imap.EnvelopeField{
	"FROM": imap.EnvelopeFrom, "TO": imap.EnvelopeTo, "CC": imap.EnvelopeCc, "BCC": imap.EnvelopeBcc,
}

// envelopeTexts are the header fields that ENVELOPE has whole.
var envelopeTexts = map[string]imap.EnvelopeField{
	"SUBJECT": imap.EnvelopeSubject, "MESSAGE-ID": imap.EnvelopeMessageID, "IN-REPLY-TO": imap.EnvelopeInReplyTo,
}

// compileText compiles the keys that look for a text.
func compileText(k imap.SearchKey) (matcher, error) {
	text := newNeedle(k.Text)
	switch k.Key {
	case "FROM", "TO", "CC", "BCC":
		return onAddresses(envelopeAddresses[k.Key], text), nil
	case "SUBJECT":
		return onEnvelopeText(imap.EnvelopeSubject, text), nil
	case "HEADER":
		field, ok := envelopeTexts[strings.ToUpper(k.Header)]
		if ok && k.Text != "" {
			return onEnvelopeText(field, text), nil
		}
		return onHeader(k.Header, text), nil
	case "BODY":
		return matcher{costFile, func(c *candidate) (bool, error) { return searchBody(c, text) }}, nil
	case "TEXT":
		return matcher{costFile, func(c *candidate) (bool, error) {
			if ok, err := searchHeader(c, text); ok || err != nil {
				return ok, err
			}
			return searchBody(c, text)
		}}, nil
	}
	return matcher{}, fmt.Errorf("imapserver: no matcher for search key %s", k.Key)
}

// onEnvelopeText makes a matcher on a string of the envelope, decoded.
func onEnvelopeText(field imap.EnvelopeField, text *needle) matcher {
	return matcher{costStructure, func(c *candidate) (bool, error) {
		env, err := c.envelope()
		if err != nil {
			return false, err
		}
		s, _ := imap.EnvelopeString(env, field)
		return text.inHeader(s), nil
	}}
}

// onAddresses makes a matcher on addresses of the envelope: name, and address
// with "@".
func onAddresses(field imap.EnvelopeField, text *needle) matcher {
	return matcher{costStructure, func(c *candidate) (bool, error) {
		env, err := c.envelope()
		if err != nil {
			return false, err
		}
		for _, a := range imap.EnvelopeAddresses(env, field) {
			switch {
			case a.Name != "" && text.inHeader(a.Name):
				return true, nil
			case text.in(a.Mailbox + "@" + a.Host):
				return true, nil
			case a.Name != "" && text.inHeader(a.Name+" <"+a.Mailbox+"@"+a.Host+">"):
				return true, nil
			}
		}
		return false, nil
	}}
}

// onHeader makes a matcher on a field of the message's header. An empty text is
// found in each message that has the field.
func onHeader(name string, text *needle) matcher {
	return matcher{costFile, func(c *candidate) (bool, error) {
		tree, prefix, file, err := c.open()
		if err != nil {
			return false, err
		}
		h, err := message.ReadHeader(file, tree)
		if err != nil {
			return false, err
		}
		for _, raw := range [][]byte{prefix, h.Raw()} {
			for _, v := range message.NewHeader(raw).Values(name) {
				if text.inHeader(v) {
					return true, nil
				}
			}
		}
		return false, nil
	}}
}

// searchHeader looks into the header of the message and those of its parts.
func searchHeader(c *candidate, text *needle) (bool, error) {
	tree, prefix, file, err := c.open()
	if err != nil {
		return false, err
	}
	if text.inFields(prefix) {
		return true, nil
	}
	return searchHeaders(file, tree, text, true)
}

// searchHeaders looks into the header of a part and those of its parts: of all,
// or only of nested messages, which are part of the body.
func searchHeaders(r io.ReaderAt, p *message.Part, text *needle, all bool) (bool, error) {
	if all {
		h, err := message.ReadHeader(r, p)
		if err != nil {
			return false, fmt.Errorf("reading header: %w", err)
		}
		if text.inFields(h.Raw()) {
			return true, nil
		}
	}
	for i := range p.Parts {
		if ok, err := searchHeaders(r, &p.Parts[i], text, all); ok || err != nil {
			return ok, err
		}
	}
	if p.Message != nil {
		return searchHeaders(r, p.Message, text, true)
	}
	return false, nil
}

// searchBody looks into the texts of a message: all parts that are text, and
// the headers of nested messages.
func searchBody(c *candidate, text *needle) (bool, error) {
	tree, _, file, err := c.open()
	if err != nil {
		return false, err
	}
	if ok, err := searchHeaders(file, tree, text, false); ok || err != nil {
		return ok, err
	}
	return searchPart(c, file, tree, text)
}

func searchPart(c *candidate, r io.ReaderAt, p *message.Part, text *needle) (bool, error) {
	if err := c.ctx.Err(); err != nil {
		return false, err
	}
	switch {
	case p.Message != nil:
		return searchPart(c, r, p.Message, text)
	case len(p.Parts) > 0:
		for i := range p.Parts {
			if ok, err := searchPart(c, r, &p.Parts[i], text); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	case p.Type == "TEXT" || p.Type == "MESSAGE" || p.Type == "MULTIPART":
		return text.inReader(p.Text(r))
	}
	return false, nil
}

// needle is a text to look for, without regard to case.
type needle struct {
	text  string // In lower case.
	ascii bool   // Text has only ASCII: bytes can be folded alone.
	buf   []byte // For pieces of bodies, made when needed: a needle is for one search at a time.
}

func newNeedle(s string) *needle {
	n := &needle{text: strings.ToLower(s), ascii: true}
	for i := range len(n.text) {
		n.ascii = n.ascii && n.text[i] < utf8.RuneSelf
	}
	return n
}

// in reports whether the text is in s.
func (n *needle) in(s string) bool {
	return len(n.text) <= len(s)*3 && strings.Contains(strings.ToLower(s), n.text)
}

// inHeader reports whether the text is in the value of a header field, as it is
// or decoded.
func (n *needle) inHeader(s string) bool {
	if n.in(s) {
		return true
	}
	return strings.Contains(s, "=?") && n.in(message.DecodeHeader(s))
}

// inFields reports whether the text is in a header section: in a field, with its
// name, unfolded and decoded. Most fields need neither, so that looking into the
// bytes is enough.
func (n *needle) inFields(raw []byte) bool {
	if n.ascii && n.inBytes(bytes.Clone(raw)) {
		return true
	}
	for f := range message.NewHeader(raw).Fields() {
		folded := bytes.IndexByte(bytes.TrimRight(f.Raw, "\r\n"), '\n') >= 0
		encoded := bytes.Contains(f.Raw, []byte("=?"))
		if (folded || encoded || !n.ascii) && n.inHeader(f.Name+": "+f.Value()) {
			return true
		}
	}
	return false
}

// searchBuffer is the size in bytes of the pieces in which bodies are searched.
const searchBuffer = 32 << 10

// inReader reports whether the text is in what r has, which must be UTF-8. Of
// each piece the end is kept, as the text may begin there.
func (n *needle) inReader(r io.Reader) (bool, error) {
	if n.text == "" {
		return true, nil
	}
	keep := 3 * len(n.text) // A letter may have another length in the other case.
	if n.buf == nil {
		n.buf = make([]byte, 0, searchBuffer+2*keep)
	}
	buf := n.buf[:0]
	for {
		at := len(buf)
		got, err := io.ReadAtLeast(r, buf[at:cap(buf)], 1)
		buf = buf[:at+got]
		if n.inBytes(buf) {
			return true, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("reading text: %w", err)
		}
		if len(buf) > cap(buf)/2 {
			from := len(buf) - min(keep, len(buf))
			for from > 0 && !utf8.RuneStart(buf[from]) {
				from--
			}
			buf = buf[:copy(buf, buf[from:])]
		}
	}
}

// inBytes reports whether the text is in b, and may change b to lower case.
func (n *needle) inBytes(b []byte) bool {
	if !n.ascii {
		return bytes.Contains(bytes.ToLower(b), []byte(n.text))
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	if bytes.Contains(b, []byte(n.text)) {
		return true
	}
	return hasASCIILower(b) && bytes.Contains(bytes.ToLower(b), []byte(n.text))
}

// hasASCIILower reports whether b has one of the two letters beyond ASCII whose
// lower case is in it: the capital I with a dot, and the sign for Kelvin.
func hasASCIILower(b []byte) bool {
	return bytes.Contains(b, []byte("\u0130")) || bytes.Contains(b, []byte("\u212a"))
}
