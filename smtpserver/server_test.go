package smtpserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// client is the other side of a session, for what transcripts can't express.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func newClient(t testing.TB, conn net.Conn) *client {
	return &client{t, conn, bufio.NewReader(conn)}
}

// want reads a reply and compares its last line.
func (c *client) want(prefix string) {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("waiting for %q: %v", prefix, err)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, prefix) {
			c.t.Fatalf("got %q, want %q", line, prefix)
		}
		return
	}
}

// secure goes over to TLS.
func (c *client) secure() {
	c.conn = tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
	c.r = bufio.NewReader(c.conn)
}

// skipReply reads a reply without holding a buffer afterwards.
func (c *client) skipReply() {
	c.t.Helper()
	var all []byte
	b := make([]byte, 512)
	for !lastLine(all) {
		n, err := c.conn.Read(b)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, b[:n]...)
	}
}

// lastLine returns whether a reply is complete.
func lastLine(reply []byte) bool {
	lines := bytes.Split(reply, []byte("\r\n"))
	if len(lines) < 2 || len(lines[len(lines)-1]) > 0 {
		return false
	}
	last := lines[len(lines)-2]
	return len(last) > 3 && last[3] == ' '
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// begin goes to the point where data can be sent.
func (c *client) begin() {
	c.t.Helper()
	c.want("220 ")
	for _, line := range []string{"EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<alice@example.org>"} {
		c.send(line + "\r\n")
		c.want("250 ")
	}
	c.send("DATA\r\n")
	c.want("354 ")
}

func (c *client) wantEOF() {
	c.t.Helper()
	if line, err := c.r.ReadString('\n'); err == nil {
		c.t.Fatalf("got %q, want the end", line)
	}
}

// TestStop checks what sessions in all states see when the server stops.
func TestStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		idle, busy, stuck := newClient(t, e.dial("")), newClient(t, e.dial("")), newClient(t, e.dial(""))
		idle.want("220 ")
		busy.begin()
		stuck.begin()
		synctest.Wait()
		start := time.Now()
		e.cancel()
		idle.want("421 4.3.2 shutting down")
		idle.wantEOF()
		if time.Since(start) != 0 {
			t.Errorf("idle session ended after %v", time.Since(start))
		}
		// A message on its way has the time of grace.
		time.Sleep(graceDefault - time.Second)
		busy.send("Subject: x\r\n\r\n.\r\n")
		busy.want("250 2.0.0")
		busy.want("421 4.3.2")
		busy.wantEOF()
		stuck.want("421 4.3.2")
		stuck.wantEOF()
		if took := time.Since(start); took != graceDefault {
			t.Errorf("stopped after %v", took)
		}
		e.close()
	})
}

// TestStopSilentPeer checks that a peer that takes nothing can't hold us up.
func TestStopSilentPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		conn := e.dial("") // Doesn't even read the greeting.
		synctest.Wait()
		start := time.Now()
		e.close()
		if took := time.Since(start); took > graceDefault+lastWait {
			t.Errorf("stopped after %v", took)
		}
		conn.Close()
	})
}

// TestTLSWaits checks that the ends of waiting, by time and by a stop, are told
// over TLS too.
func TestTLSWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		connect := func() *client {
			c := newClient(t, e.dial(""))
			c.want("220 ")
			c.send("STARTTLS\r\n")
			c.want("220 ")
			c.secure()
			c.send("NOOP\r\n")
			c.want("250 ")
			return c
		}
		c := connect()
		start := time.Now()
		c.want("421 4.4.2 timeout")
		if took := time.Since(start); took != commandWait {
			t.Errorf("timeout after %v", took)
		}
		c.conn.Close()
		c = connect()
		e.cancel()
		c.want("421 4.3.2")
		c.conn.Close()
		e.close()
	})
}

// TestHalfOpen checks that peers that stop anywhere don't keep others waiting,
// and that all of them are gone in the end.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		var conns []net.Conn
		for i := range 100 {
			c := newClient(t, e.dial(""))
			conns = append(conns, c.conn)
			switch i % 5 {
			case 0: // Doesn't read.
			case 1:
				c.want("220 ")
				c.send("EHL")
			case 2:
				c.begin()
				c.send(strings.Repeat("x", 100_000))
			case 3:
				c.want("220 ")
				c.send("STARTTLS\r\n")
				c.want("220 ")
			case 4:
				c.begin()
				c.send("a\n")
			}
		}
		start := time.Now()
		c := newClient(t, e.dial(""))
		c.begin()
		c.send("Subject: x\r\n\r\n.\r\n")
		c.want("250 ")
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		c.conn.Close()
		// Some could not even take the reply that there is no more waiting.
		time.Sleep(2*commandWait + time.Minute)
		synctest.Wait()
		if n := e.server.metrics.open.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		for _, c := range conns {
			c.Close()
		}
		e.close()
	})
}

func TestAcceptError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		e.pipes.errs <- errAccept
		c := newClient(t, e.dial(""))
		c.want("220 ")
		c.conn.Close()
		e.pipes.errs <- errAccept
		e.close()

		// A listener that breaks ends Serve.
		e = newEnv(t, settings{})
		if err := e.pipes.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-e.served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
		e.served <- nil
		e.close()
	})
}

// TestPanic checks that a panic ends one session only, and is counted.
func TestPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := newEnv(t, settings{log: slog.New(slog.NewTextHandler(&log, nil))})
		other := newClient(t, e.dial(""))
		other.want("220 ")
		client, server := net.Pipe()
		s := newSession(e.server, server, e.listener)
		s.wire.w = nil // Nothing can be written.
		done := make(chan struct{})
		go func() {
			s.serve(t.Context())
			close(done)
		}()
		<-done
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
		other.send("NOOP\r\n")
		other.want("250 ")
		other.conn.Close()
		synctest.Wait()
		if e.panics != 1 || !strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("%d panics, log %s", e.panics, log.String())
		}
		e.panics = 0
		e.close()
	})
}

// TestSlow measures slow mode: who is exempt never comes into it.
func TestSlow(t *testing.T) {
	t.Parallel()
	for _, exempt := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e := newEnv(t, settings{exempt: exempt})
			c := newClient(t, e.dial(""))
			c.want("220 ")
			c.send("EHLO x\r\n")
			c.want("250 ")
			c.send("MAIL FROM:<a@b.example>\r\n")
			c.want("250 ")
			start := time.Now()
			for range 3 {
				c.send("RCPT TO:<nobody@example.org>\r\n")
				c.want("550 ")
			}
			c.send("NOOP\r\n")
			c.want("250 ")
			// Two waits of a second, the third reply as long as allowed, a second
			// before each of two reads, and "250 2.0.0 ok" by the byte.
			want := 2*time.Second + slowWait + 2*time.Second + 13*time.Second
			if exempt {
				want = 0
			}
			if took := time.Since(start); took != want {
				t.Errorf("exempt %v: took %v, want %v", exempt, took, want)
			}
			c.conn.Close()
			e.close()
		})
	}
}

// TestPeerGoes checks what happens if the peer goes before the end of a message,
// and before it has the reply: then the message is there.
func TestPeerGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		for _, data := range []string{"", "Subject: x\r\n", "Subject: x\r\n\r\n.\r", "a\n", strings.Repeat("x", 2<<20)} {
			c := newClient(t, e.dial(""))
			c.begin()
			c.send(data)
			c.conn.Close()
			synctest.Wait()
		}
		if n := len(e.messages("alice")); n != 0 {
			t.Errorf("%d messages of which no end came", n)
		}
		c := newClient(t, e.dial(""))
		c.begin()
		c.send("Subject: x\r\n\r\n.\r\n")
		c.conn.Close()
		synctest.Wait()
		if n := len(e.messages("alice")); n != 1 {
			t.Errorf("%d messages", n)
		}
		e.close()
	})
}

// TestContent sends messages of all sizes, by DATA and BDAT, and compares bytes.
func TestContent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		c := newClient(t, e.dial(""))
		c.want("220 ")
		c.send("EHLO x\r\n")
		c.want("250 ")
		var want []string
		for i, body := range []string{
			"", "\r\n", ".\r\n", "..\r\n.\r\n", "\x00\xff\r\n", strings.Repeat("a line of text\r\n", 1000),
			strings.Repeat(".\r\n", 100_000), strings.Repeat("x", store.InlineMax) + "\r\n", strings.Repeat("0123456789\r\n", 200_000),
		} {
			content := fmt.Sprintf("Subject: %d\r\n\r\n%s", i, body)
			stuffed := strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:]
			c.send("MAIL FROM:<a@b.example>\r\n")
			c.want("250 ")
			c.send("RCPT TO:<alice@example.org>\r\n")
			c.want("250 ")
			c.send("DATA\r\n")
			c.want("354 ")
			c.send(stuffed + ".\r\n")
			c.want("250 ")
			c.send("MAIL FROM:<a@b.example> SIZE=100\r\n")
			c.want("250 ")
			c.send("RCPT TO:<alice@example.org>\r\n")
			c.want("250 ")
			half := len(content) / 2
			c.send(fmt.Sprintf("BDAT %d\r\n%s", half, content[:half]))
			c.want("250 ")
			c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content)-half, content[half:]))
			c.want("250 ")
			want = append(want, content, content)
		}
		got := e.messages("alice")
		if len(got) != len(want) {
			t.Fatalf("%d messages, want %d", len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("message %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
			}
		}
		c.conn.Close()
		e.close()
	})
}

// TestTCP checks on real sockets that the reply to an oversized line arrives
// although the peer goes on sending, over plain text and TLS.
func TestTCP(t *testing.T) {
	t.Parallel()
	e := newEnv(t, settings{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- e.server.Serve(ctx, ln, e.listener) }()
	for _, secure := range []bool{false, true} {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, conn)
		c.want("220 ")
		if secure {
			c.send("STARTTLS\r\n")
			c.want("220 ")
			c.secure()
		}
		sent := make(chan error)
		go func() {
			_, err := c.conn.Write(bytes.Repeat([]byte("x"), 5<<20))
			sent <- err
		}()
		c.want("500 5.5.2 line is longer")
		c.wantEOF()
		<-sent
		conn.Close()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	e.close()
}

// TestTrace checks that the log has what the level asks for, and ids.
func TestTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		levels := logfmt.NewLevels(logfmt.LevelTrace)
		e := newEnv(t, settings{log: slog.New(logfmt.New(&log, levels))})
		c := newClient(t, e.dial(""))
		c.begin()
		c.send("Subject: secret\r\n\r\n.\r\n")
		c.want("250 ")
		c.send("BAD\r\n")
		c.want("500 ")
		c.conn.Close()
		synctest.Wait()
		for _, want := range []string{"RC", "LS", "cmd=RCPT", "pkg=smtpserver", "connection ended", "messages=1"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log lacks %s:\n%s", want, log.String())
			}
		}
		if strings.Contains(log.String(), "secret") {
			t.Error("message data in the log")
		}
		e.close()
	})
}

// counted returns all metrics, by name without prefix and values of labels.
func (e *env) counted() map[string]float64 {
	e.t.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		e.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "mox_smtpserver_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{connectionsMax: 1})
		c := newClient(t, e.dial(""))
		c.begin()
		c.send("Subject: x\r\n\r\n.\r\n")
		c.want("250 ")
		refused := newClient(t, e.dial(""))
		refused.want("421 4.7.0 too many connections, please")
		refused.wantEOF()
		c.send("STARTTLS\r\n")
		c.want("220 ")
		c.conn.Close()
		synctest.Wait()
		got := e.counted()
		for name, want := range map[string]float64{
			"connection_total deliver": 1, "errors_total connection-refused": 1, "errors_total internal": 0, "errors_total panic": 0,
			"delivery_total no-bad-signals accept": 1, "delivery_starttls_total": 1, "delivery_starttls_errors_total io": 1,
			"command_duration_seconds DATA 250 2.0.0 deliver": 1, "command_duration_seconds EHLO 250  deliver": 1,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s: got %v, want %v; have %v", name, v, want, got)
			}
		}
		e.close()
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("no options are enough")
	}
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{})
		if _, err := New(e.server.opts); err == nil {
			t.Error("metrics registered twice")
		}
		e.close()
	})
}

func TestErrorFor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		code int
		ours bool
	}{
		{"a refusal", fmt.Errorf("x: %w", smtp.Errorf(552, "3.4", "x")), 552, false},
		{"over quota", &store.RecipientError{Err: store.ErrOverQuota}, 452, false},
		{"disk full", fmt.Errorf("x: %w", store.ErrDiskFull), 452, false},
		{"no room for what comes in", fmt.Errorf("x: %w", &os.PathError{Err: syscall.ENOSPC}), 452, false},
		{"too busy", store.ErrBusy, 452, false},
		{"stopping", errStopping, 421, false},
		{"canceled", context.Canceled, 421, false},
		{"no account", store.ErrNoAccount, 451, true},
		{"something else", io.ErrNoProgress, 451, true},
	} {
		if e, ours := errorFor(tc.err); e.Code != tc.code || ours != tc.ours {
			t.Errorf("%s: got %v, %v", tc.name, e, ours)
		}
	}
}
