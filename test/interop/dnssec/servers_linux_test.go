package dnssec

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// patience bounds each wait for another program.
	patience = 30 * time.Second

	// port is where each server listens, at an address of its own.
	port = "5399"
)

// newIP returns an address of loopback that nobody else has.
func newIP() string {
	return fmt.Sprintf("127.%d.%d.%d", 16+rand.IntN(200), rand.IntN(256), 1+rand.IntN(254))
}

// newAddr is newIP with the port.
func newAddr() string { return net.JoinHostPort(newIP(), port) }

// freeAddr returns an address at 127.0.0.1 whose port is free, for who listens on
// no other.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// at returns an address as the configuration of nsd and unbound has it.
func at(addr string) string { return strings.Replace(addr, ":", "@", 1) }

// tool returns the path of a program, also of those for administrators.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if info, err := os.Stat(dir + name); err == nil && !info.IsDir() {
			return dir + name
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: see scripts/install-test-deps.sh", err)
	}
	return path
}

// command runs a program in a directory, and returns what it prints.
func command(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, name), args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}

// write writes a file, and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// daemon runs a server in the foreground until the test ends, and waits until it
// answers a question at addr.
func daemon(t testing.TB, addr, question, name string, args ...string) {
	t.Helper()
	// Where AppArmor confines a server to the files of its package, that goes by the
	// program's path. (What this process itself writes might be held open by another
	// that it starts just then, and could not be executed.)
	program := filepath.Join(t.TempDir(), name)
	command(t, t.TempDir(), "cp", tool(t, name), program)
	cmd := exec.Command(program, args...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // It is killed.
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	deadline := time.Now().Add(patience)
	for {
		m, err := exchange(t.Context(), addr, question, mdns.TypeSOA, true)
		if err == nil && m.Rcode == mdns.RcodeSuccess {
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", name, output.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			<-ended
			t.Fatalf("%s does not answer: %v, %v\n%s", name, m, err, output.String())
		}
	}
}

var errNoReply = errors.New("no reply")

// exchange asks a server, with DNSSEC: over UDP, and over TCP if the answer is
// truncated. With cd the server is asked not to validate.
func exchange(ctx context.Context, addr, name string, typ uint16, cd bool) (*mdns.Msg, error) {
	q := (&mdns.Msg{}).SetQuestion(name, typ)
	q.SetEdns0(1232, true)
	q.CheckingDisabled = cd
	q.AuthenticatedData = true
	for _, network := range []string{"udp", "tcp"} {
		c := &mdns.Client{Net: network, Timeout: patience / 3}
		m, _, err := c.ExchangeContext(ctx, q, addr)
		if err != nil {
			return nil, err
		}
		if !m.Truncated {
			return m, nil
		}
	}
	return nil, errNoReply
}

// unbound is what is configured of one.
type unbound struct {
	anchors  []string // DS records of the root. None: it does not validate.
	forward  string   // Address of the server that it asks for everything.
	stubs    map[string]string
	question string // That it answers when it is ready.
}

// nsec3Iterations is the highest number of iterations that counts: ours.
const nsec3Iterations = 100

// start starts an unbound, and returns its address.
func (u unbound) start(t testing.TB) string {
	t.Helper()
	dir, addr := t.TempDir(), newAddr()
	var conf strings.Builder
	modules := "iterator"
	if len(u.anchors) > 0 {
		modules = "validator iterator"
	}
	fmt.Fprintf(&conf, `server:
	interface: %s
	directory: "%[2]s"
	pidfile: "%[2]s/unbound.pid"
	logfile: "%[2]s/unbound.log"
	username: ""
	chroot: ""
	use-syslog: no
	do-ip6: no
	do-daemonize: no
	num-threads: 1
	access-control: 127.0.0.0/8 allow
	do-not-query-localhost: no
	module-config: "%[3]s"
	val-sig-skew-min: 0
	val-sig-skew-max: 0
	val-nsec3-keysize-iterations: "1024 %[4]d 2048 %[4]d 4096 %[4]d"
	val-log-level: 2
	ede: yes
	aggressive-nsec: no
	qname-minimisation: no
	trust-anchor-signaling: no
	root-key-sentinel: no
	infra-host-ttl: 0
	edns-buffer-size: 1232
`, at(addr), dir, modules, nsec3Iterations)
	for _, ds := range u.anchors {
		fmt.Fprintf(&conf, "\ttrust-anchor: \"%s\"\n", strings.ReplaceAll(ds, "\t", " "))
	}
	conf.WriteString("remote-control:\n\tcontrol-enable: no\n")
	if u.forward != "" {
		fmt.Fprintf(&conf, "forward-zone:\n\tname: \".\"\n\tforward-addr: %s\n", at(u.forward))
	}
	for name, server := range u.stubs {
		fmt.Fprintf(&conf, "stub-zone:\n\tname: \"%s\"\n\tstub-addr: %s\n", name, at(server))
	}
	daemon(t, addr, u.question, "unbound", "-d", "-p", "-c", write(t, dir, "unbound.conf", conf.String()))
	return addr
}
