package mtasts

import (
	"errors"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
)

func TestParseRecord(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a1", idSizeMax/2)
	name := "x" + strings.Repeat("_", nameSizeMax-1)
	for _, test := range []struct {
		name, text string
		want       string // ID.
		err        string // Begins. "-": no record at all.
	}{
		{"as in the RFC", "v=STSv1; id=20160831085700Z;", "20160831085700Z", ""},
		{"without the last semicolon", "v=STSv1; id=1", "1", ""},
		{"with little space", "v=STSv1;id=1;", "1", ""},
		{"with much space", "v=STSv1 \t;\t id=1 \t; \t", "1", ""},
		{"with fields that are not known", "v=STSv1; a.b-c_d=!:<>~; ID=x; id=1; mx=x", "1", ""},
		{"the largest sizes", "v=STSv1; " + name + "=1; id=" + id, id, ""},
		{"of two ids the first counts", "v=STSv1; id=1; id=2;", "1", ""},
		{"of two ids the first counts, whatever is in the other", "v=STSv1; id=1; id=?", "1", ""},
		{"a version that comes later", "v=STSv1; v=STSv2; id=1", "1", ""},

		{"nothing", "", "", "-"},
		{"another record", "v=spf1 -all", "", "-"},
		{"a later version", "v=STSv10; id=1;", "", "-"},
		{"a version in lower case", "v=stsv1; id=1;", "", "-"},
		{"a version that is not first", "id=1; v=STSv1;", "", "-"},
		{"nothing but the version", "v=STSv1", "", "-"},
		{"space before it", " v=STSv1; id=1", "", "-"},

		{"no fields", "v=STSv1;", "", "byte 9: it has no id"},
		{"no id", "v=STSv1; x=y", "", "byte 13: it has no id"},
		{"an id in upper case", "v=STSv1; ID=1", "", "byte 14: it has no id"},
		{"an empty id", "v=STSv1; id=;", "", `byte 13: id "" is not 1 to 32 letters and digits`},
		{"a long id", "v=STSv1; id=" + id + "1;", "", `byte 13: id "a1`},
		{"an id with a sign", "v=STSv1; id=1-2;", "", `byte 13: id "1-2" is not`},
		{"an id that is not ASCII", "v=STSv1; id=\u0661;", "", `byte 13: id "\u0661" is not`},
		{"space at the end", "v=STSv1; id=1 ", "", `byte 13: id "1 " is not`},
		{"an empty field", "v=STSv1;; id=1", "", `byte 9: "" is not a name with a value`},
		{"a field without a value", "v=STSv1; id=1; x", "", `byte 16: "x" is not a name with a value`},
		{"an empty value", "v=STSv1; id=1; x=", "", "byte 18: no value"},
		{"a second sign", "v=STSv1; id=1; x=a=b", "", "byte 19: character '=' in a value"},
		{"a space in a value", "v=STSv1; id=1; x=a b", "", "byte 19: character ' ' in a value"},
		{"a control character", "v=STSv1; id=1; x=\x1b", "", `byte 18: character '\x1b' in a value`},
		{"a long name", "v=STSv1; id=1; " + name + "x=1", "", `byte 16: "x___`},
		{"a name that begins with a sign", "v=STSv1; _a=1; id=1", "", `byte 10: "_a=1" is not`},
		{"space around a sign", "v=STSv1; id = 1", "", `byte 10: "id = 1" is not`},
	} {
		got, err := ParseRecord(test.text)
		switch {
		case test.err == "-":
			if !errors.Is(err, ErrNoRecord) {
				t.Errorf("%s: got %v, want no record", test.name, err)
			}
		case test.err != "":
			if !errors.Is(err, ErrRecord) || !strings.HasPrefix(err.Error(), "invalid MTA-STS record: "+test.err) {
				t.Errorf("%s: got %v, want %s", test.name, err, test.err)
			}
		case err != nil || got.ID != test.want:
			t.Errorf("%s: got %q, %v", test.name, got.ID, err)
		}
	}
}

func TestLookupRecord(t *testing.T) {
	t.Parallel()
	r, err := dnstest.New(`
_mta-sts.a.example        TXT   "v=STSv1; " "id=1;"
_mta-sts.b.example        CNAME _mta-sts.c.example
_mta-sts.c.example        CNAME _mta-sts.a.example
_mta-sts.dangling.example CNAME _mta-sts.none.example
_mta-sts.other.example    TXT   "v=spf1 -all"
_mta-sts.mixed.example    TXT   "v=STSv2; id=2"
_mta-sts.mixed.example    TXT   "v=STSv1; id=3"
_mta-sts.two.example      TXT   "v=STSv1; id=1"
_mta-sts.two.example      TXT   "v=STSv1; id=2"
_mta-sts.half.example     TXT   "v=STSv1; id=1"
_mta-sts.half.example     TXT   "v=STSv1; x"
_mta-sts.bad.example      TXT   "v=STSv1; id=?"
_mta-sts.empty.example    A     192.0.2.1
_mta-sts.fails.example    TXT   "v=STSv1; id=1"
_mta-sts.bogus.example    TXT   "v=STSv1; id=1"
`, "a.example", "none.example")
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("TXT", "_mta-sts.fails.example", dnstest.Temporary)
	r.Fail("TXT", "_mta-sts.bogus.example", dnstest.Bogus)
	long := strings.Repeat(strings.Repeat("a", 49)+".", 4) + strings.Repeat("b", 48) // 248 bytes.
	for _, test := range []struct {
		name, domain string
		want         Found
		err          error
	}{
		{"a record in two parts", "a.example", Found{Record{"1"}, "v=STSv1; id=1;", "_mta-sts.a.example.", true}, nil},
		{"an alias of an alias of it", "b.example", Found{Record{"1"}, "v=STSv1; id=1;", "_mta-sts.a.example.", false}, nil},
		{"an alias of nothing", "dangling.example", Found{Name: "_mta-sts.none.example."}, ErrNoRecord},
		{"a name that doesn't exist", "none.example", Found{Name: "_mta-sts.none.example.", Authentic: true}, ErrNoRecord},
		{"a name without such records", "empty.example", Found{Name: "_mta-sts.empty.example."}, ErrNoRecord},
		{"another record", "other.example", Found{Name: "_mta-sts.other.example."}, ErrNoRecord},
		{"one among others", "mixed.example", Found{Record{"3"}, "v=STSv1; id=3", "_mta-sts.mixed.example.", false}, nil},
		{"two records", "two.example", Found{Name: "_mta-sts.two.example."}, ErrNoRecord},
		{"two records, one of them bad", "half.example", Found{Name: "_mta-sts.half.example."}, ErrNoRecord},
		{"a bad record", "bad.example", Found{Text: "v=STSv1; id=?", Name: "_mta-sts.bad.example."}, ErrRecord},
		{"the parent has no say", "sub.a.example", Found{Name: "_mta-sts.sub.a.example.", Authentic: true}, ErrNoRecord},
		{"a name that becomes too long", long, Found{}, ErrNoRecord},
		{"a failure", "fails.example", Found{}, dns.ErrTemporary},
		{"a bogus answer", "bogus.example", Found{}, dns.ErrBogus},
	} {
		got, err := LookupRecord(t.Context(), r, dns.Domain{ASCII: test.domain})
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: got %+v, %v, want %+v, %v", test.name, got, err, test.want, test.err)
		}
		if errors.Is(err, dns.ErrTemporary) && (errors.Is(err, ErrNoRecord) || errors.Is(err, ErrRecord)) {
			t.Errorf("%s: a failure looks as if there were no record: %v", test.name, err)
		}
	}
}

// checkSyntaxError fails unless err is about a place in text, and is fit for a log.
func checkSyntaxError(t *testing.T, text string, err error) {
	t.Helper()
	e, ok := errors.AsType[*SyntaxError](err)
	if !ok {
		t.Fatalf("%q: error of another kind: %v", text, err)
	}
	line := text
	if e.Line > 0 {
		lines := strings.Split(text+"\n", "\n") // Also with the one that is missing at the end.
		if e.Line > len(lines) {
			t.Fatalf("%q: line %d", text, e.Line)
		}
		line = lines[e.Line-1]
	}
	if e.Column < 1 || e.Column > len(line)+1 || strings.ContainsFunc(e.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
		t.Fatalf("%q: %q", text, e.Error())
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{"v=STSv1; id=20160831085700Z;", "v=STSv1;a=b ; id=1;\tid=2", "v=STSv1; id=\xff", "v=STSv1;;", "v=STSv1\t; x=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecord(text)
		if errors.Is(err, ErrNoRecord) {
			if strings.HasPrefix(text, "v=STSv1;") {
				t.Fatalf("%q is a record", text)
			}
			return
		}
		if err != nil {
			checkSyntaxError(t, text, err)
			return
		}
		if again, err := ParseRecord(r.String()); err != nil || again != r {
			t.Fatalf("%q: got %q, again %q, %v", text, r, again, err)
		}
	})
}
