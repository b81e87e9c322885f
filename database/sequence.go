package database

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// Where bbolt keeps the number of a transaction: in each of the first two pages,
// behind the header of the page, with a checksum of what is before it.
const (
	metaOffset     = 16
	metaSize       = 64
	metaPageSizeAt = 8
	metaTxIDAt     = 48
	metaChecksumAt = 56
	metaMagic      = 0xED0CDAED

	pageSizeMin, pageSizeMax = 1 << 10, 1 << 16
)

// errNoMeta means that a file is not one of bbolt.
var errNoMeta = errors.New("no meta page of a database")

// Sequence returns the number of the last transaction that was committed to a
// database, read from its file. It tells whether a commit that has failed, as
// because the disk is full, was made nevertheless.
func Sequence(file io.ReaderAt) (uint64, error) {
	first, size, err := readMeta(file, 0)
	if err != nil {
		// The page size of the other one is not known: its place can only be guessed.
		for size = pageSizeMin; size <= pageSizeMax && err != nil; size *= 2 {
			first, _, err = readMeta(file, size)
		}
		return first, err
	}
	second, _, err := readMeta(file, size)
	if err != nil {
		return first, nil //nolint:nilerr // One of them is always whole.
	}
	return max(first, second), nil
}

// readMeta reads the meta page at an offset.
func readMeta(file io.ReaderAt, at int64) (txID uint64, pageSize int64, err error) {
	b := make([]byte, metaSize)
	if _, err := file.ReadAt(b, at+metaOffset); err != nil {
		return 0, 0, fmt.Errorf("reading meta page: %w", err)
	}
	h := fnv.New64a()
	h.Write(b[:metaChecksumAt])
	e := binary.NativeEndian
	pageSize = int64(e.Uint32(b[metaPageSizeAt:]))
	if e.Uint32(b) != metaMagic || e.Uint64(b[metaChecksumAt:]) != h.Sum64() || pageSize < pageSizeMin || pageSize > pageSizeMax {
		return 0, 0, errNoMeta
	}
	return e.Uint64(b[metaTxIDAt:]), pageSize, nil
}
