package imapserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/store"
)

// compileText compiles the keys that look for a text.
func (r *searcher) compileText(ctx context.Context, k imap.SearchKey) (matcher, error) {
	switch k.Key {
	case "FROM", "TO", "CC", "BCC":
		return r.onText(addressColumns[k.Key], k.Text), nil
	case "SUBJECT":
		text := imap.Casemap(k.Text)
		return r.onColumn(subjectColumn(), func(b []byte) bool { return bytes.Contains(b, []byte(text)) }), nil
	case "HEADER":
		return r.onText(headerColumn(k.Header), k.Text), nil
	case "BODY":
		return r.indexed(ctx, k, onFile(k.Text, searchBody))
	case "TEXT":
		return r.indexed(ctx, k, onFile(k.Text, searchText))
	}
	return matcher{}, fmt.Errorf("imapserver: no matcher for search key %s", k.Key)
}

// onText makes a matcher on a column of values after fieldBegin. An empty text is found
// in each message that has a value.
func (r *searcher) onText(col column, text string) matcher {
	needle := imap.AppendCasemap(nil, text)
	return r.onColumn(col, func(b []byte) bool {
		return len(b) > 0 && b[0] == fieldBegin && bytes.Contains(b, needle)
	})
}

// onFile makes a matcher that reads messages.
func onFile(text string, search func(c *candidate, text *needle) (bool, error)) matcher {
	n := newNeedle(text)
	return matcher{
		cost:  costFile,
		match: func(c *candidate) (bool, error) { return search(c, n) },
		fork:  func() matcher { return onFile(text, search) },
	}
}

// onColumn makes a matcher on a text in a column. In columns where many messages have
// the same text, each is looked at once.
func (r *searcher) onColumn(col column, test func(text []byte) bool) matcher {
	cr := r.columnReader(col)
	var of *store.Column
	var known []uint8 // By number: 0 not looked at, 1 no, 2 yes.
	match := func(c *candidate) (bool, error) {
		number, text, err := cr.text(c.ctx, c)
		if err != nil || number == 0 {
			return err == nil && test(text), err
		}
		if of != cr.version {
			of, known = cr.version, nil
			if of.Texts() < len(r.sel.uids())/2 {
				known = make([]uint8, of.Texts())
			}
		}
		if known == nil {
			return test(of.Bytes(number)), nil
		}
		if known[number] == 0 {
			known[number] = 1
			if test(of.Bytes(number)) {
				known[number] = 2
			}
		}
		return known[number] == 2, nil
	}
	return matcher{cost: costColumn, match: match, fork: func() matcher { return r.quiet().onColumn(col, test) }}
}

// quiet returns a searcher for another goroutine: only that of the session may write.
func (r *searcher) quiet() *searcher { return &searcher{s: r.s, sel: r.sel} }

// searchText looks into the header and the body.
func searchText(c *candidate, text *needle) (bool, error) {
	if ok, err := searchHeader(c, text); ok || err != nil {
		return ok, err
	}
	return searchBody(c, text)
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

// needle is a text to look for, in the form of the collation.
type needle struct {
	text   []byte
	folded []byte // Of what is looked at, made when needed: a needle is for one search at a time.
	raw    []byte // A piece of a body.
}

func newNeedle(s string) *needle { return &needle{text: imap.AppendCasemap(nil, s)} }

// in reports whether the text is in s.
func (n *needle) in(s string) bool {
	n.folded = imap.AppendCasemap(n.folded[:0], s)
	return bytes.Contains(n.folded, n.text)
}

// inFields reports whether the text is in a header section: in a field, with its name,
// unfolded and decoded.
func (n *needle) inFields(raw []byte) bool {
	for f := range message.NewHeader(raw).Fields() {
		if n.in(f.Name + ": " + message.DecodeHeader(f.Value())) {
			return true
		}
	}
	return false
}

// searchBuffer is the size in bytes of the pieces in which bodies are searched.
const searchBuffer = 32 << 10

// inReader reports whether the text is in what r has, which must be UTF-8. Of each piece
// the end is kept, as the text may begin there.
func (n *needle) inReader(r io.Reader) (bool, error) {
	if len(n.text) == 0 {
		return true, nil
	}
	if n.raw == nil {
		n.raw = make([]byte, searchBuffer)
	}
	folded, left := n.folded[:0], 0
	for {
		got, err := io.ReadAtLeast(r, n.raw[left:], 1)
		raw := n.raw[:left+got]
		end := len(raw)
		if err == nil {
			end = wholeRunes(raw)
		}
		folded = imap.AppendCasemap(folded, raw[:end])
		n.folded = folded
		if bytes.Contains(folded, n.text) {
			return true, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("reading text: %w", err)
		}
		folded = folded[:copy(folded, folded[max(len(folded)-len(n.text)+1, 0):])]
		left = copy(n.raw, raw[end:])
	}
}

// wholeRunes returns the length of b without the begin of a character at its end.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}
