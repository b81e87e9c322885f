package imapserver

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// zipped is a client's connection that is compressed by package flate. With step it
// sends its bytes in pieces of so many.
type zipped struct {
	net.Conn
	in  io.Reader
	out *flate.Writer
	buf *bufio.Writer // So that what is flushed is written at once.
}

func newZipped(t testing.TB, nc net.Conn, step int) *zipped {
	t.Helper()
	z := &zipped{Conn: nc, in: flate.NewReader(nc), buf: bufio.NewWriter(steps{nc, step})}
	var err error
	if z.out, err = flate.NewWriter(z.buf, 6); err != nil {
		t.Fatal(err)
	}
	return z
}

func (z *zipped) Read(p []byte) (int, error) { return z.in.Read(p) }

func (z *zipped) Write(p []byte) (int, error) {
	n, err := z.out.Write(p)
	return n, errors.Join(err, z.out.Flush(), z.buf.Flush())
}

// steps writes in pieces of a size, if that is not zero.
type steps struct {
	w    io.Writer
	size int
}

func (s steps) Write(p []byte) (int, error) {
	size := s.size
	if size == 0 {
		size = max(1, len(p))
	}
	for at := 0; at < len(p); at += size {
		if n, err := s.w.Write(p[at:min(len(p), at+size)]); err != nil {
			return at + n, err
		}
	}
	return len(p), nil
}

// compressed asks for compression on a connection that is logged in, and returns a
// client that uses it.
func compressed(t testing.TB, nc net.Conn, step int) *client {
	t.Helper()
	c := newClient(t, nc)
	c.ok("COMPRESS DEFLATE")
	return newClient(t, newZipped(t, nc, step))
}

// bigMessage returns a message of about a size in bytes, that hardly gets smaller.
func bigMessage(size int) string {
	var b strings.Builder
	b.WriteString("Subject: big\r\n\r\n")
	for r := rand.New(rand.NewPCG(1, 1)); b.Len() < size; {
		fmt.Fprintf(&b, "%016x%016x%016x\r\n", r.Uint64(), r.Uint64(), r.Uint64())
	}
	return b.String()
}

// TestCompress runs commands on compressed connections: in plain text and over TLS,
// with bytes that come one by one or all at once, with large literals both ways and
// with IDLE.
func TestCompress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		tls  bool
		step int
	}{{"plain text", false, 0}, {"byte by byte", false, 1}, {"TLS", true, 0}, {"TLS in pieces", true, 1000}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			setup := map[string]string{"inbox": "2"}
			if tc.tls {
				setup["implicit"] = ""
			}
			e := newEnv(t, setup)
			nc := e.dialTCP()
			if tc.tls {
				nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
			}
			defer nc.Close()
			first := newClient(t, nc)
			first.line()
			// MUST 4978 1: there is no compression of what a client logs in with
			if _, reply := first.command("COMPRESS DEFLATE"); reply != "BAD log in first" {
				t.Fatalf("before login: %s", reply)
			}
			first.ok("LOGIN mox %s", password)
			c := compressed(t, nc, tc.step)
			// MUST 4978 3: compression that is active already is refused with COMPRESSIONACTIVE
			if _, reply := c.command("COMPRESS deflate"); !strings.HasPrefix(reply, "NO [COMPRESSIONACTIVE] ") {
				t.Fatalf("twice: %s", reply)
			}
			c.ok("SELECT INBOX")
			size := 300_000
			if tc.step == 1 {
				size = 20_000
			}
			big := bigMessage(size)
			if got := c.ok("FETCH 1:2 (FLAGS)"); len(got) != 2 {
				t.Fatalf("got %q", got)
			}
			c.send("l1 APPEND INBOX {%d+}\r\n%s\r\n", len(big), big)
			c.until("l1 OK")
			c.send("l2 APPEND INBOX {%d}\r\n", len(big))
			c.until("+ ")
			c.send("%s\r\n", big)
			c.until("l2 OK")
			got := c.ok("UID FETCH 3:4 (BODY.PEEK[])")
			if len(got) != 2 || !strings.Contains(got[0], big) || !strings.Contains(got[1], big) {
				t.Fatal("what was appended did not come back")
			}
			c.send("l3 IDLE\r\n")
			c.until("+ ")
			e.appendMessages("Inbox", 1)
			c.until("* 5 EXISTS")
			c.send("DONE\r\n")
			c.until("l3 OK")
			c.ok("LOGOUT")
		})
	}
}

// dialTCP starts to listen, and returns a connection.
func (e *env) dialTCP() net.Conn {
	nc, err := net.Dial("tcp", e.listen())
	if err != nil {
		e.t.Fatal(err)
	}
	return nc
}

// send writes what is no whole command.
func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.nc, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// until reads lines to the first that begins so.
func (c *client) until(start string) string {
	c.t.Helper()
	for {
		if line := c.line(); strings.HasPrefix(line, start) {
			return line
		}
	}
}

// rawDeflate compresses text, and ends with a flush or as the whole stream.
func rawDeflate(t testing.TB, text string, last bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 6)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if last {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestCompressEnds ends compression with UNAUTHENTICATE: what comes behind it is in
// plain text, also when it comes at once.
func TestCompressEnds(t *testing.T) {
	t.Parallel()
	for _, last := range []bool{false, true} {
		for step := range 4 {
			t.Run(fmt.Sprintf("last block %v, in pieces of %d", last, step), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, map[string]string{"inbox": "1"})
				nc := e.dialTCP()
				defer nc.Close()
				c := newClient(t, nc)
				c.line()
				c.ok("LOGIN mox %s", password)
				c.ok("COMPRESS DEFLATE")
				stream := rawDeflate(t, "b1 SELECT INBOX\r\nb2 UNAUTHENTICATE\r\n", last)
				stream = append(stream, "b3 SELECT INBOX\r\nb4 LOGIN other test1234\r\n"...)
				sent := make(chan error, 1)
				go func() {
					_, err := (steps{nc, step}).Write(stream)
					sent <- err
				}()
				// MUST 8437 4.1: our compression ends behind the reply, the client's behind the command
				in := &oneByte{r: nc}
				z := newClient(t, &zipped{Conn: nc, in: flate.NewReader(in)})
				z.until("b2 OK")
				c = newClient(t, nc)
				if line := c.plainLine(); line != "b3 BAD log in first" {
					t.Fatalf("got %q", line)
				}
				c.until("b4 OK")
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				again := compressed(t, nc, 0)
				if got := again.ok("SELECT INBOX"); len(got) == 0 {
					t.Fatal("nothing selected")
				}
			})
		}
	}
}

// plainLine is line for the first one behind compressed bytes, of which some may be
// left: those of the flush.
func (c *client) plainLine() string {
	c.t.Helper()
	line := c.line()
	for line != "" && (line[0] == 0 || line[0] == 0xff) {
		line = line[1:]
	}
	return line
}

// oneByte gives a decompressor no more than it needs.
type oneByte struct{ r io.Reader }

func (o *oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

func (o *oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o.r, b[:])
	return b[0], err
}

// TestCompressHostile sends what is no stream, or one that grows.
func TestCompressHostile(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "1"})
	defer e.stop()
	e.start()
	for _, tc := range []struct {
		name   string
		stream []byte
		want   string
	}{
		{"plain text", []byte("a1 NOOP\r\na2 NOOP\r\n"), "* BYE [CLIENTBUG] compressed data is broken"},
		{"a line of 100 MB", rawDeflate(t, strings.Repeat("a", 100<<20), false), "* BYE [TOOBIG] line is longer than 8192 bytes"},
		{"a literal of 100 MB", rawDeflate(t, "a1 SELECT {104857600+}\r\n"+strings.Repeat("a", 1<<20), false), "* BYE [ALERT] literal is larger than 102400 bytes"},
		{"commands after UNAUTHENTICATE", rawDeflate(t, "a1 UNAUTHENTICATE\r\na2 NOOP\r\n", false), "* BYE [CLIENTBUG] compression ends with UNAUTHENTICATE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc := e.dialLogin()
			defer nc.Close()
			newClient(t, nc).ok("COMPRESS DEFLATE")
			var writing sync.WaitGroup
			writing.Go(func() { _, _ = nc.Write(tc.stream) }) // The server closes before it has read all.
			c := newClient(t, &zipped{Conn: nc, in: flate.NewReader(nc)})
			c.until(tc.want)
			if _, err := c.br.ReadByte(); err == nil {
				t.Error("session goes on")
			}
			_ = nc.Close()
			writing.Wait()
		})
	}
}

// TestCompressEndOfStream lets the client end its stream: it has nothing more to say.
func TestCompressEndOfStream(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	defer e.stop()
	e.start()
	nc := e.dialLogin()
	defer nc.Close()
	newClient(t, nc).ok("COMPRESS DEFLATE")
	if _, err := nc.Write(rawDeflate(t, "a1 NOOP\r\n", true)); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, &zipped{Conn: nc, in: flate.NewReader(nc)})
	c.until("a1 OK")
	if b, err := c.br.ReadByte(); err == nil {
		t.Errorf("got %q", b)
	}
}

// TestSlowReader cuts a client that does not read what it asked for, in plain text,
// compressed, and over TLS.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		tls, compress bool
	}{
		{"plain text", false, false}, {"compressed", false, true}, {"TLS", true, false}, {"compressed over TLS", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				setup := map[string]string{}
				if tc.tls {
					setup["implicit"] = ""
				}
				e := newEnv(t, setup)
				defer e.stop()
				e.appendMessage("Inbox", bigMessage(2<<20))
				e.start()
				raw := e.dial()
				defer raw.Close()
				nc := raw
				if tc.tls {
					nc = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
				}
				c := newClient(t, nc)
				c.line()
				c.ok("LOGIN mox %s", password)
				if tc.compress {
					c = compressed(t, nc, 0)
				}
				c.ok("SELECT INBOX")
				c.send("x FETCH 1 BODY.PEEK[]\r\n")
				time.Sleep(writeMax - time.Second)
				if gone(t, raw) {
					t.Fatalf("session ended within %v", writeMax)
				}
				time.Sleep(10 * time.Second) // TLS tries for 5 s to say goodbye.
				if !gone(t, raw) {
					t.Errorf("session goes on after %v", writeMax)
				}
			})
		})
	}
}

// gone reports whether the server has closed a connection in memory, from which it
// reads nothing at the moment.
func gone(t testing.TB, nc net.Conn) bool {
	t.Helper()
	err := nc.SetWriteDeadline(time.Now().Add(time.Millisecond))
	if err != nil {
		return errors.Is(err, io.ErrClosedPipe)
	}
	_, err = nc.Write([]byte("x"))
	if err == nil {
		t.Fatal("server reads")
	}
	return !errors.Is(err, os.ErrDeadlineExceeded)
}
