package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
)

// SegmentInfo describes a segment that holds records or takes them.
type SegmentInfo struct {
	Name    string
	First   uint64 // Sequence of its first record.
	Last    uint64 // Of its last; First-1 if it has none yet.
	Current bool   // New records go there.
	Size    int64  // Of the file, in bytes.
}

// Segments returns the segments in order.
func (j *Journal) Segments() []SegmentInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	infos := make([]SegmentInfo, len(j.segments))
	for i, s := range j.segments {
		infos[i] = SegmentInfo{s.name, s.first, s.last, i == len(j.segments)-1, s.size}
	}
	return infos
}

// RemoveThrough removes segments of which no record has a sequence above seq,
// oldest first, with the files that only their records name, and returns how
// many. The last segment that holds a record always stays, so that the head is
// known after a restart. While the journal is pinned it removes nothing.
//
// The caller must have made durable all that it did with those records.
func (j *Journal) RemoveThrough(seq uint64) (removed int, err error) {
	j.removing.Lock()
	defer j.removing.Unlock()
	if j.pins > 0 || j.removable(seq) == nil {
		return 0, nil
	}
	err = j.opts.Faults.Hit(FaultRemoveBefore)
	for err == nil {
		s := j.removable(seq)
		if s == nil {
			return removed, j.opts.Faults.Hit(FaultRemoveAfter)
		}
		if err = j.removeSegment(s); err == nil {
			removed++
		}
	}
	return removed, fmt.Errorf("removing journal segments: %w", err)
}

// removable returns the first segment if it may go, else nil.
func (j *Journal) removable(seq uint64) *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	holding := 0 // Segments after the first that hold a record.
	for _, s := range j.segments[min(1, len(j.segments)):] {
		if !s.empty() {
			holding++
		}
	}
	if holding == 0 || j.segments[0].last > seq {
		return nil
	}
	return j.segments[0]
}

// removeSegment removes the first segment, and then the files that only it
// names. A crash between leaves files that the next start removes.
//
// The directory is synced for each segment: if the removal of an older one were
// lost, and not that of the next, the log would have a gap.
func (j *Journal) removeSegment(s *segment) error {
	if err := j.retire([]string{s.name}); err != nil {
		return err
	}
	j.mu.Lock()
	j.segments = slices.Delete(j.segments, 0, 1)
	var gone []id
	for _, name := range s.files {
		if j.refs[name]--; j.refs[name] == 0 {
			delete(j.refs, name)
			gone = append(gone, name)
		}
	}
	j.mu.Unlock()
	if err := j.opts.Faults.Hit(FaultRemoveBetween); err != nil {
		return err
	}
	for _, name := range gone {
		if err := j.removeIfThere(j.FilePath(name.String())); err != nil {
			return err
		}
	}
	return nil
}

// Pin keeps all segments and files from being removed until unpin is called,
// which may be done more than once.
func (j *Journal) Pin() (unpin func()) {
	j.removing.Lock()
	defer j.removing.Unlock()
	j.pins++
	return sync.OnceFunc(func() {
		j.removing.Lock()
		defer j.removing.Unlock()
		j.pins--
	})
}

// CopyTo writes a copy of the journal, up to the head that it returns, to the
// directory dir, which must not have a journal. It is complete and durable when
// CopyTo returns, and can be opened like the original, with the same id.
func (j *Journal) CopyTo(ctx context.Context, dir string) (head uint64, err error) {
	defer j.Pin()()
	j.mu.Lock()
	head = j.Head()
	segments := make([]segment, len(j.segments))
	for i, s := range j.segments {
		segments[i] = *s // Slices in it are only appended to.
	}
	j.mu.Unlock()

	if err := j.copyTo(ctx, dir, segments); err != nil {
		return 0, fmt.Errorf("copying journal to %s: %w", dir, err)
	}
	return head, nil
}

func (j *Journal) copyTo(ctx context.Context, dir string, segments []segment) error {
	files := filepath.Join(dir, filesDir)
	if err := j.fs.Mkdir(files); err != nil {
		return err
	}
	names, err := j.fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := parseSegmentName(name); ok {
			return fmt.Errorf("a journal is there: %s: %w", name, fs.ErrExist)
		}
	}
	copied := map[id]bool{}
	for _, s := range segments {
		for _, name := range s.files {
			if copied[name] {
				continue
			}
			copied[name] = true
			if err := j.copyFile(ctx, j.FilePath(name.String()), filepath.Join(files, name.String()), -1, -1); err != nil {
				return err
			}
		}
		if err := j.copyFile(ctx, filepath.Join(j.dir, s.name), filepath.Join(dir, s.name), s.end, s.size); err != nil {
			return err
		}
	}
	return errors.Join(j.fs.SyncDir(files), j.fs.SyncDir(dir))
}

// copyFile copies the first n bytes of a file, or all if n is -1, and syncs the
// copy, which gets size bytes.
func (j *Journal) copyFile(ctx context.Context, from, to string, n, size int64) (err error) {
	src, err := j.fs.OpenRead(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if n < 0 {
		if n, err = src.Size(); err != nil {
			return err
		}
	}
	dst, err := j.fs.Create(to)
	if err != nil {
		return err
	}
	got, _, err := copySum(ctx, io.NewOffsetWriter(dst, 0), io.NewSectionReader(src, 0, n))
	if err == nil && got != n {
		err = fmt.Errorf("copying %s: %w", from, io.ErrUnexpectedEOF)
	}
	if err == nil && size > n {
		err = dst.Extend(size)
	}
	if err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}
