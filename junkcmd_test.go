package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// junkCorpus writes messages of two kinds: those that are not junk as files, junk as
// an mbox.
func junkCorpus(t *testing.T, n int) (not, isJunk string) {
	t.Helper()
	dir := t.TempDir()
	not, isJunk = filepath.Join(dir, "not"), filepath.Join(dir, "junk.mbox")
	if err := os.MkdirAll(filepath.Join(not, "cur"), 0o700); err != nil {
		t.Fatal(err)
	}
	var mbox strings.Builder
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		date := at.Add(time.Duration(i) * time.Hour).Format(time.RFC1123Z)
		msg := fmt.Sprintf("From: <ann@friends.example>\nDate: %s\n\nThe meeting about report %d is tomorrow.\n", date, i)
		if err := os.WriteFile(filepath.Join(not, "cur", fmt.Sprint(i)), []byte(msg), 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&mbox, "From shop@deals.example Thu Jan  1 00:00:00 2026\nFrom: <shop@deals.example>\nDate: %s\n\nCheap pills for you, order now.\n>From nowhere\nFrom here no message begins\n\n", date)
	}
	if err := os.WriteFile(isJunk, []byte(mbox.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return not, isJunk
}

func TestJunkCommands(t *testing.T) {
	t.Parallel()
	not, isJunk := junkCorpus(t, 60)
	db := filepath.Join(t.TempDir(), "filter.db")
	one := filepath.Join(t.TempDir(), "one")
	if err := os.WriteFile(one, []byte("From: <x@deals.example>\r\n\r\ncheap pills\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := t.TempDir()
	for _, test := range []struct {
		name string
		args []string
		code int
		want []string // In what is printed.
	}{
		{"no filter named", []string{"junk", "train", not, isJunk}, 2, []string{"no -db"}},
		{"a filter that is not there", []string{"junk", "check", "-db", db, one}, 1, []string{"no such file"}},
		{"train", []string{"junk", "train", "-db", db, not, isJunk}, 0, []string{"trained with 60 messages that are not junk, and 60 that are"}},
		{"check", []string{"junk", "check", "-db", db, one}, 0, []string{"probability 1.0000: junk\n", `0.99 "pills", in 60 of 60 junk messages and 0 of 60 others`}},
		{"test", []string{"junk", "test", "-db", db, not, isJunk}, 0, []string{"      60      60          60               0      100.00%  100.00%"}},
		{"analyze", []string{"junk", "analyze", "-runs", "2", not, isJunk}, 0, []string{"     10        40      40          40               0      100.00%  100.00%", "\n     20 "}},
		{"play", []string{"junk", "play", not, isJunk}, 0, []string{"           0        10       0          10               0", "         100        10      10          10               0      100.00%  100.00%\n", "         all        60 "}},
		{"nothing to read", []string{"junk", "play", none, isJunk}, 1, []string{"no messages in " + none}},
		{"no words", []string{"junk", "play", "-onegrams=false", not, isJunk}, 2, []string{"out of range"}},
		{"an impossible number", []string{"junk", "play", "-maxpower", "0.6", not, isJunk}, 2, []string{"out of range"}},
		{"too few arguments", []string{"junk", "analyze", not}, 2, []string{"usage: mox junk analyze"}},
		{"too many accounts", []string{"retrain", "a", "b"}, 2, []string{"usage: mox retrain"}},
	} {
		code, stdout, stderr := run(t, test.args...)
		for _, want := range test.want {
			if code != test.code || !strings.Contains(stdout+stderr, want) {
				t.Errorf("%s: got %d, %s%s; want %d, %q", test.name, code, stdout, stderr, test.code, want)
			}
		}
	}
}

func TestSplitMbox(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"a message", "A: b\n\nFrom x\n", []string{"A: b\n\nFrom x\n"}},
		{"two in an mbox", "From x\nA: b\n\nbody\n\nFrom y\nC: d\n", []string{"A: b\n\nbody\n\n", "C: d\n"}},
		{"From within a paragraph", "From x\n\nbody\nFrom me\n", []string{"\nbody\nFrom me\n"}},
		{"a long line that has it in the middle", "From x\n\n" + strings.Repeat("x", 64<<10) + "From y\n", []string{"\n" + strings.Repeat("x", 64<<10) + "From y\n"}},
		{"CRLF", "From x\r\n\r\nFrom y\r\n\r\n", []string{"\r\n", "\r\n"}},
	} {
		list, err := splitMbox(strings.NewReader(test.text))
		var got []string
		for _, m := range list {
			got = append(got, test.text[m.offset:m.offset+m.size])
		}
		if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
			t.Errorf("%s: got %.200q, %v", test.name, got, err)
		}
	}
}
