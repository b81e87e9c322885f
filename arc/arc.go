// Package arc verifies the Authenticated Received Chain of a message, RFC 8617:
// what servers on its way, such as mailing lists, found when they checked it, each
// signed by them. Whether a sealer is to be believed is for others to decide. It
// doesn't seal.
package arc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
)

// setsMax bounds the sets of a message, RFC 8617, section 4.2.1.
const setsMax = 50

// Causes of failure, in Evaluation.Err and in those of a Set.
var (
	ErrTooMany    = errors.New("arc: more than 50 sets")
	ErrField      = errors.New("arc: malformed field")
	ErrIncomplete = errors.New("arc: set is not complete")
	ErrStatus     = errors.New("arc: a sealer found the chain before it broken, or says what it can't have found")
	ErrMessage    = errors.New("arc: message is not what the last sealer has seen")
	ErrSeal       = errors.New("arc: seal is not good")
)

// Result is the validation status of a chain, RFC 8617, section 4.4.
type Result string

// The results.
const (
	None Result = "none" // There is no chain.
	Pass Result = "pass"
	Fail Result = "fail"
)

// Set is what one server added.
type Set struct {
	Instance  int        // From 1, for the first server, upwards.
	Domain    dns.Domain // Of the seal: who vouches for Results.
	Selector  string
	Status    Result    // Of the chain before, as the sealer has found it.
	Time      time.Time // Of sealing. Zero if not told.
	Authentic bool      // Its keys are protected by DNSSEC.

	// Results is the ARC-Authentication-Results field without name and instance, as
	// in the value of an Authentication-Results field. It comes from outside, and is
	// worth what its sealer is worth, if the chain passes.
	Results string

	// MessageDomain is of the message signature, usually that of the seal. MessageErr
	// is why it doesn't match the message as it is now: usual for all but the last set.
	MessageDomain dns.Domain
	MessageErr    error

	// SealErr is why the seal is not good.
	SealErr error

	message, seal *dkim.Signature
	fields        [][]byte // In the order in which they are sealed.
}

// Evaluation is what is known of a chain.
type Evaluation struct {
	Result Result

	// Sets are in order of Instance, the last server's last. Signatures of them are
	// only verified if all sets are complete.
	Sets []Set

	// OldestPass is the lowest instance whose message signature still matches the
	// message with all that follow, 0 if all do (RFC 8617, section 5.2).
	OldestPass int

	Err error // Why Result is Fail. It wraps dns.ErrTemporary if that was it.
}

// Options says how to verify.
type Options struct {
	Now time.Time
}

// Verify evaluates the chain of a message of size bytes. The error is one of
// reading, or dkim.ErrHeader. Lookups end with ctx.
func Verify(ctx context.Context, resolver dns.Resolver, r io.ReaderAt, size int64, opts Options) (Evaluation, error) {
	m, err := dkim.ReadMessage(r, size)
	if err != nil {
		return Evaluation{}, err
	}
	sets, err := collect(m)
	e := Evaluation{Result: Fail, Sets: sets, Err: err}
	if err == nil && len(sets) == 0 {
		return Evaluation{Result: None}, nil
	}
	if err != nil {
		return e, nil
	}
	if err := verifySets(ctx, resolver, m, &e, opts.Now); err != nil {
		return Evaluation{}, err
	}
	if e.Err = e.conclude(); e.Err == nil {
		e.Result = Pass
	}
	return e, nil
}

// verifySets verifies the signatures of all sets: keys are looked up together, and
// the body is read once. It fails only if reading does.
func verifySets(ctx context.Context, resolver dns.Resolver, m *dkim.Message, e *Evaluation, now time.Time) error {
	var messages, all []*dkim.Signature
	for _, s := range e.Sets {
		messages = append(messages, s.message)
		all = append(all, s.message, s.seal)
	}
	keys := dkim.LookupKeys(ctx, resolver, all)
	bodies, err := m.CheckBodies(messages)
	if err != nil {
		return err
	}
	var sealed [][]byte
	for i := range e.Sets {
		s := &e.Sets[i]
		message, seal := keys[s.message], keys[s.seal]
		s.Authentic = message.Authentic && seal.Authentic
		if s.MessageErr = checkMessage(s.message, message, now); s.MessageErr == nil {
			s.MessageErr = bodies[s.message]
		}
		if s.MessageErr == nil {
			s.MessageErr = checkHeader(m, s.message, message.Record)
		}
		// A seal is over all sets up to its own: RFC 8617, section 5.1.1.
		sealed = append(sealed, s.fields...)
		if s.SealErr = checkSignature(s.seal, seal); s.SealErr == nil {
			s.SealErr = s.seal.CheckFields(sealed[:len(sealed)-1], seal.Record)
		}
	}
	return nil
}

// checkHeader returns why a message signature doesn't match the header. Without a
// canonicalisation it is simple (RFC 6376, section 3.5), but software in use, and the
// published suite, take it for relaxed.
func checkHeader(m *dkim.Message, s *dkim.Signature, key *dkim.Record) error {
	err := m.CheckHeader(s, key)
	if _, ok := s.Tag("c"); err == nil || ok {
		return err
	}
	relaxed := *s
	relaxed.Canon.HeaderRelaxed = true
	return m.CheckHeader(&relaxed, key)
}

// checkMessage returns why a message signature can't be used.
func checkMessage(s *dkim.Signature, key dkim.Key, now time.Time) error {
	switch {
	case !s.Expires.IsZero() && now.After(s.Expires):
		return dkim.ErrExpired
	case s.Length >= 0:
		return dkim.DefaultPolicy(s)
	}
	return checkSignature(s, key)
}

// checkSignature returns why a signature can't be used with its key.
func checkSignature(s *dkim.Signature, key dkim.Key) error {
	if err := s.CheckAlgorithm(); err != nil {
		return err
	}
	if key.Err != nil {
		return key.Err
	}
	return s.CheckKey(key.Record, "email")
}

// conclude returns why the chain fails, and sets OldestPass: RFC 8617, section 5.2,
// steps 2 to 6. An error of the Resolver makes it fail too (section 5.2.1).
func (e *Evaluation) conclude() error {
	last := len(e.Sets) - 1
	if e.Sets[last].Status == Fail {
		return fmt.Errorf("%w: instance %d", ErrStatus, last+1)
	}
	for i, s := range e.Sets {
		if want := map[bool]Result{true: None, false: Pass}[i == 0]; s.Status != want {
			return fmt.Errorf("%w: instance %d has status %q, not %q", ErrStatus, s.Instance, s.Status, want)
		}
	}
	if err := e.Sets[last].MessageErr; err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	for i := last; i >= 0; i-- {
		if err := e.Sets[i].SealErr; err != nil {
			return fmt.Errorf("%w: instance %d: %w", ErrSeal, i+1, err)
		}
	}
	for i := last - 1; i >= 0 && e.OldestPass == 0; i-- {
		if e.Sets[i].MessageErr != nil {
			e.OldestPass = i + 2
		}
	}
	return nil
}
