package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// alpineConf is alpine's configuration. IP is ours. That it was used before keeps
// it from greeting.
const alpineConf = `personal-name=Alpine User
user-domain=localhost.localdomain
user-id=mox
customized-hdrs=From: ` + login + `
smtp-server=IP:` + portSubmission + `/user=` + login + `/notls
inbox-path={IP:` + portIMAP + `/user=` + login + `/notls}INBOX
folder-collections=Mail {IP:` + portIMAP + `/user=` + login + `/notls}[]
default-fcc={IP:` + portIMAP + `/user=` + login + `/notls}Sent
feature-list=disable-password-file-saving,quit-without-confirm,expunge-without-confirm
last-version-used=9.9
`

// TestAlpine uses alpine as a person does: reads, saves to a mailbox, deletes,
// looks at the mailboxes, writes and sends.
func TestAlpine(t *testing.T) {
	t.Parallel()
	alpine := tool(t, "alpine")
	s := start(t)
	for _, name := range []string{"one", "two", "three"} {
		s.smtp(t).deliver("From: Ann <ann@remote.example>\r\nSubject: subject " + name + "\r\n\r\nText of " + name + ".\r\n")
	}
	p := s.imap(t, "Inbox")
	if !eventually(func() bool { p.ok("NOOP"); return len(p.search("ALL")) == 3 }) {
		t.Fatal("not all messages have come")
	}
	p.ok("CREATE Lists/go")
	conf := filepath.Join(t.TempDir(), "pinerc")
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(alpineConf, "IP", s.ip)), 0o600); err != nil {
		t.Fatal(err)
	}

	a := newScreen(t, alpine+" -p "+conf+" -i")
	a.wait("ENTER PASSWORD:")
	a.write(password)
	a.press("Enter")
	a.wait("subject three")
	a.press("Home", "Enter")
	a.wait("Text of one.")
	a.write("S") // Save: a copy, and the message is marked as deleted.
	a.wait("SAVE Msg #1 to folder")
	a.write("Archive")
	a.press("Enter")
	a.wait("Message 1 of 3 ALL DEL")
	a.write("<")
	a.wait("MESSAGE INDEX")
	a.press("End") // The third.
	a.write("D")
	a.wait("  D   3 ")
	a.write("X")
	a.wait("Message 1 of 1")
	a.write("L")
	for _, name := range []string{"INBOX", "Archive", "Lists"} {
		a.wait(name + "[/]")
	}

	a.write("C")
	a.wait("Message Text")
	a.write("mox@localhost")
	a.press("Enter", "Enter", "Enter")
	a.write("from alpine")
	a.press("Enter")
	a.write("Written in alpine.")
	a.wait("Written in alpine.")
	a.press("C-x")
	a.wait("Send message?")
	a.write("y")
	a.wait("ENTER PASSWORD:")
	a.write(password)
	a.press("Enter")
	a.wait("2 Messages")
	a.write("Q")
	a.wait("Alpine finished", "Pane is dead (status 0")

	p.ok("SELECT INBOX")
	uids := p.search("ALL")
	if len(uids) != 2 || uids[0] != 2 {
		t.Fatalf("Inbox: got messages %v", uids)
	}
	if got := p.bytes(uids[1], "BODY.PEEK[]"); !strings.Contains(got, "\r\nSubject: from alpine\r\n") || !strings.HasSuffix(got, "\r\n\r\nWritten in alpine.\r\n") {
		t.Errorf("what was sent: got %q", got)
	}
	for _, box := range []struct{ name, search string }{{"Archive", "SUBJECT one"}, {"Sent", `SUBJECT "from alpine"`}} {
		p.ok("SELECT %s", box.name)
		if got := p.search("%s", box.search); !slices.Equal(got, []int{1}) {
			t.Errorf("%s: got %v", box.name, got)
		}
	}
}
