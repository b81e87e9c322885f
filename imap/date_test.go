package imap

import (
	"testing"
	"time"
)

func TestDates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text     string
		pedantic bool
		want     string // RFC 3339, or empty for a failure.
	}{
		{`"17-Jul-1996 02:44:25 -0700"`, true, "1996-07-17T02:44:25-07:00"},
		{`" 1-Feb-1994 21:52:25 +0130"`, true, "1994-02-01T21:52:25+01:30"},
		{`"01-feb-1994 21:52:25 +0000"`, true, "1994-02-01T21:52:25Z"},
		{`"1-Feb-1994 21:52:25 +0000"`, false, "1994-02-01T21:52:25Z"},
		{`"1-Feb-1994 21:52:25 +0000"`, true, ""},
		{`"31-Feb-1994 21:52:25 +0000"`, false, ""},
		{`"31-Dec-2016 23:59:60 +0000"`, true, "2016-12-31T23:59:59Z"},
		{`"31-Dec-2016 23:59:61 +0000"`, false, ""},
		{`"31-Dec-2016 23:60:00 +0000"`, false, ""},
		{`"1-Feb-1994 24:00:00 +0000"`, false, ""},
		{`"1-Feb-0000 00:00:00 +0000"`, false, ""},
		{`"1-Feb-1994"`, false, ""},
		{`1-Feb-1994`, false, ""},
	} {
		d := NewDecoder(tc.text)
		d.Pedantic = tc.pedantic
		got := d.DateTime().Format(time.RFC3339)
		if err := d.End(); (err == nil) != (tc.want != "") || err == nil && got != tc.want {
			t.Errorf("%s: got %s, %v", tc.text, got, err)
		}
	}
	for text, want := range map[string]Date{
		"1-Feb-1994": {1994, 2, 1}, `"01-Feb-1994"`: {1994, 2, 1}, "29-FEB-2024": {2024, 2, 29},
		"29-Feb-2023": {}, "0-Feb-2023": {}, "1-Feb-94": {}, "x": {}, "": {},
	} {
		d := NewDecoder(text)
		if got := d.Date(); got != want || (d.End() == nil) != (want != Date{}) {
			t.Errorf("%s: got %v, %v", text, got, d.Err())
		}
	}
	if (Date{2026, 1, 31}).Compare(Date{2026, 2, 1}) >= 0 {
		t.Error("days out of order")
	}
}

// FuzzDateTime checks that a date-time reads back as written, to the second.
func FuzzDateTime(f *testing.F) {
	f.Add(`"17-Jul-1996 02:44:25 -0700"`)
	f.Add(`" 1-Feb-9999 21:52:25 +0130"`)
	f.Fuzz(func(t *testing.T, text string) {
		d := NewDecoder(text)
		at := d.DateTime()
		if d.End() != nil {
			return
		}
		b := AppendDateTime(nil, at)
		d = NewDecoder(string(b))
		d.Pedantic = true
		if got := d.DateTime(); d.End() != nil || got.Unix() != at.Unix() {
			t.Fatalf("%s is %v, written as %s, read as %v, %v", text, at, b, got, d.Err())
		}
	})
}
