//go:build unix && !linux

package main

import "os"

// ownProgram returns the path of the running program, which the user that it is
// started as must be able to reach.
func ownProgram() (string, error) { return os.Executable() }

// noNewPrivileges does nothing: there is no such thing here.
func noNewPrivileges() error { return nil }

// nameProcess does nothing: the process has the name of its program.
func nameProcess() {}
