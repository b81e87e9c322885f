package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// crlf makes a message from lines as typed in Go.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func parseString(s string) (Part, error) {
	return Parse(strings.NewReader(s), int64(len(s)))
}

// outline returns the tree of media types: "MIXED(PLAIN RFC822{PLAIN})".
func outline(p *Part) string {
	s := p.Subtype
	if p.Type == "MULTIPART" {
		var parts []string
		for i := range p.Parts {
			parts = append(parts, outline(&p.Parts[i]))
		}
		s += "(" + strings.Join(parts, " ") + ")"
	}
	if p.Message != nil {
		s += "{" + outline(p.Message) + "}"
	}
	return s
}

// leaves returns the raw bodies of the parts without parts, in order.
func leaves(msg string, p *Part) []string {
	switch {
	case p.Message != nil:
		return leaves(msg, p.Message)
	case len(p.Parts) == 0:
		return []string{msg[p.BodyOffset:p.EndOffset]}
	}
	var bodies []string
	for i := range p.Parts {
		bodies = append(bodies, leaves(msg, &p.Parts[i])...)
	}
	return bodies
}

// checkPart checks what holds for each Part, of any message: offsets are in
// order, children are within the body of their parent, in order, and lines are
// those of the body.
func checkPart(t testing.TB, msg string, p *Part, start, end int64) {
	t.Helper()
	if p.HeaderOffset < start || p.BodyOffset < p.HeaderOffset || p.EndOffset < p.BodyOffset || p.EndOffset > end {
		t.Fatalf("part %s [%d,%d,%d) is not within [%d,%d) of %q", p.Subtype, p.HeaderOffset, p.BodyOffset, p.EndOffset, start, end, msg)
	}
	if p.Type == "" || p.Subtype == "" {
		t.Fatalf("part without type: %+v", p)
	}
	lines := int64(strings.Count(msg[p.BodyOffset:p.EndOffset], "\n"))
	if counted := p.Type == "TEXT" || p.Type == "MESSAGE" || p.Type == "MULTIPART" && len(p.Parts) == 0; counted && lines != p.Lines {
		t.Fatalf("part %s [%d,%d,%d) has %d lines, want %d: %q", p.Subtype, p.HeaderOffset, p.BodyOffset, p.EndOffset, p.Lines, lines, msg)
	}
	pos := p.BodyOffset
	for i := range p.Parts {
		checkPart(t, msg, &p.Parts[i], pos, p.EndOffset)
		pos = p.Parts[i].EndOffset
	}
	if p.Message != nil {
		checkPart(t, msg, p.Message, p.BodyOffset, p.EndOffset)
		if p.Message.Envelope == nil {
			t.Fatal("nested message without envelope")
		}
	}
}

// checkMessage parses msg, and checks the Part, its binary form, and that all
// bodies can be read.
func checkMessage(t testing.TB, msg string) Part {
	t.Helper()
	p, err := parseString(msg)
	if err != nil && !errors.Is(err, ErrMalformed) {
		t.Fatalf("parsing: %v", err)
	}
	if p.HeaderOffset != 0 || p.EndOffset != int64(len(msg)) || p.Envelope == nil {
		t.Fatalf("message [%d,%d,%d) of %d bytes, envelope %v", p.HeaderOffset, p.BodyOffset, p.EndOffset, len(msg), p.Envelope)
	}
	checkPart(t, msg, &p, 0, int64(len(msg)))
	got, err := ParsePart(p.AppendBinary(nil))
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Fatalf("binary form: got error %v and\n%+v, want\n%+v", err, got, p)
	}
	checkReading(t, msg, &p)
	return p
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, msg string
		outline   string
		bodies    []string // Of parts without parts.
		odd       string   // Part of the error.
	}{
		{"a simple message", "Subject: x\n\nbody\n", "PLAIN", []string{"body\n"}, ""},
		{"an empty message", "", "PLAIN", []string{""}, ""},
		{"a header without body", "Subject: x\n", "PLAIN", []string{""}, ""},
		{"an unfinished header line", "Subject: x", "PLAIN", []string{""}, ""},
		{"a body without header", "\nbody", "PLAIN", []string{"body"}, ""},
		{"text that is no header", "Hello there.\n\nBye: me\n", "PLAIN", []string{"Hello there.\n\nBye: me\n"}, "no header"},
		{"a bad line in a header", "Subject: x\nnonsense\nContent-Type: text/html\n\nbody", "HTML", []string{"body"}, ""},
		{"a line from an mbox file", "From me Thu Apr 11 1996\nContent-Type: text/html\n\nbody", "HTML", []string{"body"}, ""},
		{"a blank line of spaces is a continuation", "Subject: x\n \nContent-Type: text/html\n\nbody", "HTML", []string{"body"}, ""},
		{
			"two parts",
			"Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nContent-Type: text/html\n\ntwo\n\n--b--\nepilogue\n",
			"MIXED(PLAIN HTML)", []string{"one", "two\n"}, "",
		},
		{
			"a multipart not closed",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n",
			"MIXED(PLAIN)", []string{"one\n"}, "not closed",
		},
		{
			"an inner multipart ended by the outer",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/related; boundary=c\n\n--c\n\none\n--b\n\ntwo\n--b--\n",
			"MIXED(RELATED(PLAIN) PLAIN)", []string{"one", "two"}, "not closed",
		},
		{
			"an inner boundary that begins as the outer",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/related; boundary=b-1\n\n--b-1\n\none\n--b-1--\n--b--\n",
			"MIXED(RELATED(PLAIN))", []string{"one"}, "",
		},
		{
			"an outer boundary that looks like the inner closed",
			"Content-Type: multipart/mixed; boundary=b--\n\n--b--\nContent-Type: multipart/related; boundary=b\n\n--b\n\none\n--b--\n\ntwo\n--b----\n",
			"MIXED(RELATED(PLAIN))", []string{"one"}, "",
		},
		{
			"a boundary within a longer line",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--bc\n --b\n--b-\n--b--\n",
			"MIXED(PLAIN)", []string{"--bc\n --b\n--b-"}, "",
		},
		{
			"white space after a boundary",
			"Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\none\n--b text\n\ntwo\n--b-- \n",
			"MIXED(PLAIN PLAIN)", []string{"one", "two"}, "",
		},
		{
			"headers ended by a delimiter",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\nContent-Type: text/html\n--b--\n",
			"MIXED(PLAIN HTML)", []string{"", ""}, "",
		},
		{
			"a delimiter that shares its line break with the header of two parts",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/related; boundary=c\n\n--c\n\n--b--\n",
			"MIXED(RELATED(PLAIN))", []string{""}, "not closed",
		},
		{
			"a part without header",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\njust text\n--b--\n",
			"MIXED(PLAIN)", []string{"just text"}, "no header",
		},
		{"no boundary", "Content-Type: multipart/mixed\n\n--b\n\none\n--b--\n", "MIXED()", []string{"--b\n\none\n--b--\n"}, "without boundary"},
		{"no parts", "Content-Type: multipart/mixed; boundary=b\n\ntext\n", "MIXED()", []string{"text\n"}, "not closed"},
		{"closed before it begins", "Content-Type: multipart/mixed; boundary=b\n\ntext\n--b--\nmore", "MIXED()", []string{"text\n--b--\nmore"}, "without parts"},
		{
			"a boundary of the longest size",
			"Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", boundarySizeMax) + "\n\n--" + strings.Repeat("b", boundarySizeMax) + "\n\none\n--" + strings.Repeat("b", boundarySizeMax) + "--\n",
			"MIXED(PLAIN)", []string{"one"}, "",
		},
		{
			"a boundary too long",
			"Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", boundarySizeMax+1) + "\n\ntext",
			"MIXED()", []string{"text"}, "boundary too long",
		},
		{"a nested message", "Content-Type: message/rfc822\n\nSubject: x\n\ninner\n", "RFC822{PLAIN}", []string{"inner\n"}, ""},
		{"a nested global message", "Content-Type: message/global\nContent-Transfer-Encoding: 8bit\n\nSubject: \u00e9\n\ninner\n", "GLOBAL{PLAIN}", []string{"inner\n"}, ""},
		{"an encoded nested message", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAoKaQo=\n", "RFC822", []string{"U3ViamVjdDogeAoKaQo=\n"}, ""},
		{"another message type", "Content-Type: message/delivery-status\n\nx: y\n", "DELIVERY-STATUS", []string{"x: y\n"}, ""},
		{
			"a digest",
			"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\none\n--b\nContent-Type: text/plain\n\ntwo\n--b--\n",
			"DIGEST(RFC822{PLAIN} PLAIN)", []string{"one", "two"}, "",
		},
		{"a bad content-type", "Content-Type: html\n\nx", "PLAIN", []string{"x"}, "bad content-type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, form := range []struct {
				name string
				f    func(string) string
			}{{"LF", strings.Clone}, {"CRLF", crlf}} {
				msg := form.f(c.msg)
				p := checkMessage(t, msg)
				if got := outline(&p); got != c.outline {
					t.Errorf("%s: got %s, want %s", form.name, got, c.outline)
				}
				for i, got := range leaves(msg, &p) {
					if i >= len(c.bodies) || got != form.f(c.bodies[i]) {
						t.Errorf("%s: body %d is %q, want of %q", form.name, i, got, c.bodies)
					}
				}
				_, err := parseString(msg)
				if c.odd == "" && err != nil || c.odd != "" && (err == nil || !strings.Contains(err.Error(), c.odd)) {
					t.Errorf("%s: got error %v, want %q", form.name, err, c.odd)
				}
			}
		})
	}
}

// TestParseFields checks what is taken from header fields.
func TestParseFields(t *testing.T) {
	t.Parallel()
	const msg = `Date: Thu, 11 Apr 1996 01:10:30 -0500
Subject:  one
 =?utf-8?q?two?=
Subject: second is ignored
From: Me <me@example.org>
To: a@example.org
To: b@example.org
In-Reply-To: <p@x>
Message-ID : <m@x>
Content-Type: Text/HTML; Charset="utf-8" ;name=x
Content-Transfer-Encoding: Quoted-Printable (really)
Content-ID: <id@x>
Content-Description: a
	thing
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Disposition: attachment; filename="a b"
Content-Language: en, de (Deutsch)
Content-Location: http://example.org/

x
`
	p, err := parseString(msg)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(msg))
	want := Part{
		BodyOffset: size - 2, EndOffset: size, Lines: 1,
		Type: "TEXT", Subtype: "HTML",
		Params: []Param{{"CHARSET", "utf-8"}, {"NAME", "x"}},
		ID:     "<id@x>", Description: "a\tthing", Encoding: "QUOTED-PRINTABLE", MD5: "Q2hlY2sgSW50ZWdyaXR5IQ==",
		Disposition: "ATTACHMENT", DispositionParams: []Param{{"FILENAME", "a b"}},
		Language: []string{"en", "de"}, Location: "http://example.org/",
		Envelope: &Envelope{
			Date: "Thu, 11 Apr 1996 01:10:30 -0500", Subject: "one =?utf-8?q?two?=",
			From:      []Address{{Name: "Me", Mailbox: "me", Host: "example.org"}},
			To:        []Address{{Mailbox: "a", Host: "example.org"}, {Mailbox: "b", Host: "example.org"}},
			InReplyTo: "<p@x>", MessageID: "<m@x>",
		},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got\n%+v\nwant\n%+v", p, want)
	}
	if got := p.Filename(); got != "a b" {
		t.Errorf("got file name %q", got)
	}
}

// TestParseChunks parses a message many times larger than the buffer, with
// delimiters at every place in the buffer.
func TestParseChunks(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=bound\r\n\r\n")
	var want []string
	for i := range 400 {
		body := strings.Repeat("x", i%77) + "\r\n" + strings.Repeat("-\r\n--\r\n", i*3)
		want = append(want, body)
		b.WriteString("--bound\r\n\r\n" + body + "\r\n")
	}
	b.WriteString("--bound--\r\n")
	msg := b.String()
	p := checkMessage(t, msg)
	if got := leaves(msg, &p); !reflect.DeepEqual(got, want) {
		t.Error("parts differ")
	}
}

// TestParseReadErrors checks that a message that can't be read in full gives an
// error that is not ErrMalformed, and a Part of what was read.
func TestParseReadErrors(t *testing.T) {
	t.Parallel()
	msg := "Subject: x\n\n" + strings.Repeat("body\n", 100_000)
	for _, size := range []int{0, 5, 12, 100, bufferSize, len(msg) - 1} {
		p, err := Parse(strings.NewReader(msg[:size]), int64(len(msg)))
		if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrMalformed) {
			t.Errorf("size %d: got error %v", size, err)
		}
		checkPart(t, msg, &p, 0, int64(size))
	}
	p, err := Parse(errorReader{}, 100)
	if !errors.Is(err, iotest.ErrTimeout) || p.EndOffset != 0 {
		t.Errorf("got %v, %v", p, err)
	}
	if p, err := Parse(strings.NewReader(""), -1); err != nil || p.EndOffset != 0 {
		t.Errorf("negative size: got %v, %v", p, err)
	}
}

type errorReader struct{}

func (errorReader) ReadAt([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }

// generated is a message made up as it is read: head, then fill repeated.
type generated struct{ head, fill string }

func (g generated) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(g.head)) {
		n = copy(p, g.head[off:])
	}
	for n < len(p) {
		n += copy(p[n:], g.fill[(off+int64(n)-int64(len(g.head)))%int64(len(g.fill)):])
	}
	return n, nil
}

// TestParseLimits checks that hostile messages take bounded time and memory, and
// that the Part is of use.
func TestParseLimits(t *testing.T) {
	// Not parallel: it measures allocation.
	const large = 64 << 20
	mixed := "Content-Type: multipart/mixed; boundary=b\n\n"
	for _, c := range []struct {
		name       string
		head, fill string
		size       int64
		body       int64 // Offset of the body.
		odd        string
	}{
		{"a header line without end", "Subject: ", "x", large, 0, "header too large"},
		{"a folded header without end", "Subject: x\n", " x\n", large, headerFieldsMax*3 + 8, "header too large"},
		{"a header of long lines without end", "X: x\n", "Y: " + strings.Repeat("y", 996) + "\n", large, 5 + (headerSizeMax-5)/1000*1000, "header too large"},
		{"a million header lines", "A: b\n", "To: a\n", 6_000_000, (headerFieldsMax-1)*6 + 5, "too large"},
		{"a header of addresses", "To: ", "a,", headerSizeMax, headerSizeMax, ""},
		{"a content-type of parameters", "Content-Type: a/b", ";a=b", headerSizeMax, headerSizeMax, ""},
		{"a content-type of sections", "Content-Type: a/b", ";a*1=b", headerSizeMax, headerSizeMax, ""},
		{"a type that is all comment", "Content-Type: ", "(", headerSizeMax, headerSizeMax, ""},
		{"parts without end", mixed, "--b\n", large, int64(len(mixed)), "too many parts"},
		{"nested messages without end", "", "Content-Type: message/rfc822\n\n", large, 30, "nested too deep"},
		{"parts of nested messages", mixed, "--b\n" + strings.Repeat("Content-Type: message/rfc822\n\n", 50), large, int64(len(mixed)), "too many parts"},
		{"messages full of addresses", mixed, "--b\nContent-Type: message/rfc822\n\nTo: " + strings.Repeat("a,", 10_000) + "\n\n", large, int64(len(mixed)), "structure too large"},
		{"lines of dashes", mixed, "--\n", large, int64(len(mixed)), "not closed"},
		{"one long line of dashes", mixed, "-", large, int64(len(mixed)), "not closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			p, err := Parse(generated{c.head, c.fill}, c.size)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if c.odd == "" && err != nil && c.name == "" || c.odd != "" && (err == nil || !strings.Contains(err.Error(), c.odd)) {
				t.Errorf("got error %v, want %q", err, c.odd)
			}
			if p.BodyOffset != c.body && c.name != "a header line without end" || p.EndOffset != c.size {
				t.Errorf("got body [%d,%d), want [%d,%d)", p.BodyOffset, p.EndOffset, c.body, c.size)
			}
			// Generous for a busy machine with the race detector; what goes wrong with the
			// square of the size takes hours.
			if took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if alloc := after.TotalAlloc - before.TotalAlloc; alloc > 6*structureSizeMax {
				t.Errorf("allocated %d bytes", alloc)
			}
			if _, err := ParsePart(p.AppendBinary(nil)); err != nil {
				t.Errorf("binary form: %v", err)
			}
		})
	}
}

// TestParseDepth checks both sides of the limit on depth, and that a multipart
// beyond it still ends where its parents say.
func TestParseDepth(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{depthMax, depthMax + 1, 3 * depthMax} {
		var b strings.Builder
		for i := range depth {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		b.WriteString("\r\ninnermost")
		for i := range depth {
			fmt.Fprintf(&b, "\r\n--b%d--", depth-1-i)
		}
		msg := b.String()
		p := checkMessage(t, msg)
		deepest := 0
		for q := &p; len(q.Parts) > 0; q = &q.Parts[0] {
			deepest++
		}
		if deepest != min(depth, depthMax) {
			t.Errorf("depth %d: got %d levels", depth, deepest)
		}
		_, err := parseString(msg)
		if (err != nil) != (depth > depthMax) {
			t.Errorf("depth %d: got error %v", depth, err)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	// The example of RFC 9051, section 6.4.5.1.
	msg, err := os.ReadFile("testdata/rfc9051/6.4.5.1.eml")
	if err != nil {
		t.Fatal(err)
	}
	p := checkMessage(t, string(msg))
	for _, c := range []struct {
		path []int
		want string // Subtype and body or outline; empty if there is no such part.
	}{
		{nil, "MIXED"},
		{[]int{1}, "PLAIN 1"},
		{[]int{2}, "OCTET-STREAM 2"},
		{[]int{3}, "RFC822"},
		{[]int{3, 1}, "PLAIN 3.1"},
		{[]int{3, 2}, "OCTET-STREAM 3.2"},
		{[]int{4}, "MIXED"},
		{[]int{4, 1}, "GIF 4.1"},
		{[]int{4, 2}, "RFC822"},
		{[]int{4, 2, 1}, "PLAIN 4.2.1"},
		{[]int{4, 2, 2}, "ALTERNATIVE"},
		{[]int{4, 2, 2, 1}, "PLAIN 4.2.2.1"},
		{[]int{4, 2, 2, 2}, "RICHTEXT 4.2.2.2"},
		{[]int{5}, "RFC822"},
		{[]int{5, 1}, "PLAIN 5.1"},
		{[]int{5, 2}, ""},
		{[]int{5, 1, 1}, ""},
		{[]int{6}, "BROKEN"},
		{[]int{6, 1}, "PLAIN 6"},
		{[]int{6, 1, 1}, ""},
		{[]int{0}, ""},
		{[]int{-1}, ""},
		{[]int{7}, ""},
		{[]int{1, 1}, ""},
		{[]int{3, 3}, ""},
	} {
		got := ""
		if q, ok := p.Find(c.path); ok {
			got = q.Subtype
			if q.Type != "MULTIPART" && q.Message == nil {
				got += " " + strings.TrimSpace(string(msg[q.BodyOffset:q.EndOffset]))
			}
		}
		if got != c.want {
			t.Errorf("%v: got %q, want %q", c.path, got, c.want)
		}
	}
	for _, c := range []struct {
		name, msg string
		path      []int
		want      bool
	}{
		{"part 1 of a message that is no multipart", "\nx", []int{1}, true},
		{"part 2 of it", "\nx", []int{2}, false},
		{"part 1.1 of it", "\nx", []int{1, 1}, false},
		{"part 1 of a message that is a message", "Content-Type: message/rfc822\n\n\nx", []int{1}, true},
		{"its part 1.1", "Content-Type: message/rfc822\n\n\nx", []int{1, 1}, true},
		{"its part 1.1.1", "Content-Type: message/rfc822\n\n\nx", []int{1, 1, 1}, false},
	} {
		p, _ := parseString(c.msg)
		if _, ok := p.Find(c.path); ok != c.want {
			t.Errorf("%s: got %v", c.name, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nTo: a:b;\r\n\r\n--b--\r\n")
	f.Add("Content-Type: multipart/digest; boundary=\"a\"\n\n--a\n\n--a\nContent-Type: multipart/x; boundary=a--\n\n--a--\n--a----\n")
	f.Add("From x\nContent-Disposition: x; a*0*=utf-8''%41; a*1=b\nContent-Language: a,b\n \n\n")
	f.Fuzz(func(t *testing.T, msg string) { checkMessage(t, msg) })
}

// corpus calls fn with each message of the published corpora.
func corpus(t *testing.T, fn func(t *testing.T, name, msg string)) {
	t.Helper()
	dir := sharedTestdata(t)
	count := 0
	for _, sub := range []string{"mime-mail-parser", "mime-mime4j"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, d fs.DirEntry, err error) error {
			if ext := filepath.Ext(path); err != nil || d.IsDir() || ext != ".eml" && ext != ".msg" {
				return err
			}
			msg, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			count++
			t.Run(sub+"/"+d.Name(), func(t *testing.T) { fn(t, path, string(msg)) })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if count < 65 {
		t.Errorf("got %d messages", count)
	}
}

// sharedTestdata returns the directory with data of others, which is beside the
// repository.
func sharedTestdata(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		shared := filepath.Join(dir, "shared", "testdata")
		if _, err := os.Stat(shared); err == nil {
			return shared
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("skipped: no ../shared/testdata")
		}
		dir = up
	}
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	corpus(t, func(t *testing.T, _, msg string) {
		t.Parallel()
		checkMessage(t, msg)
		checkMessage(t, crlf(strings.ReplaceAll(msg, "\r\n", "\n")))
		for i := range 20 { // Cut anywhere, it is still a message.
			checkMessage(t, msg[:len(msg)*i/20])
		}
	})
}

// benchmarkMessage is a multipart message of about 10 KiB.
func benchmarkMessage() []byte {
	var b bytes.Buffer
	b.WriteString(crlf(`Return-Path: <sender@example.org>
Received: from mail.example.org (mail.example.org [192.0.2.1]) by mx.example.com
	with ESMTPS id abcdefg for <rcpt@example.com>; Thu, 11 Apr 2024 01:10:30 -0500
DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s1; h=from:to:subject;
	bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=abc
Date: Thu, 11 Apr 2024 01:10:30 -0500
From: Some Sender <sender@example.org>
To: Recipient One <rcpt@example.com>, other@example.net
Subject: =?utf-8?q?A_message_to_measure?=
Message-ID: <20240411.1234@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_outer"

--=_outer
Content-Type: multipart/alternative; boundary="=_inner"

--=_inner
Content-Type: text/plain; charset=utf-8

`))
	b.WriteString(strings.Repeat("This is a line of plain text in a message, of usual length.\r\n", 30))
	b.WriteString("--=_inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n")
	b.WriteString(strings.Repeat("<p>This is a line of <b>marked up</b> text in the message.</p>\r\n", 30))
	b.WriteString("--=_inner--\r\n\r\n--=_outer\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	b.WriteString(strings.Repeat(strings.Repeat("iVBORw0K", 9)+"abcd\r\n", 68))
	b.WriteString("--=_outer--\r\n")
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	msg := benchmarkMessage()
	r := bytes.NewReader(msg)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(r, int64(len(msg))); err != nil {
			b.Fatal(err)
		}
	}
}

// TestParseRFC parses the examples of the RFCs in testdata.
func TestParseRFC(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file, outline string
		first, last   string // Body of the first and last leaf.
	}{
		{"rfc2046/5.1.1", "MIXED(PLAIN PLAIN)", "This is implicitly typed plain US-ASCII text.\nIt does NOT end with a linebreak.", "This is explicitly typed plain US-ASCII text.\nIt DOES end with a linebreak.\n"},
		{"rfc2046/5.1.4", "ALTERNATIVE(PLAIN ENRICHED X-WHATEVER)", "  ... plain text version of message goes here ...\n", "  ... fanciest version of same message goes here ...\n"},
		{"rfc2049/A", "MIXED(PLAIN PLAIN PARALLEL(BASIC JPEG) ENRICHED RFC822{PLAIN})", "", "  ... Additional text in ISO-8859-1 goes here ...\n"},
		{"rfc9051/6.4.5.1", "MIXED(PLAIN OCTET-STREAM RFC822{MIXED(PLAIN OCTET-STREAM)} MIXED(GIF RFC822{MIXED(PLAIN ALTERNATIVE(PLAIN RICHTEXT))}) RFC822{PLAIN} BROKEN())", "1", "6"},
	} {
		data, err := os.ReadFile("testdata/" + c.file + ".eml")
		if err != nil {
			t.Fatal(err)
		}
		msg := string(data)
		p := checkMessage(t, msg)
		if got := outline(&p); got != c.outline {
			t.Errorf("%s: got %s, want %s", c.file, got, c.outline)
		}
		bodies := leaves(msg, &p)
		if first, last := bodies[0], bodies[len(bodies)-1]; c.first != "" && first != c.first || last != c.last {
			t.Errorf("%s: got bodies %q and %q", c.file, first, last)
		}
	}
}

func TestNUL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, msg string
		want      bool
	}{
		{"none", "a: b\r\n\r\nc\r\n", false},
		{"in the header", "a: \x00\r\n\r\nc\r\n", true},
		{"at the end", "a: b\r\n\r\nc\x00", true},
		{"behind the last part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n\x00", true},
		{"far behind the last part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n" + strings.Repeat("x\r\n", 100_000) + "\x00", true},
		{"in a part", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\x00\r\n--b--\r\n", true},
	} {
		p, err := Parse(strings.NewReader(c.msg), int64(len(c.msg)))
		if err != nil && !errors.Is(err, ErrMalformed) || p.NUL != c.want {
			t.Errorf("%s: got %v, %v", c.name, p.NUL, err)
		}
	}
}
