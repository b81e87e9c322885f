package interop

import (
	"testing"

	"github.com/mjl-/mox/test/interop/netns"
)

// nameserver is where a network of a test's own has its only name server.
const nameserver = netns.Nameserver

// inNetwork runs a test in a network of its own: see package netns.
func inNetwork(t *testing.T, fn func(t *testing.T, dir string)) {
	t.Helper()
	netns.Run(t, fn)
}

// command runs a program to its end, with input, and returns what it prints.
func command(t *testing.T, input []byte, name string, args ...string) string {
	t.Helper()
	return netns.Command(t, input, name, args...)
}

func tryCommand(t *testing.T, input []byte, name string, args ...string) (string, error) {
	t.Helper()
	return netns.Try(t, input, name, args...)
}

// sbin is tool for programs that need not be in the PATH of all users.
func sbin(t *testing.T, name string) string {
	t.Helper()
	return netns.Program(t, name)
}
