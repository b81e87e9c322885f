package smtpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
)

// smtplibScript sends a message for each task with Python's smtplib, and tells what
// became of it: the code and text of the first refusal, and the command.
const smtplibScript = `
import json, smtplib, sys

def send(task):
    with smtplib.SMTP("127.0.0.1", task["port"], local_hostname=task["helo"], timeout=60) as s:
        try:
            refused = s.sendmail(task["from"], task["to"], task["data"].encode())
        except smtplib.SMTPHeloError as e:
            return "EHLO", e.smtp_code, e.smtp_error
        except smtplib.SMTPSenderRefused as e:
            return "MAIL", e.smtp_code, e.smtp_error
        except smtplib.SMTPRecipientsRefused as e:
            return "RCPT", *list(e.recipients.values())[0]
        except smtplib.SMTPDataError as e:
            return "DATA", e.smtp_code, e.smtp_error
        if refused:
            return "RCPT", *list(refused.values())[0]
        return "", 250, b""

for task in json.load(sys.stdin):
    command, code, text = send(task)
    print(json.dumps({"command": command, "code": code, "text": text.decode()}))
`

// smtplibTask is a message for smtplibScript.
type smtplibTask struct {
	Port  int      `json:"port"`
	Hello string   `json:"helo"`
	From  string   `json:"from"`
	To    []string `json:"to"`
	Data  string   `json:"data"`
}

// TestSMTPLib has Python's smtplib send messages that are refused, and checks what
// it makes of each refusal: code, enhanced code, and the command it was for.
func TestSMTPLib(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is missing (Debian package python3): make test installs it")
	}
	const good, soft, unnamed = "ann@good.example", "ann@soft.example", "198.51.100.9"
	loop := strings.Repeat("Received: by x; now\r\n", 101)
	for _, tc := range []struct {
		name    string
		ip      string // "192.0.2.25" if empty.
		past    string
		list    bool // Asks bl.example.
		quota   int64
		hello   string
		from    string
		author  string // In From, from if empty.
		to      string // Separated by spaces, alice if empty.
		more    string // Of header.
		want    string // Command, code and enhanced code.
		content string
	}{
		{name: "taken", from: good, want: " 250"},
		{name: "a name that does not exist", hello: "none.example", from: good, want: "EHLO 550 5.0.0"},
		{name: "a sender that does not exist", from: "x@none.example", want: "MAIL 550 5.7.27"},
		{name: "an unknown user", from: good, to: "nobody@example.org", want: "RCPT 550 5.1.1"},
		{name: "one of two is unknown", from: good, to: "alice@example.org nobody@example.org", want: "RCPT 550 5.1.1"},
		{name: "another domain", from: good, to: "x@elsewhere.example", want: "RCPT 550 5.1.1"},
		{name: "a domain that is disabled", from: good, to: "x@disabled.example", want: "RCPT 450 4.2.1"},
		{name: "an address that is gone", from: good, to: "gone@example.org", want: "RCPT 550 5.1.1"},
		{name: "no room", from: good, quota: 10, want: "RCPT 452 4.2.2"},
		{name: "a notification for two", author: good, to: "alice@example.org dave@example.org", want: "RCPT 452 4.5.3"},
		{name: "two recipients, not verified", from: soft, to: "alice@example.org dave@example.org", want: "RCPT 452 4.5.3"},
		{name: "a loop", from: good, more: loop, want: "DATA 550 5.4.6"},
		{name: "a header too large", from: good, more: "Subject: " + strings.Repeat("x\r\n ", 300_000) + "x\r\n", want: "DATA 552 5.3.4"},
		{name: "members only", from: good, to: "members@example.org", want: "DATA 550 5.7.2"},
		{name: "forged", from: soft, author: good, want: "DATA 550 5.7.26"},
		{name: "not verified", from: soft, to: "verified@example.org", want: "DATA 550 5.7.1"},
		{name: "SPF fails", from: "x@strict.example", author: soft, want: "DATA 451 4.3.0"},
		{name: "in a blocklist", ip: unnamed, list: true, from: soft, want: "DATA 451 4.3.0"},
		{name: "in a blocklist, with a token", ip: unnamed, list: true, from: good, to: "carol@example.org", want: "DATA 550 5.7.1"},
		{name: "a filter that has learned nothing", ip: unnamed, from: soft, to: "bob@example.org", want: "DATA 451 4.3.0"},
		{name: "known for junk", past: "1 junk mailfrom=" + good + " from=" + good, from: good, want: "DATA 451 4.3.0"},
		{name: "a network known for junk", past: "2 junk mailfrom=x%d@soft.example from=x@one%d.example", from: soft, want: "DATA 451 4.3.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			set := settings{dynamic: verdictsConfig(), quota: tc.quota, remote: "192.0.2.25", hurried: true}
			if tc.ip != "" {
				set.remote = tc.ip
			}
			r, err := dnstest.New(verdictsZone)
			if err != nil {
				t.Fatal(err)
			}
			if set.resolver = r; tc.list {
				set.blocklists = []dns.Domain{{ASCII: "bl.example"}}
			}
			e := newEnv(t, set)
			if tc.past != "" {
				e.play(tc.past)
			}
			port, stop := e.listenAs(t, set.remote)
			task := smtplibTask{Port: port, Hello: "mx.good.example", From: tc.from, To: []string{"alice@example.org"}}
			if tc.hello != "" {
				task.Hello = tc.hello
			}
			if tc.to != "" {
				task.To = strings.Fields(tc.to)
			}
			if tc.author == "" {
				tc.author = tc.from
			}
			task.Data = tc.more + "From: <" + tc.author + ">\r\nTo: <" + task.To[0] + ">\r\n\r\nhello\r\n"
			got := smtplib(t, python, task)
			stop()
			e.close()
			if !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// smtplib sends a message, and returns the command that was refused, code and text.
func smtplib(t *testing.T, python string, task smtplibTask) string {
	t.Helper()
	tasks, err := json.Marshal([]smtplibTask{task})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-B", "-c", smtplibScript)
	cmd.Stdin = bytes.NewReader(tasks)
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("smtplib: %v: %s", err, out)
	}
	var res struct {
		Command string
		Code    json.Number
		Text    string
	}
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return res.Command + " " + res.Code.String() + " " + res.Text
}

// listenAs serves e on a real socket, as if all connections came from an address.
func (e *env) listenAs(t *testing.T, ip string) (port int, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- e.server.Serve(ctx, remoteListener{ln, ip}, e.listener) }()
	stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	return ln.Addr().(*net.TCPAddr).Port, stop //nolint:forcetypeassert // It listens to TCP.
}

// remoteListener is a listener whose connections come from an address.
type remoteListener struct {
	net.Listener
	ip string
}

func (l remoteListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return remoteConn{c, l.ip}, nil
}
