package store

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/message"
)

// structureOf returns what is kept of a message with a prefix.
func structureOf(t testing.TB, prefix, content string) Structure {
	t.Helper()
	an, err := Analyze(bytes.NewReader([]byte(content)), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return Structure{Envelope: an.Envelope, Header: keptHeader([]byte(prefix), &an)}
}

func TestField(t *testing.T) {
	t.Parallel()
	const prefix = "Delivered-To: mox@example.org\r\nReceived: from here\r\n"
	long := strings.Repeat("a", headerValueMax+1)
	for _, c := range []struct {
		name, content, field string
		want                 []string
		unknown              bool
	}{
		{"a field", "X-A: b\r\n\r\n", "x-a", []string{"b"}, false},
		{"folded", "X-A: b\r\n  c\r\n\r\n", "X-A", []string{"b  c"}, false},
		{"twice", "X-A: b\r\nx-a: c\r\n\r\n", "X-A", []string{"b", "c"}, false},
		{"without value", "X-A:\r\n\r\n", "X-A", []string{""}, false},
		{"not there", "X-A: b\r\n\r\n", "X-B", nil, false},
		{"the begin of a name is none", "X-Abc: b\r\n\r\n", "X-A", nil, false},
		{"a text with its name is none", "X-B: x-a:c\r\n\r\n", "X-A", nil, false},
		{"from the envelope", "Subject: =?utf-8?q?a?= \"b\"\r\n\r\n", "Subject", []string{"=?utf-8?q?a?= \"b\""}, false},
		{"two, of which the envelope has one", "Subject: a\r\nSubject: b\r\n\r\n", "Subject", []string{"a", "b"}, false},
		{"an id", "Message-ID: <A@b>\r\n\r\n", "message-id", []string{"<A@b>"}, false},
		{"of the prefix", "X-A: b\r\n\r\n", "Delivered-To", []string{"mox@example.org"}, false},
		{"a trace is only named", "X-A: b\r\n\r\n", "Received", nil, true},
		{"one of many", "X-MS-Exchange-Foo: b\r\n\r\n", "X-MS-Exchange-Bar", nil, true},
		{"none of those", "X-A: b\r\n\r\n", "X-MS-Exchange-Bar", nil, false},
		{"a long value is only named", "X-A: " + long + "\r\n\r\n", "X-A", nil, true},
		{"as long as may be", "X-A: " + long[1:] + "\r\n\r\n", "X-A", []string{long[1:]}, false},
		{"References may be longer", "References: " + long + "\r\n\r\n", "References", []string{long}, false},
		{"a short one beside a long one is not enough", "X-A: b\r\nX-A: " + long + "\r\n\r\n", "X-A", nil, true},
		{"so many that they are not even named", strings.Repeat("X-"+long[:500]+": "+long+"\r\nY"+long[:400]+": "+long+"\r\n", 1) + manyFields(long) + "\r\n", "X-Any", nil, true},
		{"no header", "no header\r\n", "X-A", nil, false},
		{"no such name", "X-A: b\r\n\r\n", "x-a:b", nil, false},
		{"no name", "X-A: b\r\n\r\n", "", nil, false},
		{"another such name", "X-A: b\r\n\r\n", "*", nil, true},
		{"an odd name hides what there is not", "X=: b\r\nX-A: b\r\n\r\n", "X", nil, true},
		{"but not what there is", "X=: b\r\nX-A: b\r\n\r\n", "X-A", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := structureOf(t, prefix, c.content)
			got, known := s.Field(c.field)
			if known == c.unknown || known && !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v, want %q, of %q", got, known, c.want, s.Header)
			}
			if len(s.Header) > headerKeptMax+headerNamedMax+len(prefix)+1000 {
				t.Errorf("%d bytes are kept", len(s.Header))
			}
		})
	}
	if _, known := (&Structure{}).Field("x-a"); known {
		t.Error("a row without fields knows them")
	}
	if s := structureOf(t, "", "no header\r\n"); len(s.Header) == 0 {
		t.Error("a message without header is as one of which nothing is known")
	}
}

// manyFields returns fields of many names, with values that are not kept.
func manyFields(value string) string {
	var b strings.Builder
	for i := range 100 {
		b.WriteString("Name-" + strings.Repeat(string(rune('a'+i%26)), 50+i) + ": " + value + "\r\n")
	}
	return b.String()
}

// FuzzField checks that a field that is known has the values that the header has.
func FuzzField(f *testing.F) {
	f.Add("Received: x\r\n", "Subject: a\r\nSubject: b\r\nX-A:\r\n c\r\n\r\nbody", "subject")
	f.Add("", "Message-ID: <a@b>\r\nDKIM-Signature: x\r\n=: y\r\n*: z\r\n\r\n", "*")
	f.Add("X: y\r\n", "no header", "X")
	f.Fuzz(func(t *testing.T, prefix, content, field string) {
		s := structureOf(t, prefix, content)
		got, known := s.Field(field)
		if !known {
			return
		}
		part, _ := message.Parse(strings.NewReader(content), int64(len(content)))
		want := message.NewHeader([]byte(prefix)).Values(field)
		if h, err := message.ReadHeader(strings.NewReader(content), &part); err == nil {
			want = append(want, h.Values(field)...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q of %q: got %q, want %q", field, s.Header, got, want)
		}
	})
}
