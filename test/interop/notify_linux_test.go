package interop

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// testNotified submits with Python's smtplib, which asks for notifications of all:
// from a Postfix that has DSN, one that hasn't, and an account of ours.
func (e *exchange) testNotified(t *testing.T) {
	t.Parallel()
	msg := newMail(address("alice"), "notified", "Hello.\r\n")
	args := []string{
		"-B", filepath.Join("testdata", "notify.py"), ourIP, "587", filepath.Join(e.dir, "mox.test.crt"), address("alice"), password, "id+2B1",
		"notify@postfix.test=SUCCESS,FAILURE,DELAY", "quiet@postfix.test=FAILURE", "notify@plain.test=SUCCESS,FAILURE,DELAY", "quiet@plain.test=",
		address("bob") + "=SUCCESS", "never@strict.test=NEVER", "notify@strict.test=FAILURE",
	}
	command(t, []byte(msg), tool(t, "python3"), args...)
	for _, test := range []struct {
		rcpt, reporter string
		action, status string // Postfix's own status for what it has delivered is 2.0.0 too.
	}{
		{"notify@postfix.test", "mx.postfix.test", "delivered", "2.0.0"},
		{"notify@plain.test", "mox.test", "relayed", "2.0.0"},
		{address("bob"), "mox.test", "delivered", "2.0.0"},
		{"notify@strict.test", "mox.test", "failed", "5.1.1"},
	} {
		got := e.received(t, "alice", "Final-Recipient: rfc822; "+test.rcpt)
		r := readReport(t, got)
		if len(r.Recipients) != 1 || r.OriginalMessageID != "<notified@client.example>" || len(r.Defects) != 0 {
			t.Fatalf("%s: got %+v\n%s", test.rcpt, r, got)
		}
		to := r.Recipients[0]
		if to["action"] != test.action || to["status"] != test.status || to["original-recipient"] != "rfc822; "+strings.ToUpper(test.rcpt) && to["original-recipient"] != "rfc822;"+strings.ToUpper(test.rcpt) {
			t.Errorf("%s: got %v", test.rcpt, to)
		}
		if r.Message["original-envelope-id"] != "id+1" || r.Message["reporting-mta"] != "dns; "+test.reporter {
			t.Errorf("%s: got %v", test.rcpt, r.Message)
		}
		full := r.OriginalType == "message/rfc822"
		if want := test.action == "failed"; test.reporter == "mox.test" && (full != want || strings.Contains(got, "Hello.") != want) {
			t.Errorf("%s: got %s", test.rcpt, r.OriginalType)
		}
		e.gone(t, test.rcpt)
	}
	for _, rcpt := range []string{"quiet@postfix.test", "quiet@plain.test", "never@strict.test"} {
		e.gone(t, rcpt)
		if n := e.count(t, "alice", rcpt); n != 0 {
			t.Errorf("%s: alice has %d notifications", rcpt, n)
		}
	}
}

// TestSisimai has Sisimai read the notifications that package dsn composes.
func TestSisimai(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"failed":             "jane@example.com mjl@example.org failed 5.1.1 550 userunknown one@example.org\n",
		"full":               "jane@example.com mjl@example.org failed 5.1.1 550 userunknown one@example.org\n",
		"full-8bit":          "jane@example.com mjl@example.org failed 5.1.1 550 userunknown one@example.org\n",
		"delivered":          "jane@example.com mjl@example.org delivered 2.1.5 - delivered one@example.org\n",
		"relayed":            "jane@example.com mjl@example.org relayed 2.1.5 250 delivered one@example.org\n",
		"expanded":           "jane@example.com mjl@example.org expanded 2.1.5 - delivered one@example.org\n",
		"international-7bit": `jan\x{E9}\x{2B}a@ex\x{E4}mple.com mjl@ex=C3=A4mple.org failed 5.0.0 550 onhold -` + "\njoe@xn--exmple-cua.com mjl@ex=C3=A4mple.org delayed 4.4.1 - expired -\n",
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "dsn", "testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		// As it is in a mailbox of Unix.
		path := filepath.Join(t.TempDir(), name)
		text = append([]byte("From MAILER-DAEMON Sun Mar  1 12:00:00 2026\n"), bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))...)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		cmd := exec.CommandContext(t.Context(), tool(t, "perl"), filepath.Join("testdata", "sisimai.pl"), path)
		cmd.Stderr = &errs
		got, err := cmd.Output()
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q\n%s", name, got, err, want, &errs)
		}
	}
}
