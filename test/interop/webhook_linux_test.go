package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/webhook"
)

// toldRequest is a line that webhooks.py prints.
type toldRequest struct {
	Path    string
	Headers map[string]string
	Payload json.RawMessage
}

// hookAddress is a web address by Python's http.server.
type hookAddress struct {
	t     *testing.T
	cmd   *exec.Cmd
	port  string
	lines chan string
}

// startHooks starts one. Port "0" takes any.
func startHooks(t *testing.T, ip, port string) *hookAddress {
	t.Helper()
	h := &hookAddress{t: t, lines: make(chan string, 1000)}
	h.cmd = exec.Command(tool(t, "python3"), "-B", filepath.Join("testdata", "webhooks.py"), ip, port, "user", "secret")
	h.cmd.Stderr = os.Stderr
	out, err := h.cmd.StdoutPipe()
	if err == nil {
		err = h.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			h.lines <- scan.Text()
		}
	}()
	t.Cleanup(h.stop)
	h.port = h.line()
	return h
}

// line returns the next line.
func (h *hookAddress) line() string {
	h.t.Helper()
	select {
	case line, ok := <-h.lines:
		if !ok {
			h.t.Fatal("the web address ended")
		}
		return line
	case <-time.After(patience):
		h.t.Fatal("the web address was not told in time")
	}
	return ""
}

// told returns the next request.
func (h *hookAddress) told() (r toldRequest) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(h.line()), &r); err != nil {
		h.t.Fatal(err)
	}
	return r
}

// stop ends it, if it runs.
func (h *hookAddress) stop() {
	if h.cmd.ProcessState == nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait() // It was killed.
	}
}

// mox runs a command for the server.
func (s *server) mox(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program(t), append([]string{"-config", filepath.Join(s.dir, "mox.conf")}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("mox %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// submit submits a message with Python's smtplib.
func (s *server) submit(t *testing.T, msg string, to ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := append([]string{"-B", filepath.Join("testdata", "submit.py"), s.ip, portSubmission, s.cert(), login, password}, to...)
	cmd := exec.CommandContext(ctx, tool(t, "python3"), args...)
	cmd.Stdin = strings.NewReader(msg)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("submitting: %v\n%s", err, out)
	}
}

// setWebhooks writes webhooks of the account into domains.conf, and has the server
// read it.
func (s *server) setWebhooks(t *testing.T, settings string) {
	t.Helper()
	path := filepath.Join(s.dir, "domains.conf")
	conf, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	conf = regexp.MustCompile(`(?s)\tmox:\n.*\t\tDomain:`).ReplaceAll(conf, []byte("\tmox:\n"+settings+"\t\tDomain:"))
	if err := os.WriteFile(path, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	s.mox(t, "config", "reload")
}

const hookMessage = "From: mox@localhost\r\nTo: x@example.org\r\nSubject: hooks\r\nMessage-ID: <Hooks@localhost>\r\nX-Mox-Extra-Order: 17\r\n\r\nHello.\r\n"

// TestWebhooks uses webhooks as an operator would: Python's http.server is told what
// became of messages and which came in, also when it was down, and when the server was
// killed meanwhile.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	s := start(t)
	h := startHooks(t, s.ip, "0")
	url := "http://" + s.ip + ":" + h.port
	settings := fmt.Sprintf("\t\tOutgoingWebhook:\n\t\t\tURL: %s/sent?refuse=1\n\t\t\tAuthorization: Basic dXNlcjpzZWNyZXQ=\n"+
		"\t\tIncomingWebhook:\n\t\t\tURL: %s/received\n\t\t\tAuthorization: Basic dXNlcjpzZWNyZXQ=\n\t\tKeepRetiredWebhookPeriod: 1h\n", url, url)
	s.setWebhooks(t, settings)

	// The address takes nothing at the first attempt.
	s.submit(t, hookMessage, "x@example.org", "queuepermerror@example.org")
	wantIncoming(t, h.told(), "<Hooks@localhost>", "Hello.\n")
	s.hurry(t, 2)
	got := map[webhook.Event]webhook.Outgoing{}
	for range 2 {
		r := h.told()
		var out webhook.Outgoing
		if err := json.Unmarshal(r.Payload, &out); err != nil || r.Path != "/sent?refuse=1" || r.Headers["x-mox-webhook-attempt"] != "2" {
			t.Errorf("got %+v, %v", r, err)
		}
		got[out.Event] = out
	}
	if d := got[webhook.EventDelivered]; d.SMTPCode != 250 || d.MessageID != "<Hooks@localhost>" || d.Extra["Order"] != "17" {
		t.Errorf("delivered: got %+v", got)
	}
	if f := got[webhook.EventFailed]; f.SMTPCode != 550 || f.Error == "" || f.QueueMsgID == got[webhook.EventDelivered].QueueMsgID {
		t.Errorf("failed: got %+v", got)
	}

	// It is down, and the server is killed.
	s.waitWebhooks(t, `"id"`, 0)
	h.stop()
	p := s.smtp(t)
	p.cmd("250", "MAIL FROM:<ann@remote.example>")
	p.cmd("250", "RCPT TO:<mox@localhost>")
	p.cmd("354", "DATA")
	p.send("Message-ID: <In@remote.example>\r\nFrom: ann@remote.example\r\n\r\nAre you there?\r\n.\r\n")
	p.want("250")
	s.kill()
	s.run()
	h = startHooks(t, s.ip, h.port)
	for {
		// Its first attempt may have been made, or not.
		s.mox(t, "queue", "webhook", "schedule", "-now", "0")
		select {
		case line := <-h.lines:
			var r toldRequest
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			wantIncoming(t, r, "<In@remote.example>", "Are you there?\n")
		case <-time.After(100 * time.Millisecond):
			continue
		}
		break
	}
	s.waitWebhooks(t, `"id"`, 0)

	// A wrong password is refused until an operator sets that right.
	s.setWebhooks(t, strings.ReplaceAll(settings, "dXNlcjpzZWNyZXQ=", "d3Jvbmc="))
	s.submit(t, strings.ReplaceAll(hookMessage, "Hooks@", "Wrong@"), "queuepermerror@example.org")
	s.hurry(t, 1)
	if list := s.mox(t, "queue", "webhook", "list", "-json"); !strings.Contains(list, `"error":"401 Unauthorized","response":"who are you?"`) {
		t.Errorf("got %s", list)
	}
	s.mox(t, "queue", "webhook", "cancel")
	retired := s.mox(t, "queue", "webhook", "retired", "list", "-json")
	if strings.Count(retired, `"outcome":"called"`) != 4 || strings.Count(retired, `"outcome":"canceled"`) != 1 {
		t.Errorf("got %s", retired)
	}
}

// hurry waits until so many calls have had an attempt, and has them made again.
func (s *server) hurry(t *testing.T, n int) {
	t.Helper()
	s.waitWebhooks(t, `"attempts":1,"calling":false`, n)
	s.mox(t, "queue", "webhook", "schedule", "-now", "0")
}

// waitWebhooks waits until the list of calls that wait has something n times.
func (s *server) waitWebhooks(t *testing.T, what string, n int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		list := s.mox(t, "queue", "webhook", "list", "-json")
		if strings.Count(list, what) == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is not there %d times: %s", what, n, list)
		}
	}
}

// wantIncoming fails unless a request tells of a message that came in.
func wantIncoming(t *testing.T, r toldRequest, id, text string) {
	t.Helper()
	var in webhook.Incoming
	if err := json.Unmarshal(r.Payload, &in); err != nil || r.Path != "/received" || in.MessageID != id || in.Text != text || in.Meta.MailboxName != "Inbox" {
		t.Errorf("got %s %+v, %v", r.Path, in, err)
	}
}
