//go:build !linux

package atomicfile

import (
	"errors"
	"os"
)

func syncFSSupported() error { return errors.ErrUnsupported }

func syncFS(*os.File) error { return errors.ErrUnsupported }
