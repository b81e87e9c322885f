package system

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/trace"
)

// scriptedServer is a mail server that answers RCPT as it is told, with TLS or without.
// Each connection takes the next of its answers.
type scriptedServer struct {
	t       *testing.T
	cert    tls.Certificate
	answers chan scriptedAnswer
	last    chan string // The message that was taken last.
}

type scriptedAnswer struct {
	tls  bool
	rcpt string
}

// dial is for Options.Dial.
func (s *scriptedServer) dial(_ context.Context, _, address string, _ netip.Addr) (net.Conn, error) {
	select {
	case a := <-s.answers:
		client, server := net.Pipe()
		go s.serve(server, a)
		return client, nil
	default:
		return nil, errors.New("connection refused: " + address)
	}
}

func (s *scriptedServer) serve(conn net.Conn, a scriptedAnswer) {
	defer conn.Close() // Without an end of TLS, for which nobody would be waiting.
	in := bufio.NewScanner(conn)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(conn, format+"\r\n", args...) }
	say("220 mx.other.example ready")
	for in.Scan() {
		switch verb, _, _ := strings.Cut(strings.ToUpper(in.Text()), " "); verb {
		case "EHLO":
			if a.tls {
				say("250-mx.other.example")
				say("250 STARTTLS")
			} else {
				say("250 mx.other.example")
			}
		case "STARTTLS":
			say("220 go ahead")
			c := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{s.cert}})
			conn, in, a.tls = c, bufio.NewScanner(c), false
		case "MAIL", "RSET":
			say("250 2.0.0 ok")
		case "RCPT":
			say("%s", a.rcpt)
		case "DATA":
			say("354 go ahead")
			var b strings.Builder
			for in.Scan() && in.Text() != "." {
				b.WriteString(in.Text() + "\n")
			}
			s.last <- b.String()
			say("250 2.0.0 taken as 4711")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 5.5.1 no")
		}
	}
}

const traceStatic = static + `Trace:
	KeepFor: 48h
	MaxSize: 1048576
`

// startTraced starts a server that sends to s, and whose mail is signed.
func startTraced(t *testing.T, s *scriptedServer, path string) (*running, *admin.Admin) {
	t.Helper()
	opts := options(t, path)
	opts.Local, opts.Dial = nil, s.dial
	var err error
	opts.Resolver, err = dnstest.New("other.example. MX 10 mx.other.example.\nmx.other.example. A 192.0.2.25\n")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, opts)
	a, err := r.Admin(func() {})
	if err != nil {
		t.Fatal(err)
	}
	return r, a
}

// writeTraceConfig writes a configuration with traces, submission and a key for DKIM.
func writeTraceConfig(t *testing.T) string {
	t.Helper()
	path := writeConfig(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	signing := "Domains:\n\tlocalhost:\n\t\tDKIM:\n\t\t\tSelectors:\n\t\t\t\t2026a:\n\t\t\t\t\tPrivateKeyFile: dkim.pem\n\t\t\tSign:\n\t\t\t\t- 2026a\n"
	changed := strings.Replace(dynamic, "Domains:\n\tlocalhost: nil\n", signing, 1)
	changed = strings.Replace(changed, "\tmox:\n\t\tDomain: localhost\n", "\tmox:\n\t\tDomain: localhost\n\t\tNoFirstTimeSenderDelay: true\n\t\tKeepRetiredMessagePeriod: 24h\n", 1)
	for name, text := range map[string]string{
		"mox.conf":     strings.Replace(traceStatic, "\t\tIMAP:\n", "\t\tSubmission:\n\t\t\tEnabled: true\n\t\t\tNoRequireSTARTTLS: true\n\t\tIMAP:\n", 1),
		"domains.conf": changed,
		"dkim.pem":     string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
	} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// submit submits a message from mox@localhost.
func (r *running) submit(t *testing.T, id string, to ...string) {
	t.Helper()
	c, err := smtp.Dial(r.address(config.ServiceSubmission))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	host, _, _ := net.SplitHostPort(r.address(config.ServiceSubmission))
	err = errors.Join(c.StartTLS(&tls.Config{ServerName: "localhost", InsecureSkipVerify: true}), c.Auth(smtp.PlainAuth("", "mox@localhost", "moxmoxmox", host)), c.Mail("mox@localhost"))
	for _, rcpt := range to {
		err = errors.Join(err, c.Rcpt(rcpt))
	}
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(w, "From: <mox@localhost>\r\nTo: somebody <%s>\r\nMessage-ID: <%s>\r\nSubject: Lunch\r\n\r\nHello.\r\n", to[0], id)
	if err = errors.Join(err, w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
}

// failedLater is a notification about the message one@localhost.
const failedLater = `From: <postmaster@mx.other.example>
To: <mox@localhost>
Message-ID: <dsn@other.example>
Subject: failed
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=x

--x

It failed.

--x
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.other.example

Final-Recipient: rfc822; bob@other.example
Action: failed
Status: 5.2.2

--x
Content-Type: text/rfc822-headers

Message-ID: <one@localhost>

--x--
`

// notify sends a message from the null sender to mox@localhost, as another server.
func (r *running) notify(t *testing.T, content string) {
	t.Helper()
	c, err := smtp.Dial(r.address(config.ServiceSMTP))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Mail(""), c.Rcpt("mox@localhost")); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte(strings.ReplaceAll(content, "\n", "\r\n")))
	if err = errors.Join(err, w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
}

// lookup returns the trace of a query once it has n steps.
func lookup(t *testing.T, a *admin.Admin, query string, n int) []trace.Event {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		res, err := a.QueueTrace(t.Context(), admin.QueueTraceRequest{Query: query})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Events) >= n {
			return res.Events
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q has %d steps, not %d: %q", query, len(res.Events), n, kinds(res.Events))
		}
	}
}

// kinds returns what happened, in words.
func kinds(events []trace.Event) (list []string) {
	for _, e := range events {
		word := string(e.Kind)
		switch {
		case e.Attempt != nil:
			word += fmt.Sprintf(" %d %s", e.Attempt.Number, e.Attempt.Result)
		case e.Verdict != nil:
			word += fmt.Sprintf(" %s delivered %v", e.Account, e.Verdict.Delivered)
		case e.Notice != nil:
			word += " " + e.Notice.Action
		case e.Change != nil:
			word += " " + e.Change.What
		case e.Answer != nil:
			word += fmt.Sprintf(" %s claimed %v", e.Answer.Action, e.Answer.Claimed)
		case e.Refusal != nil:
			word += " " + e.Refusal.Stage + " " + e.Refusal.Reason
		}
		list = append(list, word)
	}
	return list
}

// TestTrace follows messages through a server: submitted and signed, refused for now,
// then taken over TLS; refused for good, and told to the sender; to a user here; from
// another server; and refused before there was a message. A restart forgets nothing.
func TestTrace(t *testing.T) {
	t.Parallel()
	cert := keyPair(t, time.Now().Add(time.Hour), "mx.other.example")
	s := &scriptedServer{t: t, cert: cert, answers: make(chan scriptedAnswer, 10), last: make(chan string, 10)}
	path := writeTraceConfig(t)
	r, a := startTraced(t, s, path)
	if _, err := a.SetPassword(t.Context(), admin.SetPasswordRequest{Account: "mox", Password: "moxmoxmox"}); err != nil {
		t.Fatal(err)
	}

	s.answers <- scriptedAnswer{rcpt: "451 4.7.1 greylisted"}
	r.submit(t, "one@localhost", "bob@other.example")
	events := lookup(t, a, "one@localhost", 2)
	id := events[0].Rcpts[0].QueueID
	s.answers <- scriptedAnswer{tls: true, rcpt: "250 2.1.5 ok"}
	if _, err := a.QueueSchedule(t.Context(), admin.QueueScheduleRequest{Filter: admin.QueueFilter{IDs: []int64{id}}, FromNow: true}); err != nil {
		t.Fatal(err)
	}
	events = lookup(t, a, fmt.Sprint(id), 4)
	if got, want := kinds(events), []string{"submitted", "attempted 1 delayed", "changed rescheduled", "attempted 2 delivered"}; !slices.Equal(got, want) {
		t.Errorf("one: got %q, want %q", got, want)
	}
	if sub := events[0]; sub.Account != "mox" || sub.Submission.Login != "mox@localhost" || sub.Peer.IP != "127.0.0.1" || !strings.HasPrefix(sub.Peer.TLS, "TLS1.3 ") ||
		sub.Subject != "Lunch" || sub.CID == 0 || len(sub.Submission.Signatures) != 1 || sub.Submission.Signatures[0] != (trace.Signature{Domain: "localhost", Selector: "2026a", Algorithm: "ed25519-sha256"}) {
		t.Errorf("submitted: got %+v %+v %+v", sub, sub.Peer, sub.Submission)
	}
	if first := events[1].Attempt; first.Host != "mx.other.example" || first.IP != "192.0.2.25" || first.TLS != "none" || first.Policy != "opportunistic" || first.Transport != "direct" ||
		first.Code != 451 || first.Enhanced != "4.7.1" || !strings.HasSuffix(first.Error, ": 451 4.7.1 greylisted") || first.Next.IsZero() || first.Permanent {
		t.Errorf("first attempt: got %+v", first)
	}
	if second := events[3].Attempt; second.TLS != "unverified" || !strings.HasPrefix(second.Version, "TLS1.3 ") || second.PKIXError == "" || second.Reply != "250 2.0.0 taken as 4711" || !second.Next.IsZero() {
		t.Errorf("second attempt: got %+v", second)
	}
	if m := <-s.last; !strings.Contains(m, "DKIM-Signature:") {
		t.Errorf("not signed:\n%s", m)
	}

	s.answers <- scriptedAnswer{rcpt: "550 5.1.1 nobody here"}
	r.submit(t, "two@localhost", "eve@other.example", "other@localhost")
	events = lookup(t, a, "two@localhost", 5)
	got := kinds(events)
	slices.Sort(got) // The two recipients have nothing to do with each other.
	if want := []string{"attempted 1 delivered", "attempted 1 failed", "judged other delivered true", "notified failed", "submitted"}; !slices.Equal(got, want) {
		t.Errorf("two: got %q, want %q", got, want)
	}
	events = lookup(t, a, "EVE@other.example", 3)
	if got, want := kinds(events), []string{"submitted", "attempted 1 failed", "notified failed"}; !slices.Equal(got, want) {
		t.Errorf("recipient who is not there: got %q, want %q", got, want)
	}
	notice := events[2].Notice
	if again := lookup(t, a, "<"+notice.MessageID+">", 1); notice.To != "mox@localhost" || len(again) != 1 || again[0].Notice == nil {
		t.Errorf("told: got %+v; by its Message-ID %q", notice, kinds(again))
	}

	r.deliver(t, "mox@localhost", "hello")
	events = lookup(t, a, "sender@remote.example", 2)
	if got, want := kinds(events), []string{"received", "judged mox delivered true"}; !slices.Equal(got, want) {
		t.Errorf("incoming: got %q, want %q", got, want)
	}
	if e, v := events[0], events[1].Verdict; e.Peer.TLS == "" || e.Peer.Protocol != "UTF8SMTPS" || e.Evidence.Header != "sender@remote.example" || len(e.Evidence.Authentication) == 0 ||
		v.Mailbox != "Inbox" || v.Reason == "" || len(v.Steps) == 0 {
		t.Errorf("incoming: got %+v %+v %+v %+v", e, e.Peer, e.Evidence, v)
	}

	r.notify(t, failedLater)
	events = lookup(t, a, fmt.Sprint(id), 5)
	if got, want := kinds(events[4:]), []string{"answered failed claimed true"}; !slices.Equal(got, want) {
		t.Errorf("a notification of the other server: got %q, want %q", got, want)
	}
	if n := events[4].Answer; n.Status != "5.2.2" || n.MessageID != "dsn@other.example" || n.RemoteMTA == "" {
		t.Errorf("a notification of the other server: got %+v", n)
	}

	c, err := smtp.Dial(r.address(config.ServiceSMTP))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Hello("mx.bad.example"), c.Mail("spam@bad.example")); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("nobody@localhost"); err == nil {
		t.Error("nobody is somebody")
	}
	_ = c.Close() // Who is refused gets slow replies.
	events = lookup(t, a, "nobody@localhost", 1)
	if got, want := kinds(events), []string{"refused rcpt unknown-user"}; !slices.Equal(got, want) || !strings.HasPrefix(events[0].Refusal.Reply, "550 5.1.1 ") {
		t.Errorf("refused: got %q, want %q: %+v", got, want, events[0].Refusal)
	}

	if err := r.stop(); err != nil {
		t.Error(err)
	}
	r, a = startTraced(t, s, path)
	res, err := a.QueueTrace(t.Context(), admin.QueueTraceRequest{Query: "one@localhost"})
	if err != nil || len(res.Events) != 5 || len(res.Gaps) != 0 || res.KeepFor != "48h0m0s" {
		t.Errorf("after a restart: %q, gaps %q, kept for %s, %v", kinds(res.Events), kinds(res.Gaps), res.KeepFor, err)
	}
	if _, body := r.get(t, "/metrics"); !strings.Contains(body, "\nmox_trace_dropped_total 0\n") || !strings.Contains(body, "\nmox_trace_size_bytes ") {
		t.Error("no metrics of traces")
	}
}

// TestTraceOff shows that nothing is kept if it is not wanted.
func TestTraceOff(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	if err := os.WriteFile(path, []byte(static+"Trace:\n\tKeepFor: -1s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, options(t, path))
	r.deliver(t, "mox@localhost", "one")
	a, err := r.Admin(func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.QueueTrace(t.Context(), admin.QueueTraceRequest{Query: "mox@localhost"}); admin.ErrorOf(err).Code != admin.Unavailable {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "data", "trace")); !os.IsNotExist(err) {
		t.Errorf("there is a directory for traces: %v", err)
	}
}
