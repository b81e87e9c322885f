//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly && !windows

package main

import (
	"errors"
	"os"
)

// isTerminal tells whether f looks like one: this system has no other way to ask.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// hideInput is not possible on this system.
func hideInput(*os.File) (restore func() error, err error) { return nil, errors.ErrUnsupported }
