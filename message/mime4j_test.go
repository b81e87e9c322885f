package message

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// entity4j is an entity in the XML that mime4j expects: one of the bodies is set.
type entity4j struct {
	Fields    []string     `xml:"header>field"`
	Text      *file4j      `xml:"text-body"`
	Binary    *file4j      `xml:"binary-body"`
	Message   *entity4j    `xml:"message"`
	Multipart *multipart4j `xml:"multipart"`
}

type file4j struct {
	Name string `xml:"name,attr"`
}

type multipart4j struct {
	Parts []entity4j `xml:"body-part"`
}

// deviations4j are the files where we differ from mime4j, with reasons.
var deviations4j = map[string]string{
	"base64encoded-rfc822message":          "encoded messages are not taken apart: their parts are not bytes of the file",
	"base64encoded-rfc822message-nested":   "encoded messages are not taken apart: their parts are not bytes of the file",
	"bad-newlines-multiple-parts-base64":   "encoded messages are not taken apart: their parts are not bytes of the file",
	"malformedHeader-noheader":             "mime4j lets the text vanish in the header; we do as in malformedHeaderStartsBody-noheader",
	"malformedHeaderStartsBody-noheader":   "mime4j loses the second line of the text; the whole of it is body",
	"malformedHeaderStartsBody-nocrlfcrlf": "a bad line after a good one does not end the header; we do as in malformedHeader-nocrlfcrlf",
}

// TestMime4j compares the tree and the decoded leaves with what mime4j expects.
func TestMime4j(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(sharedTestdata(t), "mime-mime4j", "testmsgs")
	names, err := filepath.Glob(filepath.Join(dir, "*.msg"))
	if err != nil || len(names) != 32 {
		t.Fatalf("got %d messages, %v", len(names), err)
	}
	for _, path := range names {
		name := strings.TrimSuffix(filepath.Base(path), ".msg")
		if deviations4j[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			msg, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(dir, name+"_decoded.xml"))
			if err != nil {
				t.Fatal(err)
			}
			var want entity4j
			d := xml.NewDecoder(strings.NewReader(string(data)))
			d.Strict = false
			d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
			if err := d.Decode(&want); err != nil {
				t.Fatal(err)
			}
			p, _ := parseString(string(msg))
			c := comparer4j{dir, string(msg)}
			c.compare(t, name, &p, &want)
		})
	}
}

type comparer4j struct{ dir, msg string }

func (c comparer4j) compare(t *testing.T, path string, p *Part, want *entity4j) {
	t.Helper()
	r := strings.NewReader(c.msg)
	h, err := ReadHeader(r, p)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for f := range h.Fields() {
		if count < len(want.Fields) {
			// XML turns CRLF into LF.
			got, want := strings.TrimSpace(strings.ReplaceAll(string(f.Raw), "\r\n", "\n")), strings.TrimSpace(want.Fields[count])
			if got != want && !strings.Contains(want, "\uFFFD") {
				t.Errorf("%s: got field %q, want %q", path, got, want)
			}
		}
		count++
	}
	if count != len(want.Fields) {
		t.Errorf("%s: got %d fields, want %d", path, count, len(want.Fields))
	}
	switch {
	case want.Message != nil && p.Message != nil:
		c.compare(t, path+".message", p.Message, want.Message)
	case want.Multipart != nil && p.Type == "MULTIPART":
		if len(p.Parts) != len(want.Multipart.Parts) {
			t.Fatalf("%s: got %d parts, want %d", path, len(p.Parts), len(want.Multipart.Parts))
		}
		for i := range p.Parts {
			c.compare(t, path+".part", &p.Parts[i], &want.Multipart.Parts[i])
		}
	case want.Text != nil || want.Binary != nil:
		file := want.Text
		if file == nil {
			file = want.Binary
		}
		data, err := os.ReadFile(filepath.Join(c.dir, file.Name))
		if err != nil {
			t.Fatal(err)
		}
		body, err := p.DecodedBody(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != string(data) {
			t.Errorf("%s: got body %.300q, %v, want %.300q", path, got, err, data)
		}
	default:
		t.Errorf("%s: got %s", path, outline(p))
	}
}
