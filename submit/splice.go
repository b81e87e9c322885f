package submit

import (
	"io"
	"unicode/utf8"
)

// spliced is a message with another header section than it came with. It is
// read from where the message is: only the header is in memory.
type spliced struct {
	head []byte      // In place of the first skip bytes.
	came io.ReaderAt // As it came.
	skip int64
	size int64 // Of the whole.
}

// splice returns a message of which the first skip bytes are replaced.
func splice(head []byte, came io.ReaderAt, skip, size int64) *spliced {
	return &spliced{head: head, came: came, skip: skip, size: int64(len(head)) + size - skip}
}

// ReadAt reads as an io.ReaderAt does.
func (m *spliced) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= m.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > m.size-off
	if short {
		p = p[:m.size-off]
	}
	n := 0
	if off < int64(len(m.head)) {
		n = copy(p, m.head[off:])
	}
	if n < len(p) {
		k, err := m.came.ReadAt(p[n:], off+int64(n)-int64(len(m.head))+m.skip)
		n += k
		if n < len(p) {
			return n, err
		}
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// bitReader notes whether what it reads has bytes of 8 bits.
type bitReader struct {
	r        io.Reader
	eightBit bool
}

func (b *bitReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	for i := 0; i < n && !b.eightBit; i++ {
		b.eightBit = p[i] >= utf8.RuneSelf
	}
	return n, err
}
