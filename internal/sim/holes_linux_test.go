package sim

import (
	"errors"
	"os"
	"syscall"
)

// Values of whence for lseek(2).
const (
	seekData = 3
	seekHole = 4
)

// nextData returns where the next data of a file of some size is, from an offset on.
// Without data from is the size.
func nextData(f *os.File, at, size int64) (from, until int64) {
	from, err := f.Seek(at, seekData)
	if errors.Is(err, syscall.ENXIO) {
		return size, size
	}
	if err == nil {
		until, err = f.Seek(from, seekHole)
	}
	if err != nil {
		return at, size
	}
	return from, min(until, size)
}
