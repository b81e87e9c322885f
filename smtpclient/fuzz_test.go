package smtpclient

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/smtp"
)

// fakeConn is a connection to a server that sends one piece of its bytes each time
// the client waits, whatever the client says.
type fakeConn struct {
	pieces [][]byte
	sent   bytes.Buffer

	read  int // Bytes.
	atEnd int // What read was when the client had sent the end of the message, -1 before.
}

func (c *fakeConn) Read(p []byte) (int, error) {
	for len(c.pieces) > 0 && len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	c.pieces[0] = c.pieces[0][n:]
	c.read += n
	return n, nil
}

func (c *fakeConn) Write(p []byte) (int, error) {
	n, err := c.sent.Write(p)
	if bytes.HasSuffix(c.sent.Bytes(), []byte(fuzzEnd)) || bytes.HasSuffix(c.sent.Bytes(), []byte(fuzzChunk)) {
		c.atEnd = c.read
	}
	return n, err
}

func (c *fakeConn) Close() error                     { return nil }
func (c *fakeConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *fakeConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *fakeConn) SetDeadline(time.Time) error      { return nil }
func (c *fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }

const (
	fuzzContent = "Subject: x\r\n\r\n.content\r\n"
	fuzzEnd     = "Subject: x\r\n\r\n..content\r\n.\r\n"
	fuzzChunk   = "BDAT 24 LAST\r\n" + fuzzContent
)

// FuzzServer lets a server say anything. Whatever it is, a message is reported as
// sent only if it went out as a whole, exactly once, and a reply that begins with 2
// came after; what we keep of replies is bounded and printable.
func FuzzServer(f *testing.F) {
	for _, s := range []string{
		"220 hello\r\n|250-mx\r\n250 PIPELINING\r\n|250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n|250 taken\r\n|221 bye\r\n",
		"220 hello\r\n|250-mx\r\n250-SIZE 100\r\n250 CHUNKING\r\n|250 ok\r\n|250 ok\r\n|550 5.1.1 no\r\n|250 taken\r\n",
		"220 hello\r\n|500 what\r\n|250 mx\r\n|250 ok\r\n|452 full\r\n|250 ok\r\n|354 go\r\n|250 early\r\n",
		"220 hello\r\n|250 mx\r\n|250 ok\r\n|250 ok\r\n|552 more\r\n|354 go\r\n|554-5.7.1 spam\r\n554 5.7.1 spam\r\n|250 ok\r\n",
		"421 busy\r\n", "220-\r\n250 x\r\n", "600 x\r\n", "220 hello\r\n250 early\r\n",
		"220 hello\r\n|250-mx\r\n250 PIPELINING\r\n|550 no\r\n503 no\r\n503 no\r\n354 go\r\n|250 thanks\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, said string) {
		conn := &fakeConn{atEnd: -1}
		for piece := range strings.SplitSeq(said, "|") {
			conn.pieces = append(conn.pieces, []byte(piece))
		}
		all := strings.ReplaceAll(said, "|", "")
		c, err := New(t.Context(), conn, Options{Hello: "client.example"})
		if err != nil {
			checkFuzzError(t, err)
			return
		}
		result, err := c.Send(t.Context(), Transaction{
			From: path("a@b.example"), To: []smtp.Path{path("c@example.org"), path("d@example.org")}, Size: int64(len(fuzzContent)),
			Content: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(fuzzContent)), nil },
		})
		checkFuzzError(t, err)
		sent := conn.sent.String()
		ends := strings.Count(sent, "\r\n"+fuzzEnd) + strings.Count(sent, fuzzChunk)
		if ends > 1 {
			t.Fatalf("sent %d times: %q", ends, sent)
		}
		for _, err := range result.Rcpts {
			checkFuzzError(t, err)
			if err != nil {
				continue
			}
			if ends != 1 || conn.atEnd < 0 || !strings.HasPrefix(all[conn.atEnd:], "2") {
				t.Fatalf("success without message or reply: server %q, at %d, we %q", said, conn.atEnd, sent)
			}
		}
		if err == nil && ends == 1 && result.Rcpts[0] != nil && result.Rcpts[1] != nil {
			t.Fatalf("sent for nobody: %q", sent)
		}
		if result.MaybeSent && (err == nil || ends != 1) {
			t.Fatalf("maybe sent: %v, %q", err, sent)
		}
		_ = c.Close() // Whatever it says.
	})
}

// checkFuzzError checks what a server's words become.
func checkFuzzError(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, ErrProtocol) || errors.Is(err, ErrLost) || errors.Is(err, ErrSize) {
		return
	}
	r, ok := errors.AsType[*Reply](err)
	if !ok {
		t.Fatalf("got error %v", err)
	}
	if r.Code < 400 || r.Code > 599 || len(r.Lines) == 0 || len(r.Lines) > textLinesMax || len(r.Error()) > 20*(textLineMax+1)+100 {
		t.Fatalf("got %+v", r)
	}
	if strings.ContainsFunc(r.Error(), func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		t.Fatalf("got %q", r.Error())
	}
}

// FuzzContent checks that whatever the content, what goes over the wire with DATA is
// read by a server as just that, and that only lines with CR LF get through.
func FuzzContent(f *testing.F) {
	f.Add("Subject: x\r\n\r\n.\r\n", uint16(3))
	f.Add("\r\n.\r\n..\r\n.a", uint16(1))
	f.Add("a\rb", uint16(2))
	f.Add("a\n.\r\nb", uint16(100))
	f.Fuzz(func(t *testing.T, content string, size uint16) {
		k := contentReader{r: strings.NewReader(content), size: int64(len(content)), buf: make([]byte, blockSize)}
		var out bytes.Buffer
		dots := dotWriter{w: &out, start: true}
		var err error
		for err == nil {
			var block []byte
			if block, err = k.block(1 + int(size)%blockSize); err == nil {
				err = dots.write(block)
			}
		}
		clean := !strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n")
		if errors.Is(err, io.EOF) != clean {
			t.Fatalf("%q: %v", content, err)
		}
		if !clean {
			return
		}
		if err := dots.close(); err != nil {
			t.Fatal(err)
		}
		got, rest := readDots(out.String())
		want := content
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		if got != want || rest != "" {
			t.Fatalf("%q was read as %q and %q", content, got, rest)
		}
	})
}

// readDots reads a message as a server does, RFC 5321, section 4.5.2, and returns
// what follows.
func readDots(s string) (message, rest string) {
	for {
		line, after, _ := strings.Cut(s, "\r\n")
		if line == "." || s == "" {
			return message, after
		}
		message += strings.TrimPrefix(line, ".") + "\r\n"
		s = after
	}
}
