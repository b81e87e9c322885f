package sim

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// imageTries bounds the copies of a data directory until two are the same.
const imageTries = 200

// takeImage copies a directory that nothing changes any more except what is just
// being written: it copies until two copies are the same. Each file then was the
// same from one copy to the other, so that all were as in the image at the moment
// between them.
func takeImage(from, to string) error {
	seed := maphash.MakeSeed()
	last, err := copyTree(from, "", seed)
	for range imageTries {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if rerr := os.RemoveAll(to); rerr != nil {
			return rerr
		}
		var sums map[string]uint64
		before := err == nil
		sums, err = copyTree(from, to, seed)
		if err == nil && before && maps.Equal(sums, last) {
			return nil
		}
		last = sums
	}
	return fmt.Errorf("%s changes all the time: %w", from, err)
}

// copyTree copies all files, unless to is empty. It returns their checksums by name.
// A file can vanish while it looks.
func copyTree(from, to string, seed maphash.Seed) (map[string]uint64, error) {
	sums := map[string]uint64{}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, from)
		if d.IsDir() {
			sums[name] = 0
			if to == "" {
				return nil
			}
			return os.MkdirAll(to+name, 0o750)
		}
		if sums[name], err = copyFile(path, to, name, seed); err != nil {
			return fmt.Errorf("copying %s: %w", path, err)
		}
		return nil
	})
	return sums, err
}

// copyFile copies a file, unless to is empty, without its holes: databases have large
// ones. It returns a checksum.
func copyFile(path, to, name string, seed maphash.Seed) (sum uint64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	h := maphash.Hash{}
	h.SetSeed(seed)
	var w io.Writer = &h
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	var out *os.File
	if to != "" {
		if out, err = os.OpenFile(to+name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640); err != nil {
			return 0, err
		}
		defer func() {
			if cerr := out.Close(); err == nil {
				err = cerr
			}
		}()
		if err := out.Truncate(size); err != nil {
			return 0, err
		}
		w = io.MultiWriter(&h, out)
	}
	for at := int64(0); at < size; {
		from, until := nextData(in, at, size)
		if from >= size {
			break
		}
		maphash.WriteComparable(&h, [2]int64{from, until})
		if out != nil {
			if _, err := out.Seek(from, io.SeekStart); err != nil {
				return 0, err
			}
		}
		if _, err := io.Copy(w, io.NewSectionReader(in, from, until-from)); err != nil {
			return 0, err
		}
		at = until
	}
	maphash.WriteComparable(&h, size)
	return h.Sum64(), nil
}
