package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/store"
)

const static = `DataDir: data
LogLevel: info
Hostname: mail.example.org
Listeners:
	x:
		IPs:
			- 127.0.0.1
Postmaster:
	Account: anna
	Mailbox: Inbox
`

const dynamic = `Domains:
	example.org:
		LocalpartCatchallSeparator: +
Accounts:
	anna:
		Domain: example.org
		Destinations:
			anna@example.org: nil
	bert:
		Domain: example.org
		LoginDisabled: on leave
		Destinations:
			bert@example.org: nil
	carl:
		Domain: example.org
		Destinations:
			carl@example.org: nil
	dora:
		Domain: example.org
		Destinations:
			dora@example.org: nil
`

// world is an Authenticator with what it needs.
type world struct {
	*Authenticator
	store *store.Dir
	db    *authdb.DB
	log   *bytes.Buffer
	reg   *prometheus.Registry
}

// counter returns the value of the counter whose labels have these values, in
// the order of their names.
func (w *world) counter(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if slices.Equal(values, labels) {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no counter %s with %q", name, labels)
	return 0
}

// correctHorse returns the password of anna, derived once.
var correctHorse = sync.OnceValues(func() (store.Credential, error) {
	return NewCredential(rand.Reader, nil, "correct horse", time.Unix(0, 0), WithCRAMMD5)
})

// decoyKey is that of all worlds.
var decoyKey = []byte("0123456789abcdef0123456789abcdef")

// newWorld has accounts anna and bert with the password "correct horse", carl
// without one, and no data for dora. Anna can use CRAM-MD5.
func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{log: &bytes.Buffer{}, reg: prometheus.NewRegistry()}
	log := slog.New(logfmt.New(w.log, logfmt.NewLevels(slog.LevelDebug)))
	c, err := config.Load([]byte(static), []byte(dynamic), nil)
	if err != nil {
		t.Fatal(err)
	}
	if w.store, err = store.Open(t.Context(), store.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	cram, err := correctHorse()
	if err != nil {
		t.Fatal(err)
	}
	password := cram
	password.CRAMMD5 = nil
	for name, credentials := range map[string][]store.Credential{"anna": {cram}, "bert": {password}, "carl": nil} {
		n := store.NewAccount{Credentials: credentials}
		a, err := w.store.Create(t.Context(), name, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if w.db, err = authdb.Open(filepath.Join(dir, "auth.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.db.Close(); err != nil {
			t.Error(err)
		}
	})
	w.Authenticator, err = New(Options{
		Config: func() *config.Config { return c }, Accounts: w.store, DB: w.db, Log: log,
		Registerer: w.reg, LoopbackExempt: true, DecoyKey: decoyKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var (
	local  = Attempt{CID: 255, Protocol: "imap", Mechanism: "plain", RemoteIP: netip.MustParseAddr("127.0.0.1"), LocalIP: netip.MustParseAddr("127.0.0.1")}
	remote = Attempt{Protocol: "imap", Mechanism: "login", RemoteIP: netip.MustParseAddr("10.0.0.1")}
)

func TestPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name           string
		user, password string
		want           string // Account and address.
		err            error
	}{
		{"right", "anna@example.org", "correct horse", "anna anna@example.org", nil},
		{"right again, from memory", "anna@example.org", "correct horse", "anna anna@example.org", nil},
		{"other spelling of the user", "ANNA+x@EXAMPLE.org", "correct horse", "anna anna@example.org", nil},
		{"other spelling of the password", "anna@example.org", "correct\u3000horse", "anna anna@example.org", nil},
		{"wrong", "anna@example.org", "correct horsE", "", ErrBadCredentials},
		{"empty", "anna@example.org", "", "", ErrBadCredentials},
		{"not a possible password", "anna@example.org", "correct horse\x00", "", ErrBadCredentials},
		{"a very long one", "anna@example.org", strings.Repeat("x", passwordMax+1), "", ErrBadCredentials},
		{"unknown user", "nobody@example.org", "correct horse", "", ErrBadCredentials},
		{"unknown domain", "anna@example.com", "correct horse", "", ErrBadCredentials},
		{"no address", "anna", "correct horse", "", ErrBadCredentials},
		{"a very long user", strings.Repeat("x", userMax) + "@example.org", "correct horse", "", ErrBadCredentials},
		{"a user without password", "carl@example.org", "", "", ErrBadCredentials},
		{"a user without data", "dora@example.org", "correct horse", "", ErrBadCredentials},
		{"disabled", "bert@example.org", "correct horse", "", ErrDisabled},
		{"disabled, but wrong", "bert@example.org", "wrong horse", "", ErrBadCredentials},
	} {
		login, err := w.Password(t.Context(), local, test.user, test.password)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.err)
		} else if got := login.Account + " " + login.Address.String(); err == nil && got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		} else if err == nil && login.Given.String() != strings.Replace(test.user, "EXAMPLE", "example", 1) {
			t.Errorf("%s: logged in with %s, want %s", test.name, login.Given, test.user)
		}
		if d, ok := errors.AsType[*DisabledError](err); ok != errors.Is(test.err, ErrDisabled) || ok && d.Reason != "on leave" {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	for labels, want := range map[[3]string]float64{
		{"imap", "ok", "plain"}: 4, {"imap", "badpassword", "plain"}: 7, {"imap", "baduser", "plain"}: 4,
		{"imap", "logindisabled", "plain"}: 1, {"imap", "error", "plain"}: 0,
	} {
		if got := w.counter(t, "mox_authentication_total", labels[:]...); got != want {
			t.Errorf("counted %v for %v, want %v", got, labels, want)
		}
	}
	const line = `l=info m="failed authentication attempt" pkg=auth cid=ff protocol=imap mechanism=plain user=nobody@example.org remote=127.0.0.1 result=baduser account=""`
	if !strings.Contains(w.log.String(), line) {
		t.Errorf("log has no line %s:\n%s", line, w.log)
	}
	if strings.Contains(w.log.String(), "horse") {
		t.Error("log has a password")
	}
}

// TestPasswordChange shows that the password before is forgotten at once, and
// that all secrets of an account have one salt.
func TestPasswordChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	check := func(step, password string, want error) {
		t.Helper()
		if _, err := w.Password(t.Context(), local, "anna@example.org", password); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", step, err, want)
		}
	}
	check("before", "correct horse", nil)

	a, err := w.store.Account(t.Context(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	existing, err := a.Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, err := NewCredential(rand.Reader, existing, "battery staple", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(next.Argon2id.Salt, existing[0].SCRAM1.Salt) {
		t.Error("new password has another salt")
	}
	if err := a.SetPassword(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	check("the one before", "correct horse", ErrBadCredentials)
	check("the new one", "battery staple", nil)

	next.Revoked = time.Now()
	if err := a.SetPassword(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	check("revoked", "battery staple", ErrBadCredentials)
	next.Revoked, next.Scopes = time.Time{}, []string{"smtp"}
	if err := a.SetPassword(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	check("for another protocol", "battery staple", ErrBadCredentials)
}

// TestLimits fails from a network until it is refused, in virtual time.
func TestLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		neighbour := remote
		neighbour.RemoteIP = netip.MustParseAddr("10.0.0.2")
		login := func(attempt Attempt, password string) error {
			_, err := w.Password(t.Context(), attempt, "anna@example.org", password)
			return err
		}
		start := time.Now()
		for i := range 10 {
			if err := login(remote, "wrong horse"); !errors.Is(err, ErrBadCredentials) {
				t.Fatalf("failure %d: got %v", i, err)
			}
		}
		// After the fourth failure there is a delay of a second, and so on.
		if took, want := time.Since(start), 10*failTime+(1+2+3+4+5+6)*time.Second; took != want {
			t.Errorf("ten failures took %v, want %v", took, want)
		}
		if err := login(remote, "correct horse"); !errors.Is(err, ErrLimited) {
			t.Errorf("after ten failures: got %v, want ErrLimited", err)
		}
		if err := login(neighbour, "correct horse"); err != nil {
			t.Errorf("another address: got %v", err)
		}
		if err := login(local, "correct horse"); err != nil {
			t.Errorf("loopback: got %v", err)
		}
		time.Sleep(time.Minute)
		if err := login(remote, "correct horse"); err != nil {
			t.Errorf("a minute later: got %v", err)
		}
		for range 9 {
			_ = login(remote, "wrong horse")
		}
		if err := login(remote, "correct horse"); err != nil {
			t.Errorf("below the limit: got %v", err)
		}
		if err := login(remote, "wrong horse"); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("after a success the count begins anew: got %v", err)
		}
		if got := w.counter(t, "mox_authentication_ratelimited_total", "imap"); got != 1 {
			t.Errorf("counted %v refused, want 1", got)
		}
	})
}

// TestFlood sends many guesses at once: no more are computed than a little over
// the limit.
func TestFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			_, err := w.Password(t.Context(), remote, "anna@example.org", fmt.Sprint("guess number ", i))
			if !errors.Is(err, ErrBadCredentials) && !errors.Is(err, ErrLimited) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	computed := w.counter(t, "mox_authentication_total", "imap", "badpassword", "login")
	if computed < 10 || computed > 10+2*hashersMax {
		t.Errorf("computed %v guesses, want little over 10", computed)
	}
}

// TestVerifiedExpires shows when a password is hashed again, and what the
// memory of it is bounded by.
func TestVerifiedExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, err := newVerified(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := store.Credential{Argon2id: store.Argon2id{Salt: []byte("salt"), Hash: []byte("hash")}}
		v.add(c, "a")
		other := store.Credential{Argon2id: store.Argon2id{Salt: []byte("salth"), Hash: []byte("ash")}}
		if !v.has(c, "a") || v.has(c, "b") || v.has(other, "a") {
			t.Error("has is not exact")
		}
		time.Sleep(verifiedTime)
		if v.has(c, "a") {
			t.Error("still there after its time")
		}
		for i := range verifiedMax + 10 {
			v.add(c, fmt.Sprint(i))
		}
		if len(v.until) != verifiedMax || !v.has(c, "0") {
			t.Errorf("got %d entries, want %d with those of now", len(v.until), verifiedMax)
		}
	})
}

// TestServe shows that attempts are recorded, together, and at the end too.
func TestServe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.Serve(ctx) })
	for _, password := range []string{"correct horse", "wrong", "wrong too"} {
		_, _ = w.Password(t.Context(), local, "anna@example.org", password)
	}
	_, _ = w.Password(t.Context(), local, "nobody@example.org", "x")
	for i := range attemptsMax + 10 {
		w.attempts.add(authdb.LoginAttempt{Account: "x", Login: fmt.Sprint(i), Result: authdb.OK, Count: 1})
	}
	cancel()
	wg.Wait()
	for account, want := range map[string]string{
		"anna":                "ok 1, badpassword 2",
		authdb.UnknownAccount: "baduser 1",
	} {
		attempts, err := w.db.LoginAttempts(t.Context(), account, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range attempts {
			got = append(got, fmt.Sprintf("%s %d", a.Result, a.Count))
			if a.RemoteIP != "127.0.0.1" || a.Protocol != "imap" || a.Mechanism != "plain" || a.Last.Before(a.First) {
				t.Errorf("recorded %+v", a)
			}
		}
		if s := strings.Join(got, ", "); s != want && s != "badpassword 2, ok 1" {
			t.Errorf("%s: got %s, want %s", account, s, want)
		}
	}
	rest, err := w.db.LoginAttempts(t.Context(), "x", 0)
	if err != nil || len(rest) != attemptsMax-3 {
		t.Errorf("got %d others, %v, want what was left of %d", len(rest), err, attemptsMax)
	}
}

// TestTrouble shows that trouble of our own is not an answer.
func TestTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Password(ctx, local, "anna@example.org", "correct horse")
	if err == nil || errors.Is(err, ErrBadCredentials) {
		t.Errorf("got %v, want that the caller gave up", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New took no options")
	}
}
