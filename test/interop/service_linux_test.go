package interop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// service is a mox serve in processes of its own, as an operator runs it.
type service struct {
	t     *testing.T
	dir   string // With config and data below, and keys.
	ip    string
	ports map[string]string // By section in mox.conf; the usual ones if nil.
	user  string            // In mox.conf.
	keys  string            // Directory of certificate and key.

	args   []string // Before the program and its arguments.
	flags  []string // Before the command.
	env    []string
	extra  []*os.File
	notify *net.UnixConn

	cmd    *exec.Cmd
	out    output
	exited chan struct{}
	err    error // Of the process, once it has exited.
	roots  *x509.CertPool
}

// serviceUser is who services of tests run as, a user that Debian has.
const (
	serviceUser = "nobody"
	serviceUID  = "65534"
)

const serviceConfig = `DataDir: ../data
LogLevel: debug
User: %s
Hostname: mox.test
Listeners:
	public:
		IPs:
			- %s
		TLS:
			KeyCerts:
				-
					CertFile: %s/mox.test.crt
					KeyFile: %[3]s/mox.test.key
		SMTP:
			Enabled: true
			FirstTimeSenderDelay: 0s
			Port: %s
		IMAPS:
			Enabled: true
			Port: %s
Postmaster:
	Account: alice
	Mailbox: Postmaster
`

// output keeps what a process prints, for several to look at.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Reset()
}

// newSMTPPeer speaks SMTP over a connection.
func newSMTPPeer(t *testing.T, conn net.Conn) *smtpPeer {
	return &smtpPeer{t, conn, bufio.NewReader(conn)}
}

// newService makes a service that isn't started. Root made its files; the key is in a
// directory that only root may enter.
func newService(t *testing.T, dir, ip string) *service {
	t.Helper()
	s := &service{t: t, dir: dir, ip: ip, user: serviceUser, keys: filepath.Join(dir, "keys"), roots: x509.NewCertPool()}
	for path, perm := range map[string]os.FileMode{dir: 0o755, s.keys: 0o700, filepath.Join(dir, "config"): 0o750} {
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, perm)); err != nil {
			t.Fatal(err)
		}
	}
	s.newCert()
	s.configure(nil)
	return s
}

// newCert makes another certificate and key.
func (s *service) newCert() {
	s.t.Helper()
	s.roots.AppendCertsFromPEM(writeCert(s.t, s.keys, "mox.test"))
}

// configure writes the configuration, changed by edit if there is one.
func (s *service) configure(edit func(string) string) {
	s.t.Helper()
	text := fmt.Sprintf(serviceConfig, s.user, s.ip, s.keys, s.port("SMTP"), s.port("IMAPS"))
	if edit != nil {
		text = edit(text)
	}
	for name, text := range map[string]string{"mox.conf": text, "domains.conf": worldDomains} {
		if err := os.WriteFile(filepath.Join(s.dir, "config", name), []byte(text), 0o640); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *service) port(service string) string {
	if port := s.ports[service]; port != "" {
		return port
	}
	return map[string]string{"SMTP": "25", "IMAPS": "993"}[service]
}

// manage makes the test the service manager that hears of the state.
func (s *service) manage(watchdog time.Duration) {
	s.t.Helper()
	path := filepath.Join(s.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := os.Chmod(path, 0o666); err != nil {
		s.t.Fatal(err)
	}
	s.notify = conn
	s.env = append(s.env, "NOTIFY_SOCKET="+path, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()), "WATCHDOG_PID=1")
}

// heard returns the next message for the service manager that doesn't only say that
// the server is alive.
func (s *service) heard() string {
	s.t.Helper()
	buf := make([]byte, 4096)
	for {
		if err := s.notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
			s.t.Fatal(err)
		}
		n, err := s.notify.Read(buf)
		if err != nil {
			s.t.Fatalf("hearing of the service: %v\n%s", err, s.out.String())
		}
		if text := string(buf[:n]); text != "WATCHDOG=1" {
			return text
		}
	}
}

// start starts the processes. They are ended when the test ends.
func (s *service) start() {
	s.t.Helper()
	args := slices.Concat(s.args, []string{program(s.t), "-config", filepath.Join(s.dir, "config", "mox.conf")}, s.flags, []string{"serve"})
	s.cmd, s.exited = exec.Command(args[0], args[1:]...), make(chan struct{})
	s.cmd.Dir, s.cmd.Env, s.cmd.ExtraFiles = s.dir, append(os.Environ(), s.env...), s.extra
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, exited chan struct{}) {
		s.err = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	s.t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // Only if the test has failed.
		<-s.exited
	})
}

// started starts, and waits until mail can be delivered and read.
func (s *service) started() {
	s.t.Helper()
	s.start()
	up := func() bool {
		select {
		case <-s.exited:
			return true
		default:
			_, err := s.try("loglevels")
			return err == nil
		}
	}
	if !eventually(up) || s.ended() {
		s.t.Fatalf("not started: %v\n%s", s.err, s.out.String())
	}
}

func (s *service) ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// wait waits for the end of the process, and returns its exit status, -1 for a
// signal.
func (s *service) wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatalf("not ended within %v\n%s", patience, s.out.String())
	}
	return s.cmd.ProcessState.ExitCode()
}

func (s *service) signal(pid int, sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		s.t.Fatal(err)
	}
}

// try runs a command with the configuration.
func (s *service) try(args ...string) (string, error) {
	s.t.Helper()
	return tryCommand(s.t, []byte(password+"\n"), program(s.t), append([]string{"-config", filepath.Join(s.dir, "config", "mox.conf")}, args...)...)
}

func (s *service) run(args ...string) {
	s.t.Helper()
	if out, err := s.try(args...); err != nil {
		s.t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// child returns the id of the process that serves.
func (s *service) child() int {
	s.t.Helper()
	// The thread that made it is any.
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	all := ""
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			s.t.Fatal(err)
		}
		all += string(text)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(all))
	if err != nil {
		s.t.Fatalf("got children %q: %v", all, err)
	}
	return pid
}

// status returns a line of /proc/pid/status, with single spaces.
func (s *service) status(pid int, name string) string {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, ok := strings.Cut("\n"+string(text), "\n"+name+":")
	if !ok {
		s.t.Fatalf("no %s in %s", name, text)
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Join(strings.Fields(line), " ")
}

func (s *service) address(service string) string { return net.JoinHostPort(s.ip, s.port(service)) }

// dialTLS connects to IMAPS, with a server name.
func (s *service) dialTLS(name string) (*tls.Conn, error) {
	return tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.address("IMAPS"), &tls.Config{ServerName: name, InsecureSkipVerify: true})
}

// shown returns the certificate that is shown.
func (s *service) shown() string {
	s.t.Helper()
	conn, err := s.dialTLS("mox.test")
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	return string(conn.ConnectionState().PeerCertificates[0].Raw)
}

// startTLS connects to port 25, with a server name.
func (s *service) startTLS(name string) (*gosmtp.Client, error) {
	conn, err := net.DialTimeout("tcp", s.address("SMTP"), patience)
	if err != nil {
		return nil, err
	}
	return gosmtp.NewClientStartTLS(conn, &tls.Config{RootCAs: s.roots, ServerName: name, InsecureSkipVerify: name != "mox.test"})
}

// deliver delivers a message to alice.
func (s *service) deliver(id string) {
	s.t.Helper()
	c, err := s.startTLS("mox.test")
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if err := send(c, "sender@remote.example", gosmtp.MailOptions{}, newMail("sender@remote.example", id, "Hello.\r\n"), "alice@mox.test"); err != nil {
		s.t.Fatal(err)
	}
}

// inbox returns a client that has the Inbox of alice selected.
func (s *service) inbox() *imapPeer {
	s.t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.address("IMAPS"), &tls.Config{ServerName: "mox.test", RootCAs: s.roots})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	p := &imapPeer{t: s.t, conn: conn, r: bufio.NewReader(conn)}
	p.response()
	p.ok("LOGIN alice@mox.test %s", password)
	p.ok("SELECT Inbox")
	return p
}

// wantMail checks how many messages alice has.
func (s *service) wantMail(n int) {
	s.t.Helper()
	p := s.inbox()
	if got := len(p.search("ALL")); got != n {
		s.t.Errorf("got %d messages, want %d", got, n)
	}
	_ = p.conn.Close()
}

// check looks at what a service that has stopped leaves.
func (s *service) check() {
	s.t.Helper()
	stopped := &server{t: s.t, dir: s.dir}
	stopped.checkData()
	if _, err := os.Stat(filepath.Join(s.dir, "data", "ctl")); !errors.Is(err, os.ErrNotExist) {
		s.t.Errorf("the control socket is left: %v", err)
	}
	for line := range strings.Lines(s.out.String()) {
		if strings.Contains(line, " l=error ") || strings.Contains(line, password) || strings.Contains(line, "panic") {
			s.t.Errorf("log: %s", line)
		}
	}
}
