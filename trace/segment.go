package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/atomicfile"
)

// Permissions of what is made: the group may read, for backups.
const (
	filePerm fs.FileMode = 0o640
	dirPerm  fs.FileMode = 0o750
)

// Endings of names: of records, and of the index of a segment that is complete.
const (
	logSuffix   = ".log"
	indexSuffix = ".idx"
)

// seqDigits is the number of digits in a name, so that names have the order of
// segments.
const seqDigits = 10

// segment is a file of records. One that has an index does not change any more.
type segment struct {
	seq         int64
	size        int64     // Of records, in bytes.
	indexSize   int64     // 0 if there is no index.
	first, last time.Time // Of its events. Zero if it has none.
}

// segmentName returns the name of a segment of a series, without its ending.
func segmentName(series string, seq int64) string {
	return fmt.Sprintf("%s-%0*d", series, seqDigits, seq)
}

// parseName returns which segment of a series a file belongs to.
func parseName(series, name string) (seq int64, suffix string, ok bool) {
	rest, ok := strings.CutPrefix(name, series+"-")
	if !ok || len(rest) != seqDigits+len(logSuffix) {
		return 0, "", false
	}
	seq, err := strconv.ParseInt(rest[:seqDigits], 10, 64)
	suffix = rest[seqDigits:]
	if err != nil || seq <= 0 || suffix != logSuffix && suffix != indexSuffix {
		return 0, "", false
	}
	return seq, suffix, segmentName(series, seq)+suffix == name
}

// IsName tells whether a file in the directory of a Log is one of it.
func IsName(name string) bool {
	for _, s := range seriesNames {
		if _, _, ok := parseName(s, name); ok {
			return true
		}
	}
	return name == closedName || atomicfile.IsTemp(name)
}

// An index has a header of 32 bytes and the keys of a segment's records, each once,
// in their order, as little-endian numbers.
//
//	 0  magic uint32
//	 4  CRC-32C of all that comes after it uint32
//	 8  time of the first event int64: nanoseconds since 1970
//	16  time of the last int64
//	24  size of the records int64
const (
	indexMagic      = 0x3158544d // "MTX1"
	indexHeaderSize = 32
)

// formatIndex returns the index of a segment. It puts keys in order.
func formatIndex(s *segment, keys []key) []byte {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	b := make([]byte, indexHeaderSize, indexHeaderSize+4*len(keys))
	order := binary.LittleEndian
	order.PutUint64(b[8:], nanoseconds(s.first))
	order.PutUint64(b[16:], nanoseconds(s.last))
	order.PutUint64(b[24:], uint64(s.size))
	for _, k := range keys {
		b = order.AppendUint32(b, uint32(k))
	}
	order.PutUint32(b, indexMagic)
	order.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

var errIndex = errors.New("index is damaged")

// parseIndex parses an index. The keys refer to b.
func parseIndex(b []byte) (s segment, keys indexKeys, err error) {
	order := binary.LittleEndian
	if len(b) < indexHeaderSize || len(b)%4 != 0 || order.Uint32(b) != indexMagic || order.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return s, nil, errIndex
	}
	s = segment{
		indexSize: int64(len(b)), size: int64(order.Uint64(b[24:])),
		first: fromNanoseconds(order.Uint64(b[8:])), last: fromNanoseconds(order.Uint64(b[16:])),
	}
	if s.size < 0 {
		return s, nil, errIndex
	}
	return s, b[indexHeaderSize:], nil
}

// nanoseconds returns a time as an index has it: 0 for none.
func nanoseconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func fromNanoseconds(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}

// indexKeys are the keys of an index, as it has them.
type indexKeys []byte

// has tells whether a key is there.
func (x indexKeys) has(k key) bool {
	lo, hi := 0, len(x)/4
	for lo < hi {
		mid := (lo + hi) / 2
		if v := key(binary.LittleEndian.Uint32(x[4*mid:])); v < k {
			lo = mid + 1
		} else if v > k {
			hi = mid
		} else {
			return true
		}
	}
	return false
}

// scanned is what reading a segment finds.
type scanned struct {
	segment
	keys    []key
	damaged int64 // Lines.
}

// scan reads all records. What comes behind the last whole one is not counted in the
// size: it is the end of a write that a crash has cut.
func scan(b []byte) (s scanned) {
	for offset := 0; offset < len(b); {
		n := bytes.IndexByte(b[offset:], '\n')
		if n < 0 {
			break
		}
		line := b[offset : offset+n]
		offset += n + 1
		e, ok := parseRecord(line)
		if !ok {
			s.damaged++
			continue
		}
		s.size = int64(offset)
		text, _ := checkRecord(line)
		s.keys = recordKeys(text, s.keys)
		s.span(e.Time, e.Time)
	}
	return s
}

// span makes the times of a segment include those of more events.
func (s *segment) span(first, last time.Time) {
	if s.first.IsZero() || first.Before(s.first) {
		s.first = first
	}
	if last.After(s.last) {
		s.last = last
	}
}

// readSegment reads the records of a segment, not more than its maximum.
func readSegment(dir, series string, seq int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, segmentName(series, seq)+logSuffix))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(info.Size(), segmentReadMax))
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return nil, err
	}
	return b, nil
}

// segmentReadMax bounds what is read of a segment, in bytes. They are not larger
// unless somebody else has written there.
const segmentReadMax = 4 * segmentMax
