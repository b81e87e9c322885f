package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"

	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/store"
)

const (
	// KindPassword is the kind of the account's own password.
	KindPassword = "password"

	// PasswordMin is the least length of a new password, in characters.
	PasswordMin = 8

	// Argon2id costs: 19 MiB, two passes, one lane, as OWASP advises for servers
	// with little memory. A check takes some 20 ms.
	argonMemory = 19 * 1024 // KiB.
	argonTime   = 2
	argonLanes  = 1
	argonSize   = 32 // Of the hash, in bytes.

	// scramIterations is what clients have to compute for SCRAM. RFC 7677, section
	// 4, asks for 4096 at least and 15,000 in general.
	scramIterations = 20_000

	// saltSize is in bytes.
	saltSize = 16

	// hashersMax bounds the checks at a time, and so their memory.
	hashersMax = 2

	// hasherWait bounds the wait for one of them. Beyond it something is wrong, or
	// someone sends passwords from many networks.
	hasherWait = 15 * time.Second
)

var (
	// ErrPassword means a new password cannot be one: too short, too long, or with
	// characters that clients would send in different ways (RFC 8265). Its text is
	// for the user.
	ErrPassword = errors.New("password is not possible")

	// ErrBusy means too many checks were waiting. The caller should have the peer
	// try later.
	ErrBusy = errors.New("auth: too many logins at once")
)

// CredentialOption says what else is derived from a password.
type CredentialOption int

// WithCRAMMD5 keeps what CRAM-MD5 needs. Who reads that from the disk can log in
// with it, so only an administrator's wish for old clients is a reason.
const WithCRAMMD5 CredentialOption = 1

// NewCredential derives from a password what is stored of it. Nothing of what it
// returns gives the password away without guessing.
//
// All secrets of an account must have one salt, since a SCRAM server names it
// before it knows which of them the client uses. So existing are the account's
// credentials, none for a new account.
func NewCredential(random io.Reader, existing []store.Credential, password string, now time.Time, options ...CredentialOption) (store.Credential, error) {
	prepared, err := prepare(password)
	if err != nil {
		return store.Credential{}, fmt.Errorf("%w: %w", ErrPassword, err)
	}
	if n := len([]rune(prepared)); n < PasswordMin {
		return store.Credential{}, fmt.Errorf("%w: it needs %d characters at least", ErrPassword, PasswordMin)
	}
	salt := make([]byte, saltSize)
	if i := slices.IndexFunc(existing, func(c store.Credential) bool { return len(c.Argon2id.Salt) > 0 }); i >= 0 {
		salt = existing[i].Argon2id.Salt
	} else if _, err := io.ReadFull(random, salt); err != nil {
		return store.Credential{}, fmt.Errorf("making salt: %w", err)
	}
	c := store.Credential{Kind: KindPassword, Created: now}
	c.Argon2id = store.Argon2id{Salt: salt, Time: argonTime, Memory: argonMemory, Lanes: argonLanes}
	c.Argon2id.Hash = argonHash(c.Argon2id, prepared)
	if c.SCRAM1, err = scramKeys(crypto.SHA1, salt, prepared); err != nil {
		return store.Credential{}, err
	}
	if c.SCRAM256, err = scramKeys(crypto.SHA256, salt, prepared); err != nil {
		return store.Credential{}, err
	}
	if slices.Contains(options, WithCRAMMD5) {
		if c.CRAMMD5, err = sasl.CRAMMD5Key(prepared); err != nil {
			return store.Credential{}, err
		}
	}
	return c, nil
}

// prepare returns the form of a password in which it is compared (RFC 8265,
// section 4.2).
func prepare(password string) (string, error) {
	if len(password) > passwordMax {
		return "", fmt.Errorf("longer than %d bytes", passwordMax)
	}
	if !utf8.ValidString(password) {
		return "", errors.New("not in UTF-8")
	}
	return precis.OpaqueString.String(password)
}

func argonHash(a store.Argon2id, prepared string) []byte {
	return argon2.IDKey([]byte(prepared), a.Salt, a.Time, a.Memory, a.Lanes, argonSize)
}

// scramKeys derives what is stored for SCRAM.
func scramKeys(h crypto.Hash, salt []byte, prepared string) (store.SCRAM, error) {
	keys, err := sasl.DeriveSCRAM(h, prepared, salt, scramIterations)
	if err != nil {
		return store.SCRAM{}, err
	}
	return store.SCRAM{Salt: salt, Iterations: scramIterations, StoredKey: keys.Stored, ServerKey: keys.Server}, nil
}

// newDecoy returns a credential that no password has and that costs the same to
// check.
func newDecoy(random io.Reader) (store.Credential, error) {
	secret := make([]byte, saltSize+argonSize)
	if _, err := io.ReadFull(random, secret); err != nil {
		return store.Credential{}, fmt.Errorf("making decoy: %w", err)
	}
	return store.Credential{Argon2id: store.Argon2id{
		Salt: secret[:saltSize], Time: argonTime, Memory: argonMemory, Lanes: argonLanes, Hash: secret[saltSize:],
	}}, nil
}

// isValid tells whether a credential can be used for a protocol.
func isValid(c store.Credential, protocol string) bool {
	return c.Revoked.IsZero() && (len(c.Scopes) == 0 || slices.Contains(c.Scopes, protocol))
}

// hasNoHash tells whether a password can't be compared with a credential.
func hasNoHash(c store.Credential) bool { return len(c.Argon2id.Hash) != argonSize }

// hasher has a place for each check at a time.
type hasher chan struct{}

func newHasher() hasher { return make(hasher, hashersMax) }

// do calls fn when there is a place.
func (h hasher) do(ctx context.Context, fn func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hasherWait, ErrBusy)
	defer cancel()
	select {
	case h <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-h }()
	return fn()
}

// verify returns the one of the credentials that has this password, nil if none
// has. Among those of one salt the same work is done whichever it is.
func (a *Authenticator) verify(ctx context.Context, attempt Attempt, credentials []store.Credential, password string) (*store.Credential, error) {
	prepared, err := prepare(password)
	if err != nil {
		prepared = "" // Which no credential has, but it takes its time.
	}
	if i := a.recall(credentials, prepared); i >= 0 {
		return &credentials[i], nil
	}
	for len(credentials) > 0 {
		// All have one salt, so this is done once, whatever their number.
		n, found := countAlike(credentials), -1
		err := a.hasher.do(ctx, func() (err error) {
			found, err = a.compare(attempt, credentials[:n], prepared)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("checking a password: %w", err)
		}
		if found >= 0 {
			return &credentials[found], nil
		}
		credentials = credentials[n:]
	}
	return nil, nil
}

// countAlike returns how many of the first credentials have the same salt and
// costs.
func countAlike(credentials []store.Credential) int {
	first := credentials[0].Argon2id
	if n := slices.IndexFunc(credentials, func(c store.Credential) bool { return !sameCost(c.Argon2id, first) }); n > 0 {
		return n
	}
	return len(credentials)
}

// recall returns the index of the credential that was found to have this password
// lately, -1 for none.
func (a *Authenticator) recall(credentials []store.Credential, prepared string) int {
	return slices.IndexFunc(credentials, func(c store.Credential) bool { return a.verified.has(c, prepared) })
}

// compare hashes a password, and returns the index of the credential that has it,
// -1 for none. All cost the same.
//
// What was known before the wait for a place may have changed: of many logins
// that came at once, some have failed in the meantime, or one has succeeded.
func (a *Authenticator) compare(attempt Attempt, credentials []store.Credential, prepared string) (int, error) {
	if !a.allowed(attempt) {
		return -1, ErrLimited
	}
	if i := a.recall(credentials, prepared); i >= 0 {
		return i, nil
	}
	found, h := -1, argonHash(credentials[0].Argon2id, prepared)
	for i, c := range credentials {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(h, c.Argon2id.Hash), i, found)
	}
	if found >= 0 {
		a.verified.add(credentials[found], prepared)
	}
	return found, nil
}

// sameCost tells whether a password has the same hash for both.
func sameCost(a, b store.Argon2id) bool {
	return bytes.Equal(a.Salt, b.Salt) && a.Time == b.Time && a.Memory == b.Memory && a.Lanes == b.Lanes
}
