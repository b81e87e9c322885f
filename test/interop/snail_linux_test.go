package interop

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadSNail reads mail with s-nail over IMAP: lists, shows, searches, moves
// and deletes.
func TestReadSNail(t *testing.T) {
	t.Parallel()
	snail := tool(t, "s-nail")
	s := start(t)
	for _, subject := range []string{"one", "two", "three"} {
		s.smtp(t).deliver("From: <me@example.org>\r\nSubject: message " + subject + "\r\n\r\nBody of " + subject + ".\r\n")
	}
	p := s.imap(t, "Inbox")
	if !eventually(func() bool { p.ok("NOOP"); return len(p.search("ALL")) == 3 }) {
		t.Fatal("not all messages have come")
	}
	url := "imap://" + strings.Replace(login, "@", "%40", 1) + ":" + password + "@" + s.address(portIMAP) + "/"
	run := func(script string) string {
		return command(t, []byte(script), snail, "-:/", "-N", "-S", "v15-compat", "-S", "imap-auth=login", "-S", "quiet", "-f", url+"INBOX")
	}

	if got := run("from *\nexit\n"); len(regexp.MustCompile(`(?m)message (one|two|three)`).FindAllString(got, -1)) != 3 {
		t.Errorf("list: got %q", got)
	}
	if got := run("type 2\nexit\n"); !strings.Contains(got, "Body of two.") || strings.Contains(got, "Body of one.") {
		t.Errorf("second message: got %q", got)
	}
	if got := run("from '(subject three)'\nexit\n"); !strings.Contains(got, "message three") || strings.Contains(got, "message one") {
		t.Errorf("search: got %q", got)
	}
	run("copy 1 @Archive\ndelete 2\nflag 3\nquit\n")
	p.ok("NOOP")
	if got := p.search("ALL"); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("after deleting: got %v", got)
	}
	if got := p.search("FLAGGED"); !slices.Equal(got, []int{3}) {
		t.Errorf("flagged: got %v", got)
	}
	run("move 1 @Archive\nquit\n")
	p.ok("NOOP")
	if got := p.search("ALL"); !slices.Equal(got, []int{3}) {
		t.Errorf("after moving: got %v", got)
	}
	p.ok("SELECT Archive")
	got := p.search("SUBJECT one")
	if len(got) != 2 {
		t.Errorf("archive: got %v, want what was copied and what was moved", got)
	}
	for _, uid := range got {
		if text := p.bytes(uid, "BODY.PEEK[]"); !strings.HasSuffix(text, "\r\n\r\nBody of one.\r\n") {
			t.Errorf("archive: got %q", text)
		}
	}
}
