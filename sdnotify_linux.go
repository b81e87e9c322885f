package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonicTime returns the time of the clock that the service manager looks at.
func monotonicTime() (time.Duration, bool) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano()), err == nil
}
