package smtp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestParseAuth(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, args string
		tolerant   bool
		want       Auth
		err        string // Code and enhanced code, empty for none.
	}{
		{"a mechanism", "SCRAM-SHA-256", false, Auth{"SCRAM-SHA-256", nil}, ""},
		{"in lower case", "plain", false, Auth{"PLAIN", nil}, ""},
		{"of the largest size", strings.Repeat("_", 20), false, Auth{strings.Repeat("_", 20), nil}, ""},
		{"of a size too large", strings.Repeat("A", 21), true, Auth{}, "501 5.5.4"},
		{"an initial response", "PLAIN AHUAcA==", false, Auth{"PLAIN", []byte("\x00u\x00p")}, ""},
		{"an empty initial response", "EXTERNAL =", false, Auth{"EXTERNAL", []byte{}}, ""},
		{"spaces", " PLAIN  AHUAcA== ", true, Auth{"PLAIN", []byte("\x00u\x00p")}, ""},
		{"spaces, pedantic", "PLAIN  AHUAcA==", false, Auth{}, "501 5.5.2"},
		{"a space at the end", "PLAIN ", true, Auth{"PLAIN", nil}, ""},
		{"a space at the end, pedantic", "PLAIN ", false, Auth{}, "501 5.5.4"},
		{"nothing", "", true, Auth{}, "501 5.5.4"},
		{"a name that can't be", "PLÄIN", true, Auth{}, "501 5.5.4"},
		{"a name with a dot", "PLAIN.", true, Auth{}, "501 5.5.4"},
		{"no base64", "PLAIN !", true, Auth{}, "501 5.5.2"},
		{"base64 without padding", "PLAIN AHUAcA", true, Auth{}, "501 5.5.2"},
		{"base64 with padding within", "PLAIN AAA=BBB=", true, Auth{}, "501 5.5.2"},
		{"base64 with padding first", "PLAIN =AAA", true, Auth{}, "501 5.5.2"},
		{"two responses", "PLAIN AAAA BBBB", true, Auth{}, "501 5.5.2"},
	} {
		got, err := ParseAuth(tc.args, ParseOptions{Tolerant: tc.tolerant})
		e, _ := errors.AsType[*Error](err)
		switch {
		case tc.err != "":
			if e == nil || !strings.HasPrefix(e.Error(), tc.err) {
				t.Errorf("%s: got error %v, want %s", tc.name, err, tc.err)
			}
		case err != nil || got.Mechanism != tc.want.Mechanism || !bytes.Equal(got.Initial, tc.want.Initial) || (got.Initial == nil) != (tc.want.Initial == nil):
			t.Errorf("%s: got %q, %v, want %q", tc.name, got, err, tc.want)
		}
	}
}

func TestParseAuthResponse(t *testing.T) {
	t.Parallel()
	if got, err := ParseAuthResponse(""); got == nil || len(got) != 0 || err != nil {
		t.Errorf("empty: got %v, %v, want one that is not nil", got, err)
	}
	if got, err := ParseAuthResponse("aGk="); string(got) != "hi" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, s := range []string{"aGk=\r\n", "aG\nk=", "*", "="} {
		if got, err := ParseAuthResponse(s); err == nil {
			t.Errorf("%q: got %q, want an error", s, got)
		}
	}
}

// FuzzParseAuth checks that what is parsed parses the same way when written in
// its simplest form.
func FuzzParseAuth(f *testing.F) {
	f.Add("PLAIN AHUAcA==", true)
	f.Add("login ", true)
	f.Add("EXTERNAL =", false)
	f.Fuzz(func(t *testing.T, args string, tolerant bool) {
		a, err := ParseAuth(args, ParseOptions{Tolerant: tolerant})
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%q: error is %v", args, err)
			}
			return
		}
		simple := a.Mechanism
		if a.Initial != nil {
			simple += " " + base64.StdEncoding.EncodeToString(a.Initial)
		}
		if a.Initial != nil && len(a.Initial) == 0 {
			simple += "="
		}
		again, err := ParseAuth(simple, ParseOptions{})
		if err != nil || again.Mechanism != a.Mechanism || !bytes.Equal(again.Initial, a.Initial) || (again.Initial == nil) != (a.Initial == nil) {
			t.Fatalf("%q: got %q, as %q again %q, %v", args, a, simple, again, err)
		}
	})
}
