package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCheckMailboxName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, want string }{
		{"Archive", "Archive"},
		{"inbox", "Inbox"},
		{"iNBOX/lists", "Inbox/lists"},
		{"Lists/INBOX", "Lists/INBOX"},
		{"100% & more*", "100% & more*"},
		{"Cafe\u0301", "Café"},
		{strings.Repeat("x", mailboxNameMax), strings.Repeat("x", mailboxNameMax)},
		{strings.Repeat("x", mailboxNameMax+1), ""},
		{strings.Repeat("a/", mailboxDepthMax-1) + "a", strings.Repeat("a/", mailboxDepthMax-1) + "a"},
		{strings.Repeat("a/", mailboxDepthMax) + "a", ""},
		{"", ""}, {"/", ""}, {"/a", ""}, {"a/", ""}, {"a//b", ""}, {"a/./b", ""}, {"..", ""},
		{"#news", ""}, {"a\x00b", ""}, {"a\x7fb", ""}, {"a\u0085b", ""}, {"a\u2028b", ""}, {"a\xffb", ""},
	} {
		got, err := CheckMailboxName(tc.name)
		if got != tc.want || (err == nil) != (tc.want != "") || err != nil && !errors.Is(err, ErrMailboxName) {
			t.Errorf("%.40q: got %.40q, %v, want %.40q", tc.name, got, err, tc.want)
		}
	}
}

func TestCheckAccountName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"mjl": true, "a": true, "a.b-c_d9": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false,
		"": false, ".a": false, "a.": false, "A": false, "a/b": false, "..": false, "é": false,
	} {
		if err := CheckAccountName(name); (err == nil) != want {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// TestDirNames: message directories are numbered in base 64, least significant
// digit first.
func TestDirNames(t *testing.T) {
	t.Parallel()
	for id, want := range map[int64]string{0: "a", 8191: "a", 8192: "b", 8192 * 63: "_", 8192 * 64: "ab", 8192*64 + 8192: "bb"} {
		if got := dirName(id); got != want {
			t.Errorf("directory of %d is %q, want %q", id, got, want)
		}
		if n, ok := dirNumber(want); !ok || n != id>>filesPerDirBits {
			t.Errorf("%q is number %d, %v", want, n, ok)
		}
	}
	for _, name := range []string{"", "a b", strings.Repeat("a", 10)} {
		if n, ok := dirNumber(name); ok {
			t.Errorf("%q is number %d", name, n)
		}
	}
}

func TestParseFlags(t *testing.T) {
	t.Parallel()
	flags, keywords, err := ParseFlags([]string{`\seen`, `\Recent`, "$JUNK", "NonJunk", "Work", "work", "a"})
	if err != nil || flags != FlagSeen|FlagJunk|FlagNotJunk || fmt.Sprint(keywords) != "[a work]" {
		t.Errorf("got %v %v, %v", flags, keywords, err)
	}
	for _, name := range []string{"", `\Unknown`, "a b", "a(b", "a%", "é", strings.Repeat("x", keywordBytes+1)} {
		if _, _, err := ParseFlags([]string{name}); !errors.Is(err, ErrKeyword) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// TestKeywordsBeyondBits: a mailbox has more keywords than a message has bits for
// them; the others are kept by name, and there is an end to all of them.
func TestKeywordsBeyondBits(t *testing.T) {
	t.Parallel()
	_, a := testAccount(t, nil)
	m, err := appendTo(t, a, "Inbox", testMessage(0, "x"), AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(op FlagOp, keywords ...string) (got []string, err error) {
		err = a.Update(t.Context(), func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			if err != nil {
				return err
			}
			res, err := tx.SetFlags(&mb, []UID{m.UID}, FlagChange{Op: op, Keywords: keywords})
			if err == nil {
				got = res.Keywords[0]
			}
			return err
		})
		return got, err
	}
	var all []string
	for i := range KeywordsMax {
		all = append(all, fmt.Sprintf("kw%03d", i))
	}
	if got, err := set(FlagsAdd, all...); err != nil || fmt.Sprint(got) != fmt.Sprint(all) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := set(FlagsAdd, "one-more"); !errors.Is(err, ErrKeyword) {
		t.Errorf("beyond the limit: %v", err)
	}
	if got, err := set(FlagsRemove, all[1:KeywordsMax-1]...); err != nil || fmt.Sprint(got) != fmt.Sprint([]string{all[0], all[KeywordsMax-1]}) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := set(FlagsReplace); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}
