// Package iprev checks that an address has a name which leads back to it (RFC
// 8601, section 3): the sign of a host that is meant to send mail.
//
// It makes one check with a dns.Resolver, for the receiving server. What a result
// means is decided there.
package iprev

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
)

// namesMax bounds the names that are looked at. More are the sign of an address
// that is shared, and who controls it could have us look up any number.
const namesMax = 10

var (
	// ErrNoNames means that the address has no names.
	ErrNoNames = errors.New("iprev: address has no names")

	// ErrNotBack means that none of its names leads back to it.
	ErrNotBack = errors.New("iprev: names of address don't lead back to it")
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

// Check looks up the names of an address, and the addresses of the first ten of
// them. The time is for ctx to bound; when it is done the result is TempError.
func Check(ctx context.Context, resolver dns.Resolver, ip netip.Addr) Evaluation {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return Evaluation{Result: PermError, Err: ErrNoNames}
	}
	names, res, err := resolver.LookupAddr(ctx, ip)
	if dns.IsNone(err) {
		return Evaluation{Result: PermError, Authentic: res.Authentic, Err: fmt.Errorf("%w: %w", ErrNoNames, err)}
	}
	if err != nil {
		return Evaluation{Result: TempError, Err: err}
	}
	return checkNames(ctx, resolver, names[:min(len(names), namesMax)], Evaluation{Authentic: res.Authentic}, ip)
}

// checkNames looks for the first name that has the address. A lookup that failed
// counts only if there is none.
func checkNames(ctx context.Context, resolver dns.Resolver, names []string, e Evaluation, ip netip.Addr) Evaluation {
	network := "ip6"
	if ip.Is4() {
		network = "ip4"
	}
	e.Result, e.Err = Fail, ErrNotBack
	for _, name := range names {
		ips, res, err := resolver.LookupIP(ctx, network, name)
		if errors.Is(err, dns.ErrName) {
			continue // What can't be asked for has no addresses.
		}
		e.Authentic = e.Authentic && res.Authentic
		if slices.ContainsFunc(ips, func(a netip.Addr) bool { return a.Unmap() == ip }) {
			return Evaluation{Result: Pass, Name: strings.TrimSuffix(name, "."), Authentic: e.Authentic}
		}
		if err != nil && !dns.IsNone(err) {
			e.Result, e.Err = TempError, err
		}
	}
	return e
}
