//go:build unix

package crashtest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// sinkTimeout bounds the wait for a line of a client: one that was killed while
// it was stopped says nothing more.
const sinkTimeout = 30 * time.Second

// sink is a mail server of somebody else. It lives in the parent, so that it knows
// what it took whatever becomes of who sent it. What it does with a recipient is
// in the localpart, see sinkKind.
type sink struct {
	t  *testing.T
	ln net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	down  bool                // Takes nothing for now.
	got   map[string][][]byte // By recipient, each message it was answered 250 for.
	tried map[string]bool     // Recipients that have failed for the first time.
	conns map[net.Conn]bool
}

// Kinds of recipients: the end of their localparts, after the id of the message.
const (
	sinkOK    = "ok"    // Takes the message.
	sinkLater = "later" // Takes it when asked for the second time.
	sinkDrop  = "drop"  // Breaks the connection in place of the first reply to a message.
	sinkNever = "never" // Refuses for good.
)

// sinkKind returns what is to be done with a recipient.
func sinkKind(rcpt string) string {
	local, _, _ := strings.Cut(rcpt, "@")
	return local[strings.LastIndexByte(local, '-')+1:]
}

// newSink starts a sink that serves until the test ends.
func newSink(t *testing.T) *sink {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{t: t, ln: ln, got: map[string][][]byte{}, tried: map[string]bool{}, conns: map[net.Conn]bool{}}
	s.wg.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

func (s *sink) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(conn) })
	}
}

func (s *sink) close() {
	_ = s.ln.Close()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// port is where it listens.
func (s *sink) port() uint16 { return uint16(s.ln.Addr().(*net.TCPAddr).Port) }

func (s *sink) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// messages returns what a recipient has.
func (s *sink) messages(rcpt string) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[rcpt]
}

// serve holds one conversation. Clients end at any time.
func (s *sink) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	r := bufio.NewReader(conn)
	reply := func(text string) bool {
		_, err := io.WriteString(conn, text+"\r\n")
		return err == nil
	}
	ok := reply("220 sink.remote.example ready")
	var rcpts []string
	for ok {
		_ = conn.SetReadDeadline(time.Now().Add(sinkTimeout))
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(line[:min(4, len(line))])
		switch verb {
		case "EHLO", "RSET", "NOOP":
			rcpts = nil
			ok = reply("250 sink.remote.example")
		case "MAIL":
			ok = reply(s.mail())
		case "RCPT":
			rcpt := line[strings.IndexByte(line, '<')+1 : strings.IndexByte(line, '>')]
			answer := s.rcpt(rcpt)
			if strings.HasPrefix(answer, "250 ") {
				rcpts = append(rcpts, rcpt)
			}
			ok = reply(answer)
		case "DATA":
			ok = reply("354 go on")
			data, err := readData(r)
			if err != nil || !s.take(rcpts, data) {
				return
			}
			rcpts = nil
			ok = ok && reply("250 taken")
		case "QUIT":
			ok = reply("221 bye") && false
		default:
			ok = reply("500 what")
		}
	}
}

func (s *sink) mail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return "451 4.3.2 not now"
	}
	return "250 sender ok"
}

func (s *sink) rcpt(rcpt string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch kind := sinkKind(rcpt); {
	case kind == sinkNever:
		return "550 5.1.1 no such user"
	case kind == sinkLater && !s.tried[rcpt]:
		s.tried[rcpt] = true
		return "451 4.7.1 come back later"
	}
	return "250 recipient ok"
}

// take keeps a message, before the client can know. It returns false if the
// connection is to be broken instead.
func (s *sink) take(rcpts []string, data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rcpt := range rcpts {
		if sinkKind(rcpt) == sinkDrop && !s.tried[rcpt] {
			s.tried[rcpt] = true
			return false
		}
	}
	for _, rcpt := range rcpts {
		s.got[rcpt] = append(s.got[rcpt], data)
	}
	return true
}

// readData reads a message up to the line with a dot alone.
func readData(r *bufio.Reader) ([]byte, error) {
	var data []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			return data, nil
		}
		data = append(data, bytes.TrimPrefix(line, []byte("."))...)
	}
}

// TestSink shows that a sink does what recipients ask for.
func TestSink(t *testing.T) {
	t.Parallel()
	s := newSink(t)
	send := func(rcpt string) error {
		conn, err := net.Dial("tcp", s.ln.Addr().String())
		if err != nil {
			return err
		}
		c := textproto.NewConn(conn)
		defer c.Close()
		if _, _, err := c.ReadResponse(220); err != nil {
			return err
		}
		for _, step := range []struct {
			line string
			code int
		}{{"EHLO x", 250}, {"MAIL FROM:<>", 250}, {"RCPT TO:<" + rcpt + ">", 250}, {"DATA", 354}, {"..a\r\n.", 250}, {"QUIT", 221}} {
			if _, err := c.Cmd("%s", step.line); err != nil {
				return err
			}
			if _, _, err := c.ReadResponse(step.code); err != nil {
				return fmt.Errorf("%s: %w", step.line, err)
			}
		}
		return nil
	}
	for _, tc := range []struct {
		rcpt string
		want []string // What comes of each try, part of the error.
	}{
		{"1-ok@remote.example", []string{"", ""}},
		{"1-later@remote.example", []string{"4.7.1", ""}},
		{"1-drop@remote.example", []string{"EOF", ""}},
		{"1-never@remote.example", []string{"5.1.1", "5.1.1"}},
	} {
		taken := 0
		for i, want := range tc.want {
			err := send(tc.rcpt)
			if want == "" {
				taken++
			}
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s, try %d: got %v, want %q", tc.rcpt, i, err, want)
			}
		}
		if got := s.messages(tc.rcpt); len(got) != taken || taken > 0 && string(got[0]) != ".a\r\n" {
			t.Errorf("%s: has %q, want %d", tc.rcpt, got, taken)
		}
	}
	s.setDown(true)
	if err := send("2-ok@remote.example"); err == nil || !strings.Contains(err.Error(), "4.3.2") {
		t.Errorf("while it is down: got %v", err)
	}
}
