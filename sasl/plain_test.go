package sasl

import (
	"errors"
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, resp         string
		username, password string
		err                error
	}{
		{"a user", "\x00tim\x00tanstaaftanstaaf", "tim", "tanstaaftanstaaf", nil},
		{"authorized as the same", "tim\x00tim\x00x", "tim", "x", nil},
		{"beyond ASCII", "\x00jürgen@x.org\x00pässword", "jürgen@x.org", "pässword", nil},
		{"spaces are kept", "\x00 a \x00 b ", " a ", " b ", nil},
		{"the longest password", "\x00a\x00" + strings.Repeat("p", 1024), "a", strings.Repeat("p", 1024), nil},
		{"a longer password", "\x00a\x00" + strings.Repeat("p", 1025), "", "", ErrMessage},
		{"authorized as another", "Ursel\x00Kurt\x00xipj3plmq", "", "", ErrAuthorization},
		{"nothing", "", "", "", ErrMessage},
		{"two fields", "a\x00b", "", "", ErrMessage},
		{"four fields", "\x00a\x00b\x00", "", "", ErrMessage},
		{"no username", "\x00\x00b", "", "", ErrMessage},
		{"no password", "\x00a\x00", "", "", ErrMessage},
		{"not UTF-8", "\x00a\xff\x00b", "", "", ErrMessage},
	} {
		var s PlainServer
		if c, done, err := s.Next(nil); c == nil || len(c) != 0 || done || err != nil {
			t.Errorf("%s: before the response: %q, %v, %v", tc.name, c, done, err)
		}
		_, done, err := s.Next([]byte(tc.resp))
		if !errors.Is(err, tc.err) || done != (tc.err == nil) || s.Username != tc.username || s.Password != tc.password {
			t.Errorf("%s: got %q, %q, %v, %v", tc.name, s.Username, s.Password, done, err)
		}
	}
	var s PlainServer
	resp, done, err := (&PlainClient{Username: "tim", Password: "a b"}).Next(nil)
	if err != nil || !done {
		t.Errorf("client: got %v, %v", done, err)
	}
	if _, done, err := s.Next(resp); !done || err != nil || s.Username != "tim" || s.Password != "a b" {
		t.Errorf("server understood %q, %q, %v, %v", s.Username, s.Password, done, err)
	}
}

// FuzzPlain checks that what is accepted is what was sent.
func FuzzPlain(f *testing.F) {
	f.Add([]byte("a\x00a\x00b"))
	f.Add([]byte("\x00\x00"))
	f.Fuzz(func(t *testing.T, resp []byte) {
		var s PlainServer
		if _, done, err := s.Next(append([]byte{}, resp...)); err != nil || !done {
			return
		}
		tail := "\x00" + s.Username + "\x00" + s.Password
		if string(resp) != tail && string(resp) != s.Username+tail {
			t.Fatalf("%q is %q, %q", resp, s.Username, s.Password)
		}
	})
}
