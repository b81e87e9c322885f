//go:build !linux

package atomicfile

import "errors"

// exchange can't exchange files at once here.
func exchange(_, _ string) error { return errors.ErrUnsupported }
