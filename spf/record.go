package spf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The mechanisms, RFC 7208, section 5.
const (
	mechanismAll     = "all"
	mechanismInclude = "include"
	mechanismA       = "a"
	mechanismMX      = "mx"
	mechanismPTR     = "ptr"
	mechanismIP4     = "ip4"
	mechanismIP6     = "ip6"
	mechanismExists  = "exists"
)

// version begins a record, in any case.
const version = "v=spf1"

// Record is a policy, RFC 7208, section 4.6.1.
type Record struct {
	Directives []Directive // In the order in which they are tried.

	// Redirect is where the policy is if no directive matches. It counts for nothing
	// if there is a directive with the mechanism "all". Zero: none.
	Redirect DomainSpec

	// Explanation is where the text for a Fail is. Zero: none.
	Explanation DomainSpec

	Modifiers []Modifier // Unknown ones. They mean nothing.
}

// Directive is a mechanism, and the result if it matches.
type Directive struct {
	Text      string // As it stands in the record.
	Qualifier Result // Pass, Fail, SoftFail or Neutral.
	Mechanism string // In lower case.

	// Domain is for all mechanisms but "all", "ip4" and "ip6". Zero: the one that the
	// record belongs to.
	Domain DomainSpec

	Network netip.Prefix // For "ip4" and "ip6".

	// Bits4 and Bits6 are the lengths of prefixes that must be equal, for "a" and "mx".
	Bits4, Bits6 int
}

// Modifier is a name and a value.
type Modifier struct{ Name, Value string }

// SyntaxError tells what is wrong with a record, and where.
type SyntaxError struct {
	Offset int    // Byte of the text, from 0.
	Reason string // Printable.
}

// Error returns place and reason.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("spf: syntax of record: byte %d: %s", e.Offset+1, e.Reason)
}

// isRecord returns whether a text claims to be a record (section 4.5).
func isRecord(text string) bool {
	return len(text) >= len(version) && strings.EqualFold(text[:len(version)], version) &&
		(len(text) == len(version) || text[len(version)] == ' ')
}

// ParseRecord parses a policy. The error is a *SyntaxError.
func ParseRecord(text string) (Record, error) {
	if !isRecord(text) {
		return Record{}, &SyntaxError{0, "does not begin with v=spf1"}
	}
	var r Record
	for offset := len(version); offset < len(text); {
		if text[offset] == ' ' {
			offset++
			continue
		}
		end := offset
		for end < len(text) && text[end] != ' ' {
			end++
		}
		t := term{text: text[offset:end], offset: offset}
		if err := r.add(t); err != nil {
			return Record{}, err
		}
		offset = end
	}
	return r, nil
}

// term is a part of a record, with its place.
type term struct {
	text   string
	offset int
}

// from returns the rest of a term.
func (t term) from(i int) term { return term{t.text[i:], t.offset + i} }

func (t term) errorf(format string, args ...any) *SyntaxError {
	return &SyntaxError{t.offset, fmt.Sprintf(format, args...)}
}

// add parses a term and adds it. What comes first of "=", ":" and "/" tells
// modifiers from directives (section 4.6.1).
func (r *Record) add(t term) error {
	if i := strings.IndexAny(t.text, "=:/"); i >= 0 && t.text[i] == '=' {
		return r.addModifier(t, i)
	}
	d, err := parseDirective(t)
	if err != nil {
		return err
	}
	r.Directives = append(r.Directives, d)
	return nil
}

// addModifier parses a modifier, whose name has size bytes. A known one with a bad
// value is an error, not an unknown one.
func (r *Record) addModifier(t term, size int) error {
	name, value := t.text[:size], t.from(size+1)
	if !isModifierName(name) {
		return t.errorf("name of modifier %+q", name)
	}
	target := map[string]*DomainSpec{"redirect": &r.Redirect, "exp": &r.Explanation}[strings.ToLower(name)]
	if target == nil {
		if _, err := parseMacros(value, false); err != nil {
			return err
		}
		r.Modifiers = append(r.Modifiers, Modifier{name, value.text})
		return nil
	}
	if !target.IsZero() {
		return t.errorf("second %s", strings.ToLower(name))
	}
	spec, err := parseDomainSpec(value)
	*target = spec
	return err
}

func isModifierName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlpha(c) && (i == 0 || !isDigit(c) && c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != ""
}

var qualifiers = map[byte]Result{'+': Pass, '-': Fail, '~': SoftFail, '?': Neutral}

// parseDirective parses a qualifier and a mechanism.
func parseDirective(t term) (Directive, error) {
	d := Directive{Text: t.text, Qualifier: Pass, Bits4: 32, Bits6: 128}
	if q, ok := qualifiers[t.text[0]]; ok {
		d.Qualifier = q
		t = t.from(1)
	}
	size := strings.IndexAny(t.text, ":/")
	if size < 0 {
		size = len(t.text)
	}
	d.Mechanism = strings.ToLower(t.text[:size])
	parse := mechanismParsers[d.Mechanism]
	if parse == nil {
		return Directive{}, t.errorf("unknown mechanism %+q", t.text[:size])
	}
	return d, parse(&d, t.from(size))
}

// mechanismParsers has what parses the arguments of a mechanism, with the ":" or
// "/" before them.
var mechanismParsers = map[string]func(*Directive, term) error{
	mechanismAll:     (*Directive).parseNothing,
	mechanismInclude: (*Directive).parseDomain,
	mechanismA:       (*Directive).parseAddressed,
	mechanismMX:      (*Directive).parseAddressed,
	mechanismPTR:     (*Directive).parseOptionalDomain,
	mechanismIP4:     (*Directive).parseNetwork,
	mechanismIP6:     (*Directive).parseNetwork,
	mechanismExists:  (*Directive).parseDomain,
}

func (d *Directive) parseNothing(t term) error {
	if t.text != "" {
		return t.errorf("argument for %s", d.Mechanism)
	}
	return nil
}

func (d *Directive) parseDomain(t term) (err error) {
	if !strings.HasPrefix(t.text, ":") {
		return t.errorf("%s without a domain", d.Mechanism)
	}
	d.Domain, err = parseDomainSpec(t.from(1))
	return err
}

func (d *Directive) parseOptionalDomain(t term) error {
	if t.text == "" {
		return nil
	}
	return d.parseDomain(t)
}

// parseAddressed parses [":" domain-spec] ["/" bits] ["//" bits]. A domain may have
// slashes too, but ends in a label or a macro: so the numbers are what is last.
func (d *Directive) parseAddressed(t term) error {
	rest, bits6 := cutNumber(t.text, "//")
	rest, bits4 := cutNumber(rest, "/")
	var err error
	if d.Bits6, err = parseBits(t, bits6, 128); err != nil {
		return err
	}
	if d.Bits4, err = parseBits(t, bits4, 32); err != nil {
		return err
	}
	return d.parseOptionalDomain(term{rest, t.offset})
}

// cutNumber cuts off a number at the end with the slashes before it. The number is
// empty if there is none.
func cutNumber(s, slashes string) (rest, number string) {
	i := len(s)
	for i > 0 && isDigit(s[i-1]) {
		i--
	}
	rest, ok := strings.CutSuffix(s[:i], slashes)
	if !ok || i == len(s) {
		return s, ""
	}
	return rest, s[i:]
}

// parseBits parses the length of a prefix, which has a default.
func parseBits(t term, s string, max int) (int, error) {
	if s == "" {
		return max, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > max || !isDigit(s[0]) || len(s) > 1 && s[0] == '0' {
		return 0, t.errorf("prefix length %+q, of at most %d", s, max)
	}
	return n, nil
}

// parseNetwork parses ":" network ["/" bits].
func (d *Directive) parseNetwork(t term) error {
	text, ok := strings.CutPrefix(t.text, ":")
	if !ok {
		return t.errorf("%s without a network", d.Mechanism)
	}
	address, bits, cut := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" || ip.Is4() != (d.Mechanism == mechanismIP4) {
		return t.from(1).errorf("address %+q for %s", address, d.Mechanism)
	}
	if cut && bits == "" {
		return t.errorf("no prefix length behind /")
	}
	n, err := parseBits(t, bits, ip.BitLen())
	if err != nil {
		return err
	}
	d.Network = netip.PrefixFrom(ip, n).Masked()
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
