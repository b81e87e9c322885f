package interop

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// fill appends n messages of size bytes to Inbox.
func (s *server) fill(t *testing.T, n, size int) {
	t.Helper()
	p := s.imap(t, "")
	for i := range n {
		header := fmt.Sprintf("Subject: message %d\r\n\r\n", i)
		p.append("Inbox", header+strings.Repeat("x", size-len(header)))
	}
}

// flood sends much, of which the server need not take all.
func (p *imapPeer) flood(data string) {
	if p.conn.SetWriteDeadline(time.Now().Add(patience)) == nil {
		_, _ = p.conn.Write([]byte(data))
	}
}

// bye wants the server to say BYE, perhaps after other responses, and to close
// the connection.
func (p *imapPeer) bye(want string) {
	p.t.Helper()
	said := ""
	for {
		r := p.response()
		if len(r) == 0 {
			break
		}
		said = r.text()
	}
	if !strings.HasPrefix(said, want) {
		p.t.Errorf("got %q at the end, want %q", said, want)
	}
}

// TestHostileIMAP sends what is too long, too deep, or no command at all.
func TestHostileIMAP(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.memoryMax = hostileMemory
	s.fill(t, 300, 200)
	long := s.imap(t, "")
	long.ok("CREATE %s", strings.Repeat("a", 240))
	long.ok("CREATE %s", strings.Repeat("a", 120)+"/"+strings.Repeat("a", 119))
	watched := s.watch(t)
	t.Cleanup(watched.end) // After the parallel subtests.
	try := func(name string, preauth bool, run func(p *imapPeer)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if preauth {
				run(s.imapRaw(t))
			} else {
				run(s.imap(t, "Inbox"))
			}
		})
	}

	for _, preauth := range []bool{true, false} {
		who := "logged in"
		if preauth {
			who = "before login"
		}
		try("a line of 10 MB, "+who, preauth, func(p *imapPeer) {
			p.flood("a LOGIN " + strings.Repeat("x", 10<<20) + "\r\n")
			p.bye("BYE [TOOBIG]")
		})
		try("a literal that is too large, "+who, preauth, func(p *imapPeer) {
			p.refused("BAD [TOOBIG]", "LOGIN {99999999}")
			p.ok("NOOP")
			p.refused("BAD [TOOBIG]", "LOGIN {9223372036854775807}")
			p.ok("NOOP")
		})
		try("a literal of more than 64 bits, "+who, preauth, func(p *imapPeer) {
			p.refused("BAD", "LOGIN {99999999999999999999999999}")
		})
		try("a literal that is too large and not waited for, "+who, preauth, func(p *imapPeer) {
			p.send("a LOGIN {99999999+}\r\n")
			p.bye("BYE")
		})
		try("bare LF, "+who, preauth, func(p *imapPeer) {
			p.send("a NOOP\nb CREATE Injected\r\n")
			p.bye("BYE [CLIENTBUG]")
		})
		try("8-bit garbage, "+who, preauth, func(p *imapPeer) {
			r := rand.New(rand.NewPCG(3, 4))
			for range 20 {
				b := make([]byte, 200)
				for i := range b {
					if b[i] = byte(r.Uint32()); b[i] == '\r' || b[i] == '\n' || b[i] == '}' {
						b[i] = 'x'
					}
				}
				p.flood("a " + string(b) + "\r\n")
			}
			if preauth {
				p.bye("BYE")
				return
			}
			for range 20 {
				if r := p.response(); len(r) < 2 || r[1] != atom("BAD") {
					p.t.Fatalf("got %v, want BAD", r)
				}
			}
			p.ok("NOOP")
		})
		try("unknown commands, "+who, preauth, func(p *imapPeer) {
			p.ok("NOOP")
			for range 9 {
				p.refused("BAD", "XYZZY")
			}
			if !preauth {
				p.ok("NOOP")
				return
			}
			p.send("a XYZZY\r\n")
			p.bye("BYE")
		})
	}

	for _, test := range []struct {
		name, want, command string
	}{
		{"parentheses in SEARCH", "NO [LIMIT]", "SEARCH " + strings.Repeat("(", 4000) + "ALL" + strings.Repeat(")", 4000)},
		{"NOT in SEARCH", "NO [LIMIT]", "SEARCH " + strings.Repeat("NOT ", 2000) + "ALL"},
		{"OR in SEARCH", "NO [LIMIT]", "SEARCH " + strings.Repeat("OR ALL ", 1000) + "ALL"},
		{"parentheses in FETCH", "BAD", "FETCH 1 " + strings.Repeat("(", 8000)},
		{"parentheses in STORE", "BAD", "STORE 1 FLAGS " + strings.Repeat("(", 8000)},
		{"parentheses in LIST", "BAD", "LIST " + strings.Repeat("(", 8000)},
		{"parentheses in STATUS", "BAD", "STATUS Inbox " + strings.Repeat("(", 8000)},
		{"parentheses in ID", "BAD", "ID " + strings.Repeat("(", 8000)},
		{"parts of parts", "BAD", "FETCH 1 BODY[" + strings.Repeat("1.", 3000) + "1]"},
		{"many items", "BAD", "FETCH 1 (" + strings.Repeat("UID ", 1900) + "UID)"},
		{"many headers", "BAD", "FETCH 1 BODY[HEADER.FIELDS (" + strings.Repeat("a ", 3000) + "a)]"},
		{"a partial beyond everything", "OK", "FETCH 1 BODY.PEEK[]<4294967295.4294967295>"},
		{"a partial of too many digits", "BAD", "FETCH 1 BODY.PEEK[]<99999999999999999999.1>"},
		{"all numbers", "OK", "UID FETCH 1:4294967295 FLAGS"},
		{"all numbers, many times", "OK", "UID FETCH " + strings.Repeat("1:4294967295,", 500) + "1 FLAGS"},
		{"all numbers downwards, many times", "OK", "UID SEARCH UID " + strings.Repeat("4294967295:1,*:1,", 400) + "1"},
		{"many sets in a search", "OK", "SEARCH " + strings.Repeat("UID 1:4294967295 ", 450) + "ALL"},
		{"numbers that are too large", "BAD", "UID FETCH 4294967296 FLAGS"},
		{"zero", "BAD", "FETCH 0 FLAGS"},
		{"wildcards", "OK", `LIST "" ` + strings.Repeat("*%", 400)},
		{"wildcards between letters", "OK", `LIST "" ` + strings.Repeat("*a", 120) + "*b"},
		{"wildcards between levels", "OK", `LIST "" ` + strings.Repeat("%a*", 80) + "b"},
		{"many patterns", "OK", `LIST "" (` + strings.Repeat("*a*a*a*a*a*a*b ", 99) + "*)"},
		{"a name of 8,000 letters", "BAD", "CREATE " + strings.Repeat("x", 8000)},
		{"a name of 500 levels", "NO", "CREATE " + strings.Repeat("x/", 500) + "x"},
		{"a name that leaves the directory", "NO", "CREATE ../../x"},
		{"a keyword of 8,000 letters", "", "STORE 1 +FLAGS (" + strings.Repeat("x", 8000) + ")"},
		{"1,000 keywords", "", "STORE 1 +FLAGS (" + keywords(1000) + ")"},
		{"searches for texts", "OK", "SEARCH " + strings.Repeat("NOT TEXT nowhere ", 450) + "ALL"},
		{"a search for an empty text", "OK", `SEARCH TEXT "" BODY "" SUBJECT "" HEADER Subject ""`},
		{"nothing", "BAD", "FETCH"},
		{"NUL", "BAD", "LIST \"\" \x00"},
	} {
		try(test.name, false, func(p *imapPeer) {
			_, tagged := p.cmd("%s", test.command)
			if got := tagged.text(); !strings.HasPrefix(got, test.want) || got == "" || strings.Contains(got, "SERVERBUG") {
				p.t.Errorf("got %q, want %s", got, test.want)
			}
			p.ok("NOOP")
		})
	}
	try("100,000 parentheses in SEARCH", false, func(p *imapPeer) {
		p.flood("a SEARCH " + strings.Repeat("(", 100000) + "ALL" + strings.Repeat(")", 100000) + "\r\n")
		p.bye("BYE [TOOBIG]")
	})
	try("100,000 parentheses in FETCH", false, func(p *imapPeer) {
		p.flood("a FETCH 1 " + strings.Repeat("(", 100000) + "UID" + strings.Repeat(")", 100000) + "\r\n")
		p.bye("BYE [TOOBIG]")
	})
	try("a sequence set of 1 MB", false, func(p *imapPeer) {
		p.flood("a FETCH " + strings.Repeat("1,", 500000) + "1 FLAGS\r\n")
		p.bye("BYE [TOOBIG]")
	})
	try("parentheses around literals", false, func(p *imapPeer) {
		p.send("a SEARCH " + strings.Repeat(strings.Repeat("(", 4000)+"TEXT {1+}\r\nx ", 100) + "ALL\r\n")
		if _, tagged := p.until("a"); !strings.HasPrefix(tagged.text(), "NO [LIMIT]") {
			p.t.Errorf("got %v", tagged)
		}
		p.ok("NOOP")
	})
	try("another protocol", true, func(p *imapPeer) {
		p.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		p.bye("BYE")
	})
	try("IDLE that does not end", false, func(p *imapPeer) {
		p.send("a IDLE\r\n")
		if r := p.response(); r[0] != atom("+") {
			p.t.Errorf("got %v", r)
		}
		p.flood(strings.Repeat("x", 100000) + "\r\n")
		if got := p.response(); len(got) > 0 && got.text() != "" && !strings.HasPrefix(got.text(), "BAD") && !strings.HasPrefix(got.text(), "BYE") {
			p.t.Errorf("got %v", got)
		}
	})
	try("AUTHENTICATE with much", true, func(p *imapPeer) {
		p.send("a AUTHENTICATE PLAIN\r\n")
		if r := p.response(); r[0] != atom("+") {
			p.t.Errorf("got %v", r)
		}
		p.flood(strings.Repeat("QUFB", 1<<20) + "\r\n")
		p.bye("BYE")
	})
}

func keywords(n int) string {
	var words []string
	for i := range n {
		words = append(words, fmt.Sprintf("k%d", i))
	}
	return strings.Join(words, " ")
}

// sessions is the number of hostile sessions of one address.
const sessions = 100

// TestHeldLiterals has many sessions of one address announce literals and hold
// them. Others are served, also from the same address.
func TestHeldLiterals(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.memoryMax = hostileMemory
	s.fill(t, 1, 200)
	watched := s.watch(t)
	for i := range sessions {
		announced := fmt.Sprintf("Subject: held %d\r\n\r\n", i)
		for _, command := range []string{"APPEND Inbox {99999999}", "SEARCH TEXT {100000}", "SEARCH HEADER {99999} ", "LOGIN {4000}"} {
			p := s.imapRaw(t)
			if !strings.HasPrefix(command, "LOGIN") {
				p = s.imap(t, "Inbox")
			}
			p.send("h " + strings.TrimSpace(command) + "\r\n")
			if r := p.response(); len(r) == 0 || r[0] != atom("+") {
				t.Fatalf("%s: got %v", command, r)
			}
			p.send(announced)
		}
		// What can't be taken does not hold anything.
		p := s.imapRaw(t)
		p.refused("BAD [TOOBIG]", "LOGIN {99999999}")
		p = s.imapRaw(t)
		p.send("h LOGIN {99999999+}\r\n")
		p.bye("BYE")
	}
	if got := s.memory("VmRSS"); got > hostileMemory/2 {
		t.Errorf("%d sessions with announced literals take %d MiB", 4*sessions, got>>20)
	}
	watched.end()
}

// TestPreauthMemory has many connections that have not logged in send as much
// of a command as the server takes.
func TestPreauthMemory(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.memoryMax = hostileMemory
	watched := s.watch(t)
	before := s.memory("VmRSS")
	var wg sync.WaitGroup
	for range sessions {
		p := s.imapRaw(t)
		wg.Go(func() {
			// Lines between small literals are a part of the command, too.
			p.flood("a LOGIN " + strings.Repeat("{0+}\r\n "+strings.Repeat("x", 8000)+" ", 900))
		})
	}
	wg.Wait()
	time.Sleep(time.Second) // For the server to read it.
	if took := s.memory("VmRSS") - before; took > sessions<<20 {
		t.Errorf("%d connections that have not logged in take %d MiB", sessions, took>>20)
	}
	watched.end()
}

// TestSlowReaders has clients fetch much and read nothing. Others deliver,
// fetch and expunge meanwhile.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	var conns []net.Conn
	t.Cleanup(func() { // After the server was stopped, which they must not hinder.
		for _, c := range conns {
			_ = c.Close()
		}
	})
	s := start(t)
	s.memoryMax = hostileMemory
	s.fill(t, 30, 1<<20)
	s.fill(t, 200, 300)
	for i := range 40 {
		conn, err := net.DialTimeout("tcp", s.address(portIMAP), patience)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		items := []string{"BODY.PEEK[]", "BODY.PEEK[] BODY.PEEK[TEXT] BODY.PEEK[1]", "ENVELOPE BODYSTRUCTURE FLAGS", "BODY[]<0.100000>"}[i%4]
		if _, err := fmt.Fprintf(conn, "a LOGIN %s %s\r\nb SELECT Inbox\r\n%s", login, password, strings.Repeat("c FETCH 1:* ("+items+")\r\n", 50)); err != nil {
			t.Fatal(err)
		}
	}
	// SMTP replies that nobody reads, too.
	var wg sync.WaitGroup
	for range 10 {
		conn, err := net.DialTimeout("tcp", s.address(portSMTP), patience)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		wg.Go(func() { // Until the server no longer reads.
			if conn.SetWriteDeadline(time.Now().Add(2*time.Second)) == nil {
				_, _ = conn.Write([]byte("EHLO x\r\n" + strings.Repeat("HELP\r\n", 200000)))
			}
		})
	}
	watched := s.watch(t)
	p := s.imap(t, "Inbox")
	p.ok(`STORE 1:150 +FLAGS.SILENT (\Deleted)`)
	p.ok("EXPUNGE")
	p.ok("FETCH 1:* (FLAGS UID)")
	wg.Wait()
	watched.end()
}

// TestHalfOpen has peers that connect and say nothing, or half of something.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	var conns []net.Conn
	t.Cleanup(func() { // After the server was stopped, which they must not hinder.
		for _, c := range conns {
			_ = c.Close()
		}
	})
	s := start(t)
	s.memoryMax = hostileMemory
	watched := s.watch(t)
	before := s.memory("VmRSS")
	envelope := "EHLO x\r\nMAIL FROM:<a@b.example> SIZE=90000000\r\nRCPT TO:<mox@localhost>\r\n"
	for _, half := range []struct{ port, data string }{
		{portSMTP, ""},
		{portSMTP, "EHL"},
		{portSMTP, "EHLO x\r\nSTARTTLS\r\n"},
		{portSMTP, envelope},
		{portSMTP, envelope + "DATA\r\nSubject: half\r\n"},
		{portSMTP, envelope + "BDAT 90000000 LAST\r\nSubject: half\r\n"},
		{portIMAP, ""},
		{portIMAP, "a"},
		{portIMAP, "a STARTTLS\r\n"},
		{portIMAP, "a AUTHENTICATE PLAIN\r\n"},
		{portIMAP, "a LOGIN {10}\r\nabc"},
		{portIMAPS, ""},
		{portIMAPS, "\x16\x03\x01\x02"},
		{portMetrics, ""},
		{portMetrics, "GET /metrics HTTP/1.1\r\n"},
	} {
		for range 40 {
			conn, err := net.DialTimeout("tcp", s.address(half.port), patience)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
			if _, err := conn.Write([]byte(half.data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(2 * time.Second)
	// TLS handshakes and messages that have begun hold buffers.
	if took := s.memory("VmRSS") - before; took > int64(len(conns))*200<<10 {
		t.Errorf("%d peers that say nothing, or half of something, take %d MiB", len(conns), took>>20)
	} else {
		t.Logf("%d peers that say nothing, or half of something, take %d MiB", len(conns), took>>20)
	}
	watched.end()
}

// TestManySpools has many peers send messages at a time, slowly: they are held in
// memory up to a limit, and then in files.
func TestManySpools(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.memoryMax = hostileMemory
	watched := s.watch(t)
	const peers = 300
	piece := strings.Repeat(strings.Repeat("x", 62)+"\r\n", 16<<10-100) // Almost 1 MiB.
	var wg sync.WaitGroup
	for range peers {
		p := s.smtp(t)
		p.begin()
		wg.Go(func() { p.flood("Subject: spool\r\n\r\n" + piece) })
	}
	wg.Wait()
	watched.end()
}
