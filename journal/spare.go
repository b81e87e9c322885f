package journal

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// The files of removed segments are used again: their blocks are written, which
// saves to write the log twice, once with zeros. What is in them has another
// seed, so that no record of it checks.

// sparesMax bounds the files of removed segments that are kept, in bytes;
// sparesMin of them are kept whatever their size.
const (
	sparesMax = 64 << 20
	sparesMin = 2
)

// segmentFile returns a file of this size at path, with all its blocks written:
// a spare one, or a new one. It replaces what an earlier attempt left there.
func (j *Journal) segmentFile(path string, size int64) (file, error) {
	if err := j.removeIfThere(path); err != nil {
		return nil, err
	}
	for name := j.takeSpare(); name != ""; name = j.takeSpare() {
		if f, err := j.reuse(name, path, size); f != nil || err != nil {
			return f, err
		}
	}
	f, err := j.fs.Create(path)
	if err != nil {
		return nil, err
	}
	if err := f.Allocate(size); err != nil {
		return nil, errors.Join(err, f.Close(), j.removeIfThere(path))
	}
	return f, nil
}

// reuse gives a spare file a new path, and returns nil if it has another size or
// is gone.
func (j *Journal) reuse(name, path string, size int64) (file, error) {
	err := j.fs.Rename(filepath.Join(j.dir, name), path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	f, err := j.fs.Open(path)
	if err != nil {
		return nil, err
	}
	has, err := f.Size()
	if err == nil && has == size {
		return f, nil
	}
	return nil, errors.Join(err, f.Close(), j.removeIfThere(path))
}

// takeSpare returns the name of a spare file, which is the caller's then, or "".
func (j *Journal) takeSpare() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.spares) == 0 {
		return ""
	}
	name := j.spares[0]
	j.spares = slices.Delete(j.spares, 0, 1)
	return name
}

// retire removes segments by file name, and makes it durable. As many files as
// are wanted stay as spare ones. They may be written again only after the sync:
// else a crash could leave a segment of the old name with what is written now.
func (j *Journal) retire(names []string) error {
	j.mu.Lock()
	wanted := max(sparesMin, int(sparesMax/j.opts.SegmentSize)) - len(j.spares)
	j.mu.Unlock()
	var spares []string
	for _, name := range names {
		spare, err := j.retireFile(name, len(spares) < wanted)
		if err != nil {
			return err
		}
		if spare != "" {
			spares = append(spares, spare)
		}
	}
	if err := j.fs.SyncDir(j.dir); err != nil {
		return j.fail(err) // A later sync that succeeds would tell nothing of this removal.
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.spares = append(j.spares, spares...)
	return nil
}

// retireFile removes a file, or makes it a spare one if it is wanted, and
// returns the name of that. The name is new: a segment's may come again.
func (j *Journal) retireFile(name string, wanted bool) (spare string, err error) {
	path := filepath.Join(j.dir, name)
	switch {
	case !wanted || strings.HasSuffix(name, tempSuffix):
		return "", j.removeIfThere(path)
	case strings.HasSuffix(name, spareSuffix):
		return name, nil
	}
	random, err := newID(j.opts.Rand)
	if err != nil {
		return "", err
	}
	spare = random.String() + spareSuffix
	return spare, j.fs.Rename(path, filepath.Join(j.dir, spare))
}
