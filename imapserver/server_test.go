package imapserver

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/imap"
)

func TestNewChecksOptions(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("no error for missing options")
	}
	e := newEnv(t, nil)
	defer e.stop()
	if err := e.server.Serve(t.Context(), nil, Listener{Implicit: true}); err == nil {
		t.Error("no error for implicit TLS without a config")
	}
}

// TestStop checks what clients hear when the server stops: one that waits, one
// in IDLE, and one whose command is allowed to end.
func TestStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		running, goOn := make(chan bool), make(chan bool)
		e.server.commands["WAIT"] = command{states: anyState, run: bind(parseNothing, func(*session, context.Context, command, nothing) (imap.Response, error) {
			running <- true
			<-goOn
			return imap.OK("", "waited"), nil
		})}
		e.start()
		waiting, idling, busy := newClient(t, e.dialLogin()), newClient(t, e.dialLogin()), newClient(t, e.dialLogin())
		send(t, idling, "i IDLE\r\n")
		expect(t, idling, "+ idling")
		send(t, busy, "w WAIT\r\n")
		<-running
		e.cancel()
		const bye = "* BYE [UNAVAILABLE] server is shutting down"
		expect(t, waiting, bye)
		expect(t, idling, bye)
		goOn <- true
		expect(t, busy, "w OK waited")
		expect(t, busy, bye)
		e.stop()
		for _, c := range []*client{waiting, idling, busy} {
			if _, err := c.br.ReadByte(); err == nil {
				t.Error("connection is open after stop")
			}
		}
	})
}

// TestStopCancels checks that a command that does not end in the grace time is
// cancelled.
func TestStopCancels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		running := make(chan bool)
		e.server.commands["WAIT"] = command{states: anyState, run: bind(parseNothing, func(_ *session, ctx context.Context, _ command, _ nothing) (imap.Response, error) {
			running <- true
			<-ctx.Done()
			return imap.Response{}, ctx.Err()
		})}
		e.start()
		c := newClient(t, e.dialLogin())
		send(t, c, "w WAIT\r\n")
		<-running
		start := time.Now()
		go io.Copy(io.Discard, c.nc)
		e.stop()
		if took := time.Since(start); took != e.server.opts.Grace {
			t.Errorf("stopped after %v", took)
		}
	})
}

func send(t *testing.T, c *client, text string) {
	t.Helper()
	if _, err := io.WriteString(c.nc, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c *client, want string) {
	t.Helper()
	if got := c.line(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPanic checks that a panic costs one connection, and is counted.
func TestPanic(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	defer e.stop()
	e.server.commands["PANIC"] = command{states: anyState, run: bind(parseNothing, func(*session, context.Context, command, nothing) (imap.Response, error) {
		panic("of a test")
	})}
	e.start()
	other, c := newClient(t, e.dialLogin()), newClient(t, e.dialLogin())
	send(t, c, "p PANIC\r\n")
	if _, err := c.br.ReadByte(); err == nil {
		t.Error("connection is open after a panic")
	}
	other.ok("NOOP")
	if e.panics != 1 {
		t.Errorf("%d panics counted", e.panics)
	}
	e.panics = 0
}

// oneConnection is a ConnectionLimit.
type oneConnection struct {
	mu   sync.Mutex
	open int
}

func (l *oneConnection) Open(time.Time, netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == 1 {
		return false
	}
	l.open++
	return true
}

func (l *oneConnection) Close(netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

// remoteConn is a connection from elsewhere.
type remoteConn struct{ net.Conn }

func (remoteConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1234"))
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	defer e.stop()
	limit := &oneConnection{}
	e.server.opts.Connections = limit
	e.start()
	dial := func() *client {
		here, there := net.Pipe()
		e.conns <- remoteConn{there}
		return newClient(t, here)
	}
	first := dial()
	if got := first.line(); !strings.HasPrefix(got, "* OK") {
		t.Errorf("got %q", got)
	}
	expect(t, dial(), "* BYE [LIMIT] too many connections from your network")
	newClient(t, e.dialLogin()).ok("NOOP") // From loopback, which has no limit.
	first.ok("LOGOUT")
	if _, err := first.br.ReadByte(); err == nil {
		t.Error("connection is open after LOGOUT")
	}
	for limit.Open(time.Now(), netip.Addr{}) == false {
		runtime.Gosched()
	}
	limit.Close(netip.Addr{})
	if got := dial().line(); !strings.HasPrefix(got, "* OK") {
		t.Errorf("got %q", got)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(e.server.metrics.refused)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if label := m.GetLabel()[0].GetValue(); label == "limit" && m.GetCounter().GetValue() != 1 {
			t.Errorf("%v refused connections counted", m.GetCounter().GetValue())
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	defer e.stop()
	reg := prometheus.NewRegistry()
	opts := e.server.opts
	opts.Registerer = reg
	var err error
	if e.server, err = New(opts); err != nil {
		t.Fatal(err)
	}
	if _, err := New(opts); err == nil {
		t.Error("no error for metrics registered twice")
	}
	e.start()
	c := newClient(t, e.dialLogin())
	c.ok("NOOP")
	c.command("XYZZY-%d", 1)
	c.ok("LOGOUT")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "mox_imap_command_duration_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			if cmd := m.GetLabel()[0].GetValue(); cmd != "LOGIN" && cmd != "NOOP" && cmd != "LOGOUT" && cmd != unknownCommand {
				t.Errorf("label %q", cmd)
			}
		}
	}
}

// TestTraces checks that neither passwords nor messages are in the log below
// the levels for them.
func TestTraces(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	defer e.stop()
	var log strings.Builder
	e.server.opts.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	e.start()
	nc := e.dial()
	c := newClient(t, nc)
	c.line()
	c.ok("LOGIN mox {8+}\r\n%s", password)
	c.ok("APPEND Sent {10+}\r\nsecret: x\n")
	c.ok("EXAMINE Sent")
	c.ok("FETCH 1 BODY[]")
	c.ok("LOGOUT")
	e.cancel()
	<-e.done
	if text := log.String(); strings.Contains(text, password) || strings.Contains(text, "secret: x") || !strings.Contains(text, "EXAMINE Sent") {
		t.Errorf("log: %s", text)
	}
}

// TestIdleMemory bounds what an idle connection costs: the target for all of a
// connection is 40 KiB, of which the kernel has some.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many connections")
	}
	e := newEnv(t, map[string]string{"inbox": "3"})
	addr := e.listen()
	const n = 200
	measure := func() uint64 {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	dial := func() *client {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		c := newClient(t, nc)
		c.line()
		c.ok("LOGIN mox %s", password)
		c.ok("SELECT INBOX")
		c.ok("FETCH 1:* (FLAGS ENVELOPE)")
		c.tag++
		send(t, c, "i IDLE\r\n")
		c.line()
		c.br = nil // Clients are in the same process.
		return c
	}
	dial()
	before := measure()
	for range n {
		dial()
	}
	if each := int64(measure()-before) / n; each > 24<<10 {
		t.Errorf("an idle connection takes %d bytes", each)
	} else {
		t.Logf("an idle connection takes %d bytes", each)
	}
}

// TestTLSOnly checks that a client without TLS gets no answer on a port with
// implicit TLS, and the server goes on.
func TestTLSOnly(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"implicit": ""})
	addr := e.listen()
	plain, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := io.WriteString(plain, "a NOOP\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(plain); strings.Contains(string(got), "OK") {
		t.Errorf("got %q", got)
	}
	nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := newClient(t, nc)
	c.line()
	c.ok("LOGIN mox %s", password)
}
