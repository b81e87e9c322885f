package imapserver

import (
	"testing"

	"github.com/mjl-/mox/imap"
)

func TestMailboxScope(t *testing.T) {
	t.Parallel()
	sets := mailboxSets{inboxes: map[string]bool{"Inbox": true, "Lists/go": true}, subscribed: map[string]bool{"Sent": true}}
	for _, tc := range []struct {
		name   string
		filter imap.MailboxFilter
		box    string
		want   bool
	}{
		{"personal has all", imap.MailboxFilter{Kind: imap.FilterPersonal}, "a/b", true},
		{"inboxes has where mail is delivered", imap.MailboxFilter{Kind: imap.FilterInboxes}, "Lists/go", true},
		{"inboxes has no others", imap.MailboxFilter{Kind: imap.FilterInboxes}, "Lists", false},
		{"subscribed", imap.MailboxFilter{Kind: imap.FilterSubscribed}, "Sent", true},
		{"not subscribed", imap.MailboxFilter{Kind: imap.FilterSubscribed}, "Inbox", false},
		{"a name", imap.MailboxFilter{Kind: imap.FilterMailboxes, Names: []string{"x", "a/b"}}, "a/b", true},
		{"inbox in another case", imap.MailboxFilter{Kind: imap.FilterMailboxes, Names: []string{"INBOX"}}, "Inbox", true},
		{"below a name", imap.MailboxFilter{Kind: imap.FilterMailboxes, Names: []string{"a"}}, "a/b", false},
		{"a wildcard is none", imap.MailboxFilter{Kind: imap.FilterMailboxes, Names: []string{"*"}}, "a", false},
		{"a name that can't be", imap.MailboxFilter{Kind: imap.FilterMailboxes, Names: []string{"a//b"}}, "a//b", false},
		{"subtree has its top", imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"a"}}, "a", true},
		{"subtree has what is deep", imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"a"}}, "a/b/c", true},
		{"subtree ends at a level", imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"a"}}, "ab/c", false},
		{"subtree-one has its top", imap.MailboxFilter{Kind: imap.FilterSubtreeOne, Names: []string{"a"}}, "a", true},
		{"subtree-one has one level", imap.MailboxFilter{Kind: imap.FilterSubtreeOne, Names: []string{"a"}}, "a/b", true},
		{"subtree-one has no two", imap.MailboxFilter{Kind: imap.FilterSubtreeOne, Names: []string{"a"}}, "a/b/c", false},
		{"subtree of Inbox in another case", imap.MailboxFilter{Kind: imap.FilterSubtree, Names: []string{"inbox"}}, "Inbox/x", true},
		{"selected is nobody's here", imap.MailboxFilter{Kind: imap.FilterSelected}, "Inbox", false},
	} {
		if got := newMailboxScope(tc.filter).covers(tc.box, sets); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
	if !newMailboxScope(imap.MailboxFilter{Kind: imap.FilterInboxes}).covers("a", mailboxSets{}) {
		t.Error("inboxes is not all where they are not known")
	}
}
