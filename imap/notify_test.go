package imap

import (
	"reflect"
	"strings"
	"testing"
)

func TestNotify(t *testing.T) {
	t.Parallel()
	const both = NotifyMessageNew | NotifyMessageExpunge
	personal, chosen := MailboxFilter{Kind: FilterPersonal}, MailboxFilter{Kind: FilterSelected}
	one := func(g NotifyGroup) Notify { return Notify{Set: true, Groups: []NotifyGroup{g}} }
	for _, tc := range []struct {
		name, text string
		pedantic   bool
		want       Notify
		err        string // Begin of the response; "" if it is taken.
	}{
		{"nothing", "NONE", false, Notify{}, ""},
		{"nothing, with more behind it", "NONE x", false, Notify{}, "BAD"},
		{"neither word", "ALL", false, Notify{}, "BAD"},
		{"no groups", "SET", false, Notify{}, "BAD"},
		{"STATUS without groups", "SET STATUS", false, Notify{}, "BAD"},
		{"no events", "SET (personal NONE)", false, one(NotifyGroup{Filter: personal}), ""},
		{"an empty list of events", "SET (personal ())", false, Notify{}, "BAD"},
		{
			"all events, and STATUS", "set status (Personal (MESSAGENEW messageexpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))", false,
			Notify{Set: true, Status: true, Groups: []NotifyGroup{{
				Filter: personal, Events: both | NotifyFlagChange | NotifyMailboxName | NotifySubscriptionChange | NotifyMailboxMetadataChange | NotifyServerMetadataChange,
			}}}, "",
		},
		{
			"data of new messages", "SET (selected (MessageNew (UID FLAGS) MessageExpunge))", false,
			one(NotifyGroup{Filter: chosen, Events: both, Fetch: []FetchItem{{Kind: FetchUID}, {Kind: FetchFlags}}}), "",
		},
		{"data of new messages of others", "SET (personal (MessageNew (UID) MessageExpunge))", false, Notify{}, "BAD data of new"},
		{"an empty list of data", "SET (selected (MessageNew () MessageExpunge))", false, Notify{}, "BAD"},
		{"data of another event", "SET (selected (MessageNew MessageExpunge (UID)))", false, Notify{}, "BAD"},
		{"events without parentheses", "SET (subtree a MessageNew MessageExpunge)", false, one(NotifyGroup{Filter: MailboxFilter{FilterSubtree, []string{"a"}}, Events: both}), ""},
		{"the same, pedantic", "SET (subtree a MessageNew MessageExpunge)", true, Notify{}, "BAD"},
		{
			"two groups", "SET (mailboxes (a b) (MailboxName)) (selected-delayed (MessageNew MessageExpunge))", true,
			Notify{Set: true, Groups: []NotifyGroup{
				{Filter: MailboxFilter{FilterMailboxes, []string{"a", "b"}}, Events: NotifyMailboxName},
				{Filter: MailboxFilter{Kind: FilterSelectedDelayed}, Events: both},
			}}, "",
		},
		{"the selected mailbox twice", "SET (selected NONE) (selected NONE)", false, Notify{}, "BAD"},
		{"other events of the selected mailbox", "SET (selected (MailboxName))", false, Notify{}, "BAD"},
		{"an unknown event", "SET (personal (MessageNew MessageExpunge Later))", false, Notify{}, "NO [BADEVENT (MessageNew "},
		{"annotations of messages, though alone", "SET (personal (AnnotationChange))", false, Notify{}, "NO [BADEVENT ("},
		{"an event that is no atom", `SET (personal ("MessageNew"))`, false, Notify{}, "BAD"},
		{"only new messages", "SET (personal (MessageNew))", false, Notify{}, "BAD"},
		{"only removed ones", "SET (personal (MessageExpunge))", false, Notify{}, "BAD"},
		{"only flags", "SET (personal (FlagChange))", false, Notify{}, "BAD"},
		{"flags and new messages", "SET (personal (FlagChange MessageNew))", false, Notify{}, "BAD"},
		{"a group that does not end", "SET (personal NONE", false, Notify{}, "BAD"},
		{"too many groups", "SET" + strings.Repeat(" (personal NONE)", notifyGroupsMax+1), false, Notify{}, "NO [NOTIFICATIONOVERFLOW]"},
		{"far too many groups", "SET" + strings.Repeat(" (personal NONE)", notifyGroupsMax+50), false, Notify{}, "NO [NOTIFICATIONOVERFLOW]"},
		{"too much data", "SET (selected (MessageNew (UID" + strings.Repeat(" UID", fetchItemsMax) + ") MessageExpunge))", false, Notify{}, "BAD"},
		{"too much data, in several lists", "SET (selected (" + strings.Repeat("MessageNew (UID"+strings.Repeat(" UID", fetchItemsMax/2)+") ", 2) + "MessageExpunge))", false, Notify{}, "BAD"},
	} {
		d := NewDecoder(tc.text)
		d.Pedantic = tc.pedantic
		got := d.Notify()
		err := d.End()
		if err == nil && tc.err != "" || err != nil && (tc.err == "" || !strings.HasPrefix(err.Error(), tc.err)) {
			t.Errorf("%s: got error %v, want %q", tc.name, err, tc.err)
		} else if !reflect.DeepEqual(got, tc.want) && err == nil {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
}

// FuzzNotify checks that what is taken keeps the rules about which events come
// together, and is bounded.
func FuzzNotify(f *testing.F) {
	for _, s := range []string{
		"NONE", "SET STATUS (personal (MessageNew MessageExpunge FlagChange))", "SET (selected (MessageNew (UID BODY.PEEK[TEXT]) MessageExpunge))",
		"SET (mailboxes (a b) (MailboxName)) (subtree-one c NONE)", "SET (selected-delayed MessageNew MessageExpunge)", "SET (x (y))",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := NewDecoder(text)
		n := d.Notify()
		if d.End() != nil {
			return
		}
		selected, names := 0, 0
		for _, g := range n.Groups {
			if g.OnSelected() {
				selected++
			} else if len(g.Fetch) > 0 {
				t.Errorf("%q: data for other mailboxes", text)
			}
			has := g.Events&NotifyMessageNew != 0
			if has != (g.Events&NotifyMessageExpunge != 0) || g.Events&NotifyFlagChange != 0 && !has {
				t.Errorf("%q: events %b", text, g.Events)
			}
			names += len(g.Filter.Names)
		}
		if selected > 1 || len(n.Groups) > notifyGroupsMax || names > notifyNamesMax || n.Set == (len(n.Groups) == 0) {
			t.Errorf("%q: %+v", text, n)
		}
	})
}
