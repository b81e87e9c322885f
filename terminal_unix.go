//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal tells whether a person types what f has.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), ioctlGetTermios)
	return err == nil
}

// hideInput keeps a terminal from showing what is typed until restore is called.
func hideInput(f *os.File) (restore func() error, err error) {
	before, err := unix.IoctlGetTermios(int(f.Fd()), ioctlGetTermios)
	if err != nil {
		return nil, fmt.Errorf("reading settings of terminal: %w", err)
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(int(f.Fd()), ioctlSetTermios, &hidden); err != nil {
		return nil, fmt.Errorf("changing settings of terminal: %w", err)
	}
	return func() error { return unix.IoctlSetTermios(int(f.Fd()), ioctlSetTermios, before) }, nil
}
