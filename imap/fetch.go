package imap

import (
	"strconv"
	"strings"
)

// FetchKind tells the data items of FETCH apart (RFC 9051, section 6.4.5).
type FetchKind uint8

// The data items of FETCH.
const (
	FetchFlags FetchKind = iota + 1
	FetchUID
	FetchInternalDate
	FetchSize          // RFC822.SIZE
	FetchEnvelope      // ENVELOPE
	FetchBodyStructure // BODYSTRUCTURE
	FetchBody          // BODY without section: BODYSTRUCTURE without extension data.
	FetchSection       // BODY[...] and BODY.PEEK[...]
	FetchRFC822        // BODY[] under an older name, as the next two.
	FetchRFC822Header  // BODY.PEEK[HEADER]
	FetchRFC822Text    // BODY[TEXT]
	FetchBinary        // BINARY[...] and BINARY.PEEK[...]
	FetchBinarySize    // BINARY.SIZE[...]
	FetchModSeq        // RFC 7162, section 3.1.4.2.
	FetchEmailID       // RFC 8474, section 5.3, as the next.
	FetchThreadID      // THREADID
	FetchSaveDate      // RFC 8514, section 4.2.
	FetchPreview       // RFC 8970, section 3.1.
)

// fetchNames has the items that are a word and nothing more.
var fetchNames = map[string]FetchKind{
	"FLAGS": FetchFlags, "UID": FetchUID, "INTERNALDATE": FetchInternalDate, "RFC822.SIZE": FetchSize,
	"ENVELOPE": FetchEnvelope, "BODYSTRUCTURE": FetchBodyStructure, "BODY": FetchBody,
	"RFC822": FetchRFC822, "RFC822.HEADER": FetchRFC822Header, "RFC822.TEXT": FetchRFC822Text, "MODSEQ": FetchModSeq,
	"EMAILID": FetchEmailID, "THREADID": FetchThreadID, "SAVEDATE": FetchSaveDate, "PREVIEW": FetchPreview,
}

// fetchMacros are short for lists. They can't be within one.
var fetchMacros = map[string][]FetchKind{
	"ALL":  {FetchFlags, FetchInternalDate, FetchSize, FetchEnvelope},
	"FAST": {FetchFlags, FetchInternalDate, FetchSize},
	"FULL": {FetchFlags, FetchInternalDate, FetchSize, FetchEnvelope, FetchBody},
}

const (
	// fetchItemsMax bounds the items of one FETCH: each may send the message.
	fetchItemsMax = 200

	// sectionDepthMax bounds the numbers of a part, as in 1.2.3.
	sectionDepthMax = 100

	// headerFieldsMax bounds the names in HEADER.FIELDS.
	headerFieldsMax = 1000
)

// FetchItem is one data item that a client asks for.
type FetchItem struct {
	Kind    FetchKind
	Peek    bool     // Does not set \Seen.
	Section Section  // For FetchSection, FetchBinary and FetchBinarySize.
	Partial *Partial // Nil for all of it.
	Lazy    bool     // Of PREVIEW: only if it is at hand.
}

// SetsSeen reports whether fetching the item marks the message as read.
func (i FetchItem) SetsSeen() bool {
	switch i.Kind {
	case FetchSection, FetchBinary:
		return !i.Peek
	case FetchRFC822, FetchRFC822Text:
		return true
	}
	return false
}

// Partial is the range of bytes in "<offset.count>".
type Partial struct{ Offset, Count int64 }

// Apply returns the range within size bytes: it may be empty, but does not end
// behind size.
func (p *Partial) Apply(size int64) (offset, count int64) {
	if p == nil {
		return 0, size
	}
	offset = min(p.Offset, size)
	return offset, min(p.Count, size-offset)
}

// SectionText is the last word of a section.
type SectionText uint8

// What a section can end in.
const (
	SectionAll             SectionText = iota // Only a part, or nothing.
	SectionHeader                             // HEADER
	SectionHeaderFields                       // HEADER.FIELDS (...)
	SectionHeaderFieldsNot                    // HEADER.FIELDS.NOT (...)
	SectionBodyText                           // TEXT
	SectionMIME                               // MIME, only with a part.
)

var sectionNames = [...]string{"", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"}

// Section names a part of a message and what of it.
type Section struct {
	Part   []uint32 // From the outside: 1.2 is {1, 2}. Empty for the message.
	Text   SectionText
	Fields []string // Names for HEADER.FIELDS and its opposite, as written by the client.
}

// FetchItems reads what FETCH takes after its set: a macro, an item, or a list
// of items.
func (d *Decoder) FetchItems() []FetchItem {
	var items []FetchItem
	if d.Peek('(') {
		d.List(func() {
			if len(items) == fetchItemsMax {
				d.Fail("more than %d items", fetchItemsMax)
			}
			items = append(items, d.fetchItem(d.fetchWord()))
		})
	} else {
		word := d.fetchWord()
		for _, kind := range fetchMacros[word] {
			items = append(items, FetchItem{Kind: kind})
		}
		if items == nil {
			items = []FetchItem{d.fetchItem(word)}
		}
	}
	if d.err != nil {
		return nil
	}
	return items
}

// FetchItem reads a single item.
func (d *Decoder) FetchItem() FetchItem { return d.fetchItem(d.fetchWord()) }

// fetchWord reads the name of an item, without a section.
func (d *Decoder) fetchWord() string {
	s := d.takeWhile(isNameChar)
	if s == "" {
		d.Fail("expected FETCH item")
	}
	return d.known(upper(s))
}

func isNameChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '.'
}

func (d *Decoder) fetchItem(name string) FetchItem {
	if d.Peek('[') {
		switch name {
		case "BODY", "BODY.PEEK":
			return d.fetchPartial(FetchItem{Kind: FetchSection, Peek: name == "BODY.PEEK", Section: d.section()})
		case "BINARY", "BINARY.PEEK":
			return d.fetchPartial(FetchItem{Kind: FetchBinary, Peek: name == "BINARY.PEEK", Section: d.sectionBinary()})
		case "BINARY.SIZE":
			return FetchItem{Kind: FetchBinarySize, Section: d.sectionBinary()}
		}
	}
	kind := fetchNames[name]
	if kind == 0 {
		d.Fail("unknown FETCH item %+q", name)
	}
	item := FetchItem{Kind: kind}
	if kind == FetchPreview {
		item.Lazy = d.previewLazy()
	}
	return item
}

// previewLazy reads the modifier of PREVIEW, if there is one: " (LAZY)".
func (d *Decoder) previewLazy() bool {
	if !strings.HasPrefix(d.text[d.pos:], " (") {
		return false
	}
	d.SP()
	d.List(func() {
		if word := d.Word(); word != "LAZY" {
			d.Fail("unknown PREVIEW modifier %+q", word)
		}
	})
	return true
}

// fetchPartial reads an optional "<offset.count>".
func (d *Decoder) fetchPartial(item FetchItem) FetchItem {
	if !d.Take('<') {
		return item
	}
	var p Partial
	p.Offset = d.Number64()
	d.Expect('.')
	p.Count = d.Number64()
	if p.Count == 0 {
		d.Fail("partial of no bytes")
	}
	d.Expect('>')
	item.Partial = &p
	return item
}

// section reads "[...]" of BODY.
func (d *Decoder) section() (s Section) {
	d.Expect('[')
	if isDigit(d.peek()) {
		s.Part = d.sectionPart()
	}
	if !d.Peek(']') || d.endsInDot(s) {
		s.Text = d.sectionText(len(s.Part) > 0)
	}
	if s.Text == SectionHeaderFields || s.Text == SectionHeaderFieldsNot {
		d.SP()
		d.List(func() {
			if len(s.Fields) == headerFieldsMax {
				d.Fail("more than %d header fields", headerFieldsMax)
			}
			s.Fields = append(s.Fields, d.headerName())
		})
	}
	d.Expect(']')
	return s
}

// sectionPart reads numbers with dots between. The dot before a word is read
// too.
func (d *Decoder) sectionPart() []uint32 {
	part := []uint32{d.NonZero()}
	for d.Take('.') && isDigit(d.peek()) {
		if len(part) == sectionDepthMax {
			d.Fail("section deeper than %d parts", sectionDepthMax)
		}
		part = append(part, d.NonZero())
	}
	return part
}

// endsInDot reports whether the numbers just read have a dot behind them, so
// that a word must follow.
func (d *Decoder) endsInDot(s Section) bool {
	return d.err == nil && len(s.Part) > 0 && d.text[d.pos-1] == '.'
}

func (d *Decoder) sectionText(inPart bool) SectionText {
	if inPart && d.err == nil && d.text[d.pos-1] != '.' {
		d.Fail("bad section")
		return 0
	}
	word := d.fetchWord()
	for i, name := range sectionNames {
		if name == word && (inPart || SectionText(i) != SectionMIME) {
			return SectionText(i)
		}
	}
	d.Fail("unknown section %+q", word)
	return 0
}

// headerName reads the name of a header field. A name that no field can have
// is refused: its bytes would come back in the response.
func (d *Decoder) headerName() string {
	s := d.AString()
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == ':' || s[i] >= 0x7f {
			d.Fail("bad header field name")
			return ""
		}
	}
	if s == "" {
		d.Fail("bad header field name")
	}
	return s
}

// sectionBinary reads "[...]" of BINARY: only numbers.
func (d *Decoder) sectionBinary() (s Section) {
	d.Expect('[')
	if isDigit(d.peek()) {
		s.Part = d.sectionPart()
		if d.endsInDot(s) {
			d.Fail("bad section")
		}
	}
	d.Expect(']')
	return s
}

// AppendName appends the name of the item as it stands in a response: without
// ".PEEK", and of a partial only the offset.
func (i FetchItem) AppendName(b []byte) []byte { return i.append(b, false) }

// Append appends the item as a client writes it.
func (i FetchItem) Append(b []byte) []byte { return i.append(b, true) }

func (i FetchItem) append(b []byte, request bool) []byte {
	switch i.Kind {
	case FetchSection:
		b = append(b, "BODY"...)
	case FetchBinary:
		b = append(b, "BINARY"...)
	case FetchBinarySize:
		return i.Section.append(append(b, "BINARY.SIZE"...))
	default:
		b = append(b, i.Kind.String()...)
		if request && i.Lazy {
			b = append(b, " (LAZY)"...)
		}
		return b
	}
	if request && i.Peek {
		b = append(b, ".PEEK"...)
	}
	b = i.Section.append(b)
	if i.Partial == nil {
		return b
	}
	b = strconv.AppendInt(append(b, '<'), i.Partial.Offset, 10)
	if request {
		b = strconv.AppendInt(append(b, '.'), i.Partial.Count, 10)
	}
	return append(b, '>')
}

// String returns the name of an item that is a word.
func (k FetchKind) String() string {
	for name, kind := range fetchNames {
		if kind == k {
			return name
		}
	}
	return "FetchKind(" + strconv.Itoa(int(k)) + ")"
}

func (s Section) append(b []byte) []byte {
	b = append(b, '[')
	for i, n := range s.Part {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	if s.Text != SectionAll {
		if len(s.Part) > 0 {
			b = append(b, '.')
		}
		b = append(b, sectionNames[s.Text]...)
	}
	for i, name := range s.Fields {
		if i == 0 {
			b = append(b, " ("...)
		} else {
			b = append(b, ' ')
		}
		b = AppendAString(b, name, false)
	}
	if s.Fields != nil {
		b = append(b, ')')
	}
	return append(b, ']')
}
