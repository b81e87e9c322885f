// Package dnsbl asks a blocklist that is published with DNS about an address (RFC
// 5782), and whether the list works.
//
// It makes one lookup with a dns.Resolver, without cache or retry. The receiving
// server asks about its peers, and the monitor about our own addresses; what a
// listing means is decided there.
package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
)

// explanationSizeMax bounds an explanation in bytes.
const explanationSizeMax = 800

var (
	// ErrAnswer means that a list answers with what says nothing about an address. It
	// may have been given up, or refuse to answer us. Callers must take the address as
	// not listed.
	ErrAnswer = errors.New("dnsbl: list gives no useful answer")

	// ErrHealth means that a list does not work: what it says about other addresses
	// counts for nothing.
	ErrHealth = errors.New("dnsbl: list does not work")
)

var (
	// listed are the addresses that mean that an address is listed (RFC 5782, section 2.1).
	listed = netip.MustParsePrefix("127.0.0.0/8")

	// refused are those of them by which lists tell that they don't answer: too many
	// queries, or over a public resolver. By agreement only, but of large lists.
	refused = netip.MustParsePrefix("127.255.255.0/24")
)

// Listing is what a list has about an address.
type Listing struct {
	Listed bool

	// Codes are the addresses in 127.0.0.0/8 that the list answers with. What they
	// mean, only the list knows. Empty unless Listed.
	Codes []netip.Addr

	// Explanation is what the list says about it, often with a URL: printable ASCII,
	// at most 800 bytes. It can be empty. It is from a stranger, and has to be shown
	// as such.
	Explanation string

	// Authentic means that the answer was, apart from the explanation.
	Authentic bool
}

// Lookup asks a list about an address. An error means that nothing is known: the
// list may be gone or refuse to answer us.
func Lookup(ctx context.Context, resolver dns.Resolver, zone dns.Domain, ip netip.Addr) (Listing, error) {
	return lookup(ctx, resolver, labels(ip)+zone.Absolute())
}

// labels returns an address in reverse order, as labels with a dot at the end:
// bytes of IPv4, half bytes of IPv6 (sections 2.1 and 2.4).
func labels(ip netip.Addr) string {
	name := dns.ReverseName(ip)
	return strings.TrimSuffix(strings.TrimSuffix(name, "in-addr.arpa."), "ip6.arpa.")
}

func lookup(ctx context.Context, resolver dns.Resolver, name string) (Listing, error) {
	codes, res, err := resolver.LookupIP(ctx, "ip4", name)
	if dns.IsNone(err) {
		return Listing{Authentic: res.Authentic}, nil
	}
	if err != nil {
		return Listing{}, err
	}
	for _, code := range codes {
		if !listed.Contains(code) || refused.Contains(code) {
			return Listing{}, fmt.Errorf("%w: %s for %q", ErrAnswer, code, name)
		}
	}
	l := Listing{Listed: true, Codes: slices.SortedFunc(slices.Values(codes), netip.Addr.Compare), Authentic: res.Authentic}
	// Without an explanation the address is listed all the same.
	if texts, _, err := resolver.LookupTXT(ctx, name); err == nil {
		l.Explanation = explanation(texts)
	}
	return l, nil
}

// explanation returns texts of a stranger as one printable line.
func explanation(texts []string) string {
	s := strings.Join(slices.Sorted(slices.Values(texts)), "; ")
	b := []byte(s[:min(len(s), explanationSizeMax)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// entries are those that a list must not have and must have (section 5): for lists
// of IPv4 addresses 127.0.0.1 and 127.0.0.2, for others ::FFFF:7F00:1 and
// ::FFFF:7F00:2.
var entries = []struct{ nobody, test string }{
	{"1.0.0.127.", "2.0.0.127."},
	{mapped("1"), mapped("2")},
}

// mapped returns the labels of ::FFFF:7F00:x.
func mapped(x string) string {
	return x + ".0.0.0.0.0.f.7.f.f.f.f." + strings.Repeat("0.", 20)
}

// CheckHealth returns nil if a list works: it must not have the entry that nobody
// may have, and must have the one for tests, of IPv4 or else of IPv6. It makes at
// most six lookups. The error is ErrHealth, or that of a lookup: the list may work
// again.
func CheckHealth(ctx context.Context, resolver dns.Resolver, zone dns.Domain) error {
	for _, e := range entries {
		if l, err := lookup(ctx, resolver, e.nobody+zone.Absolute()); err != nil {
			return err
		} else if l.Listed {
			return fmt.Errorf("%w: %s lists what nobody may list, %q", ErrHealth, zone, e.nobody)
		}
		if l, err := lookup(ctx, resolver, e.test+zone.Absolute()); err != nil || l.Listed {
			return err
		}
	}
	return fmt.Errorf("%w: %s has no entry for tests", ErrHealth, zone)
}
