package main

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPeerOther connects as another user than the server's, which is refused
// also if permissions allow it.
func TestPeerOther(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	const nobody = 65534
	path := filepath.Join(t.TempDir(), ctlName)
	var log logBuffer
	inner := listenUnix(t, path)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(path); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ln := &peerListener{inner, slog.New(slog.NewTextHandler(&log, nil))}
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
		}
		accepted <- conn
	}()

	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // And never unlocked: the thread, which is nobody's now, ends with the goroutine.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			result <- errno
			return
		}
		result <- connectAndRead(path)
	}()
	if err := <-result; err != nil {
		t.Fatalf("as nobody: %v, want to be connected and then cut off", err)
	}
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn := <-accepted
	defer conn.Close()
	if uid, err := peerUID(conn); err != nil || uid != 0 {
		t.Errorf("accepted: got user %d, %v, want 0", uid, err)
	}
	if !strings.Contains(log.String(), "uid=65534") {
		t.Errorf("log: %s", &log)
	}
}

// connectAndRead connects, and returns nil if the other end then closes.
func connectAndRead(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return err
	}
	n, err := unix.Read(fd, make([]byte, 1))
	if n > 0 {
		return errors.New("got a byte")
	}
	return err
}
