package netns

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// env is set where a test runs in a network of its own, to the directory that the
	// processes there may use.
	env = "MOX_INTEROP_NETWORK"

	// Time bounds a test in a network of its own.
	Time = 4 * time.Minute

	// Nameserver is where such a network has its only name server.
	Nameserver = "127.0.0.53"

	// patience is how long a program may take that normally takes milliseconds.
	patience = 30 * time.Second
)

// Run runs a test in a network of its own, where it has all ports and all
// of DNS: fn runs in another process of this test binary, with namespaces for
// network, mounts and processes. When that process ends, however it does, the
// kernel ends all others there and takes the network and the mounts away.
//
// Fn gets a directory that all users can reach.
func Run(t *testing.T, fn func(t *testing.T, dir string)) {
	t.Helper()
	if dir := os.Getenv(env); dir != "" {
		makeNamespaces(t, dir)
		fn(t, dir)
		return
	}
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("skipped: needs root, for a network of its own with port 25 and a name server")
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // Other users run there too.
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := runAgain(t, dir)
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("skipped: this container allows no network namespaces: %v", err)
	}
	if passed := "--- PASS: " + t.Name() + " "; err != nil || !strings.Contains(out, passed) {
		t.Fatalf("in its network: %v\n%s", err, out)
	}
	t.Log(out)
}

// runAgain does so, in namespaces of its own.
func runAgain(t *testing.T, dir string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), Time+patience)
	defer cancel()
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.parallel=16", "-test.timeout=" + Time.String()}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), env+"="+dir, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	// Its parent is this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// makeNamespaces makes the network and what goes with it, once in the namespaces.
func makeNamespaces(t *testing.T, dir string) {
	t.Helper()
	if os.Getpid() != 1 {
		t.Fatalf("%s is set outside of a network of its own", env)
	}
	resolvConf := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("nameserver "+Nameserver+"\noptions timeout:2 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"none", "/", "", syscall.MS_REC | syscall.MS_PRIVATE}, // So that the others are seen here only.
		{"proc", "/proc", "proc", 0},
		{resolvConf, "/etc/resolv.conf", "", syscall.MS_BIND},
	} {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			t.Fatalf("mounting %s: %v", m.target, err)
		}
	}
	Command(t, nil, Program(t, "ip"), "link", "set", "lo", "up")
}

// Command runs a program to its end, with input, and returns what it prints.
func Command(t *testing.T, input []byte, name string, args ...string) string {
	t.Helper()
	out, err := Try(t, input, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// Try is Command for a program that may fail.
func Try(t *testing.T, input []byte, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(string(input))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Program returns the path of a program that scripts/install-test-deps.sh installs,
// also of those for administrators, that need not be in the PATH of all users.
func Program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if info, err := os.Stat(dir + name); err == nil && !info.IsDir() {
			return dir + name
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run scripts/install-test-deps.sh, or install it: %v", name, err)
	}
	return path
}
