package imap

import (
	"reflect"
	"strings"
	"testing"
)

func TestFetchItems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       string // As Append writes them, or empty for a failure.
		response   string // As AppendName does, if different.
	}{
		{"a macro", "all", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE", ""},
		{"another", "FULL", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY", ""},
		{"a macro within a list", "(ALL)", "", ""},
		{"an item", "flags", "FLAGS", ""},
		{"a list", "(UID BODYSTRUCTURE rfc822.header)", "UID BODYSTRUCTURE RFC822.HEADER", ""},
		{"the whole message", "BODY[]", "BODY[]", ""},
		{"without setting the flag", "(BODY.PEEK[])", "BODY.PEEK[]", "BODY[]"},
		{"a range", "BODY[]<0.2048>", "BODY[]<0.2048>", "BODY[]<0>"},
		{"a range beyond 32 bits", "BODY[]<4294967296.9223372036854775807>", "BODY[]<4294967296.9223372036854775807>", "BODY[]<4294967296>"},
		{"a range of nothing", "BODY[]<0.0>", "", ""},
		{"a range without a size", "BODY[]<0>", "", ""},
		{"a part", "BODY[1.2.3]", "BODY[1.2.3]", ""},
		{"a part that is zero", "BODY[1.0]", "", ""},
		{"a part with a dot too many", "BODY[1.]", "", ""},
		{"the header", "BODY[HEADER]", "BODY[HEADER]", ""},
		{"the header of a part", "BODY[1.header]", "BODY[1.HEADER]", ""},
		{"fields", "BODY[HEADER.FIELDS (Date \"From\")]", "BODY[HEADER.FIELDS (Date From)]", ""},
		{"fields of a part", "BODY.PEEK[4.2.HEADER.FIELDS.NOT (x)]<1.2>", "BODY.PEEK[4.2.HEADER.FIELDS.NOT (x)]<1.2>", "BODY[4.2.HEADER.FIELDS.NOT (x)]<1>"},
		{"no fields", "BODY[HEADER.FIELDS ()]", "", ""},
		{"a field with a line end", "BODY[HEADER.FIELDS ({3}\r\na\r\n)]", "", ""},
		{"text", "BODY[TEXT]", "BODY[TEXT]", ""},
		{"MIME header", "BODY[2.MIME]", "BODY[2.MIME]", ""},
		{"MIME header of the message", "BODY[MIME]", "", ""},
		{"no dot", "BODY[1HEADER]", "", ""},
		{"binary", "BINARY.PEEK[1]<2.3>", "BINARY.PEEK[1]<2.3>", "BINARY[1]<2>"},
		{"binary of the message", "BINARY[]", "BINARY[]", ""},
		{"binary of a header", "BINARY[HEADER]", "", ""},
		{"binary of part of a name", "BINARY[1.]", "", ""},
		{"the size of binary", "BINARY.SIZE[1.2]", "BINARY.SIZE[1.2]", ""},
		{"a size with a range", "BINARY.SIZE[1]<1.2>", "", ""},
		{"a section where none may be", "FLAGS[]", "", ""},
		{"no end of section", "BODY[1", "", ""},
		{"an unknown item", "X-GM-LABELS", "", ""},
		{"an empty list", "()", "", ""},
		{"nothing", "", "", ""},
		{"as deep as allowed", "BODY[" + strings.Repeat("1.", sectionDepthMax-1) + "1]", "BODY[" + strings.Repeat("1.", sectionDepthMax-1) + "1]", ""},
		{"too deep", "BODY[" + strings.Repeat("1.", sectionDepthMax) + "1]", "", ""},
		{"too many items", "(" + strings.Repeat("FLAGS ", fetchItemsMax) + "FLAGS)", "", ""},
		{"too many fields", "BODY[HEADER.FIELDS (" + strings.Repeat("x ", headerFieldsMax) + "x)]", "", ""},
	} {
		d := NewDecoder(tc.text)
		items := d.FetchItems()
		var request, response []string
		for _, i := range items {
			request = append(request, string(i.Append(nil)))
			response = append(response, string(i.AppendName(nil)))
		}
		if err := d.End(); (err == nil) != (tc.want != "") || err == nil && strings.Join(request, " ") != tc.want {
			t.Errorf("%s: got %q, %v", tc.name, request, err)
		}
		if tc.response != "" && strings.Join(response, " ") != tc.response {
			t.Errorf("%s: got %q for the response", tc.name, response)
		}
	}
}

func TestSetsSeen(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"BODY[]": true, "BODY.PEEK[]": false, "RFC822": true, "RFC822.TEXT": true, "RFC822.HEADER": false,
		"BINARY[1]": true, "BINARY.PEEK[1]": false, "BINARY.SIZE[1]": false, "BODY": false, "ENVELOPE": false,
	} {
		if got := NewDecoder(text).FetchItem().SetsSeen(); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

func TestPartial(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		p             *Partial
		size          int64
		offset, count int64
	}{
		{nil, 10, 0, 10},
		{&Partial{0, 5}, 10, 0, 5},
		{&Partial{8, 5}, 10, 8, 2},
		{&Partial{10, 5}, 10, 10, 0},
		{&Partial{1 << 62, 1 << 62}, 10, 10, 0},
	} {
		if o, c := tc.p.Apply(tc.size); o != tc.offset || c != tc.count {
			t.Errorf("%v of %d: got %d, %d", tc.p, tc.size, o, c)
		}
	}
}

// FuzzFetchItems checks that items read back as they are written, and that the
// name in a response has nothing that could end a line.
func FuzzFetchItems(f *testing.F) {
	f.Add("(FLAGS BODY.PEEK[1.2.HEADER.FIELDS (Date \"a\\\"b\")]<0.10>)")
	f.Add("BINARY.SIZE[1]")
	f.Add("FULL")
	f.Add("BODY[HEADER.FIELDS ({1}\r\nx)]")
	f.Fuzz(func(t *testing.T, text string) {
		d := NewDecoder(text)
		items := d.FetchItems()
		if d.End() != nil {
			return
		}
		for _, item := range items {
			b := item.Append(nil)
			d := NewDecoder(string(b))
			d.Pedantic = true
			if again := d.FetchItem(); d.End() != nil || !reflect.DeepEqual(again, item) {
				t.Fatalf("%+v written as %q: %+v, %v", item, b, again, d.Err())
			}
			if name := item.AppendName(nil); strings.ContainsAny(string(name), "\r\n\x00") {
				t.Fatalf("name %q", name)
			}
		}
	})
}
