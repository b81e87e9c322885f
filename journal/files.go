package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// copyBuffer is the size of reads of file contents, in bytes.
const copyBuffer = 128 << 10

// FilePath returns the path of the file with this name.
func (j *Journal) FilePath(name string) string { return filepath.Join(j.dir, filesDir, name) }

// OpenFile opens the file with this name for reading.
func (j *Journal) OpenFile(name string) (*os.File, error) {
	if _, ok := parseID(name); !ok {
		return nil, fmt.Errorf("opening file of journal: no name of ours: %q", name)
	}
	return os.Open(j.FilePath(name))
}

// AddFile keeps size bytes from r as a file, for a record that will name it. It
// returns when content and directory entry are durable. A file that no record
// names must be dropped with DropFile, or goes with the next start.
func (j *Journal) AddFile(ctx context.Context, size int64, r io.Reader) (FileRef, error) {
	ref, err := j.newFile(func(path string) (FileRef, error) { return j.writeFile(ctx, path, size, r) })
	if err != nil {
		return FileRef{}, fmt.Errorf("adding file to journal: %w", err)
	}
	return ref, nil
}

// LinkFile is AddFile for a file that is already on disk, to which it makes a
// hard link; its content must be durable and must not change any more. Where
// links fail it copies.
func (j *Journal) LinkFile(ctx context.Context, path string) (FileRef, error) {
	ref, err := j.newFile(func(to string) (FileRef, error) { return j.linkFile(ctx, path, to) })
	if err != nil {
		return FileRef{}, fmt.Errorf("linking file into journal: %w", err)
	}
	return ref, nil
}

// newFile makes a file of a new name with make, and its entry durable.
func (j *Journal) newFile(make func(path string) (FileRef, error)) (FileRef, error) {
	j.mu.Lock()
	err := j.err
	if err == nil && (j.closed || !j.started) {
		err = ErrClosed
	}
	j.mu.Unlock()
	if err != nil {
		return FileRef{}, err
	}
	name, err := newID(j.opts.Rand)
	if err != nil {
		return FileRef{}, err
	}
	path := j.FilePath(name.String())
	ref, err := make(path)
	if err != nil {
		return FileRef{}, errors.Join(err, j.removeIfThere(path))
	}
	ref.Name = name.String()
	err = j.opts.Faults.Hit(FaultFileBeforeDirSync)
	if err == nil {
		err = j.clean.Do()
	}
	if err != nil {
		// A later sync that succeeds would tell nothing of this one's entries.
		return FileRef{}, j.fail(err)
	}
	return ref, nil
}

// writeFile writes a file of size bytes and syncs it.
func (j *Journal) writeFile(ctx context.Context, path string, size int64, r io.Reader) (FileRef, error) {
	f, err := j.fs.Create(path)
	if err != nil {
		return FileRef{}, err
	}
	n, crc, err := copySum(ctx, io.NewOffsetWriter(f, 0), io.LimitReader(r, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("content is not of %d bytes: %w", size, io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = j.opts.Faults.Hit(FaultFileBeforeSync)
	}
	if err == nil {
		err = f.Sync()
	}
	return FileRef{Size: n, CRC: crc}, errors.Join(err, f.Close())
}

// linkFile links or copies the file at from.
func (j *Journal) linkFile(ctx context.Context, from, to string) (ref FileRef, err error) {
	ref, err = sumFile(ctx, j.fs, from)
	if err != nil {
		return FileRef{}, err
	}
	if j.fs.Link(from, to) == nil {
		return ref, nil
	}
	f, err := j.fs.OpenRead(from)
	if err != nil {
		return FileRef{}, err
	}
	ref, err = j.writeFile(ctx, to, ref.Size, io.NewSectionReader(f, 0, ref.Size))
	return ref, errors.Join(err, f.Close())
}

// sumFile returns size and checksum of the file at path.
func sumFile(ctx context.Context, fs fileSystem, path string) (FileRef, error) {
	f, err := fs.OpenRead(path)
	if err != nil {
		return FileRef{}, err
	}
	size, err := f.Size()
	if err != nil {
		return FileRef{}, errors.Join(err, f.Close())
	}
	n, crc, err := copySum(ctx, io.Discard, io.NewSectionReader(f, 0, size))
	return FileRef{Size: n, CRC: crc}, errors.Join(err, f.Close())
}

// copySum copies until the end of r or of ctx, and returns what it copied.
func copySum(ctx context.Context, w io.Writer, r io.Reader) (n int64, crc uint32, err error) {
	buf := make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return n, crc, err
		}
		m, err := r.Read(buf)
		crc = crc32.Update(crc, castagnoli, buf[:m])
		n += int64(m)
		if _, err := w.Write(buf[:m]); err != nil {
			return n, crc, err
		}
		if errors.Is(err, io.EOF) {
			return n, crc, nil
		} else if err != nil {
			return n, crc, err
		}
	}
}

// DropFile removes a file that was never named in an Append. After an Append
// that failed it must stay: the record may be in the log.
func (j *Journal) DropFile(ref FileRef) error {
	name, ok := parseID(ref.Name)
	if !ok {
		return fmt.Errorf("dropping file of journal: no name of ours: %q", ref.Name)
	}
	j.mu.Lock()
	named := j.refs[name] > 0
	j.mu.Unlock()
	if named {
		return fmt.Errorf("dropping file of journal: a record names %s", ref.Name)
	}
	return j.removeIfThere(j.FilePath(ref.Name))
}

func (j *Journal) removeIfThere(path string) error {
	if err := j.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeUnnamed removes from files what no record names: a crash came before
// its record, or between the removal of a segment and of its files.
func (j *Journal) removeUnnamed() error {
	names, err := j.fs.List(filepath.Join(j.dir, filesDir))
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		file, ok := parseID(name)
		return !ok || j.refs[file] > 0
	})
	for _, name := range names {
		if err := j.removeIfThere(j.FilePath(name)); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return nil
	}
	return j.clean.Do()
}
