package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// isTerminal tells whether a person types what f has.
func isTerminal(f *os.File) bool {
	var mode uint32
	return windows.GetConsoleMode(windows.Handle(f.Fd()), &mode) == nil
}

// hideInput keeps a console from showing what is typed until restore is called.
func hideInput(f *os.File) (restore func() error, err error) {
	h := windows.Handle(f.Fd())
	var before uint32
	if err := windows.GetConsoleMode(h, &before); err != nil {
		return nil, fmt.Errorf("reading settings of console: %w", err)
	}
	if err := windows.SetConsoleMode(h, before&^windows.ENABLE_ECHO_INPUT); err != nil {
		return nil, fmt.Errorf("changing settings of console: %w", err)
	}
	return func() error { return windows.SetConsoleMode(h, before) }, nil
}
