package imapserver

import (
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/imap"
)

// FuzzParsers gives a command's arguments to the parser of each command. What a
// parser accepts it must accept again, pedantic or not: it reads nothing but the
// text.
func FuzzParsers(f *testing.F) {
	f.Add(" INBOX")
	f.Add(" (SUBSCRIBED RECURSIVEMATCH) \"\" (a% \"b\") RETURN (CHILDREN STATUS (MESSAGES))")
	f.Add(" INBOX (\\Seen k) \" 1-Feb-1994 21:52:25 +0000\" ~{10+}")
	f.Add(" Trash (USE (\\Trash))")
	f.Add(" 1:*,$ +FLAGS.SILENT (\\Deleted)")
	f.Add(" (\"name\" NIL)")
	f.Add(" DEFLATE")
	f.Add(" INBOX UTF8 (~{10+}")
	f.Add(" RETURN (SAVE) OR FROM x (1:2)")
	f.Add(" 4:2,* (FLAGS BODY.PEEK[1.MIME]<0.5>)")
	f.Add(" 2000 10:20")
	f.Add(" 4 Drafts (\\Seen) {10}")
	f.Add(" (MAXSIZE 5 DEPTH infinity) \"\" (/shared/comment /private/x)")
	f.Add(" INBOX (/private/comment {3}\r\nabc /shared/x NIL /shared/y ~{1}\r\n\x00)")
	f.Add(" \"\" % RETURN (METADATA (/shared/comment) SPECIAL-USE)")
	f.Add(" IN (subtree-one (a b) selected-delayed) RETURN (PARTIAL -1:-5 SAVE) FILTER x")
	f.Add(" RETURN (UPDATE (UID BODY[1]) CONTEXT) (REVERSE DATE) UTF-8 1:*")
	f.Add(" \"b1\" b2")
	parsers := []func(*imap.Decoder) error{
		until(parseID), until(parseLogin), until(parseAuthenticate), until(parseEnable), until(parseMailbox), until(parseCreate),
		until(parseRename), until(parseList), until(parseLsub), until(parseStatus), until(parseAppend), until(parseUIDExpunge),
		until(parseSearch), until(parseFetch), until(parseStore), until(parseCopy),
		until(parseSort), until(parseMultiSearch), until(parseCancelUpdate),
		until(parseGetMetadata), until(parseSetMetadata), until(parseGetQuota),
		until(parseCompress),
		until(parseUIDBatches), until(parseReplace),
	}
	f.Fuzz(func(t *testing.T, args string) {
		for i, parse := range parsers {
			strict := imap.NewDecoder(args)
			strict.Pedantic = true
			if parse(strict) != nil {
				continue
			}
			if err := parse(imap.NewDecoder(args)); err != nil {
				t.Fatalf("parser %d takes %q only if pedantic: %v", i, args, err)
			}
		}
	})
}

// FuzzMatchName compares with a matcher that tries everything.
func FuzzMatchName(f *testing.F) {
	f.Add("a%/*b", "ax/yb")
	f.Add("inb%", "Inbox")
	f.Add("%*%", "a/b/c")
	f.Add("*a%b*/c", "aab/ab/c")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 20 || strings.Count(pattern, "*")+strings.Count(pattern, "%") > 5 {
			return // The simple matcher takes for ever.
		}
		folded := 0
		if name == "Inbox" || strings.HasPrefix(name, "Inbox/") {
			folded = 5
		}
		if got, want := matchName(pattern, name), simpleMatch(pattern, name, folded); got != want {
			t.Fatalf("pattern %q and %q: got %v", pattern, name, got)
		}
	})
}

func simpleMatch(pattern, name string, folded int) bool {
	if pattern == "" {
		return name == ""
	}
	switch pattern[0] {
	case '*', '%':
		for i := 0; ; i++ {
			if simpleMatch(pattern[1:], name[i:], folded-i) {
				return true
			}
			if i == len(name) || pattern[0] == '%' && name[i] == '/' {
				return false
			}
		}
	}
	return name != "" && equalByte(pattern[0], name[0], folded > 0) && simpleMatch(pattern[1:], name[1:], folded-1)
}

// FuzzNeedle checks that a text is found in a stream if it is there, wherever
// pieces end.
func FuzzNeedle(f *testing.F) {
	f.Add("Straße", "in der STRAẞE", 3)
	f.Add("abc", "xxABC", 40000)
	f.Fuzz(func(t *testing.T, text, around string, pad int) {
		if pad < 0 || pad > 3*searchBuffer || len(text) > 1000 {
			return
		}
		text, around = strings.ToValidUTF8(text, ""), strings.ToValidUTF8(around, "")
		n := newNeedle(text)
		body := strings.Repeat("-", pad) + around + strings.ToUpper(text) + around
		found, err := n.inReader(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		// Upper case need not have the same title case: ı and others.
		want := strings.Contains(imap.Casemap(body), imap.Casemap(text))
		if found != want || n.in(body) != want {
			t.Fatalf("%q in %d dashes and %q: found %v", text, pad, around, found)
		}
	})
}

func TestPieceCut(t *testing.T) {
	t.Parallel()
	p := piece{head: []byte("prefix"), offset: 100, size: 10}
	for _, tc := range []struct {
		name    string
		partial *imap.Partial
		want    piece
	}{
		{"all", nil, p},
		{"only of the prefix", &imap.Partial{Offset: 1, Count: 3}, piece{[]byte("ref"), 100, 0}},
		{"across", &imap.Partial{Offset: 4, Count: 5}, piece{[]byte("ix"), 100, 3}},
		{"only of the file", &imap.Partial{Offset: 8, Count: 100}, piece{nil, 102, 8}},
		{"behind the end", &imap.Partial{Offset: 16, Count: 1}, piece{nil, 110, 0}},
		{"far behind", &imap.Partial{Offset: 1 << 62, Count: 1 << 62}, piece{nil, 110, 0}},
	} {
		if got := p.cut(tc.partial); !slices.Equal(got.head, tc.want.head) || got.offset != tc.want.offset || got.size != tc.want.size {
			t.Errorf("%s: got %+v, want %+v", tc.name, got, tc.want)
		}
	}
}
