package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ManifestName is the file of a backup that lists all others. It gets this name
// when all is on disk, so a backup without it was not finished.
const ManifestName = "manifest.jsonl"

// ManifestFormat counts the changes to manifests, and to how files lie in a
// backup, that older versions can't read.
const ManifestFormat = 1

// Limits of a manifest. They bound memory for one that something else wrote.
const (
	manifestLineMax = 1 << 20 // Bytes of a line. The last has problems in it.
	manifestPathMax = 4096    // Bytes of a path: what Linux allows.
)

var (
	// ErrManifest means that a manifest is not as it was written, or none.
	ErrManifest = errors.New("backup: manifest is damaged")

	// ErrManifestNewer means that a manifest is of a newer version. An operator
	// must use that.
	ErrManifestNewer = errors.New("backup: made by a newer version")
)

// Kind says what a file of a backup is.
type Kind string

// The kinds.
const (
	KindDatabase Kind = "database"
	KindMessage  Kind = "message" // Of an account.
	KindQueue    Kind = "queue"   // All files of the queue, its database too.
	KindJournal  Kind = "journal"
	KindConfig   Kind = "config"
	KindOther    Kind = "other"
)

// Header is the first line of a manifest.
type Header struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // Of mox.
	Started time.Time `json:"started"`
}

// File is a file of a backup.
type File struct {
	Path string `json:"path"` // Relative to the backup, with slashes.
	Size int64  `json:"size"` // In bytes.
	CRC  CRC    `json:"crc"`
	Kind Kind   `json:"kind"`
}

// CRC is a CRC-32 with the polynomial of Castagnoli, as eight hexadecimal digits
// in text.
type CRC uint32

// String returns the digits.
func (c CRC) String() string { return fmt.Sprintf("%08x", uint32(c)) }

// MarshalText returns the digits.
func (c CRC) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText parses the digits.
func (c *CRC) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 32)
	if err != nil || CRC(n).String() != string(text) {
		return fmt.Errorf("%q is not a checksum", text)
	}
	*c = CRC(n)
	return nil
}

// Trailer is the last line of a manifest.
type Trailer struct {
	Complete bool      `json:"complete"` // All that was to be copied is there.
	Problems []string  `json:"problems,omitempty"`
	Finished time.Time `json:"finished"`
	Head     uint64    `json:"head"`  // Sequence of the last record in the journal.
	Files    int64     `json:"files"` // Named before.
	Bytes    int64     `json:"bytes"` // Of these.
	SHA256   string    `json:"sha256"`
}

// lastLine is the last line.
type lastLine struct {
	Trailer *Trailer `json:"trailer"`
}

// manifestLine is any line but the first.
type manifestLine struct {
	File
	lastLine
}

// ManifestWriter writes a manifest.
type ManifestWriter struct {
	w       *bufio.Writer
	sum     hash.Hash // Of all lines.
	last    string
	trailer Trailer
}

// NewManifestWriter writes the first line. It sets the format.
func NewManifestWriter(w io.Writer, h Header) (*ManifestWriter, error) {
	m := &ManifestWriter{w: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
	h.Format = ManifestFormat
	return m, m.line(h)
}

// Add writes a line for a file. Files come in the order in which filepath.WalkDir
// finds them.
func (m *ManifestWriter) Add(f File) error {
	if err := m.trailer.add(f, m.last); err != nil {
		return err
	}
	m.last = f.Path
	return m.line(f)
}

// Finish writes the last line, of which it sets the numbers and the checksum.
func (m *ManifestWriter) Finish(t Trailer) error {
	t.Files, t.Bytes, t.SHA256 = m.trailer.Files, m.trailer.Bytes, hex.EncodeToString(m.sum.Sum(nil))
	if err := m.line(lastLine{&t}); err != nil {
		return err
	}
	return m.w.Flush()
}

func (m *ManifestWriter) line(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) >= manifestLineMax {
		return fmt.Errorf("%w: a line of %d bytes", ErrManifest, len(text))
	}
	text = append(text, '\n')
	m.sum.Write(text)
	_, err = m.w.Write(text)
	return err
}

// add counts a file, which must come after the one with the path last.
func (t *Trailer) add(f File, last string) error {
	switch {
	case !validPath(f.Path):
		return fmt.Errorf("%w: %q can't be a path in it", ErrManifest, f.Path)
	case f.Size < 0 || t.Bytes+f.Size < t.Bytes:
		return fmt.Errorf("%w: %s can't have %d bytes", ErrManifest, f.Path, f.Size)
	case last != "" && comparePaths(last, f.Path) >= 0:
		return fmt.Errorf("%w: %s comes after %s", ErrManifest, f.Path, last)
	}
	t.Files++
	t.Bytes += f.Size
	return nil
}

// validPath says whether path can be that of a file in a backup: below it, on
// every system.
func validPath(path string) bool {
	return len(path) <= manifestPathMax && utf8.ValidString(path) && !strings.Contains(path, "\x00") &&
		fs.ValidPath(path) && path != "." && path != ManifestName && filepath.IsLocal(filepath.FromSlash(path))
}

// comparePaths orders paths as filepath.WalkDir does: what is in a directory comes
// where its name does.
func comparePaths(a, b string) int {
	for {
		var x, y string
		var moreA, moreB bool
		x, a, moreA = strings.Cut(a, "/")
		y, b, moreB = strings.Cut(b, "/")
		switch c := strings.Compare(x, y); {
		case c != 0:
			return c
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
	}
}

// ManifestReader reads a manifest, with little memory however long it is.
type ManifestReader struct {
	in      *bufio.Scanner
	sum     hash.Hash
	line    int
	last    string
	header  Header
	counted Trailer
	trailer Trailer
	err     error // Of all further calls.
}

// NewManifestReader reads the first line. Errors of what is read wrap
// ErrManifest.
func NewManifestReader(r io.Reader) (*ManifestReader, error) {
	m := &ManifestReader{in: bufio.NewScanner(r), sum: sha256.New()}
	m.in.Buffer(nil, manifestLineMax)
	m.in.Split(wholeLines)
	text, err := m.next()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &m.header); err != nil {
		return nil, m.damaged("%v", err)
	}
	switch {
	case m.header.Format > ManifestFormat:
		return nil, fmt.Errorf("%w (%s): format %d, this version knows up to %d", ErrManifestNewer, m.header.Version, m.header.Format, ManifestFormat)
	case m.header.Format < 1:
		return nil, m.damaged("format %d", m.header.Format)
	}
	m.sum.Write(text)
	return m, nil
}

// wholeLines splits like bufio.ScanLines, but keeps the ends: a checksum is over
// them.
func wholeLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, fmt.Errorf("%w: it ends within a line", ErrManifest)
	}
	return 0, nil, nil
}

// Header returns the first line.
func (m *ManifestReader) Header() Header { return m.header }

// Next returns the next file, in the order of filepath.WalkDir. At the end, if
// the manifest is whole, it returns io.EOF; Trailer has the last line then.
func (m *ManifestReader) Next() (File, error) {
	if m.err != nil {
		return File{}, m.err
	}
	var f File
	f, m.err = m.read()
	return f, m.err
}

// Trailer returns the last line, after Next has returned io.EOF.
func (m *ManifestReader) Trailer() Trailer { return m.trailer }

func (m *ManifestReader) read() (File, error) {
	text, err := m.next()
	if err != nil {
		return File{}, err
	}
	var l manifestLine
	if err := json.Unmarshal(text, &l); err != nil {
		return File{}, m.damaged("%v", err)
	}
	if l.Trailer != nil {
		return File{}, m.finish(*l.Trailer)
	}
	m.sum.Write(text)
	if err := m.counted.add(l.File, m.last); err != nil {
		return File{}, err
	}
	m.last = l.Path
	return l.File, nil
}

// finish compares a trailer with what came before it, and returns io.EOF if it is
// right.
func (m *ManifestReader) finish(t Trailer) error {
	if sum := hex.EncodeToString(m.sum.Sum(nil)); t.SHA256 != sum || t.Files != m.counted.Files || t.Bytes != m.counted.Bytes {
		return m.damaged("its end is for %d files with %d bytes and checksum %q, it has %d, %d and %q",
			t.Files, t.Bytes, t.SHA256, m.counted.Files, m.counted.Bytes, sum)
	}
	m.trailer = t
	if m.in.Scan() {
		return m.damaged("it goes on after its end")
	}
	if err := m.in.Err(); err != nil {
		return m.damaged("%w", err)
	}
	return io.EOF
}

// next returns the next line. That there is none is an error.
func (m *ManifestReader) next() ([]byte, error) {
	m.line++
	if m.in.Scan() {
		return m.in.Bytes(), nil
	}
	switch err := m.in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, m.damaged("more than %d bytes", manifestLineMax)
	case errors.Is(err, ErrManifest):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	return nil, m.damaged("its end is missing")
}

func (m *ManifestReader) damaged(format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %w", ErrManifest, m.line, fmt.Errorf(format, args...))
}

// ManifestFile is the manifest of a backup, open for reading.
type ManifestFile struct {
	*ManifestReader
	f *os.File
}

// OpenManifest opens the manifest of the backup in dir. An error that is
// fs.ErrNotExist means that it was not finished, or is no backup. The caller
// closes what is returned.
func OpenManifest(dir string) (*ManifestFile, error) {
	f, err := os.Open(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, err
	}
	r, err := NewManifestReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &ManifestFile{r, f}, nil
}

// Close ends the reading.
func (m *ManifestFile) Close() error { return m.f.Close() }
