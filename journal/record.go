package journal

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
)

// A record is a header of 40 bytes, its files, its data, and zeros up to a
// multiple of 8. All numbers are little-endian.
//
//	 0  magic uint32
//	 4  check of the header uint32: of the record's offset and bytes 8 to 40
//	 8  sequence uint64
//	16  batch uint64
//	24  index in its batch uint32
//	28  bytes of data uint32
//	32  check of the body uint32: of files and data
//	36  number of files uint16
//	38  type uint8
//	39  zero
//
// A file is its name (16 bytes), size (int64) and CRC-32C (uint32).
//
// Checks are CRC-32C over both ids of the segment and then the bytes. So a
// record left by another segment in the same blocks does not check, nor does
// one that somebody sends us as mail, who can't know the ids. That of the header
// has the offset too: a copy of a segment inside a record does not check.
const (
	recordMagic      = 0x314a584d // "MXJ1"
	recordHeaderSize = 40
	fileRefSize      = 28
	recordAlign      = 8
)

// castagnoli is the polynomial of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// id is a random id, or the name of a file.
type id [16]byte

func newID(rand io.Reader) (v id, err error) {
	if _, err := io.ReadFull(rand, v[:]); err != nil {
		return v, fmt.Errorf("making random id: %w", err)
	}
	return v, nil
}

// parseID parses 32 lower-case hexadecimal digits.
func parseID(s string) (v id, ok bool) {
	if len(s) != 2*len(v) {
		return v, false
	}
	if _, err := hex.Decode(v[:], []byte(s)); err != nil {
		return v, false
	}
	return v, v.String() == s
}

func (v id) String() string { return hex.EncodeToString(v[:]) }

// seed is the CRC-32C of a journal's and a segment's id, from which the checks
// of all that is in the segment go on.
type seed uint32

func newSeed(journal, segment id) seed {
	crc := crc32.Update(0, castagnoli, journal[:])
	return seed(crc32.Update(crc, castagnoli, segment[:]))
}

func (s seed) check(b []byte) uint32 { return crc32.Update(uint32(s), castagnoli, b) }

// recordHeader is the parsed header of a record.
type recordHeader struct {
	seq, batch uint64
	index      uint32 // In its batch.
	dataSize   uint32
	bodyCheck  uint32
	files      uint16
	typ        uint8
}

// bodySize returns the size of files and data, in bytes.
func (h recordHeader) bodySize() int64 { return int64(h.files)*fileRefSize + int64(h.dataSize) }

// size returns the bytes that the record takes in the log.
func (h recordHeader) size() int64 { return alignUp(recordHeaderSize + h.bodySize()) }

// batchFirst returns the sequence of the first record of its batch.
func (h recordHeader) batchFirst() uint64 { return h.seq - uint64(h.index) }

func alignUp(n int64) int64 { return (n + recordAlign - 1) &^ (recordAlign - 1) }

// headerCheck returns the check of a header at an offset of a segment.
func (s seed) headerCheck(header []byte, offset int64) uint32 {
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(offset))
	return crc32.Update(s.check(at[:]), castagnoli, header[8:recordHeaderSize])
}

// parseHeader parses the header of a record at an offset of a segment. The
// record may not go beyond room bytes.
func (s seed) parseHeader(b []byte, offset, room int64) (h recordHeader, ok bool) {
	order := binary.LittleEndian
	if order.Uint32(b) != recordMagic || order.Uint32(b[4:]) != s.headerCheck(b, offset) {
		return h, false
	}
	h = recordHeader{
		seq:       order.Uint64(b[8:]),
		batch:     order.Uint64(b[16:]),
		index:     order.Uint32(b[24:]),
		dataSize:  order.Uint32(b[28:]),
		bodyCheck: order.Uint32(b[32:]),
		files:     order.Uint16(b[36:]),
		typ:       b[38],
	}
	return h, h.files <= filesMax && h.size() <= room && uint64(h.index) < h.seq && b[39] == 0
}

// recordSize returns the bytes that rec takes in the log.
func recordSize(rec Record) int64 {
	size := int64(recordHeaderSize) + int64(len(rec.Files))*fileRefSize
	for _, d := range rec.Data {
		size += int64(len(d))
	}
	return alignUp(size)
}

// appendRecord appends a record to a batch. base is the offset of b in the
// segment. The names of its files must be valid.
func (s seed) appendRecord(b []byte, base int64, h recordHeader, rec Record) []byte {
	order := binary.LittleEndian
	start := len(b)
	b = append(b, make([]byte, recordHeaderSize)...)
	for _, f := range rec.Files {
		name, _ := parseID(f.Name)
		b = append(b, name[:]...)
		b = order.AppendUint64(b, uint64(f.Size))
		b = order.AppendUint32(b, f.CRC)
	}
	for _, d := range rec.Data {
		b = append(b, d...)
	}
	body := b[start+recordHeaderSize:]

	header := b[start:]
	order.PutUint32(header, recordMagic)
	order.PutUint64(header[8:], h.seq)
	order.PutUint64(header[16:], h.batch)
	order.PutUint32(header[24:], h.index)
	order.PutUint32(header[28:], uint32(len(body)-len(rec.Files)*fileRefSize))
	order.PutUint32(header[32:], s.check(body))
	order.PutUint16(header[36:], uint16(len(rec.Files)))
	header[38] = rec.Type
	order.PutUint32(header[4:], s.headerCheck(header, base+int64(start)))
	return append(b, make([]byte, alignUp(int64(len(b)))-int64(len(b)))...)
}

// parseBody checks a body and makes the Entry, whose data is part of body.
func (s seed) parseBody(h recordHeader, body []byte) (*Entry, bool) {
	if s.check(body) != h.bodyCheck {
		return nil, false
	}
	e := &Entry{Seq: h.seq, Batch: h.batch, Type: h.typ}
	order := binary.LittleEndian
	for range h.files {
		name, size := id(body), int64(order.Uint64(body[16:]))
		if size < 0 {
			return nil, false
		}
		e.Files = append(e.Files, FileRef{name.String(), size, order.Uint32(body[24:])})
		body = body[fileRefSize:]
	}
	e.Data = body
	return e, true
}
