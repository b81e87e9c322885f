package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// local is a localserve in a process of its own.
type local struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr strings.Builder
	dir    string
	ip     string
}

// newLocal returns one that isn't started, in a new directory and with an
// address of its own, so that tests can run at a time.
func newLocal(t *testing.T) *local {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs loopback addresses besides 127.0.0.1")
	}
	ip := fmt.Sprintf("127.%d.%d.%d", 16+rand.IntN(200), rand.IntN(256), 1+rand.IntN(254))
	return &local{dir: filepath.Join(t.TempDir(), "local"), ip: ip}
}

// start runs the program, and waits for its first line.
func (l *local) start(t *testing.T, args ...string) {
	t.Helper()
	l.cmd = program(t, append([]string{"localserve", "-dir", l.dir}, args...)...)
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.cmd.Stderr = &l.stderr
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.cmd.Process.Kill() })
	l.stdout = bufio.NewReader(out)
	line, err := l.stdout.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "mox ") {
		_ = l.cmd.Wait()
		t.Fatalf("got %q, %v, stderr %q", line, err, l.stderr.String())
	}
}

// stop ends it in order and returns the rest of what it printed.
func (l *local) stop(t *testing.T) string {
	t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(l.stdout)
	if err != nil {
		t.Error(err)
	}
	if err := l.cmd.Wait(); err != nil || l.stderr.String() != "" {
		t.Errorf("stopped: got %v, stderr %q", err, l.stderr.String())
	}
	return string(rest)
}

func (l *local) address(port int) string { return net.JoinHostPort(l.ip, fmt.Sprint(port)) }

// program returns a command that runs this binary as the program.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// TestLocalserve takes one from an empty directory through two starts.
func TestLocalserve(t *testing.T) {
	t.Parallel()
	l := newLocal(t)
	out, err := program(t, "localserve", "-dir", l.dir, "-ip", l.ip, "-initonly").CombinedOutput()
	if err != nil || string(out) != l.dir+" is ready\n" {
		t.Fatalf("-initonly: got %q, %v", out, err)
	}
	for _, name := range []string{"mox.conf", "domains.conf", "localhost.crt", "localhost.key", "data/receivedid.key", "data/accounts/mox"} {
		if _, err := os.Stat(filepath.Join(l.dir, filepath.FromSlash(name))); err != nil {
			t.Errorf("-initonly: %v", err)
		}
	}

	l.start(t)
	send(t, l.address(localSMTP), "anyone@anywhere.example")
	if got := l.imapMessages(t); got != "* 1 EXISTS" {
		t.Errorf("got %s, want one message", got)
	}

	second := program(t, "localserve", "-dir", l.dir)
	out, err = second.CombinedOutput()
	if want := fmt.Sprintf("mox: server is running: pid %d\n", l.cmd.Process.Pid); second.ProcessState.ExitCode() != 1 || string(out) != want {
		t.Errorf("second on the same directory: got %q, %v, want %q", out, err, want)
	}

	id := l.refused(t)
	out, err = program(t, "-config", filepath.Join(l.dir, "mox.conf"), "cid", id).CombinedOutput()
	if err != nil {
		t.Fatalf("cid %s: got %q, %v", id, out, err)
	}
	rest := l.stop(t)
	for _, want := range []string{
		"log in as mox@localhost with password moxmoxmox",
		"smtp        smtp://" + l.address(1025),
		"submission  smtp://mox%40localhost:moxmoxmox@" + l.address(1587),
		"submissions smtps://mox%40localhost:moxmoxmox@" + l.address(1465),
		"imap        imap://mox%40localhost:moxmoxmox@" + l.address(1143),
		"imaps       imaps://mox%40localhost:moxmoxmox@" + l.address(1993),
		"metrics     http://" + l.address(1081) + "/metrics",
	} {
		if !strings.Contains(rest, want) {
			t.Errorf("printed nothing about %s:\n%s", want, rest)
		}
	}
	log, err := os.ReadFile(filepath.Join(l.dir, "localserve.log"))
	if err != nil || !strings.Contains(string(log), " cid="+strings.TrimSpace(string(out))+" ") || strings.Contains(string(log), "moxmoxmox") {
		t.Errorf("log has no cid %s, or a password: %v\n%s", out, err, log)
	}

	l.start(t, "-pedantic")
	if got := l.imapMessages(t); got != "* 1 EXISTS" {
		t.Errorf("after a restart: got %s, want one message", got)
	}
	l.stop(t)
}

// send delivers a message.
func send(t *testing.T, address, to string) {
	t.Helper()
	c, err := smtp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Mail("sender@remote.example"), c.Rcpt(to)); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, "Subject: x\r\n\r\nHello.\r\n")
	if err := errors.Join(err, w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
}

// refused has a recipient refused, and returns the opaque id of the reply.
func (l *local) refused(t *testing.T) string {
	t.Helper()
	c, err := textproto.Dial("tcp", l.address(localSMTP))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"EHLO [127.0.0.1]", "MAIL FROM:<>"} {
		if _, err := c.Cmd("%s", line); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.ReadResponse(250); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Cmd("RCPT TO:<rcpttopermerror@localhost>"); err != nil {
		t.Fatal(err)
	}
	_, text, err := c.ReadResponse(550)
	if err != nil {
		t.Fatal(err)
	}
	return text[strings.LastIndexByte(text, '(')+1 : len(text)-1]
}

// imapMessages logs in over TLS with the certificate in the directory, and
// returns what Inbox says it has.
func (l *local) imapMessages(t *testing.T) string {
	t.Helper()
	cert, err := os.ReadFile(filepath.Join(l.dir, "localhost.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cert) {
		t.Fatal("no certificate in localhost.crt")
	}
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{RootCAs: roots, ServerName: "localhost"}}
	conn, err := dialer.DialContext(t.Context(), "tcp", l.address(localIMAPS))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "a LOGIN mox@localhost moxmoxmox\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(conn)
	for in.Scan() {
		switch line := in.Text(); {
		case strings.HasPrefix(line, "a OK"):
			if _, err := io.WriteString(conn, "b SELECT Inbox\r\n"); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(line, " EXISTS"):
			return line
		case strings.HasPrefix(line, "a ") || strings.HasPrefix(line, "b "):
			return line
		}
	}
	return fmt.Sprint(in.Err())
}

// TestLocalserveConfig shows what a configuration that was edited does.
func TestLocalserveConfig(t *testing.T) {
	t.Parallel()
	l := newLocal(t)
	if out, err := program(t, "localserve", "-dir", l.dir, "-ip", l.ip, "-initonly").CombinedOutput(); err != nil {
		t.Fatalf("got %q, %v", out, err)
	}
	path := filepath.Join(l.dir, "mox.conf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := run(t, "-config", path, "config", "test"); code != 0 || stdout != "config OK\n" {
		t.Errorf("config test: got %d, %q, %q", code, stdout, stderr)
	}
	if out, err := program(t, "localserve", "-dir", l.dir, "-ip", "127.0.0.1", "-initonly").CombinedOutput(); err != nil || !strings.Contains(string(out), "-ip has no effect") {
		t.Errorf("-ip again: got %q, %v", out, err)
	}
	if err := os.WriteFile(path, append(text, "CheckUpdates: true\nX: 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	n := strings.Count(string(text), "\n")
	want := fmt.Sprintf("mox.conf:%d: CheckUpdates: not supported by this version yet\nmox.conf:%d: X: unknown setting\n", n+1, n+2)
	for _, args := range [][]string{{"-config", path, "config", "test"}, {"localserve", "-dir", l.dir}} {
		cmd := program(t, args...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), want) {
			t.Errorf("%q: got %q, %v, want %q", args, out, err, want)
		}
	}

	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	logins := filepath.Join(l.dir, "data", "auth.db")
	ours, err := os.ReadFile(logins)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logins, []byte("of another program"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := program(t, "localserve", "-dir", l.dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "belongs to another program") {
		t.Errorf("foreign data: got %q, %v", out, err)
	}
	if text, err := os.ReadFile(logins); err != nil || string(text) != "of another program" {
		t.Errorf("foreign data was changed: %q, %v", text, err)
	}
	if err := os.WriteFile(logins, ours, 0o600); err != nil {
		t.Fatal(err)
	}

	cmd := program(t, "-loglevel", "loud", "localserve", "-dir", l.dir)
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), `unknown log level "loud"`) {
		t.Errorf("an unknown level: got %q, %v", out, err)
	}
}

// TestLocalserveDefaultDir shows where the directory is if none is given.
func TestLocalserveDefaultDir(t *testing.T) {
	t.Parallel()
	l := newLocal(t)
	home := t.TempDir()
	cmd := program(t, "localserve", "-ip", l.ip, "-initonly")
	cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+home)
	want := filepath.Join(home, "mox-localserve") + " is ready\n"
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestOpenLocalLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for _, size := range []int64{0, localLogMax, 1} { // What is appended, in order.
		f, err := openLocalLog(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(); err != nil || info.Size() > localLogMax {
			t.Errorf("got size %v, %v", info.Size(), err)
		}
		if _, err := f.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	f, err := openLocalLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("after a large log: got size %v, %v, want a new one", info.Size(), err)
	}
	if info, err := os.Stat(path + ".old"); err != nil || info.Size() != localLogMax+1 {
		t.Errorf("large log: got %v, %v", info, err)
	}
}
