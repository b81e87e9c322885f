// Package interop has tests of the program as others see it: it runs mox
// localserve as a process, and drives it with curl, Python's libraries, other Go
// clients, messages that others collected, and with what hostile peers send.
//
// Each test has a server of its own. When a test ends its server is stopped in
// order, and its log, metrics, memory and stored data are looked at: see
// server.stop.
package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mjl-/mox/store"
)

const (
	login    = "mox@localhost"
	password = "moxmoxmox"

	portSMTP    = "1025"
	portIMAP    = "1143"
	portIMAPS   = "1993"
	portMetrics = "1081"
)

// patience is how long anything may take that normally takes milliseconds. The
// machine may be busy with other tests.
const patience = 30 * time.Second

// idleMemory bounds the resident memory in bytes of a server that did ordinary
// work, at its highest. Two passwords that are checked take 19 MiB each.
const idleMemory = 150 << 20

// builds has the program, built once for all tests.
var builds struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if builds.dir != "" {
		_ = os.RemoveAll(builds.dir)
	}
	os.Exit(code)
}

// program returns the path of the program.
func program(t *testing.T) string {
	t.Helper()
	builds.Do(func() {
		if builds.dir, builds.err = os.MkdirTemp("", "mox-interop-*"); builds.err != nil {
			return
		}
		// As the Makefile does it, so that what is compiled already is used.
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(builds.dir, "mox"), "../..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			builds.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if builds.err != nil {
		t.Fatalf("building the program: %v", builds.err)
	}
	return filepath.Join(builds.dir, "mox")
}

// server is a mox localserve in a process of its own.
type server struct {
	t    *testing.T
	cmd  *exec.Cmd
	args []string
	ip   string // Of its own, so that servers with the same ports can run at a time.
	dir  string

	memoryMax int64            // For the resident memory in bytes, at its highest.
	logOK     []*regexp.Regexp // Lines of warnings and errors that are expected.
	out       bytes.Buffer
	exited    chan struct{}
	err       error // Of the process, once it has exited.
}

// start starts a server that is stopped, and checked, when the test ends.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs loopback addresses besides 127.0.0.1, and /proc")
	}
	s := &server{t: t, dir: filepath.Join(t.TempDir(), "local"), memoryMax: idleMemory}
	s.ip = fmt.Sprintf("127.%d.%d.%d", 16+rand.IntN(200), rand.IntN(256), 1+rand.IntN(254))
	s.args = append([]string{"localserve", "-dir", s.dir, "-ip", s.ip}, args...)
	s.run()
	t.Cleanup(s.stop)
	return s
}

// run starts the process.
func (s *server) run() {
	s.t.Helper()
	s.cmd, s.exited = exec.Command(program(s.t), s.args...), make(chan struct{})
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	s.ready()
}

// kill ends the process as a crash does.
func (s *server) kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.exited
}

func (s *server) address(port string) string { return net.JoinHostPort(s.ip, port) }

func (s *server) cert() string { return filepath.Join(s.dir, "localhost.crt") }

// ready waits until the server says that it is.
func (s *server) ready() {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + s.address(portMetrics) + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.exited:
			s.t.Fatalf("server ended: %v\n%s", s.err, s.out.Bytes())
		default:
		}
		if time.Now().After(end) {
			_ = s.cmd.Process.Kill() // The test has failed.
			s.t.Fatalf("server is not ready after %s: %v", patience, err)
		}
	}
}

// stop stops the server in order and looks at what it leaves: it must not have
// panicked, logged errors or used too much memory, and all it stored must be
// sound.
func (s *server) stop() {
	s.t.Helper()
	select {
	case <-s.exited:
		s.t.Fatalf("server ended during the test: %v\n%s", s.err, s.out.Bytes())
	default:
	}
	s.checkMetrics()
	if peak := s.memory("VmHWM"); peak > s.memoryMax {
		s.t.Errorf("server had %d MiB of memory, more than %d MiB", peak>>20, s.memoryMax>>20)
	} else {
		s.t.Logf("server had %d MiB of memory at most", peak>>20)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error(err)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill() // The test has failed.
		<-s.exited
		s.t.Errorf("server did not stop within %s", patience)
	}
	if s.err != nil {
		s.t.Errorf("stopped server: got %v, want exit status 0\n%s", s.err, s.out.Bytes())
	}
	s.checkLog()
	s.checkData()
}

// metrics returns what the metrics listener has to say.
func (s *server) metrics() string {
	s.t.Helper()
	resp, err := http.Get("http://" + s.address(portMetrics) + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func (s *server) checkMetrics() {
	s.t.Helper()
	text := s.metrics()
	for _, pkg := range []string{"imapserver", "smtpserver"} {
		if !strings.Contains(text, `mox_panic_total{pkg="`+pkg+`"} 0`) {
			s.t.Errorf("metrics do not say that there were no panics in %s", pkg)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "mox_panic_total") && !strings.HasSuffix(line, "} 0\n") {
			s.t.Errorf("panics: %s", line)
		}
	}
}

// memory returns a line of /proc/pid/status in bytes.
func (s *server) memory(name string) int64 {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		s.t.Fatalf("no %s in %s", name, text)
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return kib << 10
}

// checkLog looks for lines of warnings and errors.
func (s *server) checkLog() {
	s.t.Helper()
	f, err := os.Open(filepath.Join(s.dir, "localserve.log"))
	if err != nil {
		s.t.Error(err)
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		line := lines.Text()
		expected := func() bool {
			for _, re := range s.logOK {
				if re.MatchString(line) {
					return true
				}
			}
			return false
		}
		if (strings.Contains(line, " l=error ") || strings.Contains(line, " l=warn ")) && !expected() {
			s.t.Errorf("log: %s", line[:min(len(line), 4000)])
		}
		if strings.Contains(line, password) {
			s.t.Errorf("the password is in the log: %s", line)
		}
	}
	if err := lines.Err(); err != nil {
		s.t.Errorf("reading log: %v", err)
	}
}

// checkData checks what the stopped server has stored, with all content.
func (s *server) checkData() {
	s.t.Helper()
	data := filepath.Join(s.dir, "data")
	left, err := os.ReadDir(filepath.Join(data, "tmp"))
	if err != nil || len(left) > 0 {
		s.t.Errorf("temporary files were left behind: %v, %v", left, err)
	}
	d, err := store.Open(context.Background(), store.Options{Dir: data, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Errorf("opening stored data: %v", err)
		return
	}
	problems, err := d.Check(context.Background(), true)
	for _, p := range problems {
		s.t.Errorf("stored data: %s", p)
	}
	if err := errors.Join(err, d.Close()); err != nil {
		s.t.Errorf("checking stored data: %v", err)
	}
}

// dial connects to a port of the server. The connection is closed when the test
// ends, and breaks off when the test takes too long.
func (s *server) dial(t *testing.T, port string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.address(port), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// tlsConfig returns a configuration that trusts the server's certificate.
func (s *server) tlsConfig(t *testing.T) *tls.Config {
	t.Helper()
	cert, err := os.ReadFile(s.cert())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cert) {
		t.Fatal("no certificate in localhost.crt")
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// tool returns the path of a program that scripts/install-test-deps.sh installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run scripts/install-test-deps.sh, or install it: %v", name, err)
	}
	return path
}

// sharedTestdata returns the directory with data of others, which is beside the
// repository.
func sharedTestdata(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		shared := filepath.Join(dir, "shared", "testdata")
		if _, err := os.Stat(shared); err == nil {
			return shared
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("skipped: no ../shared/testdata")
		}
		dir = up
	}
}
