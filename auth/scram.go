package auth

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// findTime is how long it takes at least to tell a SCRAM client its salt. It
// covers that for a user who isn't there, no account is opened.
const findTime = 50 * time.Millisecond

// scramUser is what was found for the name that a SCRAM client gave.
type scramUser struct {
	found       bool // Next comes the proof.
	user        string
	login       Login
	known       bool
	credentials []store.Credential // As the keys that the mechanism has.
}

// findSCRAM returns what a SCRAM server tells a client, and compares with. For a
// user who isn't there, or can't log in with SCRAM, it is a salt that nobody can
// tell from others, the same each time.
func (e *Exchange) findSCRAM(ctx context.Context, h crypto.Hash, user string) (sasl.SCRAMUser, error) {
	start := time.Now()
	if !e.a.exempt(e.attempt) {
		leave, err := e.a.places.enter()
		if err != nil {
			return sasl.SCRAMUser{}, err
		}
		defer leave()
	}
	c := e.a.opts.Config()
	e.scram.user = user
	e.scram.login, e.scram.known = lookup(c, user)
	found := sasl.SCRAMUser{Salt: e.a.decoySalt(c, user), Iterations: scramIterations}
	if e.scram.known {
		own, err := e.a.credentials(ctx, e.scram.login.Account, e.attempt.Protocol)
		if err != nil {
			return sasl.SCRAMUser{}, err
		}
		found = e.scram.keys(h, own, found)
	}
	e.scram.found = true
	if e.a.exempt(e.attempt) {
		return found, nil
	}
	return found, waitUntil(ctx, start.Add(findTime))
}

// keys takes the credentials that have keys for a hash. The first one's salt
// counts; all have the same (see NewCredential).
func (u *scramUser) keys(h crypto.Hash, own []store.Credential, otherwise sasl.SCRAMUser) sasl.SCRAMUser {
	user := otherwise
	for _, c := range own {
		s := c.SCRAM256
		if h == crypto.SHA1 {
			s = c.SCRAM1
		}
		if len(s.StoredKey) != h.Size() || len(s.ServerKey) != h.Size() {
			continue
		}
		if len(user.Keys) == 0 {
			user.Salt, user.Iterations = s.Salt, int(s.Iterations)
		}
		if subtle.ConstantTimeCompare(s.Salt, user.Salt) == 1 && int(s.Iterations) == user.Iterations {
			user.Keys = append(user.Keys, sasl.SCRAMKeys{Stored: s.StoredKey, Server: s.ServerKey})
			u.credentials = append(u.credentials, c)
		}
	}
	return user
}

// finishSCRAM takes the client's proof.
func (e *Exchange) finishSCRAM(ctx context.Context, s *sasl.SCRAMServer, resp []byte) (challenge []byte, done bool, err error) {
	e.over = true
	e.login, err = e.a.try(ctx, e.attempt, func() outcome {
		if challenge, done, err = s.Next(resp); err != nil {
			return e.failed(err)
		}
		return e.a.admit(ctx, e.attempt, outcome{login: e.scram.login, user: e.scram.user, credential: &e.scram.credentials[s.Password]})
	})
	if err != nil {
		return nil, false, err
	}
	return challenge, done, nil
}

// decoySalt returns a salt for a user who isn't there. It depends on what would
// be the same for one who is: the address without what is behind a separator, and
// not on upper and lower case.
func (a *Authenticator) decoySalt(c *config.Config, user string) []byte {
	name := strings.ToLower(user)
	if address, err := smtp.ParseAddress(norm.NFC.String(user)); err == nil {
		name = c.Canonical(address).String()
	}
	return a.decoyBytes("salt", name)[:saltSize]
}

// decoyBytes returns bytes that nobody can tell from random ones, the same for the
// same name.
func (a *Authenticator) decoyBytes(purpose, name string) []byte {
	m := hmac.New(sha256.New, a.opts.DecoyKey)
	m.Write([]byte(purpose + "\x00" + name))
	return m.Sum(nil)
}

// checkCRAM compares a CRAM-MD5 client's digest with those of all passwords of the
// user, or with one that nobody has.
func (a *Authenticator) checkCRAM(ctx context.Context, attempt Attempt, s *sasl.CRAMMD5Server) outcome {
	o := outcome{user: s.Username}
	login, known := lookup(a.opts.Config(), s.Username)
	var own []store.Credential
	if known {
		o.login = login
		var err error
		if own, err = a.credentials(ctx, login.Account, attempt.Protocol); err != nil {
			o.result, o.err = authdb.Error, err
			return o
		}
	}
	decoy := store.Credential{CRAMMD5: a.decoyBytes("cram", s.Username)}
	found := -1
	for i, c := range append([]store.Credential{decoy}, own...) {
		if len(c.CRAMMD5) == 0 {
			continue
		}
		want, err := sasl.CRAMMD5Digest(c.CRAMMD5, s.Challenge)
		if err != nil {
			o.result, o.err = authdb.Error, fmt.Errorf("credential %d of %q: %w", c.ID, login.Account, err)
			return o
		}
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(want, s.Digest), i-1, found)
	}
	switch {
	case !known:
		o.result, o.err = authdb.BadUser, ErrBadCredentials
	case found < 0:
		o.result, o.err = authdb.BadPassword, ErrBadCredentials
	default:
		o.credential = &own[found]
		return a.admit(ctx, attempt, o)
	}
	return o
}
