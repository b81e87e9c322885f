package mtasts

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mjl-/mox/dns"
)

const (
	// PolicySizeMax bounds a policy in bytes, as RFC 8461, section 3.3, suggests.
	PolicySizeMax = 64 << 10

	// MaxAgeMax bounds how long a policy is valid: a year (RFC 8461, section 3.2).
	MaxAgeMax = 31557600 * time.Second

	// ageDigitsMax bounds the digits of max_age.
	ageDigitsMax = 10
)

// Mode says what is to be done with hosts that a policy doesn't allow.
type Mode string

// The modes.
const (
	None    Mode = "none"    // As if there were no policy.
	Testing Mode = "testing" // Mail is sent nevertheless, and it is reported.
	Enforce Mode = "enforce" // No mail is sent to them.
)

// MX is a pattern for names of mail servers.
type MX struct {
	Wildcard bool // Names with one label before Domain, and not Domain itself.
	Domain   dns.Domain
}

// String returns the pattern as a policy has it.
func (m MX) String() string {
	if m.Wildcard {
		return "*." + m.Domain.ASCII
	}
	return m.Domain.ASCII
}

// Matches tells whether a host has a name of the pattern.
func (m MX) Matches(host dns.Domain) bool {
	if !m.Wildcard {
		return host.ASCII == m.Domain.ASCII
	}
	label, rest, ok := strings.Cut(host.ASCII, ".")
	return ok && label != "" && rest == m.Domain.ASCII
}

// Policy says where mail for a domain goes.
type Policy struct {
	Mode   Mode
	MX     []MX          // Not empty, except for None.
	MaxAge time.Duration // How long it is valid after it was fetched. Whole seconds, at most MaxAgeMax.
}

// Matches tells whether the policy allows a host, by its name in the MX record. For
// the mode None that means nothing.
func (p Policy) Matches(host dns.Domain) bool {
	for _, m := range p.MX {
		if m.Matches(host) {
			return true
		}
	}
	return false
}

// String returns the text of the policy, with CRLF after each line.
func (p Policy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: %s\r\nmode: %s\r\n", version, p.Mode)
	for _, m := range p.MX {
		fmt.Fprintf(&b, "mx: %s\r\n", m)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", p.MaxAge/time.Second)
	return b.String()
}

// ParsePolicy parses a policy, without regard to fields that are not known. Lines
// end in CRLF or LF. The error wraps a *SyntaxError and ErrPolicy.
//
// Lines without anything are read over, though the RFC has none: many policies end
// in some, and to refuse those would be to send their mail without protection.
func ParsePolicy(text string) (Policy, error) {
	p := policyParser{seen: map[string]bool{}}
	if len(text) > PolicySizeMax {
		p.line = 1
		return Policy{}, p.bad(0, "it has more than %d bytes", PolicySizeMax)
	}
	for line := range strings.Lines(text) {
		p.line++
		line = strings.TrimSuffix(line, "\n")
		line = strings.TrimRight(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" {
			continue
		}
		if err := p.field(line); err != nil {
			return Policy{}, err
		}
	}
	p.line++
	return p.policy, p.end()
}

// policyParser collects what the fields of a policy say.
type policyParser struct {
	policy Policy
	line   int // From 1.
	seen   map[string]bool
}

// bad returns an error about what is at an offset of the line.
func (p *policyParser) bad(offset int, format string, args ...any) error {
	return &SyntaxError{Line: p.line, Column: offset + 1, Text: fmt.Sprintf(format, args...), kind: ErrPolicy}
}

// field reads a line. Of fields with the same name the first counts, except for mx.
func (p *policyParser) field(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isName(name) {
		return p.bad(0, "%s is not a name, a colon and a value", quote(line))
	}
	offset := len(name) + len(":") + leadingSpace(value)
	value = line[offset:]
	if p.seen[name] {
		return p.checkValue(value, offset)
	}
	p.seen[name] = name != "mx"
	switch name {
	case "version":
		if value != version {
			return p.bad(offset, "version %s is not %s", quote(value), version)
		}
	case "mode":
		return p.mode(value, offset)
	case "mx":
		return p.mx(value, offset)
	case "max_age":
		return p.maxAge(value, offset)
	}
	return p.checkValue(value, offset)
}

// checkValue checks the value of a field that is not known.
func (p *policyParser) checkValue(value string, offset int) error {
	if value == "" {
		return p.bad(offset, "no value")
	}
	for i, c := range value {
		if _, size := utf8.DecodeRuneInString(value[i:]); c < ' ' || c == 0x7f || c == utf8.RuneError && size == 1 {
			return p.bad(offset+i, "byte %#02x in a value", value[i])
		}
	}
	return nil
}

func (p *policyParser) mode(value string, offset int) error {
	switch m := Mode(value); m {
	case None, Testing, Enforce:
		p.policy.Mode = m
		return nil
	}
	return p.bad(offset, "mode %s is not one of %s, %s, %s", quote(value), Enforce, Testing, None)
}

// mx reads a pattern, in A-labels.
func (p *policyParser) mx(value string, offset int) error {
	name, wildcard := strings.CutPrefix(value, "*.")
	domain, err := dns.ParseDomain(name)
	if err != nil || !strings.EqualFold(domain.ASCII, name) {
		return p.bad(offset, "mx %s is not the name of a host, or of a domain after \"*.\"", quote(value))
	}
	p.policy.MX = append(p.policy.MX, MX{wildcard, domain})
	return nil
}

func (p *policyParser) maxAge(value string, offset int) error {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || len(value) > ageDigitsMax || n > uint64(MaxAgeMax/time.Second) {
		return p.bad(offset, "max_age %s is not a number up to %d", quote(value), MaxAgeMax/time.Second)
	}
	p.policy.MaxAge = time.Duration(n) * time.Second //nolint:gosec // At most MaxAgeMax.
	return nil
}

// end checks that nothing is missing.
func (p *policyParser) end() error {
	for _, name := range []string{"version", "mode", "max_age"} {
		if !p.seen[name] {
			return p.bad(0, "it has no %s", name)
		}
	}
	if len(p.policy.MX) == 0 && p.policy.Mode != None {
		return p.bad(0, "it has no mx")
	}
	return nil
}
