package message

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrStructure means that bytes are not a Part in binary form, or one of a newer
// version. The message must be parsed again.
var ErrStructure = errors.New("bad binary structure of a message")

// binaryVersion is the first byte of the binary form.
const binaryVersion = 1

// Bits of the first number of a part: which of its fields follow.
const (
	hasLines = 1 << iota
	hasParams
	hasID
	hasDescription
	hasEncoding
	hasMD5
	hasDisposition
	hasDispositionParams
	hasLanguage
	hasLocation
	hasEnvelope
	hasParts
	hasMessage
	hasNUL // Nothing follows for it.
	hasAll = 1<<iota - 1
)

// AppendBinary appends the compact binary form of p, as ParsePart reads it: a
// version byte, then numbers as varints and strings with their length. Offsets
// count from the header of the parent.
func (p *Part) AppendBinary(b []byte) []byte {
	return appendPart(append(b, binaryVersion), p, 0)
}

// flags returns the bits for the fields that are not empty.
func (p *Part) flags() (flags uint64) {
	for i, has := range []bool{
		p.Lines != 0, len(p.Params) > 0, p.ID != "", p.Description != "", p.Encoding != "",
		p.MD5 != "", p.Disposition != "", len(p.DispositionParams) > 0, len(p.Language) > 0,
		p.Location != "", p.Envelope != nil, len(p.Parts) > 0, p.Message != nil,
		p.NUL,
	} {
		if has {
			flags |= 1 << i
		}
	}
	return flags
}

func appendPart(b []byte, p *Part, base int64) []byte {
	flags := p.flags()
	b = binary.AppendUvarint(b, flags)
	b = appendInt(b, p.HeaderOffset-base)
	b = appendInt(b, p.BodyOffset-p.HeaderOffset)
	b = appendInt(b, p.EndOffset-p.BodyOffset)
	b = appendString(b, p.Type)
	b = appendString(b, p.Subtype)
	if flags&hasLines != 0 {
		b = appendInt(b, p.Lines)
	}
	if flags&hasParams != 0 {
		b = appendParams(b, p.Params)
	}
	for _, s := range []string{p.ID, p.Description, p.Encoding, p.MD5, p.Disposition} {
		if s != "" {
			b = appendString(b, s)
		}
	}
	if flags&hasDispositionParams != 0 {
		b = appendParams(b, p.DispositionParams)
	}
	if flags&hasLanguage != 0 {
		b = appendInt(b, int64(len(p.Language)))
		for _, s := range p.Language {
			b = appendString(b, s)
		}
	}
	if flags&hasLocation != 0 {
		b = appendString(b, p.Location)
	}
	if flags&hasEnvelope != 0 {
		b = appendEnvelope(b, p.Envelope)
	}
	if flags&hasParts != 0 {
		b = appendInt(b, int64(len(p.Parts)))
		for i := range p.Parts {
			b = appendPart(b, &p.Parts[i], p.HeaderOffset)
		}
	}
	if flags&hasMessage != 0 {
		b = appendPart(b, p.Message, p.HeaderOffset)
	}
	return b
}

func appendInt(b []byte, n int64) []byte { return binary.AppendUvarint(b, uint64(n)) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendParams(b []byte, params []Param) []byte {
	b = appendInt(b, int64(len(params)))
	for _, p := range params {
		b = appendString(appendString(b, p.Name), p.Value)
	}
	return b
}

func appendEnvelope(b []byte, e *Envelope) []byte {
	for _, s := range []string{e.Date, e.Subject, e.InReplyTo, e.MessageID} {
		b = appendString(b, s)
	}
	for _, list := range [][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		b = appendInt(b, int64(len(list)))
		for _, a := range list {
			for _, s := range []string{a.Name, a.Adl, a.Mailbox, a.Host} {
				b = appendString(b, s)
			}
		}
	}
	return b
}

// ParsePart parses the binary form of a Part, which must be the whole of b. It is
// safe for any bytes: offsets of the Part returned are in order, parts are within
// their parents, and limits are those of Parse.
func ParsePart(b []byte) (Part, error) {
	if len(b) == 0 || b[0] != binaryVersion {
		return Part{}, fmt.Errorf("%w: unknown version", ErrStructure)
	}
	d := binaryReader{rest: string(b[1:]), parts: 1}
	var p Part
	d.part(&p, 0, 1<<62, 0)
	if d.bad || d.rest != "" {
		return Part{}, ErrStructure
	}
	return p, nil
}

// HasNUL returns the NUL of a Part in binary form, without parsing all of it.
func HasNUL(b []byte) bool {
	if len(b) == 0 || b[0] != binaryVersion {
		return false
	}
	flags, _ := binary.Uvarint(b[1:])
	return flags&hasNUL != 0
}

// binaryReader reads numbers and strings. After the first failure it returns zero
// values.
type binaryReader struct {
	rest  string // One string for all: its parts share its memory.
	parts int
	bad   bool
}

func (d *binaryReader) fail() {
	d.bad = true
	d.rest = ""
}

func (d *binaryReader) number() uint64 {
	var n uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64-1; i++ {
		c := d.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return n
		}
	}
	d.fail()
	return 0
}

// int reads a number of at most limit.
func (d *binaryReader) int(limit int64) int64 {
	n := int64(d.number()) // Nine bytes of seven bits: it is not negative.
	if n > limit {
		d.fail()
		return 0
	}
	return n
}

// count reads the number of items that have at least size bytes each.
func (d *binaryReader) count(size int) int {
	return int(d.int(int64(len(d.rest) / size)))
}

// some is count for a list that is left out when it is empty.
func (d *binaryReader) some(size int) int {
	n := d.count(size)
	if n == 0 {
		d.fail()
	}
	return n
}

func (d *binaryReader) string() string {
	n := d.count(1)
	n = min(n, len(d.rest))
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *binaryReader) optional(has bool) string {
	if !has {
		return ""
	}
	s := d.string()
	if s == "" {
		d.fail()
	}
	return s
}

// part reads a part that must lie within [base,end) of the message.
func (d *binaryReader) part(p *Part, base, end int64, depth int) {
	flags := d.number()
	if d.bad || flags > hasAll || depth > depthMax {
		d.fail()
		return
	}
	p.HeaderOffset = base + d.int(end-base)
	p.BodyOffset = p.HeaderOffset + d.int(end-p.HeaderOffset)
	p.EndOffset = p.BodyOffset + d.int(end-p.BodyOffset)
	p.Type, p.Subtype = d.string(), d.string()
	if flags&hasLines != 0 {
		p.Lines = d.int(p.EndOffset - p.BodyOffset)
	}
	if flags&hasParams != 0 {
		p.Params = d.params()
	}
	p.ID = d.optional(flags&hasID != 0)
	p.Description = d.optional(flags&hasDescription != 0)
	p.Encoding = d.optional(flags&hasEncoding != 0)
	p.MD5 = d.optional(flags&hasMD5 != 0)
	p.Disposition = d.optional(flags&hasDisposition != 0)
	if flags&hasDispositionParams != 0 {
		p.DispositionParams = d.params()
	}
	if flags&hasLanguage != 0 {
		p.Language = make([]string, d.some(1))
		for i := range p.Language {
			p.Language[i] = d.string()
		}
	}
	p.Location = d.optional(flags&hasLocation != 0)
	if flags&hasEnvelope != 0 {
		p.Envelope = d.envelope()
	}
	p.NUL = flags&hasNUL != 0
	d.children(p, flags, depth)
}

// room returns n if that many more parts are within limits. It fails if not, or
// for no parts.
func (d *binaryReader) room(n int) int {
	if d.bad || n == 0 || d.parts+n > partsMax {
		d.fail()
		return 0
	}
	d.parts += n
	return n
}

// partSizeMin is the least number of bytes of a part in binary form.
const partSizeMin = 6

// children reads the parts in the body of p.
func (d *binaryReader) children(p *Part, flags uint64, depth int) {
	if flags&hasParts != 0 {
		p.Parts = make([]Part, d.room(d.count(partSizeMin)))
		start := p.BodyOffset
		for i := range p.Parts {
			if d.bad {
				return
			}
			c := &p.Parts[i]
			d.part(c, p.HeaderOffset, p.EndOffset, depth+1)
			if c.HeaderOffset < start {
				d.fail()
			}
			start = c.EndOffset
		}
	}
	if flags&hasMessage != 0 && d.room(1) == 1 {
		p.Message = &Part{}
		d.part(p.Message, p.HeaderOffset, p.EndOffset, depth+1)
		if p.Message.HeaderOffset < p.BodyOffset {
			d.fail()
		}
	}
}

func (d *binaryReader) params() []Param {
	params := make([]Param, d.some(2))
	for i := range params {
		params[i] = Param{d.string(), d.string()}
	}
	return params
}

func (d *binaryReader) envelope() *Envelope {
	e := &Envelope{Date: d.string(), Subject: d.string(), InReplyTo: d.string(), MessageID: d.string()}
	for _, list := range []*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc} {
		n := d.count(4)
		if n == 0 {
			continue
		}
		*list = make([]Address, n)
		for i := range *list {
			(*list)[i] = Address{d.string(), d.string(), d.string(), d.string()}
		}
	}
	return e
}
