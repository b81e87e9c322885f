package junk

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mjl-/mox/message"
)

// Word is a word of a message. Pages have its key in its place. Two of 2^20 words
// share one with a probability of one in 2^25; who makes words on purpose that
// share the key of another could as well have written that.
type Word struct {
	Text string
	key  uint64
}

// NewWord returns the word with a text.
func NewWord(text string) Word { return Word{text, keyOf(text)} }

// keyOf is FNV-1a of 64 bits, and then two steps that mix its bits, since the first
// ones number a page.
func keyOf(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	h = (h ^ h>>32) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

// Words are the different words of a message.
type Words struct {
	List    []Word // In the order of their keys.
	BadType bool   // A Content-Type is none.
	Cut     bool   // Limits were reached.
}

// headerFields are the header fields whose words are looked at.
var headerFields = []string{"From", "To", "Cc", "Bcc", "Reply-To", "Subject", "Sender", "Return-Path"}

// Source is a message whose words are to be read.
type Source struct {
	Content io.ReaderAt
	Part    *message.Part // As Parse made it of Content.

	// MailFrom is the sender of the envelope, "" if unknown or null. It stands for a
	// field Return-Path, which the content has only after delivery.
	MailFrom string
}

// ReadWords returns the words of a message: of header fields, as "Field:word", and
// of all text, also in messages within. It takes bounded time and memory for any
// content. Errors are of reading.
func ReadWords(s Source, grams Grams) (Words, error) {
	w := reader{content: s.Content, raw: rawMax, text: textMax, header: headerMax, parts: partsMax}
	w.tokens = tokens{grams: grams, seen: make(map[string]struct{}, wordsGuess)}
	if s.MailFrom != "" {
		w.field("Return-Path", s.MailFrom)
	}
	if err := w.message(s.Part); err != nil {
		return Words{}, fmt.Errorf("reading words of message: %w", err)
	}
	words := Words{BadType: w.badType, Cut: w.cut || w.tokens.full}
	words.List = make([]Word, 0, len(w.tokens.seen))
	for text := range w.tokens.seen {
		words.List = append(words.List, NewWord(text))
	}
	words.sort()
	return words, nil
}

// sort puts the words in the order of their keys: that of the pages.
func (w *Words) sort() {
	slices.SortFunc(w.List, func(a, b Word) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return strings.Compare(a.Text, b.Text)
	})
}

// reader reads the words of one message.
type reader struct {
	content io.ReaderAt
	tokens  tokens

	raw    int64 // What may still be read, see the limits.
	text   int64
	header int
	parts  int

	badType bool
	cut     bool
}

// message reads a message, or one within another: its header and its parts.
func (w *reader) message(p *message.Part) error {
	h, err := message.ReadHeader(w.content, p)
	if err != nil {
		return err
	}
	for f := range h.Fields() {
		i := slices.IndexFunc(headerFields, func(name string) bool { return strings.EqualFold(name, f.Name) })
		switch {
		case i >= 0:
			w.field(headerFields[i], message.DecodeHeader(w.bounded(f)))
		case strings.EqualFold(f.Name, "Content-Type"):
			w.badType = w.badType || !isType(f.Value())
		}
	}
	return w.part(p)
}

// bounded returns the value of a field as far as it is looked at.
func (w *reader) bounded(f message.Field) string {
	value := f.Value()
	if len(value) > w.header {
		w.cut = true
		value = value[:w.header]
	}
	w.header -= len(value)
	return value
}

// field reads the words of a header field.
func (w *reader) field(name, value string) {
	t := &w.tokens
	t.begin(name+":", headerWordMin)
	for _, r := range value {
		t.char(r)
	}
	t.end()
}

// isType tells whether a Content-Type starts with a type and a subtype (RFC 2045,
// section 5.1). "text" alone is from programs of before MIME, which RFC 1049 had
// given the field.
func isType(value string) bool {
	value, _, _ = strings.Cut(value, ";")
	value = strings.TrimSpace(value)
	typ, subtype, ok := strings.Cut(value, "/")
	if !ok {
		return strings.EqualFold(value, "text")
	}
	return isToken(strings.TrimSpace(typ)) && isToken(strings.TrimSpace(subtype))
}

func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?=`, r)
	})
}

// part reads the text of a part and all within it.
func (w *reader) part(p *message.Part) error {
	if w.parts == 0 {
		w.cut = true
		return nil
	}
	w.parts--
	switch {
	case p.Message != nil:
		return w.message(p.Message)
	case p.Type == "MULTIPART" && len(p.Parts) == 0:
		opaque := p.Opaque()
		return w.textPart(&opaque)
	case p.Type == "TEXT":
		return w.textPart(p)
	}
	for i := range p.Parts {
		if err := w.part(&p.Parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// textPart reads the text of a part.
func (w *reader) textPart(p *message.Part) error {
	if w.raw <= 0 || w.text <= 0 || w.tokens.full {
		w.cut = true
		return nil
	}
	part := *p
	if p.Size() > w.raw {
		w.cut = true
		part.EndOffset = p.BodyOffset + w.raw
	}
	w.raw -= part.Size()
	tracker := errorTracker{r: w.content}
	text := &io.LimitedReader{R: part.Text(&tracker), N: w.text}
	w.tokens.begin("", wordMin)
	if p.Subtype == "HTML" {
		w.html(text)
	} else {
		w.plain(text)
	}
	w.tokens.end()
	w.text = text.N
	w.cut = w.cut || text.N <= 0
	return tracker.err
}

// errorTracker remembers an error of reading, to tell it from odd content.
type errorTracker struct {
	r   io.ReaderAt
	err error
}

// ReadAt reads from the content.
func (t *errorTracker) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.r.ReadAt(p, off)
	if err != nil && err != io.EOF { //nolint:errorlint // ReaderAt returns io.EOF itself.
		t.err = err
	}
	return n, err
}
