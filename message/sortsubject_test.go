package message

import (
	"slices"
	"strings"
	"testing"
)

func TestSortSubject(t *testing.T) {
	t.Parallel()
	// MUST 5256 2.1: the base subject is found by exactly this algorithm.
	for _, c := range []struct {
		name, subject, want string
		reply               bool
	}{
		{"plain text keeps its case", "Hello World", "Hello World", false},
		{"tabs, line ends and spaces are one space", "a \t b\r\n c", "a b c", false},
		{"other white space stays", "a\u00a0\u00a0b", "a\u00a0\u00a0b", false},
		{"reply", "Re: Hello", "Hello", true},
		{"many replies", "RE: re : Fwd: fW: Hello", "Hello", true},
		{"a blob between mark and colon", "Re[2]: Hello", "Hello", true},
		{"with spaces around", "re [a] : Hello", "Hello", true},
		{"two blobs there are no mark", "re[a][b]: Hello", "re[a][b]: Hello", false},
		{"a blob before", "[list] Hello", "Hello", false},
		{"blobs before a mark", "[a][b] [c]re: Hello", "Hello", true},
		{"the last blob stays", "[a] [b]", "[b]", false},
		{"an empty blob", "[] x", "x", false},
		{"a blob may not have brackets within", "[[a]] b", "[[a]] b", false},
		{"a mark of only a blob", "Re: [list]", "[list]", true},
		{"trailers", "Hello (fwd) (FWD) ", "Hello", true},
		{"a trailer without space", "Hello(fwd)", "Hello", true},
		{"only a trailer", "(fwd)", "", true},
		{"only marks", "Re: Fwd:", "", true},
		{"a forward in brackets", "[Fwd: Hello]", "Hello", true},
		{"a forward in a forward", "[fwd: re: [FWD: Hello (fwd)]]", "Hello", true},
		{"a trailer after a forward in brackets", "[fwd: Hello] (fwd)", "Hello", true},
		{"text after a forward in brackets makes it a blob", "[fwd: Hello] you", "you", false},
		{"an empty forward", "[fwd:]", "", true},
		{"an open forward", "[fwd: Hello", "[fwd: Hello", false},
		{"a word that begins as a mark", "Regarding: x", "Regarding: x", false},
		{"no colon", "Re Hello", "Re Hello", false},
		{"marks of other languages are text", "AW: Hallo", "AW: Hallo", false},
		{"encoded", "=?utf-8?q?Re:_H=C3=89llo?=", "H\u00c9llo", true},
		{"folded", "Re:\r\n\tHello", "Hello", true},
		{"nothing", "", "", false},
		{"only spaces", " \t ", "", false},
		{"too long", strings.Repeat("a", 3*sortSubjectMax), strings.Repeat("a", sortSubjectMax), false},
		{"a million blobs", strings.Repeat("[]", 1<<20), "[]", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, reply := SortSubject(c.subject)
			if got != c.want || reply != c.reply {
				t.Errorf("got %q, %v, want %q, %v", got, reply, c.want, c.reply)
			}
		})
	}
}

// FuzzSortSubject checks that the base of a base is itself, that a reply to s has the
// same base, and that case makes no difference.
func FuzzSortSubject(f *testing.F) {
	f.Add("[a] Re: [fwd: b (fwd)]")
	f.Add("fw[x] : \t[y](FWD)(fwd)")
	f.Add("=?utf-8?q?Re:_H=C3=89llo?= [z]")
	f.Fuzz(func(t *testing.T, s string) {
		base, _ := SortSubject(s)
		if strings.Contains(base, "=?") || len(base) > sortSubjectMax-10 {
			return
		}
		if again, _ := SortSubject(base); again != base {
			t.Fatalf("%q: base %q has base %q", s, base, again)
		}
		if reply, isReply := SortSubject("Re: " + base); reply != base || !isReply {
			t.Fatalf("%q: a reply to %q has base %q", s, base, reply)
		}
		if upper, _ := SortSubject(asciiUpper(base)); upper != asciiUpper(base) {
			t.Fatalf("%q: base in capitals has base %q", s, upper)
		}
	})
}

func asciiUpper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

func TestThreadIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		want        []string
	}{
		{"one", "<a@b>", []string{"a@b"}},
		// MUST 5256 BASE.6.4.THREAD #2,3: msg-ids are normalized, whether quoted or not.
		{"needless quotes", `<"01KF8JCEOCBS0045PS"@xxx.yyy.com>`, []string{"01KF8JCEOCBS0045PS@xxx.yyy.com"}},
		{"the same without", "<01KF8JCEOCBS0045PS@xxx.yyy.com>", []string{"01KF8JCEOCBS0045PS@xxx.yyy.com"}},
		{"needed quotes", `<"a(b"@c>`, []string{`"a(b"@c`}},
		{"case matters", "<A@b> <a@B>", []string{"A@b", "a@B"}},
		{"white space does not", "< a @ b >", []string{"a@b"}},
		{"words between", "Message of <a@b> from x@y to\r\n <c@d>", []string{"a@b", "c@d"}},
		{"without brackets it is none", "a@b", nil},
		{"without @ it is none", "<a> <@b> <c@>", nil},
		{"unfinished", "<a@b> <c@d", []string{"a@b"}},
		{"begun twice", "<a@<b@c>", []string{"b@c"}},
		{"too long", "<" + strings.Repeat("a", messageIDSizeMax) + "@b> <c@d>", []string{"c@d"}},
		{"nothing", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := ThreadIDs(c.value); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	many := strings.Repeat("<x@y>", messageIDsMax) + "<last@y>"
	if got := ThreadIDs(many); len(got) != messageIDsMax || got[len(got)-1] != "last@y" {
		t.Errorf("of too many got %d ids, last %q", len(got), got[len(got)-1])
	}
}
