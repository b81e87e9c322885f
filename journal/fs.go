package journal

import (
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/mjl-/mox/atomicfile"
)

// Permissions of what we make: the group may read, for backups.
const (
	filePerm fs.FileMode = 0o640
	dirPerm  fs.FileMode = 0o750
)

// fileSystem is what the journal needs of one. The real one is diskFS; that of
// the tests forgets, as a disk does when power goes, what was not synced.
type fileSystem interface {
	Mkdir(path string) error // With parents, durable.
	List(path string) ([]string, error)
	Create(path string) (file, error) // For reading and writing. There may be none yet.
	Open(path string) (file, error)   // For reading and writing.
	OpenRead(path string) (file, error)
	Rename(from, to string) error
	Link(from, to string) error
	Remove(path string) error
	SyncDir(path string) error
}

// file is an open file.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Extend(size int64) error   // Makes it this long, with zeros that take no room.
	Allocate(size int64) error // The same, written: later writes there change no metadata.
	Zero(from, to int64) error
	NextData(from int64) (int64, error) // The offset from which on there may be anything but zeros, or the size of the file.
	Sync() error                        // Data, and the metadata needed to read it.
}

// diskFS is the file system of the operating system.
type diskFS struct{}

func (diskFS) Mkdir(path string) error      { return atomicfile.MkdirAll(path, dirPerm) }
func (diskFS) Rename(from, to string) error { return os.Rename(from, to) }
func (diskFS) Link(from, to string) error   { return os.Link(from, to) }
func (diskFS) Remove(path string) error     { return os.Remove(path) }
func (diskFS) SyncDir(path string) error    { return atomicfile.SyncDir(path) }

func (diskFS) List(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (diskFS) Create(path string) (file, error) {
	return openDisk(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (diskFS) Open(path string) (file, error)     { return openDisk(path, os.O_RDWR) }
func (diskFS) OpenRead(path string) (file, error) { return openDisk(path, os.O_RDONLY) }

func openDisk(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, filePerm)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

// diskFile is a file of diskFS.
type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f diskFile) Extend(size int64) error { return f.Truncate(size) }

// Allocate writes zeros. Blocks that are only reserved become initialized when
// they are written, which is a change of metadata: each fdatasync would wait for
// the file system's own journal, and so for what others do to files.
func (f diskFile) Allocate(size int64) error { return writeZeros(f, 0, size) }

// Zero writes zeros.
func (f diskFile) Zero(from, to int64) error { return writeZeros(f, from, to) }

// writeZeros writes zeros from one offset to another.
func writeZeros(f io.WriterAt, from, to int64) error {
	zeros := make([]byte, min(to-from, 1<<20))
	for from < to {
		n, err := f.WriteAt(zeros[:min(to-from, int64(len(zeros)))], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// joinedSync lets concurrent callers share the work of a sync.
type joinedSync struct {
	sync func() error
	turn sync.Mutex // Held while sync runs.

	mu   sync.Mutex
	next *syncRound // Not yet begun; nil if none waits.
}

type syncRound struct {
	once sync.Once
	err  error
}

// Do returns the result of a sync that began after Do was called.
func (s *joinedSync) Do() error {
	s.mu.Lock()
	if s.next == nil {
		s.next = &syncRound{}
	}
	round := s.next
	s.mu.Unlock()
	round.once.Do(func() {
		s.turn.Lock()
		defer s.turn.Unlock()
		s.mu.Lock()
		s.next = nil
		s.mu.Unlock()
		round.err = s.sync()
	})
	return round.err
}
