package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestCRAMMD5Example is the example of RFC 2195, section 2.
func TestCRAMMD5Example(t *testing.T) {
	t.Parallel()
	const challenge, want = "<1896.697170952@postoffice.reston.mci.net>", "tim b913a602c7eda7a495b4e6e7334d3890"
	c := &CRAMMD5Client{Username: "tim", Password: "tanstaaftanstaaf"}
	if resp, done, err := c.Next(nil); resp != nil || done || err != nil {
		t.Errorf("client speaks first: %q, %v, %v", resp, done, err)
	}
	resp, done, err := c.Next([]byte(challenge))
	if string(resp) != want || !done || err != nil {
		t.Errorf("got %q, %v, %v, want %q", resp, done, err, want)
	}
	s := &CRAMMD5Server{Challenge: challenge}
	if got, done, err := s.Next(nil); string(got) != challenge || done || err != nil {
		t.Errorf("challenge: got %q, %v, %v", got, done, err)
	}
	if _, done, err := s.Next(resp); !done || err != nil || s.Username != "tim" {
		t.Fatalf("server: got %q, %v, %v", s.Username, done, err)
	}
	key, err := CRAMMD5Key("tanstaaftanstaaf")
	if err != nil || len(key) != CRAMMD5KeySize {
		t.Fatalf("key: %d bytes, %v", len(key), err)
	}
	if digest, err := CRAMMD5Digest(key, challenge); err != nil || !bytes.Equal(digest, s.Digest) {
		t.Errorf("digest: got %x, %v, client sent %x", digest, err, s.Digest)
	}
}

// TestCRAMMD5Key compares digests by key with HMAC, for passwords and challenges
// of all lengths around the size of a block.
func TestCRAMMD5Key(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for size := range 2*md5.BlockSize + 2 {
		password := make([]byte, size)
		for i := range password {
			password[i] = byte(r.Uint32())
		}
		challenge := strings.Repeat("c", size)
		m := hmac.New(md5.New, password)
		m.Write([]byte(challenge))
		key, err := CRAMMD5Key(string(password))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := CRAMMD5Digest(key, challenge); err != nil || !bytes.Equal(got, m.Sum(nil)) {
			t.Errorf("%d bytes: got %x, %v, want %x", size, got, err, m.Sum(nil))
		}
	}
	if _, err := CRAMMD5Digest(make([]byte, CRAMMD5KeySize-1), "x"); err == nil {
		t.Error("took a key that is too short")
	}
}

func TestCRAMMD5Server(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("0f", md5.Size)
	for _, test := range []struct {
		name, resp string
		username   string
		err        error
	}{
		{"a name", "tim " + digest, "tim", nil},
		{"a name with spaces", "tim tailor " + digest, "tim tailor", nil},
		{"upper case", "tim " + strings.ToUpper(digest), "tim", nil},
		{"the longest name", strings.Repeat("n", 1024) + " " + digest, strings.Repeat("n", 1024), nil},
		{"a longer name", strings.Repeat("n", 1025) + " " + digest, "", ErrMessage},
		{"nothing", "", "", ErrMessage},
		{"no name", " " + digest, "", ErrMessage},
		{"no digest", "tim", "", ErrMessage},
		{"a digest that is too short", "tim " + digest[1:], "", ErrMessage},
		{"a digest that is too long", "tim " + digest + "0", "", ErrMessage},
		{"not hexadecimal", "tim " + digest[1:] + "g", "", ErrMessage},
		{"not UTF-8", "tim\xff " + digest, "", ErrMessage},
	} {
		s := &CRAMMD5Server{Challenge: "<x@y>"}
		_, done, err := s.Next([]byte(test.resp))
		if !errors.Is(err, test.err) || done != (err == nil) || s.Username != test.username {
			t.Errorf("%s: got %q, %v, %v", test.name, s.Username, done, err)
		}
	}
}

// FuzzCRAMMD5 checks that what is accepted is what was sent.
func FuzzCRAMMD5(f *testing.F) {
	f.Add([]byte("tim b913a602c7eda7a495b4e6e7334d3890"))
	f.Add([]byte("a b  "))
	f.Fuzz(func(t *testing.T, resp []byte) {
		var s CRAMMD5Server
		if _, done, err := s.Next(append([]byte{}, resp...)); err != nil || !done {
			return
		}
		if want := s.Username + " " + hex.EncodeToString(s.Digest); !strings.EqualFold(want, string(resp)) {
			t.Fatalf("%q is %q", resp, want)
		}
	})
}
