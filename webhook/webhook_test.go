package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mjl-/mox/message"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden compares payloads with testdata/*.json. The messages are beside them.
func TestGolden(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	meta := IncomingMeta{
		MsgID: 7, MailFrom: "anna@example.org", MailFromValidated: true, MsgFromValidated: true, RcptTo: "möx@xn--mwe-sna.example",
		DKIMVerifiedDomains: []string{"example.org"}, RemoteIP: "192.0.2.1", Received: at, MailboxName: "Lists/Möwen",
	}
	incoming := func(name string, meta IncomingMeta) func() ([]byte, error) {
		return func() ([]byte, error) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				return nil, err
			}
			in, err := compose(t, crlf(data), meta)
			if err != nil {
				return nil, err
			}
			return in.Encode()
		}
	}
	for _, test := range []struct {
		name   string
		encode func() ([]byte, error)
	}{
		{"outgoing-delivered", Outgoing{
			Event: EventDelivered, QueueMsgID: 42, FromID: "Tu8XjYZ", MessageID: "<QnxzgulZK51utga6agH_rg@mox.example>", Subject: "subject of original message",
			WebhookQueued: at, SMTPCode: 250, SMTPEnhancedCode: "2.0.0", Extra: map[string]string{"order": "<17> & more"},
		}.Encode},
		{"outgoing-dsn-failed", Outgoing{
			Event: EventFailed, DSN: true, Suppressing: true, QueueMsgID: 42, FromID: "Tu8XjYZ", MessageID: "<QnxzgulZK51utga6agH_rg@mox.example>",
			Subject: "subject of original message", WebhookQueued: at, SMTPCode: 550, SMTPEnhancedCode: "5.1.1", Error: "550 5.1.1 no such user",
		}.Encode},
		{"outgoing-zero", Outgoing{}.Encode},
		{"incoming-zero", Incoming{}.Encode},
		{"incoming-parts", incoming("incoming-parts.eml", meta)},
		{"incoming-report", incoming("incoming-report.eml", IncomingMeta{Received: at})},
		{"incoming-broken", incoming("incoming-broken.eml", meta)},
	} {
		got, err := test.encode()
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if bytes.Contains(got, []byte("\n")) || bytes.Contains(got, []byte(":null")) && !bytes.Contains(got, []byte(`"Date":null`)) || bytes.Count(got, []byte("null")) > 1 {
			t.Errorf("%s: more than one line, or null: %s", test.name, got)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, got, "", "\t"); err != nil {
			t.Fatal(err)
		}
		pretty.WriteByte('\n')
		golden := filepath.Join("testdata", test.name+".json")
		if *update {
			if err := os.WriteFile(golden, pretty.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || !bytes.Equal(want, pretty.Bytes()) {
			t.Errorf("%s differs, %v: run with -update; got:\n%s", golden, err, pretty.Bytes())
		}
	}
}

// crlf makes lines end with CRLF, as in messages.
func crlf(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }

// compose composes a message that is parsed first.
func compose(t testing.TB, data []byte, meta IncomingMeta) (Incoming, error) {
	t.Helper()
	// What is odd about a message is an error, with the best structure there is.
	p, err := message.Parse(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, message.ErrMalformed) {
		t.Fatal(err)
	}
	return Compose(bytes.NewReader(data), &p, meta)
}

// TestEvents: each event is known, and others are not.
func TestEvents(t *testing.T) {
	t.Parallel()
	for _, e := range append(Events(), EventIncoming) {
		if !e.Valid() {
			t.Errorf("%s is not valid", e)
		}
	}
	for _, e := range []Event{"", "read", "Delivered"} {
		if e.Valid() {
			t.Errorf("%q is valid", e)
		}
	}
}

// TestAutomated says which messages are from programs or lists.
func TestAutomated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, header, from string
		want               bool
	}{
		{"from a person", "Subject: hi\n", "a@example.org", false},
		{"from nobody", "Subject: hi\n", "", true},
		{"from a list", "List-Id: <x.example.org>\n", "a@example.org", true},
		{"one can unsubscribe", "List-Unsubscribe: <mailto:x@example.org>\n", "a@example.org", true},
		{"with one click", "list-unsubscribe-post: List-Unsubscribe=One-Click\n", "a@example.org", true},
		{"precedence", "Precedence: bulk\n", "a@example.org", true},
		{"submitted by a program", "Auto-Submitted: auto-generated\n", "a@example.org", true},
		{"not submitted by a program", "Auto-Submitted: No\n", "a@example.org", false},
		{"with a comment", "Auto-Submitted: no (really)\n", "a@example.org", false},
		{"with a parameter", "Auto-Submitted: no; x=y\n", "a@example.org", false},
		{"said twice", "Auto-Submitted: no\nAuto-Submitted: auto-replied\n", "a@example.org", true},
		{"a report", "Content-Type: multipart/report; boundary=x; report-type=delivery-status\n", "a@example.org", true},
	} {
		in, err := compose(t, crlf([]byte(test.header+"\nhi\n")), IncomingMeta{MailFrom: test.from})
		if err != nil || in.Meta.Automated != test.want {
			t.Errorf("%s: got %v, %v", test.name, in.Meta.Automated, err)
		}
	}
}

// TestIDs takes ids out of header fields.
func TestIDs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, want string }{
		{"none", "", ""},
		{"one, as it is written", "<Abc@Example.org>", "<Abc@Example.org>"},
		{"words between", "your message <a@x> of today, <b@x>", "<a@x> <b@x>"},
		{"white space", "< a@ x >", "<a@x>"},
		{"without brackets", "a@x", ""},
		{"without end", "<a@x> <b@x", "<a@x>"},
		{"nothing in it", "<> <a@x>", "<a@x>"},
		{"one in another", "<a<b@x>", "<b@x>"},
	} {
		if got := strings.Join(ids(test.value), " "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestDates takes dates that JSON can have.
func TestDates(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, want string }{
		{"a date", "Fri, 2 Jan 2026 03:04:05 +0100", "2026-01-02T03:04:05+01:00"},
		{"none", "", "null"},
		{"no date", "soon", "null"},
		{"far ahead", "1 Jan 12026 00:00:00 +0000", "null"},
		{"a zone that can't be", "1 Jan 2026 00:00:00 +9900", "2026-01-01T00:00:00Z"},
	} {
		got, err := json.Marshal(parseDate(test.value))
		if strings.Trim(string(got), `"`) != test.want || err != nil {
			t.Errorf("%s: got %s, %v", test.name, got, err)
		}
	}
}

// TestBounds has messages that are larger than what is told of them.
func TestBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", TextMax)
	in, err := compose(t, []byte("Content-Type: text/plain; charset=utf-8\r\nSubject: "+strings.Repeat("ß", valueMax)+"\r\n\r\nx"+long), IncomingMeta{})
	if err != nil || len(in.Text) > TextMax || len(in.Text) < TextMax-1 || !utf8.ValidString(in.Text) || len(in.Subject) != valueMax {
		t.Errorf("long text: got %d bytes, subject of %d, %v", len(in.Text), len(in.Subject), err)
	}
	in, err = compose(t, []byte("To: "+strings.Repeat("a@example.org, ", 2*addressesMax)+"\r\nReferences:"+strings.Repeat(" <a@x>", 2*idsMax)+" <last@x>\r\n\r\n"), IncomingMeta{})
	if err != nil || len(in.To) != addressesMax || len(in.References) != idsMax || in.References[idsMax-1] != "<last@x>" {
		t.Errorf("many: got %d addresses, %d ids, %v", len(in.To), len(in.References), err)
	}
	parts := "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\npart\r\n", 2*partsMax) + "--x--\r\n"
	in, err = compose(t, []byte(parts), IncomingMeta{})
	if err != nil || len(in.Structure.Parts) != partsMax-1 || in.Text != "part" {
		t.Errorf("many parts: got %d, text %q, %v", len(in.Structure.Parts), in.Text, err)
	}
	var params strings.Builder
	for i := range 2 * paramsMax {
		params.WriteString("; p" + strings.Repeat("x", i) + "=v")
	}
	in, err = compose(t, []byte("Content-Type: text/plain"+params.String()+"\r\n\r\n"), IncomingMeta{})
	if err != nil || len(in.Structure.ContentTypeParams) != paramsMax {
		t.Errorf("many parameters: got %d, %v", len(in.Structure.ContentTypeParams), err)
	}
}

// errReader can't be read.
type errReader struct{}

// ReadAt fails.
func (errReader) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

// TestUnreadable: a message that can't be read has no payload.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	data := []byte("Subject: hi\r\n\r\nhi\r\n")
	p, err := message.Parse(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compose(errReader{}, &p, IncomingMeta{}); err == nil {
		t.Error("it could be read")
	}
}

// FuzzCompose checks that whatever comes in makes JSON that reads as what was put in,
// in UTF-8, within the bounds.
func FuzzCompose(f *testing.F) {
	for _, name := range []string{"incoming-parts.eml", "incoming-report.eml", "incoming-broken.eml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(crlf(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := compose(t, data, IncomingMeta{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := in.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(b) || len(in.Text) > TextMax || len(in.HTML) > TextMax || len(in.Subject) > valueMax {
			t.Errorf("got %d bytes", len(b))
		}
		var back Incoming
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		again, err := back.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("read back it is %s, %v, was %s", again, err, b)
		}
		if strings.Contains(string(b), "\ufffd") != strings.Contains(string(again), "\ufffd") || !reflect.DeepEqual(back.Subject, in.Subject) {
			t.Errorf("subject %q became %q", in.Subject, back.Subject)
		}
	})
}
