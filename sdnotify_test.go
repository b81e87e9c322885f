package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// serviceManager listens for what servers tell.
func serviceManager(t *testing.T) (conn *net.UnixConn, path string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such service manager")
	}
	path = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, path
}

func hear(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 1024)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func environment(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

func TestNotifier(t *testing.T) {
	t.Parallel()
	conn, path := serviceManager(t)
	n, err := newNotifier(environment(map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2"}))
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	log := slog.New(slog.DiscardHandler)
	n.send(log, "READY=1", "STATUS=serving")
	if got := hear(t, conn); got != "READY=1\nSTATUS=serving" {
		t.Errorf("got %q", got)
	}
	if n.reloading(log); runtime.GOOS == "linux" {
		if got := hear(t, conn); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") || strings.HasSuffix(got, "=0") {
			t.Errorf("got %q", got)
		}
	}
	if n.watchdog != watchdogMin {
		t.Errorf("says that it is alive every %v", n.watchdog)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.keepAlive(ctx, log)
	}()
	for range 3 {
		if got := hear(t, conn); got != "WATCHDOG=1" {
			t.Errorf("got %q", got)
		}
	}
	cancel()
	<-done
}

// TestNoServiceManager shows what happens without one, or with one that is not as
// it should be.
func TestNoServiceManager(t *testing.T) {
	t.Parallel()
	_, path := serviceManager(t)
	log := slog.New(slog.DiscardHandler)
	for _, test := range []struct {
		name string
		env  map[string]string
		want string // Part of the error, empty for none.
	}{
		{"nobody listens", nil, ""},
		{"a watchdog, but nobody listens", map[string]string{"WATCHDOG_USEC": "x"}, ""},
		{"no watchdog", map[string]string{"NOTIFY_SOCKET": path}, ""},
		{"not a number", map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "x"}, `WATCHDOG_USEC "x"`},
		{"zero", map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "0"}, `WATCHDOG_USEC "0"`},
		{"too large", map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "9223372036854775807"}, "WATCHDOG_USEC"},
		{"a socket that isn't there", map[string]string{"NOTIFY_SOCKET": path + "x"}, "NOTIFY_SOCKET"},
	} {
		n, err := newNotifier(environment(test.env))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
		if err == nil {
			n.send(log, "READY=1")
			n.keepAlive(t.Context(), log) // Returns: nobody asked for it.
			n.close()
		}
	}
}
