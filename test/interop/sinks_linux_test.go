package interop

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// sinkCase is a message to a sink, and what must become of it.
type sinkCase struct {
	name       string
	script     map[string]string
	extensions []string

	// want is "delivered", "returned" and a status of which the sender is told, or
	// "waiting" and a status that is noted. What waits is tried again when the sink
	// has been healed, and then delivered.
	want string

	// copies is how many the sink has in the end. Each time that it has a message and
	// we can't know, there is one more. -1: one if the message is delivered in the
	// end, none if it is returned.
	copies int
}

// answers returns a script with one answer.
func answers(command, answer string) map[string]string { return map[string]string{command: answer} }

// sinkCases has replies that refuse, silence, and lost connections at each stage,
// and lies. What is to be made of each of them package delivery's tests have in
// more detail, with a clock of their own.
var sinkCases = []sinkCase{
	{"nothing wrong", nil, nil, "delivered", -1},
	{"HELO only", answers("EHLO", "500 what?"), nil, "delivered", -1},
	{"all extensions", nil, []string{"PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE 100000", "ENHANCEDSTATUSCODES", "STARTTLS"}, "delivered", -1},

	{"greeting 421", answers("greeting", "421 4.3.2 busy"), nil, "waiting 4.3.2", -1},
	{"greeting 554", answers("greeting", "554 5.3.2 no mail here"), nil, "returned 5.3.2", -1},
	{"greeting drop", answers("greeting", "drop"), nil, "waiting 4.4.2", -1},
	{"greeting stall", answers("greeting", "stall"), nil, "waiting 4.4.2", -1},
	{"greeting noise", answers("greeting", "SSH-2.0-OpenSSH"), nil, "waiting 4.5.0", -1},
	{"greeting flood", answers("greeting", "flood"), nil, "waiting 4.5.0", -1},

	{"EHLO 451", answers("EHLO", "451 4.3.0 not now"), nil, "waiting 4.3.0", -1},
	{"EHLO and HELO 550", map[string]string{"EHLO": "550 5.7.1 not you", "HELO": "550 5.7.1 not you"}, nil, "returned 5.7.1", -1},
	{"EHLO drop", answers("EHLO", "drop"), nil, "waiting 4.4.2", -1},
	{"EHLO stall", answers("EHLO", "stall"), nil, "waiting 4.4.2", -1},
	{"EHLO flood", answers("EHLO", "flood"), nil, "waiting 4.5.0", -1},

	{"MAIL 451", answers("MAIL", "451 4.7.1 greylisted"), nil, "waiting 4.7.1", -1},
	{"MAIL 550", answers("MAIL", "550 5.7.1 not from you"), nil, "returned 5.7.1", -1},
	{"MAIL drop", answers("MAIL", "drop"), nil, "waiting 4.4.2", -1},
	{"MAIL stall", answers("MAIL", "stall"), nil, "waiting 4.4.2", -1},

	{"RCPT 450", answers("RCPT", "450 4.2.1 later"), nil, "waiting 4.2.1", -1},
	{"RCPT 550", answers("RCPT", "550 5.1.1 no such user\n"), nil, "returned 5.1.1", -1},
	{"RCPT 550 in lines", answers("RCPT", "550-5.1.1 no such user\n550-5.1.1 Grüße \x1b[31m\n550 5.1.1 and so on"), nil, "returned 5.1.1", -1},
	{"RCPT drop", answers("RCPT", "drop"), nil, "waiting 4.4.2", -1},
	{"RCPT reset", answers("RCPT", "reset"), []string{"PIPELINING"}, "waiting 4.4.2", -1},
	{"RCPT stall", answers("RCPT", "stall"), []string{"PIPELINING"}, "waiting 4.4.2", -1},

	{"DATA 451", answers("DATA", "451 4.3.0 no"), nil, "waiting 4.3.0", -1},
	{"DATA 554", answers("DATA", "554 5.6.0 no"), []string{"PIPELINING"}, "returned 5.6.0", -1},
	{"DATA drop", answers("DATA", "drop"), nil, "waiting 4.4.2", -1},
	{"DATA stall", answers("DATA", "stall"), nil, "waiting 4.4.2", -1},

	{"content 552", answers("content", "552 5.3.4 too much"), nil, "returned 5.3.4", -1},
	{"content 421", answers("content", "421 4.3.2 going down"), nil, "waiting 4.3.2", -1},
	{"content drop", answers("content", "drop"), nil, "waiting 4.4.2", -1},
	{frozen, answers("content", "freeze"), nil, "waiting 4.4.2", -1},
	{"content reset", answers("content", "reset"), nil, "waiting 4.4.2", -1},

	{"message 452", answers("message", "452 4.3.1 disk full"), nil, "waiting 4.3.1", -1},
	{"message 554", answers("message", "554 5.7.1 spam"), nil, "returned 5.7.1", -1},
	{"message drop", answers("message", "drop"), nil, "waiting 4.4.2", 2},
	{"message stall", answers("message", "stall"), nil, "waiting 4.4.2", 2},
	{"message noise", answers("message", "thank you"), nil, "waiting 4.4.2", 2},
	{"message late", answers("message", "late"), nil, "delivered", -1},
	{"last chunk 451", answers("BDAT", "451 4.3.0 no"), []string{"CHUNKING"}, "waiting 4.3.0", -1},
	{"last chunk 550", answers("BDAT", "550 5.7.1 no"), []string{"CHUNKING"}, "returned 5.7.1", -1},
	{"last chunk drop", answers("BDAT", "drop"), []string{"CHUNKING"}, "waiting 4.4.2", 2},
	{"QUIT stall", answers("QUIT", "stall"), nil, "delivered", -1},
	{"QUIT reset", answers("QUIT", "reset"), nil, "delivered", -1},

	// Lies.
	{"MAIL answered twice", answers("MAIL", "twice"), nil, "waiting 4.5.0", -1},
	{"RCPT answered twice", answers("RCPT", "twice"), nil, "waiting 4.5.0", -1},
	{"DATA taken, not 354", answers("DATA", "250 2.0.0 taken"), nil, "waiting 4.5.0", -1},
	{"message answered 354", answers("message", "354 more"), nil, "waiting 4.4.2", 2},
	{"codes that differ", answers("RCPT", "250-2.1.5 yes\n550 5.1.1 no"), nil, "waiting 4.5.0", -1},
	{"extensions that are none", nil, []string{"SIZE x", "LIMITS RCPTMAX=0 MAILMAX=-1", "AUTH", "=", "8BITMIME 7", strings.Repeat("X", 400)}, "delivered", -1},
	{"no room for anything", nil, []string{"SIZE 10"}, "returned 5.3.4", -1},
	{"CHUNKING, but no BDAT", answers("BDAT", "502 5.5.1 not implemented"), []string{"CHUNKING"}, "returned 5.5.1", -1},
	{"TLS unasked for", answers("greeting", "\x15\x03\x01\x00\x02\x02\x46"), nil, "waiting 4.5.0", -1},
	{"STARTTLS 454", answers("STARTTLS", "454 4.7.0 no TLS now"), []string{"STARTTLS"}, "delivered", -1},
	{"STARTTLS drop", answers("STARTTLS", "drop"), []string{"STARTTLS"}, "delivered", -1},
	{"STARTTLS twice", answers("STARTTLS", "twice"), []string{"STARTTLS"}, "delivered", -1},
	{"handshake drop", answers("handshake", "drop"), []string{"STARTTLS"}, "delivered", -1},
	{"handshake stall", answers("handshake", "stall"), []string{"STARTTLS"}, "delivered", -1},
	{"handshake noise", answers("handshake", "250 2.0.0 ok"), []string{"STARTTLS"}, "delivered", -1},
	{"handshake drop, then MAIL 550", map[string]string{"handshake": "drop", "MAIL": "550 5.7.1 need TLS"}, []string{"STARTTLS"}, "returned 5.7.1", -1},
}

// frozen is the case that needs a large message, more than waits in a connection
// when nobody reads.
const frozen = "content freeze"

// TestSinks has a whole server send to others that refuse, fall silent, hang up
// and lie.
func TestSinks(t *testing.T) { inNetwork(t, testSinks) }

func testSinks(t *testing.T, dir string) {
	if len(sinkCases) >= sinksMax {
		t.Fatalf("no domains for %d cases", len(sinkCases))
	}
	hasty := map[netip.Addr]bool{}
	for i, c := range sinkCases {
		for _, answer := range c.script {
			if answer == "stall" || answer == "freeze" {
				hasty[netip.MustParseAddr(sinkIP(i+1))] = true
			}
		}
	}
	w := newWorld(t, dir, dialHasty(func(ip netip.Addr) bool { return hasty[ip] }))
	cert, err := tls.LoadX509KeyPair(filepath.Join(w.dir, "mox.test.crt"), filepath.Join(w.dir, "mox.test.key"))
	if err != nil {
		t.Fatal(err)
	}
	var sinks []*sink
	for i, c := range sinkCases {
		s := &sink{script: c.script, extensions: c.extensions, cert: cert}
		newSink(t, sinkIP(i+1), s)
		sinks = append(sinks, s)
	}
	partial := &sink{script: map[string]string{"RCPT gone": "550 5.1.1 no such user", "RCPT busy": "450 4.2.1 later"}, extensions: []string{"PIPELINING"}}
	newSink(t, sinkIP(len(sinkCases)+1), partial)

	w.submitToSinks(t)
	t.Run("sinks", func(t *testing.T) {
		for i, c := range sinkCases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.check(t, w, sinks[i], sinkAddress(i))
			})
		}
		t.Run("some recipients", func(t *testing.T) {
			t.Parallel()
			w.checkPartial(t, partial)
		})
	})
	w.checkNotices(t)
	if n := sinks[2].secured(); n != 1 {
		t.Errorf("the sink with all extensions has %d messages that came over TLS", n)
	}
}

// sinkAddress is the recipient of a case.
func sinkAddress(i int) string { return fmt.Sprintf("user@s%d.sink.test", i+1) }

// partialAddresses are the recipients of a message that some don't get.
func partialAddresses() (list []string) {
	for _, localpart := range []string{"one", "gone", "busy", "two"} {
		list = append(list, fmt.Sprintf("%s@s%d.sink.test", localpart, len(sinkCases)+1))
	}
	return list
}

// submitToSinks submits all messages, in one connection.
func (w *world) submitToSinks(t *testing.T) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", ourIP+":465", patience)
	if err != nil {
		t.Fatal(err)
	}
	c := gosmtp.NewClient(tls.Client(conn, &tls.Config{RootCAs: w.roots, ServerName: "mox.test"}))
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", address("alice"), password)); err != nil {
		t.Fatal(err)
	}
	for i := range sinkCases {
		body := "Hello.\r\n"
		if sinkCases[i].name == frozen {
			body = largeBody
		}
		msg := newMail(address("alice"), fmt.Sprint("sink", i), body)
		if err := c.SendMail(address("alice"), []string{sinkAddress(i)}, strings.NewReader(msg)); err != nil {
			t.Fatal(err)
		}
	}
	msg := newMail(address("alice"), "partial", "Hello.\r\n")
	if err := c.SendMail(address("alice"), partialAddresses(), strings.NewReader(msg)); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
}

// check waits until it is known what becomes of the message.
func (c sinkCase) check(t *testing.T, w *world, s *sink, to string) {
	kind, status, _ := strings.Cut(c.want, " ")
	copies := c.copies
	if copies < 0 && kind == "returned" {
		copies = 0
	} else if copies < 0 {
		copies = 1
	}
	if kind == "waiting" {
		if r := w.waiting(t, to, 1); r.Permanent || r.Enhanced != status {
			t.Errorf("got %+v, want status %s", r, status)
		}
		if n, _ := s.has(); n != copies-1 {
			t.Errorf("sink has %d messages at first, want %d", n, copies-1)
		}
		s.heal()
		w.retry(t, to)
	}
	w.gone(t, to)
	if n, _ := s.has(); n != copies {
		t.Errorf("sink has %d messages, want %d", n, copies)
	}
}

// checkPartial has a message to four: each gets what is due to it, once.
func (w *world) checkPartial(t *testing.T, s *sink) {
	to := partialAddresses()
	if r := w.waiting(t, to[2], 1); r.Permanent || r.Enhanced != "4.2.1" {
		t.Errorf("got %+v, want status 4.2.1", r)
	}
	for _, rcpt := range []string{to[0], to[1], to[3]} {
		w.gone(t, rcpt)
	}
	s.heal()
	w.retry(t, to[2])
	w.gone(t, to[2])
	if _, got := s.has(); got != "one two; busy" {
		t.Errorf("sink has messages for %q", got)
	}
}

// checkNotices wants alice to have been told of all that was returned, once, and
// of nothing else.
func (w *world) checkNotices(t *testing.T) {
	t.Helper()
	want := []string{partialAddresses()[1] + " 5.1.1"}
	for i, c := range sinkCases {
		if status, ok := strings.CutPrefix(c.want, "returned "); ok {
			want = append(want, sinkAddress(i)+" "+status)
		}
	}
	p := w.inbox(t, "alice")
	defer p.conn.Close()
	all := func() bool {
		p.ok("NOOP")
		return len(p.search("ALL")) >= len(want)
	}
	if !eventually(all) {
		t.Errorf("alice was told of %d failures only", len(p.search("ALL")))
	}
	var got []string
	for _, uid := range p.search("ALL") {
		r := readReport(t, p.bytes(uid, "BODY.PEEK[]"))
		for _, to := range r.Recipients {
			got = append(got, strings.TrimPrefix(to["final-recipient"], "rfc822; ")+" "+to["status"])
		}
		if len(r.Defects) > 0 || len(r.Recipients) != 1 || r.Recipients[0]["action"] != "failed" {
			t.Errorf("got %+v", r)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("alice was told of %q, want %q", got, want)
	}
}
