package journal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
)

// Report is what Verify found.
type Report struct {
	ID       string // Of the journal; empty if it has no record yet.
	Segments int    // With records or ready for them, that could be read.
	Records  int64
	Head     uint64 // Sequence of the last record.

	// Torn tells that a record follows the last one, but not whole, or not in its
	// place: what a crash left of a batch that was never acknowledged. The next
	// start removes it.
	Torn        bool
	TornSegment string
	TornOffset  int64

	// Beyond counts records after a damaged place that still check, in the same
	// segment. They are not among Records.
	Beyond int

	Strays   []string // In files, and named by no record. The next start removes them.
	Problems []error  // What is damaged, a CorruptError for the log.
}

// Verify checks the journal in dir, which nobody may have open, and changes
// nothing. It calls fn, which may be nil, for each record up to the first
// damaged one. Its error is one of reading, or of fn: damage is in the report.
func Verify(ctx context.Context, dir string, fn func(*Entry) error) (Report, error) {
	return verify(ctx, diskFS{}, dir, fn)
}

// verifier collects a Report.
type verifier struct {
	fs     fileSystem
	dir    string
	report Report
	files  map[string]bool // Named by a record, and looked at.
}

func verify(ctx context.Context, fs fileSystem, dir string, fn func(*Entry) error) (Report, error) {
	v := &verifier{fs: fs, dir: dir, files: map[string]bool{}}
	l, err := readLog(fs, dir, func(e *Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		v.report.Records++
		v.checkFiles(ctx, e)
		if fn == nil {
			return nil
		}
		return fn(e)
	})
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		v.report.Problems = append(v.report.Problems, corrupt)
		err = v.countBeyond(corrupt)
	case err == nil:
		err = v.findTorn(l.current())
	}
	if err != nil {
		return v.report, fmt.Errorf("verifying journal %s: %w", dir, err)
	}
	v.report.Segments, v.report.Head = len(l.segments), l.head
	if len(l.segments) > 0 {
		v.report.ID = hex.EncodeToString(l.journal[:])
	}
	if corrupt == nil {
		err = v.findStrays()
	}
	return v.report, err
}

// checkFiles compares the files that a record names with what it says of them.
func (v *verifier) checkFiles(ctx context.Context, e *Entry) {
	for _, ref := range e.Files {
		if v.files[ref.Name] {
			continue
		}
		v.files[ref.Name] = true
		got, err := sumFile(ctx, v.fs, filepath.Join(v.dir, filesDir, ref.Name))
		got.Name = ref.Name
		if err == nil && got != ref {
			err = fmt.Errorf("it has %d bytes and checksum %08x, not %d and %08x", got.Size, got.CRC, ref.Size, ref.CRC)
		}
		if err != nil {
			v.report.Problems = append(v.report.Problems, fmt.Errorf("file %s of journal record %d: %w", ref.Name, e.Seq, err))
		}
	}
}

// findTorn looks for a record after the last one, whole or not.
func (v *verifier) findTorn(s *segment) error {
	if s == nil {
		return nil
	}
	f, err := v.fs.OpenRead(filepath.Join(v.dir, s.name))
	if err != nil {
		return err
	}
	torn := false
	var b [recordHeaderSize]byte
	if s.room() >= recordHeaderSize {
		if _, err = f.ReadAt(b[:], s.end); err == nil {
			_, torn = s.seed.parseHeader(b[:], s.end, s.room())
		}
	}
	if err == nil && !torn {
		_, _, torn, err = s.findRecord(f, s.end, s.size, func(recordHeader) bool { return true })
	}
	if torn {
		v.report.Torn, v.report.TornSegment, v.report.TornOffset = true, s.name, s.end
	}
	return errors.Join(err, f.Close())
}

// countBeyond counts the records that still check after the damaged place.
func (v *verifier) countBeyond(corrupt *CorruptError) error {
	f, err := v.fs.OpenRead(filepath.Join(v.dir, corrupt.Segment))
	if err != nil {
		return nil //nolint:nilerr // It is missing, which the problem tells.
	}
	s, err := parseSegment(f, corrupt.Segment)
	if err != nil {
		return f.Close() // Without its ids no record can be told.
	}
	at, found := max(corrupt.Offset, dataOffset), true
	for found && err == nil {
		var h recordHeader
		h, at, found, err = s.findRecord(f, alignUp(at), s.size, func(recordHeader) bool { return true })
		if found {
			v.report.Beyond++
			at += h.size()
		}
	}
	return errors.Join(err, f.Close())
}

// findStrays lists what no record names.
func (v *verifier) findStrays() error {
	names, err := v.fs.List(filepath.Join(v.dir, filesDir))
	if err != nil {
		return fmt.Errorf("verifying journal %s: %w", v.dir, err)
	}
	for _, name := range names {
		if !v.files[name] {
			v.report.Strays = append(v.report.Strays, name)
		}
	}
	return nil
}
