package outgoing

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// messages returns the messages in alice's Inbox with some text.
func (s *server) messages(t *testing.T, text string) (list []string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(s.ip4, 143).String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(conn, nil)
	defer func() { _ = c.Close() }()
	if err := c.Login(s.address(), password).Wait(); err != nil {
		t.Fatal(err)
	}
	inbox, err := c.Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if inbox.NumMessages == 0 {
		return nil
	}
	all := imap.SeqSet{{Start: 1, Stop: 0}}
	found, err := c.Fetch(all, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range found {
		for _, section := range m.BodySection {
			if strings.Contains(string(section.Bytes), text) {
				list = append(list, string(section.Bytes))
			}
		}
	}
	return list
}

// deliveryStatus has what a notification says of its recipient, RFC 3464.
var deliveryStatus = regexp.MustCompile(`(?s)\r\nFinal-Recipient: [a-z0-9-]+; ?(\S+)\r\n(.*?)\r\n\r\n`)

// checkNotices wants alice to have been told of all that failed, once, and of nothing
// else.
func (s *server) checkNotices(t *testing.T, rows []*row) {
	t.Helper()
	var want, got []string
	for _, r := range rows {
		last := r.want[len(r.want)-1]
		if last.failed() && r.sentBy(s) {
			want = append(want, s.recipient(r)+" failed "+last.status)
		}
	}
	told := func() bool {
		got = nil
		for _, msg := range s.messages(t, "\r\nReporting-MTA:") {
			m := deliveryStatus.FindStringSubmatch(msg)
			if m == nil {
				t.Fatalf("a notification without recipient: %s", msg)
			}
			got = append(got, m[1]+" "+field(m[2], "Action")+" "+field(m[2], "Status"))
		}
		return len(got) >= len(want)
	}
	eventually(told)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("alice was told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// field returns a field of a header.
func field(header, name string) string {
	for line := range strings.SplitSeq(header, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
