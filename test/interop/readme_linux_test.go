package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/queue"
)

// TestReadmeCommands runs the commands of the README that reach the server, in
// their order, with a message in the queue.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	s := start(t)
	conf := filepath.Join(s.dir, "mox.conf")
	c := gosmtp.NewClient(s.dial(t, portSubmission))
	if err := c.Auth(sasl.NewPlainClient("", login, password)); err != nil {
		t.Fatal(err)
	}
	if err := send(c, login, gosmtp.MailOptions{}, newMail(login, "waits", "Hello.\r\n"), "queuetemperror@localhost"); err != nil {
		t.Fatal(err)
	}
	// attempted waits until the message has had so many attempts and waits again.
	attempted := func(n int64) {
		t.Helper()
		var list []admin.QueueMessage
		waits := func() bool {
			if err := json.Unmarshal([]byte(command(t, nil, program(t), "-config", conf, "queue", "list", "-json")), &list); err != nil {
				t.Fatal(err)
			}
			return len(list) == 1 && list[0].State == queue.Waiting && list[0].Attempts == n
		}
		if !eventually(waits) {
			t.Fatalf("no message waits after %d attempts: %+v", n, list)
		}
	}
	attempted(1)

	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ +mymox (.*)$`).FindAllStringSubmatch(string(readme), -1) {
		line, _, _ := strings.Cut(m[1], "#")
		line = strings.TrimSpace(line)
		// A new password is asked for, and given.
		outputs[line] = command(t, []byte("another"+password+"\n"), program(t), append([]string{"-config", conf}, strings.Fields(line)...)...)
		if line == "queue schedule -now 0" {
			attempted(2)
		}
	}
	for _, want := range []struct{ line, output string }{
		{"queue list", "queuetemperror@localhost"},
		{"queue schedule -now 0", "messages changed: 1\n"},
		{"setaccountpassword mox", ""},
		{"loglevels trace smtpserver", ""},
		{"stop", ""},
	} {
		if got, ok := outputs[want.line]; !ok || !strings.Contains(got, want.output) {
			t.Errorf("mymox %s: got %q, want %q", want.line, got, want.output)
		}
	}
	// It has stopped, in order. Then it is as it was, with another password.
	<-s.exited
	if s.err != nil {
		t.Errorf("after mymox stop: got %v", s.err)
	}
	s.run()
	c = gosmtp.NewClient(s.dial(t, portSubmission))
	if err := c.Auth(sasl.NewPlainClient("", login, password)); err == nil {
		t.Error("the password from before still works")
	}
	c = gosmtp.NewClient(s.dial(t, portSubmission))
	if err := c.Auth(sasl.NewPlainClient("", login, "another"+password)); err != nil {
		t.Errorf("with the new password: %v", err)
	}
	attempted(2)
}

// TestReadmeSNail runs the lines of the README for s-nail.
func TestReadmeSNail(t *testing.T) {
	t.Parallel()
	tool(t, "s-nail")
	s := start(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^ {4}(.*\bs-nail\b.*)$`).FindAllSubmatch(readme, -1)
	if len(lines) == 0 {
		t.Fatal("the README has no lines for s-nail")
	}
	port := regexp.MustCompile(`\blocalhost:(\d+)`)
	for _, m := range lines {
		line := port.ReplaceAllString(string(m[1]), s.ip+":$1")
		command(t, nil, "sh", "-c", line)
	}
	p := s.imap(t, "Inbox")
	sent := func() bool {
		p.ok("NOOP")
		return len(p.search("ALL")) >= len(lines)
	}
	if !eventually(sent) || len(p.search("ALL")) != len(lines) {
		t.Errorf("got %d messages of %d lines", len(p.search("ALL")), len(lines))
	}
	for _, uid := range p.search("ALL") {
		if got := p.bytes(uid, "BODY.PEEK[]"); !strings.HasSuffix(got, "\r\n\r\nHello again.\r\n") {
			t.Errorf("got %q", got)
		}
	}
}

// TestReadmeMutt runs the line of the README for mutt, and reads and deletes.
func TestReadmeMutt(t *testing.T) {
	t.Parallel()
	tool(t, "mutt")
	s := start(t)
	s.smtp(t).deliver("From: Ann <ann@remote.example>\r\nSubject: for mutt\r\n\r\nRead in mutt.\r\n")
	p := s.imap(t, "Inbox")
	if !eventually(func() bool { p.ok("NOOP"); return len(p.search("ALL")) == 1 }) {
		t.Fatal("the message has not come")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ {4}(mutt .*)$`).FindStringSubmatch(string(readme))
	if line == nil {
		t.Fatal("the README has no line for mutt")
	}
	m := newScreen(t, regexp.MustCompile(`\blocalhost:(\d+)`).ReplaceAllString(line[1], s.ip+":$1"))
	m.wait("Create it?") // A directory for mailboxes of its own.
	m.write("n")
	m.wait("for mutt")
	m.press("Enter")
	m.wait("Read in mutt.")
	m.write("dq") // Mark as deleted, which goes back to the index, and quit.
	m.wait("Purge 1 deleted message?")
	m.write("y")
	if !eventually(func() bool { p.ok("NOOP"); return len(p.search("ALL")) == 0 }) {
		t.Errorf("the message is still there; on the screen:\n%s", m.text())
	}
}
