package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const goFile = `package x

import "testing"

func TestOne(t *testing.T) {
	// MUST 7162 3.1: what it shows.
	t.Run("below", func(t *testing.T) {
		// MUST 7162 3.1 #2,3: more
		// MUST is a word here.
	})
}

func FuzzTwo(f *testing.F) {
	// MUST 9051 A.1: the end
}
`

func TestCollect(t *testing.T) {
	t.Parallel()
	claims, err := Collect(fstest.MapFS{
		"x_test.go":         {Data: []byte(goFile)},
		"a/b/x_test.go":     {Data: []byte(strings.ReplaceAll(goFile, "7162 3.1", "9051 2.10"))},
		"a/x.go":            {Data: []byte("package a // MUST 7162 3.1: not a test")},
		"a/testdata/c.txt":  {Data: []byte("# Title.\n# MUST 9051 2.9: first\r\nC: x\n# MUST be here.\nS: # MUST 9051 2: not a comment\n")},
		"docs/c.txt":        {Data: []byte("# MUST 9051 2: not a transcript\n")},
		".cache/x_test.go":  {Data: []byte(goFile)},
		"_old/a/x_test.go":  {Data: []byte(goFile)},
		"a/testdata/no.eml": {Data: []byte("# MUST 9051 2: not a transcript\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range claims {
		got = append(got, fmt.Sprint(c.RFC, " ", c.Section, c.Ordinals, " ", c.Text, ", ", c.Test, ", ", c.Where))
	}
	want := []string{
		"7162 3.1[1] what it shows, TestOne, x_test.go:6",
		"7162 3.1[2 3] more, TestOne, x_test.go:8",
		"9051 2.9[1] first, a/testdata/c.txt, a/testdata/c.txt:2",
		"9051 2.10[1] what it shows, a/b.TestOne, a/b/x_test.go:6",
		"9051 2.10[2 3] more, a/b.TestOne, a/b/x_test.go:8",
		"9051 A.1[1] the end, FuzzTwo, x_test.go:14",
		"9051 A.1[1] the end, a/b.FuzzTwo, a/b/x_test.go:14",
	}
	compareLines(t, got, want)
}

// compareLines tells the first difference.
func compareLines(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("line %d: got %q, want %q", i, got[i:min(i+1, len(got))], want[i:min(i+1, len(want))])
			return
		}
	}
}

func TestCollectErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, file, data, want string }{
		{"no text", "testdata/a.txt", "\n# MUST 9051 2.9:\n", "testdata/a.txt:2: want MUST rfc section"},
		{"no section", "testdata/a.txt", "# MUST 9051: text\n", "testdata/a.txt:1: want MUST rfc section"},
		{"a name before the number", "testdata/a.txt", "# MUST RFC 9051 2.1: text\n", "want MUST rfc section"},
		{"no sentence", "testdata/a.txt", "# MUST 9051 2.1 #0: text\n", `"0" is not the number`},
		{"outside of tests", "x_test.go", "package x\n\nfunc help() {\n\t// MUST 9051 2.9: text\n}\n", "x_test.go:4: not within a test"},
		{"a method", "x_test.go", "package x\n\nfunc (x) TestX() {\n\t// MUST 9051 2.9: text\n}\n", "x_test.go:4: not within a test"},
		{"no section in Go", "x_test.go", "package x\n\n// MUST 9051: text\n", "x_test.go:3: want MUST"},
		{"not Go", "x_test.go", "package x // MUST \n}", "x_test.go:2:1: expected"},
	} {
		_, err := Collect(fstest.MapFS{test.file: {Data: []byte(test.data)}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// TestSentences takes a text with all that RFCs have: contents, pages, notes,
// grammar, appendices and an index.
func TestSentences(t *testing.T) {
	t.Parallel()
	text := "\ufeff\nTable of Contents\n\n   1.  Words\n" +
		"\n1.  Words\n\n   It MUST NOT \"stop.\"  This is not\n   REQUIRED, e.g. here.  It may be.  2. SHALL\n   be one; MUSTY\n" +
		"\n\nA & B        Standards Track      [Page 1]\n\f\nRFC 1        Words          May 2014\n\n\n   sentence.\n" +
		"\n1.1.1.  \"More\" Words\n\n     |  Note: One MUST\n     |  not.  [Two] MUST be.\n" +
		"\n\nA & B        Standards Track      [Page 2]\n\f\nRFC 1        Words          May 2014\n\n   Three MUST be.\n" +
		"\nBASE.6.4.SORT. SORT Command\n   Yes, it MUST.\n" +
		"\n9.   Formal Syntax\n\n   a = \"MUST\"\n\n   b-c  = d    ; Servers MUST accept\n               ; it.\n   c = d ; MUST too\n\n   ; MUST alone\n" +
		"\nAppendix A.  End\n\n   MUST end.\n\nA.1.  Very End\n\n   MUST end.\n\nIndex\n\n   MUST (word)\n\nAuthors' Addresses\n\n   MUST Street 1\n"
	var got []string
	for _, s := range Sentences(1, text) {
		got = append(got, fmt.Sprintf("%s %d %s", s.Section, s.Ordinal, s.Text))
	}
	want := []string{
		`1 1 It MUST NOT "stop."`,
		`1 2 This is not REQUIRED, e.g. here.`,
		`1 3 SHALL be one; MUSTY sentence.`,
		`1.1.1 1 Note: One MUST not.`,
		`1.1.1 2 [Two] MUST be.`,
		`1.1.1 3 Three MUST be.`,
		`BASE.6.4.SORT 1 Yes, it MUST.`,
		`9 1 Servers MUST accept it.`,
		`9 2 MUST too`,
		`9 3 MUST alone`,
		`A 1 MUST end.`,
		`A.1 1 MUST end.`,
		`Index 1 MUST (word)`,
		`Authors 1 MUST Street 1`,
	}
	compareLines(t, got, want)
}

func TestParseFacts(t *testing.T) {
	t.Parallel()
	got, err := parseFacts(1, "# Why.\n\n3.1 #2 A server answers.\n")
	if want := []Sentence{{1, "3.1", 2, "A server answers."}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, line := range []string{"3.1 2 A", "3.1 #x A", "3.1 #2", "3.1"} {
		if _, err := parseFacts(1, line); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
}

func TestParseList(t *testing.T) {
	t.Parallel()
	entries, err := ParseList("x.txt", "# Why.\n\n9051 6.3.2 #2 \"The \\\"server\\\"\": client's duty\n")
	want := []Entry{{9051, "6.3.2", 2, `The "server"`, "client's duty", "x.txt:3"}}
	if err != nil || !slices.Equal(entries, want) {
		t.Errorf("got %v, %v, want %v", entries, err, want)
	}
	for _, line := range []string{`9051 6.3.2 "The": x`, `9051 6.3.2 #1 "The":`, `9051 6.3.2 #1 The: x`, `x 6.3.2 #1 "The": x`, `9051 6.3.2 #99999999999999999999 "The": x`} {
		if _, err := ParseList("x.txt", "\n"+line); err == nil || !strings.HasPrefix(err.Error(), "x.txt:2: ") {
			t.Errorf("%s: got %v", line, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	sentences := []Sentence{{1, "2", 1, "A MUST b."}, {1, "2", 2, "C MUST d."}, {1, "3", 1, "E MUST f."}}
	shown := Claim{RFC: 1, Section: "2", Ordinals: []int{1, 2}, Where: "a:1"}
	third := Entry{1, "3", 1, "E MUST", "clients", "exempt.txt:1"}
	for _, test := range []struct {
		name   string
		claims []Claim
		exempt []Entry
		open   []Entry
		want   []string // Parts of the problems.
	}{
		{"all is there", []Claim{shown, {RFC: 4, Section: "1", Ordinals: []int{1}}}, []Entry{third}, []Entry{{RFC: 4, Section: "2", Ordinal: 1}}, nil},
		{"one is missing", []Claim{shown}, nil, nil, []string{`neither shown nor listed: 1 3 #1 "E MUST f.": E MUST f.`}},
		{"a sentence that isn't there", []Claim{shown, {RFC: 1, Section: "3", Ordinals: []int{2}, Where: "b:1"}}, nil, []Entry{third}, []string{"b:1: RFC 1 has no sentence #2"}},
		{"shown and listed", []Claim{shown, {RFC: 1, Section: "3", Ordinals: []int{1}, Where: "b:1"}}, []Entry{third}, nil, []string{"exempt.txt:1: stands at b:1 too"}},
		{"listed twice", []Claim{shown}, []Entry{third}, []Entry{third}, []string{"exempt.txt:1: stands at exempt.txt:1 too"}},
		{"another sentence is meant", []Claim{shown}, []Entry{{1, "3", 1, "X MUST", "clients", "exempt.txt:1"}}, nil, []string{"exempt.txt:1: no such sentence"}},
		{"an old number", []Claim{shown}, []Entry{third, {1, "3", 2, "", "clients", "exempt.txt:2"}}, nil, []string{"exempt.txt:2: no such sentence"}},
	} {
		got := Check(sentences, test.claims, test.exempt, test.open)
		if !slices.EqualFunc(got, test.want, strings.Contains) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	got := Markdown([]Claim{
		{RFC: 7162, Section: "3.1", Ordinals: []int{1}, Text: "a|b", Test: "x.TestA"},
		{RFC: 7162, Section: "3.1", Ordinals: []int{1, 2}, Text: "all of 1:*", Test: "x.TestB"},
		{RFC: 1, Section: "2", Ordinals: []int{3}, Text: "c", Test: "d.txt"},
	}, []Entry{{RFC: 7162}}, []Entry{{7162, "4", 5, "Servers [x] MUST", "a test", ""}})
	want := intro + `
| RFC | | sentences shown | can't be violated by a server | not shown yet |
|---|---|---|---|---|
| 1 | ? | 1 | 0 | 0 |
| 7162 | CONDSTORE and QRESYNC | 2 | 1 | 1 |

## RFC 7162: CONDSTORE and QRESYNC

| section | requirement | test |
|---|---|---|
| 3.1 | a\|b | ` + "`x.TestA`" + ` |
| 3.1 #1,2 | all of 1:\* | ` + "`x.TestB`" + ` |

## RFC 1: ?

| section | requirement | test |
|---|---|---|
| 2 #3 | c | ` + "`d.txt`" + ` |

## Not shown yet

| RFC | section | sentence | what is missing |
|---|---|---|---|
| 7162 | 4 #5 | Servers \[x] MUST … | a test |
`
	compareLines(t, strings.Split(got, "\n"), strings.Split(want, "\n"))
}
