//go:build !linux

package main

import "time"

// monotonicTime returns false: only Linux has a service manager that asks for it.
func monotonicTime() (time.Duration, bool) { return 0, false }
