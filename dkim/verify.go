package dkim

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mjl-/mox/dns"
)

// signaturesMax bounds the signatures of a message that are looked at: each can
// cost a lookup. Messages have one to four; lists and relays add one each.
const signaturesMax = 25

// emailService is the service of keys for mail.
const emailService = "email"

// Verify evaluates the signatures of a message of size bytes, in the order of the
// header, the first 25 of them. The error is one of reading, or ErrHeader. Lookups
// end with ctx.
func Verify(ctx context.Context, resolver dns.Resolver, r io.ReaderAt, size int64, opts VerifyOptions) ([]Evaluation, error) {
	m, err := ReadMessage(r, size)
	if err != nil {
		return nil, err
	}
	if opts.Policy == nil {
		opts.Policy = DefaultPolicy
	}
	if opts.Service == "" {
		opts.Service = emailService
	}
	all := m.Fields("DKIM-Signature")
	v := &verification{m: m, opts: opts, evaluations: make([]Evaluation, min(len(all), signaturesMax))}
	v.parse(all)
	v.keys(ctx, resolver)
	if err := v.verify(); err != nil {
		return nil, err
	}
	for i := range v.evaluations {
		v.conclude(&v.evaluations[i])
	}
	if n := len(all) - len(v.evaluations); n > 0 {
		err := fmt.Errorf("%w: %d are not looked at", ErrTooMany, n)
		v.evaluations = append(v.evaluations, Evaluation{Result: Policy, Skipped: n, Err: err})
	}
	return v.evaluations, nil
}

// verification is one Verify; its methods are the steps, in their order. What a
// step finds wrong with a signature ends its way.
type verification struct {
	m           *Message
	opts        VerifyOptions
	evaluations []Evaluation
}

// open returns the evaluations with which nothing was wrong until now, and their
// signatures.
func (v *verification) open() (open []*Evaluation, signatures []*Signature) {
	for i := range v.evaluations {
		if e := &v.evaluations[i]; e.Err == nil {
			open = append(open, e)
			signatures = append(signatures, e.Signature)
		}
	}
	return open, signatures
}

// parse reads the signatures, and checks what needs no key.
func (v *verification) parse(all [][]byte) {
	for i := range v.evaluations {
		e := &v.evaluations[i]
		if e.Signature, e.Err = ParseSignature(all[i], DKIMSignature); e.Err != nil {
			continue
		}
		e.Err = v.check(e.Signature)
	}
}

// check returns why a signature can't be used, whatever its key is.
func (v *verification) check(s *Signature) error {
	if err := s.check(v.opts.Now); err != nil {
		return err
	}
	switch {
	case len(v.m.Fields("From")) == 0:
		return fmt.Errorf("%w: there is none", ErrFrom)
	case !s.covers(v.m, "From") || !s.covers(v.m, "Subject"):
		return fmt.Errorf("%w: there are more From or Subject fields than it signs", ErrPolicy)
	}
	return v.opts.Policy(s)
}

// keys looks up the keys.
func (v *verification) keys(ctx context.Context, resolver dns.Resolver) {
	open, signatures := v.open()
	keys := LookupKeys(ctx, resolver, signatures)
	for _, e := range open {
		key := keys[e.Signature]
		e.Record, e.Authentic, e.Err = key.Record, key.Authentic, key.Err
		if e.Err == nil {
			e.Err = e.Signature.CheckKey(key.Record, v.opts.Service)
		}
	}
}

// verify verifies bodies and headers. It fails only if reading does.
func (v *verification) verify() error {
	open, signatures := v.open()
	bodies, err := v.m.CheckBodies(signatures)
	if err != nil {
		return err
	}
	for _, e := range open {
		if e.Err = bodies[e.Signature]; e.Err == nil {
			e.Err = v.m.CheckHeader(e.Signature, e.Record)
		}
	}
	return nil
}

// conclude gives the result for what was found.
func (v *verification) conclude(e *Evaluation) {
	switch {
	case e.Err == nil:
		e.Result = Pass
	case e.Record != nil && e.Record.Testing() && !v.opts.IgnoreTestMode:
		e.Result = None
	case errors.Is(e.Err, ErrPolicy):
		e.Result = Policy
	case errors.Is(e.Err, ErrBody), errors.Is(e.Err, ErrSignature):
		e.Result = Fail
	case errors.Is(e.Err, dns.ErrTemporary):
		e.Result = Temperror
	default:
		e.Result = Permerror
	}
}
