package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestSink(t *testing.T) {
	s, err := newSink("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.ln.Close()
	long := strings.Repeat("x", 100<<10)
	for range 2 {
		conn, err := net.Dial("tcp", s.ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		// A line of a dot at the end of a full buffer is no end, nor one with more.
		fmt.Fprintf(conn, "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n%s\r\n..\r\n.x\r\n.\r\n", long)
		fmt.Fprint(conn, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n")
		var codes []string
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if text := lines.Text(); text[3] == ' ' {
				codes = append(codes, text[:3])
			}
		}
		conn.Close()
		if got, want := strings.Join(codes, " "), "220 250 250 250 354 250 250 250 354 250 221"; got != want {
			t.Errorf("replies %s, want %s", got, want)
		}
	}
	if err := s.wait(4, time.Second); err != nil {
		t.Error(err)
	}
	if messages, connections := s.counted(); messages != 4 || connections != 2 {
		t.Errorf("%d messages by %d connections, want 4 by 2", messages, connections)
	}
	if err := s.wait(5, time.Millisecond); err == nil {
		t.Error("no error for a message that does not come")
	}
}
