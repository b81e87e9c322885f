//go:build unix

package main

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPermissionProblem(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		file   serveFile
		mode   fs.FileMode
		want   string
		refuse bool
	}{
		{"only the user", serveFile{path: "/m/data"}, 0o700, "", false},
		{"the group too", serveFile{path: "/m/data"}, fs.ModeSetgid | 0o770, "", false},
		{"others may read", serveFile{path: "/m/data"}, 0o755, "any user may look into /m/data: run chmod o-rwx /m/data", false},
		{"others may enter", serveFile{path: "/m/my data"}, 0o751, "any user may look into /m/my data: run chmod o-rwx '/m/my data'", false},
		{"others may write", serveFile{path: "/m/mox.conf"}, 0o646, "any user can change /m/mox.conf: run chmod o-rwx /m/mox.conf", true},
		{"a key for the user", serveFile{path: "/m/k", key: true}, 0o600, "", false},
		{"a key for the group", serveFile{path: "/m/k", key: true}, 0o640, "", false},
		{"a key for all", serveFile{path: "/m/k", key: true}, 0o644, "any user may read the key /m/k: run chmod o-rwx /m/k", false},
		{"a key that all may change", serveFile{path: "/m/k", key: true}, 0o666, "any user can change /m/k: run chmod o-rwx /m/k", true},
	} {
		if got, refuse := permissionProblem(test.file, test.mode); got != test.want || refuse != test.refuse {
			t.Errorf("%s: got %q, %v, want %q, %v", test.name, got, refuse, test.want, test.refuse)
		}
	}
}

func TestQuoteArg(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{"": "''", "/a-b_c.d": "/a-b_c.d", "a b": "'a b'", "a'b": `'a'\''b'`, "$x": "'$x'", "é": "'é'", "~x": "'~x'"} {
		if got := quoteArg(arg); got != want {
			t.Errorf("%q: got %s, want %s", arg, got, want)
		}
	}
}

// TestExplainListen checks that errors name what to do.
func TestExplainListen(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddrPort("192.0.2.1:25")
	forbidden := "may not listen on port 25"
	if os.Geteuid() != 0 {
		forbidden = "- start as root"
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{unix.EACCES, forbidden},
		{unix.EADDRINUSE, "ss -ltnp 'sport = :25'"},
		{unix.EADDRNOTAVAIL, "no address 192.0.2.1: correct IPs"},
		{unix.EMFILE, "too many open files"},
	} {
		err := explainListen(addr, &os.SyscallError{Syscall: "bind", Err: test.err})
		if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %q", test.err, err, test.want)
		}
	}
}

// TestExplainAccess checks that other errors stay, and that the file that is in the
// way is named. Who may not read is tested in test/interop, with users.
func TestExplainAccess(t *testing.T) {
	t.Parallel()
	other := errors.New("x")
	if got := explainAccess(other); !errors.Is(got, other) || got.Error() != "x" {
		t.Errorf("got %v", got)
	}
	path := filepath.Join(t.TempDir(), "none", "mox.conf")
	err := explainAccess(&fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), filepath.Dir(path)) || !strings.Contains(err.Error(), "may not enter") {
		t.Errorf("got %v", err)
	}
}
