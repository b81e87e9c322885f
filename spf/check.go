package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
)

// Limits of one evaluation, RFC 7208, section 4.6.4.
const (
	// termsMax bounds the terms that ask DNS, in all records of an evaluation.
	termsMax = 10

	// voidsMax bounds the terms whose name has no records: it is the sign of a record
	// that is used to attack somebody's DNS (section 11.1).
	voidsMax = 2

	// exchangersMax bounds the hosts of one "mx".
	exchangersMax = 10

	// namesMax bounds the names of the peer that are looked at; others are ignored,
	// since the domain has no say in how many there are.
	namesMax = 10

	// explanationSizeMax bounds an explanation in bytes.
	explanationSizeMax = 800
)

// Reasons for PermError and None.
var (
	// ErrNoRecord means that the domain has no policy.
	ErrNoRecord = errors.New("spf: no record")

	// ErrRecords means that it has several, and none may be taken.
	ErrRecords = errors.New("spf: more than one record")

	// ErrLimit means that the policy asks for more lookups than it may.
	ErrLimit = errors.New("spf: too many lookups")

	// ErrDomain means that there is no domain that could have a policy.
	ErrDomain = errors.New("spf: not a domain with a policy")

	// errTarget means that a policy refers to another that is none.
	errTarget = errors.New("spf: no policy where the record refers to")
)

// check is one evaluation: what it is about, and what it has cost.
type check struct {
	resolver dns.Resolver

	ip           netip.Addr // Not in IPv6 form if it is IPv4.
	localpart    string
	senderDomain string
	hello        string
	receiver     string
	now          time.Time

	terms, voids int
	authentic    bool     // All answers so far.
	names        []string // Those of ip, with a dot at the end, once namesKnown.
	namesKnown   bool
}

// outcome is the result of one record, and of those it refers to.
type outcome struct {
	result    Result
	mechanism string
	problem   error

	// explanation is of the record that has the directive that matched, which belongs
	// to domain. Zero: none.
	explanation DomainSpec
	domain      string
}

// failed returns the outcome for an error: a mistake in what is published stays,
// all else may pass.
func failed(err error) outcome {
	_, syntax := errors.AsType[*SyntaxError](err)
	if syntax || errors.Is(err, ErrRecords) || errors.Is(err, ErrLimit) || errors.Is(err, errTarget) {
		return outcome{result: PermError, problem: err}
	}
	return outcome{result: TempError, problem: err}
}

// host evaluates the policy of a domain, given without a dot at the end: it is
// check_host() of section 4.
func (c *check) host(ctx context.Context, domain string) outcome {
	if !strings.Contains(domain, ".") {
		return outcome{result: None, problem: fmt.Errorf("%w: %q", ErrDomain, domain)}
	}
	_, record, res, err := lookup(ctx, c.resolver, domain+".")
	c.note(res, err)
	if dns.IsNone(err) || errors.Is(err, ErrNoRecord) || errors.Is(err, dns.ErrName) {
		return outcome{result: None, problem: err}
	}
	if err != nil {
		return failed(err)
	}
	return c.record(ctx, domain, record)
}

// note takes note of whether an answer was authentic. What can't be asked for has
// none.
func (c *check) note(res dns.Result, err error) {
	c.authentic = c.authentic && (res.Authentic || errors.Is(err, dns.ErrName))
}

// record evaluates a record of a domain.
func (c *check) record(ctx context.Context, domain string, record Record) outcome {
	all := false
	for _, d := range record.Directives {
		all = all || d.Mechanism == mechanismAll
		match, err := c.matches(ctx, domain, d)
		if err != nil {
			o := failed(err)
			o.mechanism = d.Text
			return o
		}
		if match {
			return outcome{result: d.Qualifier, mechanism: d.Text, explanation: record.Explanation, domain: domain}
		}
	}
	if record.Redirect.IsZero() || all {
		return outcome{result: Neutral, mechanism: "default"}
	}
	if err := c.term(); err != nil {
		return failed(err)
	}
	target := c.target(ctx, domain, record.Redirect)
	o := c.host(ctx, target)
	if o.result == None {
		return failed(fmt.Errorf("%w: redirect to %q: %w", errTarget, target, o.problem))
	}
	return o
}

// explain returns the explanation for a Fail, empty if there is none that can be
// used (section 6.2).
func (c *check) explain(ctx context.Context, o outcome) string {
	if o.explanation.IsZero() {
		return ""
	}
	texts, _, err := c.resolver.LookupTXT(ctx, c.target(ctx, o.domain, o.explanation)+".")
	if err != nil || len(texts) != 1 {
		return ""
	}
	parts, err := parseMacros(term{texts[0], 0}, true)
	if err != nil {
		return ""
	}
	text := expand(parts, func(letter byte) string { return c.value(ctx, o.domain, letter) }, -explanationSizeMax)
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return "" // From the localpart: the rest was parsed.
		}
	}
	return text
}

// term counts a term that asks DNS.
func (c *check) term() error {
	if c.terms++; c.terms > termsMax {
		return fmt.Errorf("%w: more than %d terms that ask DNS", ErrLimit, termsMax)
	}
	return nil
}

// target returns the name that a domain with macros stands for, without a dot at
// the end. It need not be a name that DNS can be asked for.
func (c *check) target(ctx context.Context, domain string, spec DomainSpec) string {
	if spec.IsZero() {
		return domain
	}
	name := expand(spec.parts, func(letter byte) string { return c.value(ctx, domain, letter) }, 2*nameSizeMax)
	return truncate(strings.TrimSuffix(name, "."))
}

// value returns what a macro letter stands for (section 7.2).
func (c *check) value(ctx context.Context, domain string, letter byte) string {
	switch letter {
	case 's':
		return c.localpart + "@" + c.senderDomain
	case 'l':
		return c.localpart
	case 'o':
		return c.senderDomain
	case 'd':
		return domain
	case 'i':
		return dotted(c.ip)
	case 'p':
		return c.validatedName(ctx, domain)
	case 'v':
		if c.ip.Is4() {
			return "in-addr"
		}
		return "ip6"
	case 'h':
		return c.hello
	case 'c':
		return c.ip.String()
	case 'r':
		return c.receiver
	case 't':
		return fmt.Sprint(c.now.Unix())
	}
	return "" // Not parsed.
}

// dotted returns an address with dots between its bytes, or half bytes for IPv6.
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	var b []byte
	for i, digit := range strings.ReplaceAll(ip.StringExpanded(), ":", "") {
		if i > 0 {
			b = append(b, '.')
		}
		b = append(b, byte(digit))
	}
	return string(b)
}
