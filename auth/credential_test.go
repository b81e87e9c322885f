package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/store"
)

func TestNewCredential(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		password string
		err      error
	}{
		{"eight characters", "abcdefgh", nil},
		{"eight beyond ASCII", "äöüßéèêë", nil},
		{"a password for localserve", "moxmoxmox", nil},
		{"spaces of other kinds", "a b\u3000c\u2003defg", nil},
		{"seven", "abcdefg", ErrPassword},
		{"seven beyond ASCII", "äöüßéèê", ErrPassword},
		{"none", "", ErrPassword},
		{"a control character", "abcdefgh\n", ErrPassword},
		{"not UTF-8", "abcdefgh\xff", ErrPassword},
		{"too long", strings.Repeat("a", passwordMax+1), ErrPassword},
	} {
		c, err := NewCredential(rand.Reader, nil, test.password, time.Now())
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.err)
		}
		if err != nil {
			continue
		}
		if c.Kind != KindPassword || len(c.Argon2id.Salt) != saltSize || c.Argon2id.Memory != 19*1024 || c.Argon2id.Time != 2 || c.Argon2id.Lanes != 1 {
			t.Errorf("%s: got %+v", test.name, c)
		}
		if !bytes.Equal(c.SCRAM1.Salt, c.Argon2id.Salt) || !bytes.Equal(c.SCRAM256.Salt, c.Argon2id.Salt) {
			t.Errorf("%s: more than one salt", test.name)
		}
		if !isValid(c, "imap") || hasNoHash(c) || c.CRAMMD5 != nil {
			t.Errorf("%s: not valid for a login, or with a CRAM-MD5 key unasked", test.name)
		}
	}
	if _, err := NewCredential(iotest.ErrReader(io.ErrUnexpectedEOF), nil, "abcdefgh", time.Now()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without random bytes: got %v", err)
	}
}

// TestSCRAMKeys derives the keys that are stored once more, for the iterations
// that clients are told.
func TestSCRAMKeys(t *testing.T) {
	t.Parallel()
	salt := []byte("0123456789abcdef")
	full, err := scramKeys(crypto.SHA256, salt, "pencil")
	if err != nil || full.Iterations < 15_000 {
		t.Fatalf("got %d iterations, %v", full.Iterations, err)
	}
	salted, err := pbkdf2.Key(sha256.New, "pencil", salt, int(full.Iterations), sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	m := hmac.New(sha256.New, salted)
	m.Write([]byte("Server Key"))
	if !bytes.Equal(m.Sum(nil), full.ServerKey) {
		t.Error("server key is not that of the iterations stored")
	}
}

func TestIsValid(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		c    store.Credential
		want bool
	}{
		{"for everything", store.Credential{}, true},
		{"for this", store.Credential{Scopes: []string{"smtp", "imap"}}, true},
		{"for something else", store.Credential{Scopes: []string{"smtp"}}, false},
		{"revoked", store.Credential{Revoked: time.Unix(1, 0)}, false},
	} {
		if got := isValid(test.c, "imap"); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}

// TestHasher shows that no more than two run, and how long one waits.
func TestHasher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher()
		release := make(chan struct{})
		for range hashersMax {
			go func() {
				_ = h.do(t.Context(), func() error { <-release; return nil })
			}()
		}
		synctest.Wait()
		start := time.Now()
		if err := h.do(t.Context(), func() error { return nil }); !errors.Is(err, ErrBusy) || time.Since(start) != hasherWait {
			t.Errorf("got %v after %v, want ErrBusy after %v", err, time.Since(start), hasherWait)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.do(ctx, func() error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("caller gave up: got %v", err)
		}
		close(release)
		synctest.Wait()
		if err := h.do(t.Context(), func() error { return io.EOF }); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want what the function returns", err)
		}
	})
}
