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
		{"an unknown result option", "RETURN (PARTS) ALL", "!BAD unknown SEARCH result option"},
		{"a part", "RETURN (partial 1:500 COUNT) ALL", "RETURN (COUNT PARTIAL 1:500) ALL"},
		{"a part, the other way round", "RETURN (PARTIAL 500:400) ALL", "RETURN (PARTIAL 500:400) ALL"},
		{"a part from the end", "RETURN (PARTIAL -1:-100) ALL", "RETURN (PARTIAL -1:-100) ALL"},
		{"a part without range", "RETURN (PARTIAL) ALL", "!BAD expected space"},
		{"a part from one end to the other", "RETURN (PARTIAL 1:-1) ALL", "!BAD expected number"},
		{"a part from the end to the begin", "RETURN (PARTIAL -1:1) ALL", "!BAD expected \"-\""},
		{"a part with the largest", "RETURN (PARTIAL 1:*) ALL", "!BAD expected number"},
		{"a part that begins at 0", "RETURN (PARTIAL 0:5) ALL", "!BAD expected a number above 0"},
		{"a part of one number", "RETURN (PARTIAL 5) ALL", "!BAD expected \":\""},
		{"two parts", "RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL", "!BAD only one of ALL and PARTIAL"},
		{"a part and all", "RETURN (PARTIAL 1:2 ALL) ALL", "!BAD only one of ALL and PARTIAL"},
		{"all and a part", "RETURN (ALL PARTIAL 1:2) ALL", "!BAD only one of ALL and PARTIAL"},
		{"updates", "RETURN (UPDATE CONTEXT COUNT) ALL", "RETURN (COUNT UPDATE CONTEXT) ALL"},
		{"updates with items", "RETURN (UPDATE (UID BODY.PEEK[HEADER]) MIN) ALL", "RETURN (MIN UPDATE (UID BODY.PEEK[HEADER])) ALL"},
		{"updates with items, without space", "RETURN (UPDATE(UID)) ALL", "RETURN (UPDATE (UID)) ALL"},
		{"updates with unknown items", "RETURN (UPDATE (X)) ALL", "!BAD unknown FETCH item"},
		{"a filter", "FILTER on-the-road SINCE 3-Dec-2002", "FILTER on-the-road SINCE 3-Dec-2002"},
		{"a filter with a slash", "FILTER a/b", "!BAD filter name with slash"},
		{"a filter in quotes", `FILTER "a"`, "!BAD expected atom"},
		{"a filter and another charset", "CHARSET KOI8-R FILTER x", "!BAD [BADCHARSET (US-ASCII UTF-8)]"},
		{"another charset and its text", "CHARSET KOI8-R TEXT {1}\r\n\xfc", "!NO [BADCHARSET (US-ASCII UTF-8)] only these"},
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
	f.Add("RETURN (PARTIAL -5:-1 UPDATE (UID BODY[1.MIME]<0.5>) CONTEXT) FILTER x OLDER 5")
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

func TestPartialRange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		p        PartialRange
		n        int
		from, to int
	}{
		{"within", PartialRange{First: 2, Last: 4}, 10, 1, 4},
		{"the other way round", PartialRange{First: 4, Last: 2}, 10, 1, 4},
		{"ends behind", PartialRange{First: 9, Last: 20}, 10, 8, 10},
		{"is behind", PartialRange{First: 11, Last: 20}, 10, 10, 10},
		{"the largest numbers", PartialRange{First: 1<<32 - 1, Last: 1<<32 - 1}, 10, 10, 10},
		{"of nothing", PartialRange{First: 1, Last: 5}, 0, 0, 0},
		{"from the end", PartialRange{1, 3, true}, 10, 7, 10},
		{"from the end, the other way round", PartialRange{3, 1, true}, 10, 7, 10},
		{"from the end, in the middle", PartialRange{4, 6, true}, 10, 4, 7},
		{"from the end, more than there are", PartialRange{8, 20, true}, 10, 0, 3},
		{"from the end, before the first", PartialRange{11, 20, true}, 10, 0, 0},
		{"from the end of nothing", PartialRange{1, 5, true}, 0, 0, 0},
	} {
		if from, to := tc.p.Within(tc.n); from != tc.from || to != tc.to {
			t.Errorf("%s: got %d to %d", tc.name, from, to)
		}
	}
}

func TestParseFilter(t *testing.T) {
	t.Parallel()
	k, err := ParseFilter(`OR SMALLER 5000 FROM "boss@example.com"`)
	if got := string(k.Append(nil)); err != nil || got != `(OR SMALLER 5000 FROM "boss@example.com")` {
		t.Errorf("got %s, %v", got, err)
	}
	for name, value := range map[string]string{
		"empty": "", "not complete": "OR SMALLER 5000", "with options": "RETURN () ALL", "with a charset": "CHARSET UTF-8 ALL",
		"with something behind it": "ALL )", "not UTF-8": "FROM \"\xfc\"",
	} {
		if k, err := ParseFilter(value); err == nil {
			t.Errorf("a filter that is %s: got %s", name, k.Append(nil))
		}
	}
}

// FuzzParseFilter checks that a filter is one key of a search: what it is read as can
// be written and read in its place.
func FuzzParseFilter(f *testing.F) {
	f.Add(`OR SMALLER 5000 FROM "boss@example.com"`)
	f.Add("FILTER x NOT (UNSEEN 1:*) SUBJECT {2}\r\n)\"")
	f.Add("ALL ) (SEEN")
	f.Fuzz(func(t *testing.T, value string) {
		k, err := ParseFilter(value)
		if err != nil {
			return
		}
		b := k.Append([]byte("NOT "))
		d := NewDecoder(string(b))
		again := d.Search()
		if err := d.End(); err != nil {
			if strings.Contains(err.Error(), "[LIMIT]") {
				return // It was as large or deep as possible alone.
			}
			t.Fatalf("%q written as %q: %v", value, b, err)
		}
		if got := again.Key.Keys; len(got) != 1 || !reflect.DeepEqual(got[0].Keys, []SearchKey{k}) {
			t.Fatalf("%q written as %q is %+v", value, b, got)
		}
	})
}

// FuzzMultiSearch checks that the filters of ESEARCH are within their limits, and that
// what comes behind them is what SEARCH takes.
func FuzzMultiSearch(f *testing.F) {
	f.Add("IN (subtree (a \"b c\") selected) RETURN (PARTIAL 1:2) UNSEEN")
	f.Add("IN (mailboxes {3+}\r\na b inboxes) ALL")
	f.Add("RETURN (SAVE) 1:*")
	f.Fuzz(func(t *testing.T, text string) {
		d := NewDecoder(text)
		s := d.MultiSearch()
		if d.End() != nil {
			return
		}
		for _, filter := range s.In {
			named := filter.Kind == FilterSubtree || filter.Kind == FilterSubtreeOne || filter.Kind == FilterMailboxes
			if filter.Kind == FilterSelectedDelayed || named != (len(filter.Names) > 0) || len(filter.Names) > filterNamesMax {
				t.Fatalf("%q has filter %+v", text, filter)
			}
		}
		d = NewDecoder(string(s.Append(nil)))
		if again := d.Search(); d.End() != nil || !reflect.DeepEqual(again, s.Search) || len(s.In) > filtersMax {
			t.Fatalf("%q has the search %+v", text, s.Search)
		}
	})
}
