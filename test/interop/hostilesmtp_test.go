package interop

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostileMemory bounds the resident memory in bytes of a server with hostile
// peers, at its highest. 128 MiB are for messages on their way in, and the
// garbage collector lets memory become twice what is used.
const hostileMemory = 400 << 20

// TestSmuggling sends what some server may take for the end of a message, with
// another transaction behind it (CVE-2023-51764 and its relatives).
func TestSmuggling(t *testing.T) {
	t.Parallel()
	s := start(t)
	const second = "MAIL FROM:<smuggler@evil.example>\r\nRCPT TO:<mox@localhost>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
	for _, end := range []string{
		"\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\n\r\n", "\n\n.\n\n", "\r\r.\r\r", "\r\r\n.\r\r\n", "\r\n.\r\r\n",
		"\n\r.\n\r",
	} {
		for _, way := range []string{"DATA", "BDAT"} {
			t.Run(fmt.Sprintf("%s %q", way, end), func(t *testing.T) {
				t.Parallel()
				p := s.smtp(t)
				msg := "Subject: first\r\n\r\nhello" + end + second
				if way == "DATA" {
					p.begin()
					p.send(msg + "\r\n.\r\n")
				} else {
					p.send(fmt.Sprintf("MAIL FROM:<a@b.example>\r\nRCPT TO:<mox@localhost>\r\nBDAT %d LAST\r\n%s", len(msg), msg))
					p.want("250")
					p.want("250")
				}
				p.want("5")
				p.cmd("250", "RSET")
				p.cmd("221", "QUIT")
			})
		}
	}
	// Where a peer sees an end and waits, the refusal comes soon.
	t.Run("waiting", func(t *testing.T) {
		t.Parallel()
		p := s.smtp(t)
		p.begin()
		p.send("Subject: first\r\n\r\nhello\n.\n")
		begin := time.Now()
		p.want("500")
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("the reply took %s", took)
		}
	})
	// These have no end in them for anyone, and are mail.
	for _, text := range []string{"\r\n\x00.\r\n", "\r\n. \r\n", "\r\n..\r\n", "\r\n.\x00\r\n"} {
		t.Run(fmt.Sprintf("content %q", text), func(t *testing.T) {
			t.Parallel()
			p := s.smtp(t)
			p.begin()
			p.send("Subject: odd content\r\n\r\nhello" + text + second + "\r\n.\r\n")
			p.want("250")
			p.cmd("250", "NOOP")
		})
	}
	t.Cleanup(func() { // After the parallel subtests.
		in := s.imap(t, "Inbox")
		if got := in.search("OR SUBJECT smuggled SUBJECT first"); len(got) > 0 {
			t.Errorf("messages %v were smuggled in, or refused and delivered", got)
		}
		if got := in.search(`HEADER Return-Path smuggler`); len(got) > 0 {
			t.Errorf("messages %v are from the smuggler", got)
		}
		if got := in.search("SUBJECT odd"); len(got) != 4 {
			t.Errorf("of messages with odd content only %v came", got)
		}
	})
}

// TestHostileSMTP sends what is too long, too much, or a lie. Each has a clear
// reply, and a well-behaved client is served meanwhile.
func TestHostileSMTP(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.memoryMax = hostileMemory
	s.smtp(t).deliver("Subject: x\r\n\r\nhello\r\n") // So that there is something before the probe looks.
	watched := s.watch(t)
	t.Cleanup(watched.end) // After the parallel subtests.

	for _, test := range []struct {
		name string
		run  func(p *smtpPeer)
	}{
		{"a command line of 10 MB", func(p *smtpPeer) {
			p.flood(strings.Repeat("x", 10<<20) + "\r\n")
			p.closed("500 5.5.2")
		}},
		{"an address of 10 MB", func(p *smtpPeer) {
			p.cmd("250", "EHLO x")
			p.flood("MAIL FROM:<" + strings.Repeat("x", 10<<20) + "@b.example>\r\n")
			p.closed("500 5.5.2")
		}},
		{"a flood of unknown commands", func(p *smtpPeer) {
			p.cmd("250", "EHLO x")
			p.flood(strings.Repeat("XYZZY\r\n", 100000))
			for range 50 {
				p.want("500 5.5.1")
			}
			p.closed("421 4.7.0")
		}},
		{"a flood of commands", func(p *smtpPeer) {
			p.cmd("250", "EHLO x")
			const n = 50000
			go p.flood(strings.Repeat("NOOP\r\n", n))
			for range n {
				p.want("250")
			}
		}},
		{"10,000 recipients", func(p *smtpPeer) {
			p.cmd("250", "EHLO x")
			p.cmd("250", "MAIL FROM:<a@b.example>")
			var b strings.Builder
			for i := range 10000 {
				fmt.Fprintf(&b, "RCPT TO:<user%d@localhost>\r\n", i)
			}
			go p.flood(b.String())
			for range 1000 {
				p.want("250")
			}
			p.want("452 4.5.3")
			for range 49 {
				p.want("452 4.5.3")
			}
			p.closed("421")
		}},
		{"a million header fields", func(p *smtpPeer) {
			p.begins()
			p.send("Subject: million\r\n")
			p.flood(strings.Repeat("X: y\r\n", 1000000) + "\r\nhello\r\n.\r\n")
			p.want("552 5.3.4")
			p.cmd("250", "NOOP")
		}},
		{"100 MB of one header field", func(p *smtpPeer) {
			p.begins()
			for range 101 {
				p.flood("X: " + strings.Repeat(strings.Repeat("y", 1021)+"\r\n ", 1024))
			}
			p.flood("\r\n\r\n.\r\n")
			p.want("552 5.3.4")
			p.cmd("250", "NOOP")
		}},
		{"a line of 20 MB in a message", func(p *smtpPeer) {
			p.begins()
			p.flood("Subject: long line\r\n\r\n" + strings.Repeat("x", 20<<20) + "\r\n.\r\n")
			p.want("250")
		}},
		{"NULs in commands", func(p *smtpPeer) {
			p.cmd("250", "EHLO x")
			p.cmd("50", "MAIL FROM:<a\x00@b.example>")
			p.cmd("500", "NO\x00OP")
			p.cmd("250", "NOOP")
		}},
		{"NULs in a message", func(p *smtpPeer) {
			p.begins()
			p.send("Subject: nul\x00\r\n\x00: x\r\n\r\n\x00\x00\r\n.\r\n")
			p.want("250")
		}},
		{"BDAT of a negative size", func(p *smtpPeer) { p.bdat("BDAT -1 LAST", "5") }},
		{"BDAT of no size", func(p *smtpPeer) { p.bdat("BDAT LAST", "5") }},
		{"BDAT of more than 64 bits", func(p *smtpPeer) { p.bdat("BDAT 18446744073709551616 LAST", "5") }},
		{"BDAT of more than is taken", func(p *smtpPeer) { p.bdat("BDAT 9223372036854775807 LAST", "552") }},
		{"BDAT that is shorter than said", func(p *smtpPeer) {
			p.bdat("BDAT 1000000 LAST\r\nSubject: short\r\n\r\n", "")
			if err := p.conn.(*net.TCPConn).CloseWrite(); err != nil {
				p.t.Error(err)
			}
			if got := p.reply(); got != "" {
				p.t.Errorf("got %q, want nothing", got)
			}
		}},
		{"BDAT that is longer than said", func(p *smtpPeer) {
			p.bdat("BDAT 10 LAST\r\nSubject: x\nMAIL FROM:<smuggler@evil.example>\r\n", "250")
			p.closed("500")
		}},
		{"commands behind a bare LF", func(p *smtpPeer) {
			p.send("EHLO x\r\nMAIL FROM:<a@b.example>\nRCPT TO:<mox@localhost>\nDATA\nSubject: injected\n\n.\r\n")
			p.want("250")
			p.closed("500")
		}},
		{"DATA within BDAT", func(p *smtpPeer) {
			p.bdat("BDAT 3\r\nSub", "250")
			p.cmd("503", "DATA")
			p.cmd("250", "RSET")
		}},
		{"another protocol", func(p *smtpPeer) {
			p.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nMAIL FROM:<a@b.example>\r\n")
			p.closed("500")
		}},
		{"bytes at random", func(p *smtpPeer) {
			r := rand.New(rand.NewPCG(1, 2))
			b := make([]byte, 100000)
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			p.flood(string(b) + "\r\n")
			p.closed("500")
		}},
		{"a TLS handshake without STARTTLS", func(p *smtpPeer) {
			p.flood("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n")
			p.closed("500")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := s.smtpRaw(t)
			p.want("220")
			test.run(p)
		})
	}
}

// begins says EHLO and gets as far as the 354.
func (p *smtpPeer) begins() {
	p.t.Helper()
	p.cmd("250", "EHLO client.example")
	p.begin()
}

// bdat begins a transaction and sends what must be refused with want, "" for no
// reply.
func (p *smtpPeer) bdat(data, want string) {
	p.t.Helper()
	p.cmd("250", "EHLO client.example")
	p.cmd("250", "MAIL FROM:<a@b.example>")
	p.cmd("250", "RCPT TO:<mox@localhost>")
	p.send(data)
	if !strings.Contains(data, "\r\n") {
		p.send("\r\n")
	}
	if want != "" {
		p.want(want)
	}
}

// flood sends much, of which the server need not take all.
func (p *smtpPeer) flood(data string) { _ = p.trySend(data) }

// closed wants a reply, and then the end of the connection.
func (p *smtpPeer) closed(want string) {
	p.t.Helper()
	p.want(want)
	if got := p.reply(); got != "" {
		p.t.Errorf("after the last reply: got %q", got)
	}
}

// TestInjection sends commands behind STARTTLS, in plain text, to be taken for
// commands that came encrypted (CVE-2011-0411).
func TestInjection(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, protocol := range []string{"smtp", "imap"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			var conn net.Conn
			if protocol == "smtp" {
				p := s.smtp(t)
				p.send("STARTTLS\r\nMAIL FROM:<injected@evil.example>\r\nRCPT TO:<mox@localhost>\r\n")
				p.want("220")
				conn = p.conn
			} else {
				p := s.imapRaw(t)
				p.send("a STARTTLS\r\nb LOGIN " + login + " " + password + "\r\nc CREATE Injected\r\n")
				if _, tagged := p.until("a"); !strings.HasPrefix(tagged.text(), "OK") {
					t.Fatalf("got %v", tagged)
				}
				conn = p.conn
			}
			// The server takes what was sent for a broken handshake.
			if err := tls.Client(conn, s.tlsConfig(t)).HandshakeContext(t.Context()); err == nil {
				t.Error("TLS was begun behind injected commands")
			}
		})
	}
	t.Run("IMAPS in plain text", func(t *testing.T) {
		t.Parallel()
		conn := s.dial(t, portIMAPS)
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("a LOGIN " + login + " " + password + "\r\n")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1000)
		if n, err := conn.Read(b); err == nil && (n == 0 || b[0] != 21) { // A TLS alert.
			t.Errorf("got %q", b[:n])
		}
	})
	t.Cleanup(func() {
		if got := s.imap(t, "").ok(`LIST "" Injected`); len(got) > 0 {
			t.Errorf("got %v", got)
		}
	})
}

// deep returns a message with multiparts and messages nested n deep.
func deep(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: deep %d\r\n", n)
	for i := range n {
		if i%3 == 2 {
			b.WriteString("Content-Type: message/rfc822\r\n\r\nSubject: nested\r\n")
			continue
		}
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%[1]d\r\n", i)
	}
	b.WriteString("Content-Type: text/plain\r\n\r\nthe bottom\r\n")
	for i := n - 1; i >= 0; i-- {
		if i%3 != 2 {
			fmt.Fprintf(&b, "--b%d--\r\n", i)
		}
	}
	return b.String()
}

// TestHostileMessages delivers and appends messages that are costly to look at,
// many at a time, and reads them.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.memoryMax = hostileMemory
	watched := s.watch(t)

	folded := strings.Repeat("a,a,a,a,a,a,a,a,a,a,\r\n ", 40000)
	messages := map[string]string{
		"100 deep":               deep(100),
		"1000 deep":              deep(1000),
		"10,000 deep":            deep(10000),
		"100,000 parts":          "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100000) + "--b--\r\n",
		"100,000 empty parts":    "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n", 100000),
		"800,000 addresses":      "To: " + folded + "\r\n\r\nhello\r\n",
		"100,000 parameters":     "Content-Type: text/plain" + strings.Repeat("; a=b", 100000) + "\r\n\r\nhello\r\n",
		"100,000 message-ids":    "References: " + strings.Repeat("<a@b>\r\n ", 100000) + "\r\n\r\nhello\r\n",
		"encoded-words of 1 MB":  "Subject: " + strings.Repeat("=?utf-8?q?=C3=BC?=\r\n ", 45000) + "\r\n\r\nhello\r\n",
		"comments 100,000 deep":  "To: " + strings.Repeat("(", 100000) + "\r\n\r\nhello\r\n",
		"boundaries that repeat": "Content-Type: multipart/mixed; boundary=-\r\n\r\n" + strings.Repeat("--"+strings.Repeat("-", 70)+"\r\n", 50000),
		"dashes in the deep":     strings.Replace(deep(100), "the bottom\r\n", strings.Repeat("--b\r\n", 1000000), 1),
		"only line ends":         strings.Repeat("\r\n", 500000),
	}
	names := make([]string, 0, len(messages))
	for name := range messages {
		names = append(names, name)
	}
	slices.Sort(names)

	// Each by two connections at a time; twice, as the first could warm caches.
	var wg sync.WaitGroup
	for _, name := range names {
		msg := messages[name]
		out, in := s.smtp(t), s.imap(t, "")
		wg.Go(func() {
			// Fatal is not for goroutines.
			if err := out.trySend("MAIL FROM:<a@b.example>\r\nRCPT TO:<mox@localhost>\r\nDATA\r\n"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := out.trySend(msg + ".\r\n"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, want := range []string{"250", "250", "354", "250"} {
				if got := out.reply(); !strings.HasPrefix(got, want) {
					t.Errorf("%s: got %q, want %s", name, got, want)
				}
			}
		})
		wg.Go(func() {
			if err := in.trySynchronized("APPEND Sent", msg); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	// SMTP does not take headers of more than 1 MiB, but a client may keep them.
	in := s.imap(t, "")
	in.append("Sent", strings.Repeat("X: y\r\n", 1000000)+"\r\nhello\r\n")
	in.append("Sent", "X: "+strings.Repeat(strings.Repeat("y", 1021)+"\r\n ", 20<<10)+"\r\n\r\nhello\r\n")
	for _, mailbox := range []string{"Inbox", "Sent"} {
		p := s.imap(t, mailbox)
		for _, items := range []string{"ENVELOPE", "BODY", "BODYSTRUCTURE", "BODY.PEEK[1.MIME]", "BODY.PEEK[1.1.1.1.1]", "BODY.PEEK[HEADER.FIELDS (Subject To)]",
			"BODY.PEEK[HEADER.FIELDS.NOT (X" + strings.Repeat(" y", 900) + ")]", "BINARY.SIZE[1]", "RFC822.SIZE"} {
			p.ok("FETCH 1:* (%s)", items)
		}
		for _, key := range []string{"SUBJECT deep", "TO a", "BODY bottom", "TEXT nowhere", "HEADER References x", "SENTSINCE 1-Jan-2020"} {
			p.search("%s", key)
		}
		if got := p.search(`SUBJECT "deep 100"`); len(got) < 3 {
			t.Errorf("%s: got messages %v, want those 100, 1000 and 10,000 deep", mailbox, got)
		}
	}
	watched.end()
}

// trySynchronized runs a command with a literal that it waits to be asked for.
func (p *imapPeer) trySynchronized(command, literal string) error {
	p.tags++
	tag := fmt.Sprintf("t%d", p.tags)
	if err := p.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(p.conn, "%s %s {%d}\r\n", tag, command, len(literal)); err != nil {
		return err
	}
	if r, err := p.tryResponse(); err != nil || r[0] != atom("+") {
		return fmt.Errorf("%s: got %v, %w", command, r, err)
	}
	if _, err := p.conn.Write([]byte(literal + "\r\n")); err != nil {
		return err
	}
	for {
		r, err := p.tryResponse()
		if err != nil {
			return err
		}
		if r[0] == atom(tag) && !strings.HasPrefix(r.text(), "OK") {
			return fmt.Errorf("%s: got %v", command, r)
		} else if r[0] == atom(tag) {
			return nil
		}
	}
}
