package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrChanged means that a file no longer had the content that was to be replaced.
// It is as something else left it. The caller should read it again.
var ErrChanged = errors.New("file was changed meanwhile")

// ReplaceFile is WriteFile for a file whose content is old, for files that people
// edit too: if it isn't any more, the error is ErrChanged. On Linux that is certain
// up to the moment of replacing; elsewhere, and on file systems that can't
// exchange files, it is looked at right before.
func ReplaceFile(path string, old, data []byte, perm fs.FileMode) error {
	temp, err := writeTemp(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	err = exchange(temp, path)
	if errors.Is(err, errors.ErrUnsupported) {
		err = replaceSame(temp, path, old)
	} else if err == nil {
		err = backUnlessSame(temp, path, old)
	}
	if err != nil {
		// What is left is the new content.
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(temp))
	}
	return SyncDir(filepath.Dir(path))
}

// replaceSame moves temp to path if the content there is old.
func replaceSame(temp, path string, old []byte) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(text, old) {
		return ErrChanged
	}
	return os.Rename(temp, path)
}

// backUnlessSame removes temp, which was at path until now, if its content is old.
// Otherwise the two are exchanged again.
func backUnlessSame(temp, path string, old []byte) error {
	text, err := os.ReadFile(temp)
	if err == nil && bytes.Equal(text, old) {
		return os.Remove(temp)
	}
	if err == nil {
		err = ErrChanged
	}
	return errors.Join(err, exchange(temp, path))
}
