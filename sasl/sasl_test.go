package sasl

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for want, both := range map[string][2]interface{ Name() string }{
		"EXTERNAL": {&ExternalServer{}, &ExternalClient{}},
		"CRAM-MD5": {&CRAMMD5Server{}, &CRAMMD5Client{}},
		"PLAIN":    {&PlainServer{}, &PlainClient{}},
		"LOGIN":    {&LoginServer{}, &LoginClient{}},
	} {
		if got := both[0].Name(); got != want {
			t.Errorf("server: got %q, want %q", got, want)
		}
		if got := both[1].Name(); got != want {
			t.Errorf("client: got %q, want %q", got, want)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name               string
		username, password string
		err                error
	}{
		{"a user", "tim", "tanstaaftanstaaf", nil},
		{"beyond ASCII, with spaces", "jürgen x", " pässword ", nil},
		{"the longest", strings.Repeat("u", 1024), strings.Repeat("p", 1024), nil},
		{"a longer username", strings.Repeat("u", 1025), "p", ErrMessage},
		{"a longer password", "u", strings.Repeat("p", 1025), ErrMessage},
		{"no username", "", "p", ErrMessage},
		{"no password", "u", "", ErrMessage},
		{"not UTF-8", "u", "\xff", ErrMessage},
		{"NUL", "u\x00", "p", ErrMessage},
	} {
		var s LoginServer
		c := &LoginClient{Username: test.username, Password: test.password}
		var resp []byte
		var clientDone, done bool
		var err error
		for range 5 {
			var challenge []byte
			if challenge, done, err = s.Next(resp); err != nil || done {
				break
			}
			if resp, clientDone, err = c.Next(challenge); err != nil {
				t.Fatal(err)
			}
		}
		if !errors.Is(err, test.err) || done != (err == nil) {
			t.Errorf("%s: got %v, %v, want %v", test.name, done, err, test.err)
		}
		if err == nil && (!clientDone || s.Username != test.username || s.Password != test.password) {
			t.Errorf("%s: got %q, %q, client done %v", test.name, s.Username, s.Password, clientDone)
		}
	}
	if resp, done, err := (&LoginClient{}).Next(nil); resp != nil || done || err != nil {
		t.Errorf("client speaks first: %q, %v, %v", resp, done, err)
	}
}

func TestExternal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, authorize string
		err             error
	}{
		{"whoever it is", "", nil},
		{"by name", "fred@example.com", nil},
		{"too long", strings.Repeat("a", 1025), ErrMessage},
		{"NUL", "fred\x00", ErrMessage},
		{"not UTF-8", "\xc3", ErrMessage},
	} {
		var s ExternalServer
		if c, done, err := s.Next(nil); c == nil || len(c) != 0 || done || err != nil {
			t.Errorf("%s: before the response: %q, %v, %v", test.name, c, done, err)
		}
		resp, done, err := (&ExternalClient{Authorize: test.authorize}).Next(nil)
		if resp == nil || !done || err != nil {
			t.Errorf("%s: client: %q, %v, %v", test.name, resp, done, err)
		}
		_, done, err = s.Next(resp)
		if !errors.Is(err, test.err) || done != (err == nil) || done && s.Authorize != test.authorize {
			t.Errorf("%s: got %q, %v, %v", test.name, s.Authorize, done, err)
		}
	}
}

// TestChoose shows what a client takes of what a server offers.
func TestChoose(t *testing.T) {
	t.Parallel()
	theirs, _ := connect(t, 0, nil)
	channel := ClientChannel(&theirs)
	all := []string{External, SCRAM256Plus, SCRAM256, SCRAM1Plus, SCRAM1, CRAMMD5, Plain, Login}
	offer := strings.Join(all, " ")
	for _, test := range []struct {
		name    string
		wanted  []string
		offered string
		options ClientOptions
		want    string // Empty: ErrMechanism.
	}{
		{"certificate", all, offer, ClientOptions{Certificate: true, Channel: channel}, External},
		{"the best over TLS", all, offer, ClientOptions{Channel: channel}, SCRAM256Plus},
		{"the best without TLS", all, offer, ClientOptions{}, SCRAM256},
		{"what the server has", all, "plain SCRAM-SHA-1-PLUS", ClientOptions{Channel: channel}, SCRAM1Plus},
		{"in any case of letters", all, "gssapi plain Login", ClientOptions{}, Plain},
		{"in the order that is wanted", []string{Plain, SCRAM256}, offer, ClientOptions{}, Plain},
		{"SHA-1", []string{SCRAM1}, offer, ClientOptions{}, SCRAM1},
		{"CRAM-MD5", []string{CRAMMD5}, offer, ClientOptions{}, CRAMMD5},
		{"LOGIN", []string{Login}, offer, ClientOptions{}, Login},
		{"no binding without TLS", []string{SCRAM256Plus}, offer, ClientOptions{}, ""},
		{"nothing in common", []string{SCRAM256}, "PLAIN", ClientOptions{}, ""},
		{"unknown to us", []string{"GSSAPI"}, "GSSAPI", ClientOptions{}, ""},
	} {
		c, err := Choose(test.wanted, strings.Fields(test.offered), test.options)
		if (err != nil) != (test.want == "") || err != nil && !errors.Is(err, ErrMechanism) {
			t.Errorf("%s: got %v", test.name, err)
		} else if err == nil && c.Name() != test.want {
			t.Errorf("%s: got %s, want %s", test.name, c.Name(), test.want)
		}
	}
}
