package auth

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/sasl"
)

// first returns the salt and iterations that a SCRAM client is told.
func first(t *testing.T, a *Authenticator, attempt Attempt, user string) string {
	t.Helper()
	e, err := a.Begin(attempt, plain, sasl.SCRAM256)
	if err != nil {
		t.Fatal(err)
	}
	challenge, _, err := e.Next(t.Context(), []byte("n,,n="+user+",r=nonce"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(challenge, []byte(","))
	return string(rest)
}

// TestDecoySalt shows that who isn't there looks like everybody.
func TestDecoySalt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobody := first(t, w.Authenticator, local, "nobody@example.org")
	real := first(t, w.Authenticator, local, "anna@example.org")
	if len(nobody) != len(real) || !strings.HasSuffix(nobody, ",i=20000") || !strings.HasSuffix(real, ",i=20000") {
		t.Errorf("got %q for nobody, %q for a user", nobody, real)
	}
	for _, same := range []string{"nobody@example.org", "Nobody@EXAMPLE.org", "nobody+x@example.org"} {
		if got := first(t, w.Authenticator, local, same); got != nobody {
			t.Errorf("%s: got %q, want %q as each time", same, got, nobody)
		}
	}
	for _, other := range []string{"nobodi@example.org", "nobody@example.com", "nobody", "carl@example.org"} {
		if got := first(t, w.Authenticator, local, other); got == nobody {
			t.Errorf("%s: got the same salt", other)
		}
	}
	again := newWorld(t)
	if got := first(t, again.Authenticator, local, "nobody@example.org"); got != nobody {
		t.Errorf("after a restart: got %q, want %q", got, nobody)
	}
	for _, a := range []*Authenticator{w.Authenticator, again.Authenticator} {
		a.opts.DecoyKey = nil
	}
	if got := first(t, w.Authenticator, local, "nobody@example.org"); got == nobody {
		t.Error("with another key: got the same salt")
	}
}

// TestSteps shows that an unknown user fails at the same step as a wrong password,
// and after the same time.
func TestSteps(t *testing.T) {
	t.Parallel()
	for _, mechanism := range passwordMechanisms {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			took := map[time.Duration]bool{}
			for _, user := range []string{"anna@example.org", "nobody@example.org", "carl@example.org"} {
				start := time.Now()
				e, err := w.Begin(remote, plain, mechanism)
				if err != nil {
					t.Fatal(err)
				}
				if err := converse(t, e, client(t, mechanism, user, "wrong horse", nil)); !errors.Is(err, ErrBadCredentials) {
					t.Errorf("%s, %s: got %v", mechanism, user, err)
				}
				took[time.Since(start)] = true
			}
			if len(took) != 1 {
				t.Errorf("%s: took %v, want the same", mechanism, took)
			}
		})
	}
}

// TestOneSalt logs in with several passwords of an account, of which some have
// another salt than the first. SCRAM can't use those.
func TestOneSalt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, err := w.store.Account(t.Context(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	existing, err := a.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"phone", "other salt", "smtp only"} {
		if name == "other salt" {
			existing = nil
		}
		c, err := NewCredential(rand.Reader, existing, "battery "+name, time.Now(), WithCRAMMD5)
		if err != nil {
			t.Fatal(err)
		}
		c.Name = name
		if name == "smtp only" {
			c.Scopes = []string{"smtp"}
		}
		if err := a.SetPassword(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		mechanism, password string
		want                error
	}{
		{sasl.SCRAM256, "correct horse", nil},
		{sasl.SCRAM256, "battery phone", nil},
		{sasl.SCRAM1, "battery phone", nil},
		{sasl.SCRAM256, "battery other salt", ErrBadCredentials},
		{sasl.SCRAM256, "battery smtp only", ErrBadCredentials},
		{sasl.Plain, "correct horse", nil},
		{sasl.Plain, "battery phone", nil},
		{sasl.Plain, "battery other salt", nil}, // Hashed twice.
		{sasl.Plain, "battery smtp only", ErrBadCredentials},
		{sasl.CRAMMD5, "correct horse", nil},
		{sasl.CRAMMD5, "battery phone", nil},
		{sasl.CRAMMD5, "battery smtp only", ErrBadCredentials},
	} {
		e, err := w.Begin(local, plain, test.mechanism)
		if err != nil {
			t.Fatal(err)
		}
		if err := converse(t, e, client(t, test.mechanism, "anna@example.org", test.password, nil)); !errors.Is(err, test.want) {
			t.Errorf("%s with %q: got %v, want %v", test.mechanism, test.password, err, test.want)
		}
	}
}
