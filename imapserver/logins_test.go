package imapserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/store"
)

const testStatic = `DataDir: data
LogLevel: info
Hostname: mail.example.org
Listeners:
	x:
		IPs:
			- 127.0.0.1
Postmaster:
	Account: mox
	Mailbox: Inbox
`

const testDynamic = `Domains:
	example.org:
		LocalpartCatchallSeparator: +
Accounts:
	mox:
		Domain: example.org
		Destinations:
			mox@example.org: nil
	other:
		Domain: example.org
		Destinations:
			other@example.org: nil
	closed:
		Domain: example.org
		LoginDisabled: account is closed
		Destinations:
			closed@example.org: nil
`

// logins is an Authenticator with the addresses mox, other and closed, all
// @example.org. By LOGIN alone it also knows names that need no work, and some
// that show trouble.
type logins struct{ *auth.Authenticator }

func (l logins) Password(ctx context.Context, a auth.Attempt, user, pw string) (auth.Login, error) {
	switch {
	case strings.Contains(user, "@"):
		return l.Authenticator.Password(ctx, a, user, pw)
	case user == "disabled":
		return auth.Login{}, &auth.DisabledError{Reason: "account is closed"}
	case user == "limited":
		return auth.Login{}, auth.ErrLimited
	case user == "busy":
		return auth.Login{}, auth.ErrBusy
	case user == "broken":
		return auth.Login{}, errors.New("disk is on fire")
	case user == "absent" && pw == password:
		return auth.Login{Account: "absent"}, nil
	case user != "mox" && user != "other" || pw != password:
		return auth.Login{}, auth.ErrBadCredentials
	}
	return auth.Login{Account: user}, nil
}

// constant is random bytes that are always the same: nonces and salts in
// transcripts are too.
type constant struct{}

func (constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

// testCredential is that of all accounts, derived once.
var testCredential = sync.OnceValues(func() (store.Credential, error) {
	return auth.NewCredential(constant{}, nil, password, time.Unix(0, 0), auth.WithCRAMMD5)
})

// newLogins returns the Authenticator of a test and its database, which the
// caller closes.
func newLogins(t testing.TB, dir string, accounts *store.Dir, log *slog.Logger) (logins, *authdb.DB) {
	t.Helper()
	c, err := config.Load([]byte(testStatic), []byte(testDynamic), nil)
	if err != nil {
		t.Fatal(err)
	}
	db, err := authdb.Open(filepath.Join(dir, "auth.db"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(auth.Options{
		Config: func() *config.Config { return c }, Accounts: accounts, DB: db, Log: log, Registerer: prometheus.NewRegistry(),
		Rand: constant{}, DecoyKey: []byte("decoy"), LoopbackExempt: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return logins{a}, db
}

// registerKey registers the key of a certificate, which it returns, for an
// account.
func (e *env) registerKey(account string, noPreauth bool) tls.Certificate {
	e.t.Helper()
	cert := certificate(e.t)
	_, err := e.keys.AddTLSPublicKey(e.t.Context(), authdb.TLSPublicKey{
		CertDER: cert.Certificate[0], Account: account, LoginAddress: account + "@example.org", NoPreauth: noPreauth,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return cert
}

// dialCertificate returns a connection with TLS from the start, on which the
// client shows a certificate: "account", or "account,nopreauth".
func (e *env) dialCertificate(setup string) net.Conn {
	e.t.Helper()
	account, option, _ := strings.Cut(setup, ",")
	cert := e.registerKey(account, option == "nopreauth")
	t := tls.Client(e.dial(), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", Certificates: []tls.Certificate{cert}})
	if err := t.HandshakeContext(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	return t
}
