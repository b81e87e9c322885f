package imapserver

import (
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/smtp"
)

// TestAppendSent: recipients of messages that a client puts into the mailbox for sent
// mail are known from then on, in their canonical form; those of others are not.
func TestAppendSent(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.server.opts.Canonical = func(a smtp.Address) smtp.Address {
		base, _, _ := strings.Cut(string(a.Localpart), "+")
		a.Localpart = smtp.Localpart(base)
		return a
	}
	e.start()
	defer e.stop()
	nc := e.dialLogin()
	defer nc.Close()
	c := newClient(t, nc)
	appendTo := func(mailbox, msg string) { c.ok("APPEND %s {%d+}\r\n%s", mailbox, len(msg), msg) }
	appendTo("Sent", "From: <mox@example.org>\r\nTo: Bob <Bob+x@B.example>, list:;\r\nCc: Carl <cc@B3.example>\r\nBcc: e@e.example\r\nReply-To: r@r.example\r\n\r\n")
	appendTo("Archive", "From: <mox@example.org>\r\nTo: other@b2.example\r\n\r\n")
	c.ok("SELECT Archive")
	c.ok("REPLACE 1 Sent {%d+}\r\n%s", 19, "To: f@f.example\r\n\r\n")

	a, err := e.store.Account(t.Context(), "mox")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	asked := []string{"bob@b.example", "bob+x@b.example", "cc@b3.example", "e@e.example", "f@f.example", "r@r.example", "other@b2.example", "mox@example.org"}
	want := []bool{true, false, true, true, true, false, false, false}
	if got, err := a.HasSentTo(t.Context(), asked); err != nil || !slices.Equal(got, want) {
		t.Errorf("sent to %q: got %v, %v, want %v", asked, got, err, want)
	}
}
