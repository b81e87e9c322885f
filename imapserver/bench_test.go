package imapserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/mjl-/mox/store"
)

// benchMessages is the size of the mailbox for benchmarks.
const benchMessages = 10_000

// benchClient returns a client with a mailbox of benchMessages messages of 10 KiB
// selected.
func benchClient(b *testing.B) *client {
	e := newEnv(b, nil)
	addr := e.listen()
	a, err := e.store.Account(b.Context(), "mox")
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	for n := 0; n < benchMessages; {
		var batch []*store.Staged
		for range 500 {
			n++
			text := benchMessage(n)
			s, err := a.Stage(b.Context(), int64(len(text)), strings.NewReader(text))
			if err != nil {
				b.Fatal(err)
			}
			batch = append(batch, s)
		}
		err := a.Update(b.Context(), func(tx *store.Tx) error {
			mb, err := tx.Mailbox("Inbox")
			for _, s := range batch {
				if err == nil {
					_, err = tx.Append(&mb, s, store.AppendOptions{})
				}
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = nc.Close() })
	c := newClient(b, nc)
	c.line()
	c.ok("LOGIN mox %s", password)
	c.ok("SELECT INBOX")
	return c
}

func benchMessage(n int) string {
	return fmt.Sprintf("From: Sender %d <s%d@example%d.org>\r\nTo: mox@example.org\r\nSubject: message %d\r\nDate: Sat, 01 Jan 2000 12:00:00 +0100\r\n"+
		"Message-ID: <%d@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nBody %d.\r\n"+
		"--x\r\nContent-Type: text/html\r\n\r\n<p>Body</p>\r\n--x\r\nContent-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n%s--x--\r\n",
		n, n, n%50, n, n, n, strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 120))
}

// BenchmarkCommands measures commands over the whole mailbox, by the message.
func BenchmarkCommands(b *testing.B) {
	c := benchClient(b)
	for _, cmd := range []string{
		"UID FETCH 1:* (FLAGS)",
		"UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE)",
		"UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
		"UID FETCH 1:* (BODY.PEEK[])",
		"UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (From Subject)])",
		"UID SEARCH UNSEEN",
		"UID SEARCH LARGER 100 SINCE 1-Jan-2020",
		`UID SEARCH FROM "example7.org"`,
		`UID SEARCH SUBJECT "message 77"`,
		`UID SEARCH HEADER Message-ID "<77@example.org>"`,
		`UID SEARCH BODY "absent"`,
		`UID SEARCH TEXT "absent"`,
		"SELECT INBOX",
	} {
		b.Run(strings.ReplaceAll(cmd, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			var bytes int64
			for b.Loop() {
				bytes = c.drain(cmd)
			}
			b.SetBytes(bytes)
			b.ReportMetric(float64(benchMessages)*float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// drain sends a command and reads through its reply, at little cost.
func (c *client) drain(cmd string) int64 {
	c.tag++
	end := fmt.Sprintf("t%d ", c.tag)
	if _, err := io.WriteString(c.nc, end+cmd+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	var n int64
	for {
		line, err := c.br.ReadSlice('\n')
		n += int64(len(line))
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			c.t.Fatal(err)
		}
		if len(line) > len(end) && string(line[:len(end)]) == end {
			return n
		}
	}
}
