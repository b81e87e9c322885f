package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/mjl-/mox/admin"
)

// realSocket listens on the control socket of a directory.
func realSocket(t *testing.T) func(dir string) net.Listener {
	return func(dir string) net.Listener {
		ln, err := listenCtl(t.Context(), dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
}

func TestListenCtl(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", ctlPathMax)
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		dir     string // Below the directory of the test.
		err     string // Part of it, empty for none.
	}{
		{"nothing there", func(*testing.T, string) {}, "", ""},
		{"a socket that a crash left", func(t *testing.T, path string) {
			ln := listenUnix(t, path)
			ln.SetUnlinkOnClose(false)
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
		}, "", ""},
		{"another server", func(t *testing.T, path string) { listenUnix(t, path) }, "", "another server answers"},
		{"something else in its place", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "", "is not a socket"},
		{"no directory", func(*testing.T, string) {}, "none", "making control socket"},
		{"a path that is too long", func(*testing.T, string) {}, long, "is longer than 103 bytes"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, ctlName)
		test.prepare(t, path)
		before, _ := os.Lstat(path)
		ln, err := listenCtl(t.Context(), filepath.Join(dir, test.dir), slog.New(slog.DiscardHandler))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: got %v, want %s", test.name, err, test.err)
			}
			if after, _ := os.Lstat(path); before != nil && (after == nil || !os.SameFile(before, after)) {
				t.Errorf("%s: what was there is gone", test.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Type() != os.ModeSocket || runtime.GOOS != "windows" && info.Mode().Perm() != ctlPerm {
			t.Errorf("%s: got %v, %v, want a socket with permissions %o", test.name, info.Mode(), err, ctlPerm)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: after closing: got %v, want no file", test.name, err)
		}
	}
}

func listenUnix(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// TestCtlSocket calls over a real socket, from where it is there to where it is
// gone.
func TestCtlSocket(t *testing.T) {
	t.Parallel()
	e := newCtlEnv(t, realSocket(t), ctlCalls)
	defer e.close()
	inv := &invocation{config: filepath.Join(e.dir, "mox.conf")}
	c, err := inv.ctl()
	if err != nil {
		t.Fatal(err)
	}
	if s, err := ctlCallPlain[admin.Status](t.Context(), c, "status", admin.Nothing{}); err != nil || s.PID != os.Getpid() {
		t.Errorf("got %+v, %v", s, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ctlCallPlain[admin.Status](ctx, c, "status", admin.Nothing{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: got %v", err)
	}
	e.close()
	_, err = ctlCallPlain[admin.Status](t.Context(), c, "status", admin.Nothing{})
	if want := "no server is running for " + filepath.Join(e.dir, "data"); err == nil || err.Error() != want {
		t.Errorf("gone: got %v, want %s", err, want)
	}
}

// TestPeerUID asks for the user at the other end of a socket, which is ours.
func TestPeerUID(t *testing.T) {
	t.Parallel()
	ln := listenUnix(t, filepath.Join(t.TempDir(), ctlName))
	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	uid, err := peerUID(server)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Logf("%s doesn't tell", runtime.GOOS)
	} else if err != nil || uid != os.Geteuid() || !mayControl(uid) || !mayControl(0) || mayControl(os.Geteuid()+1) {
		t.Errorf("got %d, %v, want %d", uid, err, os.Geteuid())
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := peerUID(server); err == nil {
		t.Error("closed: got no error")
	}
}

// TestPeerListener shows that a connection whose user isn't known is closed, and
// that the next is taken.
func TestPeerListener(t *testing.T) {
	t.Parallel()
	if _, err := peerUID(nil); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("users are not known on this system")
	}
	var log logBuffer
	pipes := newPipeListener()
	ln := &peerListener{pipes, slog.New(slog.NewTextHandler(&log, nil))}
	refused, server := net.Pipe()
	go func() {
		pipes.conns <- server
		pipes.Close()
	}()
	if conn, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, %v, want the end of the listener", conn, err)
	}
	if _, err := refused.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the connection closed", err)
	}
	if !strings.Contains(log.String(), "control connection refused") {
		t.Errorf("log: %s", &log)
	}
}

func TestDataDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		name, text, want string
		err              string
	}{
		{"relative to the file", "DataDir: data\n", filepath.Join(dir, "data"), ""},
		{"above it", "DataDir: ../data\n", filepath.Join(filepath.Dir(dir), "data"), ""},
		{"absolute", "DataDir: " + filepath.ToSlash(dir) + "\n", dir, ""},
		{"a setting that doesn't exist", "DataDir: data\nX: y\n", filepath.Join(dir, "data"), ""},
		{"a mistake behind it", "DataDir: data\nListeners: no\n", filepath.Join(dir, "data"), ""},
		{"none", "LogLevel: info\n", "", "names no data directory"},
		{"no configuration", "what\n", "", "names no data directory"},
	} {
		path := filepath.Join(dir, "mox.conf")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := dataDir(path)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got %q, %v, want %q, %q", test.name, got, err, test.want, test.err)
		}
	}
}
