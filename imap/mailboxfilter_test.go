package imap

import (
	"reflect"
	"strings"
	"testing"
)

func TestMailboxFilter(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       MailboxFilter // Zero: refused.
	}{
		{"selected, in any case", "Selected", MailboxFilter{Kind: FilterSelected}},
		{"selected-delayed", "selected-delayed", MailboxFilter{Kind: FilterSelectedDelayed}},
		{"inboxes", "INBOXES", MailboxFilter{Kind: FilterInboxes}},
		{"personal", "personal", MailboxFilter{Kind: FilterPersonal}},
		{"subscribed", "subscribed", MailboxFilter{Kind: FilterSubscribed}},
		{"one name", "mailboxes INBOX", MailboxFilter{FilterMailboxes, []string{"INBOX"}}},
		{"a list of names", `mailboxes (INBOX "a b" &AOk-)`, MailboxFilter{FilterMailboxes, []string{"INBOX", "a b", "é"}}},
		{"a subtree", "subtree a/b", MailboxFilter{FilterSubtree, []string{"a/b"}}},
		{"one level of two subtrees", "subtree-one (a b)", MailboxFilter{FilterSubtreeOne, []string{"a", "b"}}},
		{"wildcards are not for here", "mailboxes a*", MailboxFilter{}},
		{"wildcards in quotes are part of a name", `mailboxes "a*"`, MailboxFilter{FilterMailboxes, []string{"a*"}}},
		{"a list without names", "mailboxes ()", MailboxFilter{}},
		{"no names", "subtree", MailboxFilter{}},
		{"unknown word", "selected-later", MailboxFilter{}},
		{"names where none belong", "personal a", MailboxFilter{}},
		{"as many names as allowed", "mailboxes (a" + strings.Repeat(" a", filterNamesMax-1) + ")", MailboxFilter{FilterMailboxes, strings.Split(strings.Repeat("a", filterNamesMax), "")}},
		{"one more", "mailboxes (a" + strings.Repeat(" a", filterNamesMax) + ")", MailboxFilter{}},
	} {
		d := NewDecoder(tc.text)
		got := d.MailboxFilter()
		if err := d.End(); (err != nil) != (tc.want.Kind == 0) {
			t.Errorf("%s: error %v", tc.name, err)
		} else if err == nil && !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
}
