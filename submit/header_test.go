package submit

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

var testHost = dns.Domain{ASCII: "mx.example.org"}

// header returns the header section of a text with bare LF.
func header(text string) message.Header {
	return message.NewHeader([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

func TestReadHeader(t *testing.T) {
	t.Parallel()
	field := "X: " + strings.Repeat("x", 1019) + "\r\n" // 1024 bytes.
	for _, tc := range []struct {
		name, content string
		want          int // Size of the header; 0 for an error.
	}{
		{"a short one", "a: b\r\n\r\nbody", 8},
		{"without a body", "a: b\r\n\r\n", 8},
		{"without a blank line", "a: b\r\n", 6},
		{"that ends where a read ends", strings.Repeat(field, 7) + field[:1020] + "\r\n\r\n" + "body", 8192},
		{"whose blank line is cut by a read", strings.Repeat(field, 7) + field[:1021] + "\r\n\r\n" + "body", 8193},
		{"that needs several reads", strings.Repeat(field, 100) + "\r\nbody", 102402},
		{"of the largest size", strings.Repeat(field, 1023) + field[:1020] + "\r\n\r\n" + "body", 1 << 20},
		{"one byte larger", strings.Repeat(field, 1023) + field[:1021] + "\r\n\r\n" + "body", 0},
		{"that never ends", strings.Repeat(field, 2000), 0},
	} {
		h, err := readHeader(strings.NewReader(tc.content), int64(len(tc.content)))
		e, _ := errors.AsType[*smtp.Error](err)
		switch {
		case tc.want == 0 && (e == nil || e.Code != 552 || !errors.Is(err, ErrMessage)):
			t.Errorf("header %s: got error %v, want 552", tc.name, err)
		case tc.want > 0 && (err != nil || len(h.Raw()) != tc.want):
			t.Errorf("header %s: got %d bytes, %v, want %d", tc.name, len(h.Raw()), err, tc.want)
		}
	}
	if _, err := readHeader(strings.NewReader("a: b\r\n"), 10); err == nil || errors.As(err, new(*smtp.Error)) {
		t.Errorf("content shorter than its size: got %v, want an error of reading", err)
	}
}

func TestCheckForm(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		pedantic   bool
		want       string // Begin of the error, empty for none.
	}{
		{"as usual", "From: a@b\nTo: c\n\n", true, ""},
		{"folded", "To: a,\n b,\n\tc\nFrom: a@b\n\n", true, ""},
		{"without blank line", "From: a@b\n", true, ""},
		{"space before a colon", "From : a@b\n\n", false, ""},
		{"nothing", "", false, "554 5.6.0 message has no header"},
		{"a blank line first", "\nFrom: a@b\n\n", false, "554 5.6.0 message has no header"},
		{"a text", "hello\n", false, "554 5.6.0 message has no header"},
		{"a text behind fields", "From: a@b\nhello\n\n", false, "554 5.6.0 header has a line that is not part of a field"},
		{"a text between fields", "From: a@b\nhello\nTo: x\n\n", false, "554 5.6.0 header has a line that is not part of a field"},
		{"a line of an mbox first", "From a@b Mon Jan  1 00:00:00 2026\nFrom: a@b\n\n", false, "554 5.6.0 header has a line that is not part of a field"},
		{"a folded line first", " x\nFrom: a@b\n\n", false, "554 5.6.0 header has a line that is not part of a field"},
		{"a colon without name", "From: a@b\n: x\n\n", false, "554 5.6.0 header has a line that is not part of a field"},
		{"as many fields as may be", strings.Repeat("X: y\n", 1000) + "\n", false, ""},
		{"one more", strings.Repeat("X: y\n", 1001) + "\n", false, "554 5.6.0 header has more than 1000 fields"},
		{"a long line", "X: " + strings.Repeat("y", 996) + "\n\n", false, ""},
		{"a line of the largest size, pedantic", "X: " + strings.Repeat("y", 995) + "\n\n", true, ""},
		{"a long line, pedantic", "X: " + strings.Repeat("y", 996) + "\n\n", true, "554 5.6.0 header field \"X\" has a line of more than 998 bytes"},
		{"100 hops", strings.Repeat("Received: x\n", 100), false, ""},
		{"101 hops", strings.Repeat("Received: x\n", 101), false, "550 5.4.6 message is going in circles"},
	} {
		err := checkForm(header(tc.text), tc.pedantic)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: got %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want) || !errors.Is(err, ErrMessage)):
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.want)
		}
	}
}

func TestOneAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       string // The address, or the begin of the error.
	}{
		{"a plain address", "From: a@b.example\n", "a@b.example"},
		{"with a name", "From: \"A, B\" <a@b.example> (c)\n", "a@b.example"},
		{"with an address as name", "From: x@y.example <a@b.example>\n", "a@b.example"},
		{"a quoted localpart", "From: <\"a b\"@b.example>\n", "\"a b\"@b.example"},
		{"folded", "From: A\n <a@b.example>\n", "a@b.example"},
		{"beyond ASCII", "From: Jürgen <jürgen@bücher.example>\n", "jürgen@bücher.example"},
		{"none", "To: a@b.example\n", "554 5.6.0 message needs one From header field, not 0"},
		{"two", "From: a@b.example\nFROM: a@b.example\n", "554 5.6.0 message needs one From header field, not 2"},
		{"two addresses", "From: a@b.example, c@b.example\n", "554 5.6.0 From header field needs one address"},
		{"a group", "From: us: a@b.example;\n", "554 5.6.0 From header field needs one address"},
		{"an empty group", "From: us:;\n", "554 5.6.0 From header field needs one address"},
		{"empty", "From: \n", "554 5.6.0 From header field needs one address"},
		{"an address literal", "From: a@[192.0.2.1]\n", "554 5.6.0 address in From header field: "},
	} {
		a, err := oneAddress(header(tc.text+"\n"), "From")
		got := a.String()
		if err != nil {
			got = err.Error()
		}
		if got != tc.want && (err == nil || !strings.HasPrefix(got, tc.want) || !errors.Is(err, ErrMessage)) {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestEdit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const date = "Date: Fri, 02 Jan 2026 03:04:05 +0000\n"
	const id = "Message-ID: <AAAAAAAAAAAAAAAAAAAAAA@mx.example.org>\n"
	for _, tc := range []struct {
		name, text string
		dropSender bool
		want       string
	}{
		{"nothing is missing", "DATE: x\nmessage-id: y\nFrom: a\n\n", false, "DATE: x\nmessage-id: y\nFrom: a\n\n"},
		{"all is missing", "From: a\n\n", false, date + id + "From: a\n\n"},
		{"there is no blank line", "From: a\n", false, date + id + "From: a\n"},
		{"they are empty", "Date:\nMessage-Id: \t\nFrom: a\n\n", false, date + id + "From: a\n\n"},
		{"hidden recipients, folded, several", "Date: x\nBcc: a,\n b\nMessage-ID: y\nBCC : c\nresent-bcc: d\nTo: e\n\n", false, "Date: x\nMessage-ID: y\nTo: e\n\n"},
		{"what servers write", "Date: x\nReturn-Path: <a@b>\nMessage-ID: y\nReceived: z\n\n", false, "Date: x\nMessage-ID: y\nReceived: z\n\n"},
		{"a sender that is not removed", "Date: x\nMessage-ID: y\nSender: a\n\n", false, "Date: x\nMessage-ID: y\nSender: a\n\n"},
		{"a sender that is removed", "Date: x\nMessage-ID: y\nSender: a\n\n", true, "Date: x\nMessage-ID: y\n\n"},
		{"results that would be ours", "Date: x\nMessage-ID: y\nAuthentication-Results: (c) MX.example.org 1;\n dkim=pass\nAuthentication-Results: other.example; none\n\n", false,
			"Date: x\nMessage-ID: y\nAuthentication-Results: other.example; none\n\n"},
	} {
		h := header(tc.text)
		added, err := additions(h, testHost, bytes.NewReader(make([]byte, 16)), now)
		if err != nil {
			t.Fatal(err)
		}
		got := edit(h, added, dropper(testHost, tc.dropSender))
		if want := strings.ReplaceAll(tc.want, "\n", "\r\n"); string(got) != want {
			t.Errorf("%s: got %q, want %q", tc.name, got, want)
		}
	}
	if _, err := additions(header("From: a\n\n"), testHost, bytes.NewReader(make([]byte, 15)), now); err == nil {
		t.Error("no random bytes: got no error")
	}
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"<a@b>":               "<a@b>",
		"(c) <a@b> (d)":       "<a@b>",
		"<A@b><c@d>":          "<A@b>",
		"":                    "",
		"a@b":                 "",
		"<>":                  "",
		"<a@b":                "",
		"<a @b>":              "",
		"<a@b\u00e9>":         "<a@b\u00e9>",
		"<a@\xff>":            "",
		"<" + long(498) + ">": "<" + long(498) + ">",
		"<" + long(499) + ">": "",
	} {
		if got := messageID(value); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestSubject(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"hello":                       "hello",
		"=?utf-8?q?gr=C3=BC=C3=9Fe?=": "grüße",
		long(200):                     long(200),
		long(201):                     long(200),
		long(199) + "é":               long(199),
	} {
		if got := subject(value); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

// FuzzEdit checks that what leaves the house has one date, one id and none of
// the fields that may not leave, that all else is as it was, and that an edited
// header is edited no further.
func FuzzEdit(f *testing.F) {
	f.Add("From: a\nBcc: b\n c\n\nbody", false)
	f.Add("Date:\nSender: x\n\n", true)
	f.Add("Message-ID : <a@b>\nReturn-Path:\n\tx\nauthentication-results: mx.example.org; none\n", true)
	f.Fuzz(func(t *testing.T, text string, dropSender bool) {
		h := header(text)
		if checkForm(h, false) != nil {
			return
		}
		added, err := additions(h, testHost, bytes.NewReader(make([]byte, 16)), time.Unix(0, 0).UTC())
		if err != nil {
			t.Fatal(err)
		}
		drop := dropper(testHost, dropSender)
		out := message.NewHeader(edit(h, added, drop))
		if out.Get("Date") == "" || out.Get("Message-ID") == "" || out.Count("Bcc")+out.Count("Resent-Bcc")+out.Count("Return-Path") > 0 || dropSender && out.Count("Sender") > 0 {
			t.Fatalf("%q became %q", h.Raw(), out.Raw())
		}
		if err := checkForm(out, false); err != nil && len(slices.Collect(out.Fields())) <= fieldsMax {
			t.Fatalf("%q became %q, with error %v", h.Raw(), out.Raw(), err)
		}
		var kept []byte
		for f := range h.Fields() {
			if !drop(f) {
				kept = append(kept, f.Raw...)
			}
		}
		if !bytes.HasPrefix(bytes.TrimPrefix(out.Raw(), added), kept) {
			t.Fatalf("%q became %q, which doesn't have %q", h.Raw(), out.Raw(), kept)
		}
		if more, err := additions(out, testHost, bytes.NewReader(nil), time.Now()); err != nil || len(more) > 0 || !bytes.Equal(edit(out, more, drop), out.Raw()) {
			t.Fatalf("%q again became %q, %v", out.Raw(), edit(out, more, drop), err)
		}
	})
}
