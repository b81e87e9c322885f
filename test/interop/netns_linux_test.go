package interop

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
	// networkEnv is set where a test runs in a network of its own, to the directory
	// that the processes there may use.
	networkEnv = "MOX_INTEROP_NETWORK"

	// networkTime bounds a test in a network of its own.
	networkTime = 4 * time.Minute

	// nameserver is where such a network has its only name server.
	nameserver = "127.0.0.53"
)

// inNetwork runs a test in a network of its own, where it has all ports and all
// of DNS: fn runs in another process of this test binary, with namespaces for
// network, mounts and processes. When that process ends, however it does, the
// kernel ends all others there and takes the network and the mounts away.
//
// Fn gets a directory that all users can reach.
func inNetwork(t *testing.T, fn func(t *testing.T, dir string)) {
	t.Helper()
	if dir := os.Getenv(networkEnv); dir != "" {
		makeNetwork(t, dir)
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
	out, err := runInNetwork(t, dir)
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("skipped: this container allows no network namespaces: %v", err)
	}
	if passed := "--- PASS: " + t.Name() + " "; err != nil || !strings.Contains(out, passed) {
		t.Fatalf("in its network: %v\n%s", err, out)
	}
	t.Log(out)
}

// runInNetwork runs the test again, in namespaces of its own.
func runInNetwork(t *testing.T, dir string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), networkTime+patience)
	defer cancel()
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.parallel=16", "-test.timeout=" + networkTime.String()}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), networkEnv+"="+dir, "TMPDIR="+dir)
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

// makeNetwork makes the network and what goes with it, once in the namespaces.
func makeNetwork(t *testing.T, dir string) {
	t.Helper()
	if os.Getpid() != 1 {
		t.Fatalf("%s is set outside of a network of its own", networkEnv)
	}
	resolvConf := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("nameserver "+nameserver+"\noptions timeout:2 attempts:1\n"), 0o644); err != nil {
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
	command(t, nil, sbin(t, "ip"), "link", "set", "lo", "up")
}

// command runs a program to its end, with input, and returns what it prints.
func command(t *testing.T, input []byte, name string, args ...string) string {
	t.Helper()
	out, err := tryCommand(t, input, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

func tryCommand(t *testing.T, input []byte, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(string(input))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sbin is tool for programs that need not be in the PATH of all users.
func sbin(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if info, err := os.Stat(dir + name); err == nil && !info.IsDir() {
			return dir + name
		}
	}
	return tool(t, name)
}
