package message

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const headerExample = "Received: one\r\nSubject: a\r\n  b\r\nnonsense\r\n more nonsense\r\nReceived:two\r\nsubject : c\r\nX-Empty:\r\n\r\nbody: x\r\n"

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, eol := range []string{"\r\n", "\n"} {
		h := NewHeader([]byte(strings.ReplaceAll(headerExample, "\r\n", eol)))
		if got := h.Get("SUBJECT"); got != "a  b" {
			t.Errorf("got subject %q", got)
		}
		if got := h.Values("subject"); !slices.Equal(got, []string{"a  b", "c"}) {
			t.Errorf("got subjects %q", got)
		}
		if got := h.Get("Body") + h.Get("nonsense") + h.Get("") + h.Get("X-Empty"); got != "" {
			t.Errorf("got %q for what is absent", got)
		}
		if got := CountReceived(h); got != 2 {
			t.Errorf("got %d Received fields", got)
		}
		var names []string
		raw := ""
		for f := range h.Fields() {
			names = append(names, f.Name)
			raw += string(f.Raw)
		}
		if want := []string{"Received", "Subject", "Received", "subject", "X-Empty"}; !slices.Equal(names, want) {
			t.Errorf("got names %q", names)
		}
		if !strings.HasPrefix(raw, "Received: one"+eol+"Subject: a"+eol+"  b"+eol+"Received:two"+eol) {
			t.Errorf("got raw %q", raw)
		}
		if !strings.HasSuffix(string(h.Raw()), "X-Empty:"+eol+eol) {
			t.Errorf("got header %q", h.Raw())
		}
	}
}

func TestReadHeader(t *testing.T) {
	t.Parallel()
	const msg = "Subject: x\r\n\r\nbody"
	p, _ := parseString(msg)
	h, err := ReadHeader(strings.NewReader(msg), &p)
	if err != nil || h.Get("subject") != "x" {
		t.Errorf("got %q, %v", h.Raw(), err)
	}
	if _, err := ReadHeader(strings.NewReader(msg[:5]), &p); err == nil {
		t.Error("got no error for a short file")
	}
	for _, p := range []Part{{BodyOffset: headerSizeMax + 1}, {HeaderOffset: 1}} {
		if _, err := ReadHeader(strings.NewReader(msg), &p); !errors.Is(err, ErrHeaderSize) {
			t.Errorf("got error %v", err)
		}
	}
}

func TestFilterHeader(t *testing.T) {
	t.Parallel()
	const raw = "A: 1\r\nb : 2\r\n\t3\r\nnonsense\r\nB: 4\r\n\r\n"
	for _, c := range []struct {
		name  string
		raw   string
		names string
		not   bool
		want  string
	}{
		{"one field", raw, "a", false, "A: 1\r\n\r\n"},
		{"folded and repeated, in order", raw, "B", false, "b : 2\r\n\t3\r\nB: 4\r\n\r\n"},
		{"several names", raw, "B A X", false, "A: 1\r\nb : 2\r\n\t3\r\nB: 4\r\n\r\n"},
		{"no field", raw, "X", false, "\r\n"},
		{"all but one", raw, "b", true, "A: 1\r\nnonsense\r\n\r\n"},
		{"all", raw, "X", true, raw},
		{"a name is not a prefix", "AB: 1\n\n", "A", false, "\n"},
		{"bare LF", "A: 1\n b\nB: 2\n\n", "A", false, "A: 1\n b\n\n"},
		{"no blank line", "A: 1\r\nB: 2\r\n", "B", false, "B: 2\r\n"},
		{"the last line is not complete", "A: 1\r\nB: 2", "B", false, "B: 2"},
		{"what follows the blank line does not count", "A: 1\r\n\r\nA: 2\r\n", "A", false, "A: 1\r\n\r\n"},
		{"nothing", "", "A", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := FilterHeader([]byte(c.raw), strings.Fields(c.names), c.not); string(got) != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzFilterHeader checks that each line comes either with or without not, and
// the blank line with both.
func FuzzFilterHeader(f *testing.F) {
	f.Add(headerExample, "Subject")
	f.Add("a:\n\n", "a")
	f.Fuzz(func(t *testing.T, raw, name string) {
		head := NewHeader([]byte(raw)).Raw()
		with := FilterHeader([]byte(raw), []string{name}, false)
		without := FilterHeader([]byte(raw), []string{name}, true)
		blank := 0
		for _, s := range []string{"\r\n", "\n"} {
			if string(head) == s || strings.HasSuffix(string(head), "\n"+s) {
				blank = len(s)
				break
			}
		}
		if len(with)+len(without)-blank != len(head) {
			t.Fatalf("%q: got %q and %q", head, with, without)
		}
	})
}

func TestNeedsSMTPUTF8(t *testing.T) {
	t.Parallel()
	if NeedsSMTPUTF8(NewHeader([]byte("Subject: x\n\n\u00e9"))) {
		t.Error("the body must not count")
	}
	if !NeedsSMTPUTF8(NewHeader([]byte("Subject: \u00e9\n\n"))) {
		t.Error("8 bits in the header")
	}
}
