package imap

import (
	"reflect"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       string // As Append writes it; or the start of the response for a failure, with "!".
	}{
		{"all", "all", "ALL"},
		{"keys side by side", `FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"`, `FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"`},
		{"a charset", "CHARSET utf-8 TEXT {3}\r\na b", `CHARSET UTF-8 TEXT "a b"`},
		{"another charset", "CHARSET KOI8-R TEXT x", "!NO [BADCHARSET (US-ASCII UTF-8)]"},
		{"a text that is not UTF-8", "SUBJECT {1}\r\n\xfc", "!NO [BADCHARSET"},
		{"result options", "RETURN (count MIN) ALL", "RETURN (MIN COUNT) ALL"},
		{"no result options", "RETURN () ALL", "RETURN (ALL) ALL"},
		{"an unknown result option", "RETURN (PARTIAL) ALL", "!BAD unknown SEARCH result option"},
		{"a sequence set", "2,4:* UID 1:*", "2,4:* UID 1:*"},
		{"a saved result", "$ SMALLER 4096", "$ SMALLER 4096"},
		{"lists", "OR (SEEN (DRAFT)) NOT (1 2)", "OR (SEEN (DRAFT)) NOT (1 2)"},
		{"a header", `HEADER "Message-ID" <x>`, `HEADER Message-ID "<x>"`},
		{"a header that must exist", `HEADER x ""`, `HEADER x ""`},
		{"keywords", "KEYWORD $Junk UNKEYWORD x", "KEYWORD $Junk UNKEYWORD x"},
		{"a keyword that is a system flag", `KEYWORD \Seen`, "!BAD expected atom"},
		{"old keys", "NEW OLD RECENT", "NEW OLD RECENT"},
		{"sizes", "LARGER 9223372036854775807", "LARGER 9223372036854775807"},
		{"an unknown key", "MODSEQS 1", `!BAD unknown search key "MODSEQS"`},
		{"a mod-sequence", "MODSEQ 0", "MODSEQ 0"},
		{"a mod-sequence of a flag", `MODSEQ "/flags/\\draft" all 620162338 SEEN`, "MODSEQ 620162338 SEEN"},
		{"a mod-sequence of something else", `MODSEQ "/comment" all 1`, `!BAD unknown entry "/comment"`},
		{"a mod-sequence of nobody", `MODSEQ "/flags/x" mine 1`, "!BAD expected priv, shared or all"},
		{"a mod-sequence that is too large", "MODSEQ 9223372036854775808", "!BAD number too large"},
		{"our own names", "AND", "!BAD unknown search key"},
		{"no key", "", "!BAD expected atom"},
		{"an empty list", "()", "!BAD expected a list"},
		{"OR with one key", "OR SEEN", "!BAD expected space"},
		{"a bad date", "SINCE 32-Jan-2026", "!BAD bad date"},
		{"as deep as allowed", strings.Repeat("NOT ", searchDepthMax-1) + "SEEN", strings.Repeat("NOT ", searchDepthMax-1) + "SEEN"},
		{"too deep", strings.Repeat("NOT ", searchDepthMax) + "SEEN", "!NO [LIMIT]"},
		{"too many", strings.Repeat("SEEN ", searchKeysMax) + "SEEN", "!NO [LIMIT]"},
	} {
		d := NewDecoder(tc.text)
		s := d.Search()
		got := string(s.Append(nil))
		if err := d.End(); err != nil {
			got = "!" + err.Error()
		}
		if want, failure := strings.CutPrefix(tc.want, "!"); failure && !strings.HasPrefix(got, "!"+want) || !failure && got != tc.want {
			t.Errorf("%s: got %s", tc.name, got)
		}
	}
}

// FuzzSearch checks that a search program reads back as it is written.
func FuzzSearch(f *testing.F) {
	f.Add(`RETURN (SAVE) CHARSET UTF-8 OR (FROM "ü" 1:*) NOT HEADER x ""`)
	f.Add("UID $ SENTON 1-Feb-1994 LARGER 0")
	f.Add("TEXT {4+}\r\na\r\nb KEYWORD k")
	f.Fuzz(func(t *testing.T, text string) {
		d := NewDecoder(text)
		s := d.Search()
		if d.End() != nil {
			return
		}
		b := s.Append(nil)
		d = NewDecoder(string(b))
		if again := d.Search(); d.End() != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v written as %q: %+v, %v", s, b, again, d.Err())
		}
	})
}
