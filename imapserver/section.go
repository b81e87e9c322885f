package imapserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/store"
)

// content is a message whose bytes are read: the prefix from its row, then the
// file. Offsets of parts count from the file.
type content struct {
	account *store.Account
	row     *row
	file    *os.File
}

// open opens the file. Its size is checked: what is announced must be sent.
func (m *content) open() (err error) {
	if m.file, err = m.account.OpenMessage(m.row.entry.EmailID); err != nil {
		return err
	}
	info, err := m.file.Stat()
	if err == nil && info.Size() != m.row.email.FileSize {
		err = fmt.Errorf("message file has %d bytes instead of %d", info.Size(), m.row.email.FileSize)
	}
	return err
}

func (m *content) close() {
	if m.file != nil {
		_ = m.file.Close() // It was only read.
	}
}

// piece is some bytes of a message: memory, then a range of its file.
type piece struct {
	head         []byte
	offset, size int64
}

func (p piece) len() int64 { return int64(len(p.head)) + p.size }

// cut returns the bytes of a partial.
func (p piece) cut(partial *imap.Partial) piece {
	offset, count := partial.Apply(p.len())
	head := int64(len(p.head))
	from, to := min(offset, head), min(offset+count, head)
	fileFrom, fileTo := max(offset, head)-head, max(offset+count, head)-head
	return piece{p.head[from:to], p.offset + fileFrom, fileTo - fileFrom}
}

// sectionOf returns the section for items that have one by another name.
func sectionOf(item imap.FetchItem) imap.Section {
	switch item.Kind {
	case imap.FetchRFC822Header:
		return imap.Section{Text: imap.SectionHeader}
	case imap.FetchRFC822Text:
		return imap.Section{Text: imap.SectionBodyText}
	default:
		return item.Section
	}
}

// section writes a section of a message as nstring: NIL if there is no such
// part.
func (f *fetcher) section(m *content, section imap.Section, partial *imap.Partial) error {
	p, found, err := m.find(section)
	if err != nil || !found {
		f.s.out.Raw("NIL")
		return err
	}
	if p = p.cut(partial); p.size <= readMax || message.HasNUL(m.row.structure.Tree) {
		f.writeText(m, p)
	} else {
		f.write(m, p)
	}
	return nil
}

// nulSubstitute is sent for a NUL, which no literal but those of BINARY can have (RFC
// 9051, section 4.3.1). It is a byte that neither US-ASCII nor UTF-8 has by itself.
const nulSubstitute = 0x80

// writeText writes a piece as a literal without NUL, of the same size.
func (f *fetcher) writeText(m *content, p piece) {
	out := f.s.out
	out.Raw("{", strconv.FormatInt(p.len(), 10), "}\r\n")
	out.Append(func(b []byte) []byte {
		at := len(b)
		b = append(b, p.head...)
		withoutNUL(b[at:])
		return b
	})
	out.Copy(textReader{io.NewSectionReader(m.file, p.offset, p.size)}, p.size)
}

// textReader puts nulSubstitute in the place of NUL.
type textReader struct{ r io.Reader }

func (t textReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	withoutNUL(p[:n])
	return n, err
}

func withoutNUL(p []byte) {
	for i := bytes.IndexByte(p, 0); i >= 0; {
		p[i] = nulSubstitute
		next := bytes.IndexByte(p[i:], 0)
		if next < 0 {
			return
		}
		i += next
	}
}

// readMax is the size in bytes up to which a body is read with the file's offset
// left alone, in one system call. Larger ones go by sendfile, if that can be.
const readMax = 32 << 10

// write writes a piece as a literal.
func (f *fetcher) write(m *content, p piece) {
	out := f.s.out
	out.Raw("{", strconv.FormatInt(p.len(), 10), "}\r\n")
	out.Append(func(b []byte) []byte { return append(b, p.head...) })
	if p.size <= readMax {
		out.Copy(io.NewSectionReader(m.file, p.offset, p.size), p.size)
		return
	}
	if _, err := m.file.Seek(p.offset, io.SeekStart); err != nil {
		out.Fail(fmt.Errorf("seeking in message file: %w", err))
		return
	}
	out.Copy(m.file, p.size)
}

// find returns the bytes of a section, and false if there is no such part.
func (m *content) find(s imap.Section) (piece, bool, error) {
	if len(s.Part) == 0 {
		return m.findTop(s)
	}
	part, ok := m.part(s.Part)
	if !ok {
		return piece{}, false, nil
	}
	switch s.Text {
	case imap.SectionAll:
		return piece{nil, part.BodyOffset, part.EndOffset - part.BodyOffset}, true, nil
	case imap.SectionMIME:
		return m.mimeHeader(s.Part, part)
	case imap.SectionHeader, imap.SectionHeaderFields, imap.SectionHeaderFieldsNot, imap.SectionBodyText:
	}
	if part.Message == nil {
		return piece{}, false, nil // Only messages have a header and text.
	}
	if s.Text == imap.SectionBodyText {
		return piece{nil, part.Message.BodyOffset, part.Message.EndOffset - part.Message.BodyOffset}, true, nil
	}
	return m.header(nil, part.Message, s)
}

// findTop returns the bytes of a section of the message itself.
func (m *content) findTop(s imap.Section) (piece, bool, error) {
	top, prefix := &m.row.tree, m.row.email.Prefix
	switch s.Text {
	case imap.SectionAll:
		return piece{prefix, 0, m.row.email.FileSize}, true, nil
	case imap.SectionBodyText:
		return piece{nil, top.BodyOffset, m.row.email.FileSize - top.BodyOffset}, true, nil
	default:
		return m.header(prefix, top, s)
	}
}

// header returns the header of a message, or some of its fields.
func (m *content) header(prefix []byte, p *message.Part, s imap.Section) (piece, bool, error) {
	if s.Text == imap.SectionHeader {
		return piece{prefix, p.HeaderOffset, p.BodyOffset - p.HeaderOffset}, true, nil
	}
	raw, err := m.rawHeader(prefix, p)
	if err != nil {
		return piece{}, false, err
	}
	return piece{head: message.FilterHeader(raw, s.Fields, s.Text == imap.SectionHeaderFieldsNot)}, true, nil
}

// rawHeader reads the header of a part, behind a prefix.
func (m *content) rawHeader(prefix []byte, p *message.Part) ([]byte, error) {
	h, err := message.ReadHeader(m.file, p)
	if err != nil {
		return nil, fmt.Errorf("reading header of email %d: %w", m.row.entry.EmailID, err)
	}
	if len(prefix) == 0 {
		return h.Raw(), nil
	}
	return append(bytes.Clone(prefix), h.Raw()...), nil
}

// mimeHeader returns the header of a body part. A message that is not a
// multipart has one part without a header of its own: the fields about MIME are
// taken from that of the message.
func (m *content) mimeHeader(path []uint32, part *message.Part) (piece, bool, error) {
	above, ok := m.message(path[:len(path)-1])
	if !ok || part.HeaderOffset != above.HeaderOffset {
		return piece{nil, part.HeaderOffset, part.BodyOffset - part.HeaderOffset}, true, nil
	}
	raw, err := m.rawHeader(nil, above)
	if err != nil {
		return piece{}, false, err
	}
	var names []string
	for field := range message.NewHeader(raw).Fields() {
		name := strings.ToLower(field.Name)
		if strings.HasPrefix(name, "content-") || name == "mime-version" {
			names = append(names, field.Name)
		}
	}
	return piece{head: message.FilterHeader(raw, names, false)}, true, nil
}

// message returns the message that the part named by path is: the top one for an
// empty path.
func (m *content) message(path []uint32) (*message.Part, bool) {
	part, ok := m.part(path)
	switch {
	case !ok:
		return nil, false
	case len(path) == 0:
		return part, true
	case part.Message != nil:
		return part.Message, true
	}
	return nil, false
}

func (m *content) part(path []uint32) (*message.Part, bool) {
	numbers := make([]int, len(path))
	for i, n := range path {
		if n > 1<<30 {
			return nil, false
		}
		numbers[i] = int(n)
	}
	return m.row.tree.Find(numbers)
}

// binary writes a part without its transfer encoding (RFC 3516, section 4.2).
func (f *fetcher) binary(m *content, item imap.FetchItem) error {
	p, encoded, err := m.findBinary(item.Section)
	if err != nil || p == nil && encoded == nil {
		f.s.out.Raw("NIL")
		return err
	}
	if p != nil {
		return f.binaryPlain(m, p.cut(item.Partial))
	}
	return f.binaryDecoded(m, encoded, item.Partial)
}

// binaryPlain writes bytes that have no transfer encoding.
func (f *fetcher) binaryPlain(m *content, p piece) error {
	f.s.out.Raw("~")
	f.write(m, p)
	return nil
}

// binaryDecoded decodes twice: the size comes first. A body that fits in the
// buffer is decoded once.
func (f *fetcher) binaryDecoded(m *content, part *message.Part, partial *imap.Partial) error {
	r, err := decode(m, part)
	if err != nil {
		f.s.out.Raw("NIL")
		return err
	}
	buf := make([]byte, min(streamBuffer, part.Size()+1)) // Decoding never makes it longer.
	n, err := io.ReadFull(r, buf)
	size := int64(n)
	whole := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if err == nil {
		more, err2 := io.Copy(io.Discard, r)
		size, err = size+more, err2
	}
	if err != nil && !whole {
		f.s.out.Raw("NIL")
		return fmt.Errorf("decoding part: %w", err)
	}
	offset, count := partial.Apply(size)
	f.s.out.Raw("~{", strconv.FormatInt(count, 10), "}\r\n")
	if whole {
		f.s.out.Append(func(b []byte) []byte { return append(b, buf[offset:offset+count]...) })
		return nil
	}
	if r, err = decode(m, part); err == nil {
		_, err = io.CopyN(io.Discard, r, offset)
	}
	if err != nil {
		f.s.out.Fail(err)
		return nil
	}
	f.s.out.Copy(r, count)
	return nil
}

func decode(m *content, part *message.Part) (io.Reader, error) {
	r, err := part.DecodedBody(m.file)
	if errors.Is(err, message.ErrUnknownEncoding) {
		return nil, imap.No("UNKNOWN-CTE", "part has an unknown transfer encoding")
	}
	return r, err
}

// findBinary returns the bytes of a section if they need no decoding, or the
// part to decode. Both are nil if there is no such part.
func (m *content) findBinary(s imap.Section) (*piece, *message.Part, error) {
	if len(s.Part) == 0 {
		p, _, err := m.findTop(s)
		return &p, nil, err
	}
	part, ok := m.part(s.Part)
	if !ok {
		return nil, nil, nil
	}
	switch part.Encoding {
	case "", "7BIT", "8BIT", "BINARY":
		return &piece{nil, part.BodyOffset, part.EndOffset - part.BodyOffset}, nil, nil
	}
	return nil, part, nil
}

// binarySize writes the size that BINARY has.
func (f *fetcher) binarySize(m *content, item imap.FetchItem) error {
	p, encoded, err := m.findBinary(item.Section)
	if err == nil && encoded != nil {
		var r io.Reader
		if r, err = decode(m, encoded); err == nil {
			n, err2 := io.Copy(io.Discard, r)
			p, err = &piece{size: n}, err2
		}
	}
	if err != nil || p == nil {
		f.s.out.Raw("0") // The grammar has no NIL here.
		return err
	}
	f.s.out.Raw(strconv.FormatInt(p.len(), 10))
	return nil
}
