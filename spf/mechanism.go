package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
)

// matches evaluates a mechanism of the record of a domain (RFC 7208, section 5). An
// error ends the evaluation.
func (c *check) matches(ctx context.Context, domain string, d Directive) (bool, error) {
	switch d.Mechanism {
	case mechanismAll:
		return true, nil
	case mechanismIP4, mechanismIP6:
		return d.Network.Contains(c.ip), nil
	}
	if err := c.term(); err != nil {
		return false, err
	}
	target := c.target(ctx, domain, d.Domain)
	if !isASCII(target) {
		return false, nil // From a localpart: it matches nothing, RFC 8616, section 4.
	}
	match, err := c.matchTarget(ctx, target, d)
	if errors.Is(err, dns.ErrName) {
		return false, nil // Section 4.8 leaves open what can't be a name.
	}
	return match, err
}

// matchTarget evaluates a mechanism that asks DNS about a target.
func (c *check) matchTarget(ctx context.Context, target string, d Directive) (bool, error) {
	switch d.Mechanism {
	case mechanismInclude:
		return c.matchInclude(ctx, target)
	case mechanismA:
		return c.matchA(ctx, target, d)
	case mechanismMX:
		return c.matchMX(ctx, target, d)
	case mechanismPTR:
		return c.matchPTR(ctx, target), nil
	case mechanismExists:
		return c.matchExists(ctx, target)
	}
	return false, fmt.Errorf("spf: mechanism %q has no meaning", d.Mechanism)
}

// matchInclude evaluates the policy of another domain. Only its Pass matches.
func (c *check) matchInclude(ctx context.Context, target string) (bool, error) {
	o := c.host(ctx, target)
	switch o.result {
	case Pass:
		return true, nil
	case None:
		// Not %w: a name that can't be asked for is an error of the record here.
		return false, fmt.Errorf("%w: include of %q: %s", errTarget, target, o.problem.Error())
	case TempError, PermError:
		return false, fmt.Errorf("including %q: %w", target, o.problem)
	}
	return false, nil
}

func (c *check) matchA(ctx context.Context, target string, d Directive) (bool, error) {
	ips, err := c.addresses(ctx, target+".")
	if err == nil && len(ips) == 0 {
		err = c.void()
	}
	return c.contained(ips, d), err
}

// matchMX looks at the addresses of mail exchangers. Hosts without addresses don't
// count as void: it takes one of them that has IPv4 only to make each message over
// IPv6 void, and their number has a limit of its own.
func (c *check) matchMX(ctx context.Context, target string, d Directive) (bool, error) {
	mxs, res, err := c.resolver.LookupMX(ctx, target+".")
	if err := c.answered(res, err); err != nil {
		return false, err
	}
	if len(mxs) == 0 {
		return false, c.void()
	}
	if len(mxs) > exchangersMax {
		return false, fmt.Errorf("%w: %q has more than %d mail exchangers", ErrLimit, target, exchangersMax)
	}
	for _, mx := range mxs {
		ips, err := c.addresses(ctx, mx.Host)
		if err != nil && !errors.Is(err, dns.ErrName) {
			return false, err
		}
		if c.contained(ips, d) {
			return true, nil
		}
	}
	return false, nil
}

// matchPTR looks at the names of the peer. No failure of DNS is an error here
// (section 5.5), and none is counted as void: the domain has no say in it.
func (c *check) matchPTR(ctx context.Context, target string) bool {
	target = strings.ToLower(target) + "."
	return slices.ContainsFunc(c.validatedNames(ctx), func(name string) bool {
		return name == target || strings.HasSuffix(name, "."+target)
	})
}

// matchExists asks for IPv4 addresses, whatever the peer's is.
func (c *check) matchExists(ctx context.Context, target string) (bool, error) {
	ips, res, err := c.resolver.LookupIP(ctx, "ip4", target+".")
	if err := c.answered(res, err); err != nil {
		return false, err
	}
	if len(ips) == 0 {
		return false, c.void()
	}
	return true, nil
}

// void counts a term whose name has no records.
func (c *check) void() error {
	if c.voids++; c.voids > voidsMax {
		return fmt.Errorf("%w: more than %d names have no records", ErrLimit, voidsMax)
	}
	return nil
}

// answered takes note of an answer. That there are no records is no error.
func (c *check) answered(res dns.Result, err error) error {
	c.note(res, err)
	if dns.IsNone(err) {
		return nil
	}
	return err
}

// addresses returns the addresses of a host, of the kind that the peer has. None is
// no error.
func (c *check) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	network := "ip6"
	if c.ip.Is4() {
		network = "ip4"
	}
	ips, res, err := c.resolver.LookupIP(ctx, network, host)
	if err := c.answered(res, err); err != nil {
		return nil, err
	}
	return ips, nil
}

// contained returns whether the peer is in one of the networks around addresses.
func (c *check) contained(ips []netip.Addr, d Directive) bool {
	return slices.ContainsFunc(ips, func(ip netip.Addr) bool {
		ip = ip.Unmap()
		bits := d.Bits6
		if ip.Is4() {
			bits = d.Bits4
		}
		return netip.PrefixFrom(ip, bits).Contains(c.ip)
	})
}

// validatedNames returns the names of the peer that lead back to it, absolute. They
// are looked up once for an evaluation.
func (c *check) validatedNames(ctx context.Context) []string {
	if c.namesKnown {
		return c.names
	}
	c.namesKnown = true
	names, res, err := c.resolver.LookupAddr(ctx, c.ip)
	if c.answered(res, err) != nil {
		return nil
	}
	for _, name := range names[:min(len(names), namesMax)] {
		ips, err := c.addresses(ctx, name)
		if err == nil && slices.Contains(ips, c.ip) {
			c.names = append(c.names, name)
		}
	}
	return c.names
}

// validatedName returns the value of %{p}: the domain, or else a name below it, or
// else any name of the peer (section 7.3).
func (c *check) validatedName(ctx context.Context, domain string) string {
	names := c.validatedNames(ctx)
	if len(names) == 0 {
		return "unknown"
	}
	domain = strings.ToLower(domain) + "."
	best := slices.Index(names, domain)
	if best < 0 {
		best = slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix(name, "."+domain) })
	}
	return strings.TrimSuffix(names[max(best, 0)], ".")
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
