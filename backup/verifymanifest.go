package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const (
	effectAny    = "what is in it can't be relied upon"
	mendBackup   = "use another backup"
	mendUnlisted = "look where it comes from; restoring does not copy it"
)

// version looks which version made the backup, and refuses a newer one.
func (v *verifier) version(context.Context) error {
	for _, path := range []string{filepath.Join(v.root, VersionName), filepath.Join(v.data, VersionName)} {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		words := strings.Fields(string(text))
		if len(words) > 1 && words[0] == "mox" && isNewer(words[1], v.opts.Version) {
			return fmt.Errorf("%w: %s says %s, this is %s", ErrNewer, path, words[1], v.opts.Version)
		}
	}
	return nil
}

// isNewer compares versions as v1.2.3. Others are not known to be newer: then the
// numbers of formats decide.
func isNewer(made, own string) bool {
	a, okA := release(made)
	b, okB := release(own)
	if !okA || !okB {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return a[i] > b[i]
		}
	}
	return false
}

// release returns the numbers of a version of the form v1.2.3. What comes before
// v1.2.3, as v1.2.3-rc1, counts as that.
func release(version string) (numbers [3]int, ok bool) {
	version, ok = strings.CutPrefix(version, "v")
	version, _, _ = strings.Cut(version, "-")
	version, _, _ = strings.Cut(version, "+")
	parts := strings.Split(version, ".")
	if !ok || len(parts) != len(numbers) {
		return numbers, false
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return numbers, false
		}
		numbers[i] = n
	}
	return numbers, true
}

// manifest compares the files of a backup with those of its manifest. Both have
// the same order, so that they are gone through side by side.
func (v *verifier) manifest(ctx context.Context) error {
	if v.root == "" {
		return nil
	}
	m, err := OpenManifest(v.root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.problem("/"+ManifestName, effectAny, mendBackup, "the manifest is missing: the backup was not finished")
		return nil
	case errors.Is(err, ErrManifest):
		v.problem("/"+ManifestName, effectAny, mendBackup, "%v", err)
		return nil
	case err != nil:
		return err
	}
	defer m.Close()
	l := &listing{v: v, m: m, sums: make(chan File)}
	var workers sync.WaitGroup
	for range v.opts.Workers {
		workers.Go(func() {
			buf := make([]byte, 128<<10)
			for f := range l.sums {
				l.sum(f, buf)
			}
		})
	}
	err = l.compare(ctx)
	close(l.sums)
	workers.Wait()
	return err
}

// listing compares a manifest with what is there.
type listing struct {
	v    *verifier
	m    *ManifestFile
	next File
	end  bool      // The manifest has no more files.
	bad  bool      // It could not be read to its end.
	sums chan File // To be read.
}

func (l *listing) compare(ctx context.Context) error {
	if err := l.read(); err != nil {
		return err
	}
	err := fs.WalkDir(os.DirFS(l.v.root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			l.v.problem("/"+path, effectAny, mendBackup, "it can't be read: %v", err)
			return nil
		case d.IsDir() || path == ManifestName:
			return nil
		case path == IncompleteName:
			l.v.warning("/"+path, "", "", "a note for people says that the backup was not finished, or lacks something")
			return nil
		}
		return l.file(ctx, path, d)
	})
	for err == nil && !l.end {
		l.missing()
		err = l.read()
	}
	if err == nil && !l.bad {
		l.trailer()
	}
	return err
}

// read reads the next file of the manifest. That it is damaged is a problem, and
// no error.
func (l *listing) read() error {
	f, err := l.m.Next()
	switch {
	case errors.Is(err, ErrManifest):
		l.v.problem("/"+ManifestName, effectAny, mendBackup, "%v", err)
		l.end, l.bad = true, true
		return nil
	case errors.Is(err, io.EOF):
		l.end = true
		return nil
	}
	l.next = f
	return err
}

// file looks at a file that is there, after those of the manifest before it.
func (l *listing) file(ctx context.Context, path string, d fs.DirEntry) error {
	for !l.end && comparePaths(l.next.Path, path) < 0 {
		l.missing()
		if err := l.read(); err != nil {
			return err
		}
	}
	if l.bad {
		return nil
	}
	if l.end || l.next.Path != path {
		l.v.problem("/"+path, "it did not belong to the server", mendUnlisted, "the manifest does not name the file")
		return nil
	}
	f := l.next
	info, err := d.Info()
	switch {
	case err != nil:
		l.v.problem("/"+path, effectAny, mendBackup, "it can't be read: %v", err)
	case !info.Mode().IsRegular():
		l.v.problem("/"+path, effectAny, mendBackup, "it is no ordinary file")
	case info.Size() != f.Size:
		l.v.problem("/"+path, effectAny, mendBackup, "the file has %d bytes, the manifest says %d", info.Size(), f.Size)
	case f.Kind != KindMessage: // Those are read with their accounts, where their checksums are too.
		select {
		case l.sums <- f:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return l.read()
}

// missing reports that the next file of the manifest is not there.
func (l *listing) missing() {
	l.v.problem("/"+l.next.Path, effectAny, mendBackup, "the file is missing, the manifest says it has %d bytes", l.next.Size)
}

// sum reads a file and compares its checksum.
func (l *listing) sum(f File, buf []byte) {
	_, got, err := checksum(filepath.Join(l.v.root, filepath.FromSlash(f.Path)), buf)
	l.v.checked(f.Size)
	if err != nil {
		l.v.problem("/"+f.Path, effectAny, mendBackup, "it can't be read: %v", err)
	} else if got != f.CRC {
		l.v.problem("/"+f.Path, effectAny, mendBackup, "the file has checksum %v, the manifest says %v: it was changed or damaged", got, f.CRC)
	}
}

// trailer looks at what the backup says of itself.
func (l *listing) trailer() {
	t := l.m.Trailer()
	if !t.Complete {
		l.v.problem("/"+ManifestName, "not all mail is in it", mendBackup, "the backup is not complete")
	}
	for _, p := range t.Problems {
		l.v.warning("/"+ManifestName, "", "", "when the backup was made: %s", p)
	}
}
