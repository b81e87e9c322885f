package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// sink is a mail server that takes everything, counts it and throws it away: where
// the servers under test relay to.
type sink struct {
	ln net.Listener

	mu          sync.Mutex
	connections int
	messages    int
	first, last time.Time // Messages.
}

// newSink listens at an address.
func newSink(addr string) (*sink, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &sink{ln: ln}
	go s.serve()
	return s, nil
}

func (s *sink) serve() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.connections++
		s.mu.Unlock()
		go s.talk(conn)
	}
}

// count notes a message.
func (s *sink) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	if s.messages == 0 {
		s.first = s.last
	}
	s.messages++
}

// counted returns how many messages and connections there were.
func (s *sink) counted() (messages, connections int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages, s.connections
}

// wait waits until there are n messages, at most limit without any.
func (s *sink) wait(n int, limit time.Duration) error {
	before, since := -1, time.Now()
	for {
		got, _ := s.counted()
		if got >= n {
			return nil
		}
		if got > before {
			before, since = got, time.Now()
		} else if time.Since(since) > limit {
			return fmt.Errorf("sink has %d of %d messages", got, n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// talk answers a client. Replies wait until there are no more commands, as servers
// with PIPELINING do.
func (s *sink) talk(conn net.Conn) {
	defer conn.Close()
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	fmt.Fprint(w, "220 sink ESMTP\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(line[:min(4, len(line))]); verb {
		case "EHLO":
			fmt.Fprint(w, "250-sink\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")
		case "DATA":
			fmt.Fprint(w, "354 go ahead\r\n")
			if w.Flush() != nil || skipContent(r) != nil {
				return
			}
			s.count()
			fmt.Fprint(w, "250 2.0.0 gone\r\n")
		case "QUIT":
			fmt.Fprint(w, "221 2.0.0 bye\r\n")
			_ = w.Flush()
			return
		default:
			fmt.Fprint(w, "250 2.0.0 ok\r\n")
		}
	}
}

// skipContent reads up to the final dot.
func skipContent(r *bufio.Reader) error {
	begin := true
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			begin = false
			continue
		} else if err != nil {
			return err
		}
		if begin && string(line) == ".\r\n" {
			return nil
		}
		begin = true
	}
}

// annotate adds what the sink has seen to a row.
func (s *sink) annotate(r *Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.messages > 0 {
		r.Extra["sink_connections_per_message"] = float64(s.connections) / float64(s.messages)
	}
}

// benchSink waits at -sink for -n messages that a server has in its queue, and
// measures from the first to the last.
func benchSink(c *Config) ([]Result, error) {
	s, err := newSink(c.Sink)
	if err != nil {
		return nil, err
	}
	defer s.ln.Close()
	use := c.usage()
	err = s.wait(c.N, c.DrainLimit)
	messages, _ := s.counted()
	r := Result{Bench: "sink", Params: fmt.Sprintf("n=%d", c.N), Ops: messages, Extra: map[string]float64{}}
	if took := s.last.Sub(s.first); took > 0 {
		r.Seconds, r.PerSec = took.Seconds(), float64(messages-1)/took.Seconds()
	}
	s.annotate(&r)
	c.annotate(&r, use)
	return []Result{r}, err
}
