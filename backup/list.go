package backup

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/store"
)

// castagnoli makes checksums as message files have them in the store.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeManifest lists all that is in the backup. It comes last: with it the backup
// is finished.
func (r *run) writeManifest(ctx context.Context) error {
	r.note("manifest")
	return atomicfile.Write(filepath.Join(r.dest, ManifestName), filePerm, func(w io.Writer) error {
		m, err := NewManifestWriter(w, Header{Version: r.b.opts.Version, Started: r.res.Started})
		if err != nil {
			return err
		}
		l := &lister{run: r, manifest: m, buf: make([]byte, 128<<10)}
		err = fs.WalkDir(os.DirFS(r.dest), ".", func(path string, e fs.DirEntry, err error) error {
			return l.visit(ctx, path, e, err)
		})
		if err := errors.Join(err, l.closeSums()); err != nil {
			return err
		}
		r.res.Files, r.res.Bytes = m.trailer.Files, m.trailer.Bytes
		return m.Finish(Trailer{Complete: len(r.res.Problems) == 0, Problems: r.res.Problems, Finished: time.Now().UTC().Round(0), Head: r.res.Head})
	})
}

// lister writes the lines of a manifest. Checksums of messages come from the
// database of their account: to read all messages would take much longer than to
// link them, and who verifies the backup reads them.
type lister struct {
	*run
	manifest *ManifestWriter
	buf      []byte

	account string               // Directory of the account in which it is.
	sums    *store.Sums          // Of it; nil if its database can't be opened.
	dir     string               // Of messages, in which it is.
	known   map[string]store.Sum // Of it.
}

// visit adds one entry of the backup.
func (l *lister) visit(ctx context.Context, path string, e fs.DirEntry, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return l.failed(ctx, path, err)
	case e.IsDir():
		return l.enter(ctx, path)
	case isMarker(path):
		return nil
	}
	info, err := e.Info()
	if err != nil {
		return l.failed(ctx, path, err)
	}
	f := File{Path: path, Size: info.Size(), Kind: kindOf(path)}
	if sum, ok := l.sumOf(path); ok && sum.Size == f.Size {
		f.CRC = CRC(sum.CRC)
	} else {
		if ok {
			l.problem("%s has %d bytes, and should have %d: the message is damaged; to mend it: restore it from an earlier backup", path, f.Size, sum.Size)
		}
		if f.Size, f.CRC, err = checksum(filepath.Join(l.dest, filepath.FromSlash(path)), l.buf); err != nil {
			return l.failed(ctx, path, err)
		}
	}
	l.progress("manifest: files", l.manifest.trailer.Files, 0)
	return l.failed(ctx, path, l.manifest.Add(f))
}

// isMarker says whether a file is no part of what was copied.
func isMarker(path string) bool {
	return path == IncompleteName || path == ManifestName || strings.HasPrefix(path, ManifestName) && atomicfile.IsTemp(path)
}

// enter looks up what is known of the files in a directory.
func (l *lister) enter(ctx context.Context, path string) error {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 3 && parts[0] == DataDir && parts[1] == "accounts":
		if err := l.closeSums(); err != nil {
			return err
		}
		l.account = path
		// If it can't be opened, that is known since it was copied, and files are read.
		// Opening changes the file, so it stays open while it is read itself.
		l.sums, _ = store.OpenSums(filepath.Join(l.dest, filepath.FromSlash(path)))
	case len(parts) == 5 && l.sums != nil && path == l.account+"/msg/"+parts[4]:
		var err error
		l.dir = path
		if l.known, err = l.sums.Dir(ctx, parts[4]); err != nil {
			return l.failed(ctx, path, err)
		}
	}
	return nil
}

func (l *lister) closeSums() error {
	if l.sums == nil {
		return nil
	}
	err := l.sums.Close()
	l.sums, l.known = nil, nil
	return err
}

// sumOf returns what a message file must be, if that is known.
func (l *lister) sumOf(path string) (store.Sum, bool) {
	name, ok := strings.CutPrefix(path, l.dir+"/")
	if !ok {
		return store.Sum{}, false
	}
	sum, ok := l.known[name]
	return sum, ok
}

// checksum reads a file.
func checksum(path string, buf []byte) (size int64, crc CRC, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	h := crc32.New(castagnoli)
	size, err = io.CopyBuffer(h, struct{ io.Reader }{f}, buf)
	return size, CRC(h.Sum32()), errors.Join(err, f.Close())
}

// kindOf returns the kind of a file in a backup.
func kindOf(path string) Kind {
	parts := strings.Split(path, "/")
	switch {
	case parts[0] == ConfigDir:
		return KindConfig
	case parts[0] != DataDir || len(parts) < 2:
		return KindOther
	case parts[1] == "queue":
		return KindQueue
	case parts[1] == "journal":
		return KindJournal
	case parts[1] == "auth.db", isSideFile(parts[1]), len(parts) == 4 && parts[1] == "accounts" && parts[3] == "index.db":
		return KindDatabase
	case len(parts) == 6 && parts[1] == "accounts" && parts[3] == "msg":
		return KindMessage
	}
	return KindOther
}
