// Package arc verifies the Authenticated Received Chain of a message, RFC 8617:
// what servers on its way, such as mailing lists, found when they checked it, each
// signed by them. Whether a sealer is to be believed is for others to decide. It
// doesn't seal.
package arc

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/mjl-/mox/dns"
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
}

// Evaluation is what is known of a chain.
type Evaluation struct {
	Result Result

	// Sets are in order of Instance, the last server's last. They are only complete
	// and in order if Result is Pass; else what was found, for explanations.
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
	return Evaluation{}, errors.ErrUnsupported
}
