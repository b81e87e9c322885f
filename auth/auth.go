// Package auth checks credentials: it is the one place for every protocol. Who
// logs in with what comes in as plain values; the protocol's exchange, replies
// and closing of connections stay with its server.
//
// It knows where addresses lead from the configuration, and secrets from the
// store. A wrong password, an unknown user and a user without password look the
// same from outside, in what is returned and how long it takes.
package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/text/unicode/norm"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/ratelimit"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

var (
	// ErrBadCredentials means user and password don't belong together. Which of
	// the two is wrong is not told: the peer could search for users.
	ErrBadCredentials = errors.New("auth: wrong user or password")

	// ErrDisabled means the credentials are right and logins to the account are
	// switched off. It is the cause of a *DisabledError.
	ErrDisabled = errors.New("auth: logins are disabled")

	// ErrLimited means there were too many failures from the peer's network, and
	// the credentials were not looked at. The caller should close the connection.
	ErrLimited = errors.New("auth: too many failed logins")
)

// DisabledError is ErrDisabled with the administrator's text for the user.
type DisabledError struct{ Reason string }

// Error returns the reason.
func (e *DisabledError) Error() string { return ErrDisabled.Error() + ": " + e.Reason }

// Unwrap returns ErrDisabled.
func (e *DisabledError) Unwrap() error { return ErrDisabled }

const (
	// failTime is how long a failed login takes at least. It covers the small
	// differences between one failure and another, and slows down guessing.
	failTime = 250 * time.Millisecond

	// userMax and passwordMax bound what is looked at, in bytes.
	userMax     = 512
	passwordMax = 1024

	// decoyKeySize is in bytes.
	decoyKeySize = 32
)

// failures are the limits on failed logins: in a minute and in a day, by network.
var failures = []ratelimit.Window{
	{Period: time.Minute, Limits: [...]int64{10, 30, 90}},
	{Period: 24 * time.Hour, Limits: [...]int64{50, 150, 450}},
}

// Options is what an Authenticator needs. All fields are required unless said
// otherwise.
type Options struct {
	Config     func() *config.Config // The current configuration.
	Accounts   Accounts
	DB         *authdb.DB // For login attempts.
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Rand       io.Reader // Nil: crypto/rand.Reader.

	// DecoyKey makes the salts for users who aren't there. It must stay the same
	// over restarts: a salt that changes tells that there is no such user. 32
	// random bytes, as secret as passwords. Nil: new for each process.
	DecoyKey []byte

	// LoopbackExempt spares peers on loopback limits and delays.
	LoopbackExempt bool
}

// Accounts opens accounts; a *store.Dir does.
type Accounts interface {
	Account(ctx context.Context, name string) (*store.Account, error)
}

// Authenticator checks credentials. It is safe for concurrent use.
type Authenticator struct {
	opts     Options
	log      *slog.Logger
	metrics  *metrics
	failures *ratelimit.Limiter
	hasher   hasher
	places   places
	decoy    store.Credential // Checked in place of one that isn't there.
	verified *verified
	attempts *attempts
	used     *used
}

// New returns an Authenticator. Serve must run for login attempts to be recorded.
func New(opts Options) (*Authenticator, error) {
	if opts.Config == nil || opts.Accounts == nil || opts.DB == nil || opts.Log == nil || opts.Registerer == nil {
		return nil, errors.New("auth: missing option")
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	a := &Authenticator{
		opts:     opts,
		log:      opts.Log.With("pkg", "auth"),
		failures: ratelimit.New(failures...),
		hasher:   newHasher(),
		places:   newPlaces(),
		attempts: newAttempts(),
		used:     newUsed(),
	}
	var err error
	if len(opts.DecoyKey) == 0 {
		a.opts.DecoyKey = make([]byte, decoyKeySize)
		if _, err = io.ReadFull(opts.Rand, a.opts.DecoyKey); err != nil {
			return nil, fmt.Errorf("making decoy key: %w", err)
		}
	}
	if a.metrics, err = newMetrics(opts.Registerer); err != nil {
		return nil, err
	}
	if a.verified, err = newVerified(opts.Rand); err != nil {
		return nil, err
	}
	if a.decoy, err = newDecoy(opts.Rand); err != nil {
		return nil, err
	}
	return a, nil
}

// Attempt is what else there is to know of a login.
type Attempt struct {
	CID       int64      // Connection id in the log.
	Protocol  string     // "imap", "smtp": also the scope that a credential must have.
	Mechanism string     // "login", "plain": as counted and recorded.
	Key       string     // From function Key: a login must be for the account of this key.
	RemoteIP  netip.Addr // Zero if there is no network.
	LocalIP   netip.Addr
	TLS       string // Version and cipher, empty for plain text.
}

// Login is who logged in.
type Login struct {
	Account string       // Name of the account.
	Address smtp.Address // One of the account's, in canonical form.
	Given   smtp.Address // The same as the user wrote it, with what follows a separator.
}

// Password checks a user's address and password. The error is ErrBadCredentials,
// a *DisabledError, ErrLimited, ErrBusy, sasl.ErrAuthorization for another account
// than that of Attempt.Key, or trouble of our own, which says nothing about the
// credentials. A failed login takes a while, and any after several failures.
func (a *Authenticator) Password(ctx context.Context, attempt Attempt, user, password string) (Login, error) {
	return a.try(ctx, attempt, func() outcome { return a.check(ctx, attempt, user, password) })
}

// outcome is how an attempt ended.
type outcome struct {
	login      Login  // Zero if not known.
	user       string // As given.
	result     authdb.Result
	err        error
	credential *store.Credential // That was used. Nil: none.
}

// try looks at an attempt, if limits allow it, and does what has to be done about
// how it ends.
func (a *Authenticator) try(ctx context.Context, attempt Attempt, check func() outcome) (Login, error) {
	exempt := a.exempt(attempt)
	if !exempt {
		leave, err := a.places.enter()
		if err != nil {
			return Login{}, err
		}
		defer leave()
		if err := a.slowDown(ctx, attempt); err != nil {
			return Login{}, err
		}
	}
	start := time.Now()
	o := check()
	if errors.Is(o.err, ErrLimited) {
		a.metrics.limited(attempt)
		return Login{}, o.err
	}
	a.note(ctx, attempt, o)
	switch {
	case o.err == nil:
		if o.credential != nil {
			a.used.add(o.login.Account, *o.credential, start)
		}
		if !exempt {
			a.failures.Reset(attempt.RemoteIP)
		}
		return o.login, nil
	case !exempt && isFailure(o.result):
		a.failures.Add(start, attempt.RemoteIP, 1)
		if err := waitUntil(ctx, start.Add(failTime)); err != nil {
			return Login{}, err
		}
	}
	return Login{}, o.err
}

// isFailure tells whether a result is the client's fault, and counts against its
// network.
func isFailure(r authdb.Result) bool {
	switch r {
	case authdb.BadUser, authdb.BadPassword, authdb.BadCreds, authdb.BadChanBind, authdb.BadProtocol:
		return true
	}
	return false
}

// slowDown waits before an attempt, the longer the more the network has failed.
func (a *Authenticator) slowDown(ctx context.Context, attempt Attempt) error {
	now := time.Now()
	if !a.allowed(attempt) {
		a.metrics.limited(attempt)
		return ErrLimited
	}
	d := delay(a.failures.Count(now, 0, ratelimit.Narrow, attempt.RemoteIP))
	if d == 0 {
		return nil
	}
	if err := waitUntil(ctx, now.Add(d)); err != nil {
		return err
	}
	if !a.allowed(attempt) { // Others were waiting too, and have failed.
		a.metrics.limited(attempt)
		return ErrLimited
	}
	return nil
}

// exempt tells whether there are no limits for a peer.
func (a *Authenticator) exempt(attempt Attempt) bool {
	return !attempt.RemoteIP.IsValid() || a.opts.LoopbackExempt && attempt.RemoteIP.IsLoopback()
}

// Allowed tells whether a peer may try to log in: its network has not failed too
// often. Servers ask it to turn peers away before they cost more.
func (a *Authenticator) Allowed(remote netip.Addr) bool { return a.allowed(Attempt{RemoteIP: remote}) }

// allowed tells whether the peer's network has not failed too often.
func (a *Authenticator) allowed(attempt Attempt) bool {
	return a.exempt(attempt) || a.failures.Check(time.Now(), attempt.RemoteIP, 1)
}

// check finds the account and its secrets, and compares. For an unknown user it
// does the same work with a decoy.
func (a *Authenticator) check(ctx context.Context, attempt Attempt, user, password string) outcome {
	o := outcome{user: user}
	login, known := lookup(a.opts.Config(), user)
	credentials := []store.Credential{a.decoy}
	if known {
		o.login = login
		own, err := a.credentials(ctx, login.Account, attempt.Protocol)
		if err != nil {
			o.result, o.err = authdb.Error, err
			return o
		}
		if own = slices.DeleteFunc(own, hasNoHash); len(own) > 0 {
			credentials = own
		}
	}
	var err error
	o.credential, err = a.verify(ctx, attempt, credentials, password)
	switch {
	case err != nil:
		o.result, o.err = authdb.Error, err
	case !known:
		o.result, o.err = authdb.BadUser, ErrBadCredentials
	case o.credential == nil:
		o.result, o.err = authdb.BadPassword, ErrBadCredentials
	default:
		return a.admit(ctx, attempt, o)
	}
	return o
}

// admit decides about a login with the right credentials.
func (a *Authenticator) admit(ctx context.Context, attempt Attempt, o outcome) outcome {
	if reason := a.opts.Config().LoginDisabled(o.login.Account); reason != "" {
		o.result, o.err = authdb.LoginDisabled, &DisabledError{reason}
		return o
	}
	o.result = authdb.OK
	if attempt.Key == "" {
		return o
	}
	key, err := a.opts.DB.TLSPublicKey(ctx, attempt.Key)
	switch {
	case errors.Is(err, authdb.ErrNoKey): // Removed during the connection: it means nothing any more.
	case err != nil:
		o.result, o.err = authdb.Error, err
	case key.Account != o.login.Account:
		o.result, o.err = authdb.BadCreds, sasl.ErrAuthorization
	}
	return o
}

// lookup finds the account of an address as users write them.
func lookup(c *config.Config, user string) (Login, bool) {
	if len(user) > userMax {
		return Login{}, false
	}
	address, err := smtp.ParseAddress(norm.NFC.String(user))
	if err != nil {
		return Login{}, false
	}
	account, canonical, err := c.Login(address)
	return Login{account, canonical, address}, err == nil
}

// credentials returns those of an account that are valid for a protocol. An
// account that isn't there yet, or no more, has none.
func (a *Authenticator) credentials(ctx context.Context, account, protocol string) (valid []store.Credential, err error) {
	acc, err := a.opts.Accounts.Account(ctx, account)
	if errors.Is(err, store.ErrNoAccount) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("opening account %q: %w", account, err)
	}
	all, err := acc.Credentials(ctx)
	if err = errors.Join(err, acc.Close()); err != nil {
		return nil, fmt.Errorf("credentials of account %q: %w", account, err)
	}
	for _, c := range all {
		if isValid(c, protocol) {
			valid = append(valid, c)
		}
	}
	return valid, nil
}

// note counts, logs and records how an attempt ended.
func (a *Authenticator) note(ctx context.Context, attempt Attempt, o outcome) {
	a.metrics.attempt(attempt, o.result)
	attrs := []any{
		"cid", cid.Format(attempt.CID), "protocol", attempt.Protocol, "mechanism", attempt.Mechanism,
		"user", o.user, "remote", attempt.RemoteIP, "result", string(o.result), "account", o.login.Account,
	}
	if attempt.Key != "" {
		attrs = append(attrs, "key", attempt.Key)
	}
	switch o.result {
	case authdb.OK:
		a.log.DebugContext(ctx, "login", attrs...)
	case authdb.Aborted:
		a.log.DebugContext(ctx, "authentication aborted", attrs...)
	case authdb.Error:
		a.log.ErrorContext(ctx, "checking credentials", append(attrs, "err", o.err)...)
	case authdb.BadChanBind:
		a.log.WarnContext(ctx, "failed authentication attempt", append(attrs, "err", o.err)...)
	default:
		// Operators have other programs watch for this message and the address.
		a.log.InfoContext(ctx, "failed authentication attempt", attrs...)
	}
	now := time.Now()
	a.attempts.add(authdb.LoginAttempt{
		Account: o.login.Account, Login: o.user, RemoteIP: ipString(attempt.RemoteIP), LocalIP: ipString(attempt.LocalIP), TLS: attempt.TLS,
		PublicKey: attempt.Key, Protocol: attempt.Protocol, Mechanism: attempt.Mechanism, Result: o.result, Count: 1, First: now, Last: now,
	})
}

func ipString(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.Unmap().String()
}

func waitUntil(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
