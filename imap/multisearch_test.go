package imap

import (
	"strings"
	"testing"
)

func TestMultiSearch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       string // The kinds and names of the filters, and the search; or the start of a failure, with "!".
	}{
		{"the selected mailbox", "UNSEEN", "UNSEEN"},
		{"options alone", "RETURN (COUNT) UNSEEN", "RETURN (COUNT) UNSEEN"},
		{"one filter", "IN (personal) RETURN (ALL) UNSEEN", "personal RETURN (ALL) UNSEEN"},
		{"filters, in any case", `in (Mailboxes "folder1" subtree (folder2 x) Selected) unseen`, "mailboxes folder1 subtree folder2,x selected UNSEEN"},
		{"what only NOTIFY has", "IN (selected-delayed) ALL", "selected ALL"},
		{"no filter", "IN () ALL", "!BAD expected a list"},
		{"no list", "IN personal ALL", `!BAD expected "("`},
		{"scope options", "IN (personal (x y)) ALL", "!BAD unknown scope option"},
		{"options in the wrong order", "RETURN (ALL) IN (personal) ALL", `!BAD unknown search key "IN"`},
		{"no search", "IN (personal)", "!BAD expected space"},
		{"an unknown filter", "IN (others) ALL", "!BAD unknown mailbox filter"},
		{"as many filters as allowed", "IN (inboxes" + strings.Repeat(" inboxes", filtersMax-1) + ") ALL", strings.Repeat("inboxes ", filtersMax) + "ALL"},
		{"one more", "IN (inboxes" + strings.Repeat(" inboxes", filtersMax) + ") ALL", "!BAD more than"},
	} {
		d := NewDecoder(tc.text)
		s := d.MultiSearch()
		got := ""
		for _, f := range s.In {
			got += nameOfFilter(f) + " "
		}
		got = string(s.Append([]byte(got)))
		if err := d.End(); err != nil {
			got = "!" + err.Error()
		}
		if want, failure := strings.CutPrefix(tc.want, "!"); failure && !strings.HasPrefix(got, "!"+want) || !failure && got != tc.want {
			t.Errorf("%s: got %s", tc.name, got)
		}
	}
	d := NewDecoder("IN (selected-delayed) ALL")
	d.Pedantic = true
	if d.MultiSearch(); d.End() == nil {
		t.Error("a pedantic decoder takes selected-delayed")
	}
}

func nameOfFilter(f MailboxFilter) string {
	for name, known := range filterNames {
		if known.kind == f.Kind {
			return strings.TrimSuffix(strings.ToLower(name)+" "+strings.Join(f.Names, ","), " ")
		}
	}
	return ""
}
