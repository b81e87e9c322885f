// Package smtp has the values and the grammar of SMTP (RFC 5321) and its
// extensions: addresses and paths, command arguments, reply codes, and an Error
// that carries what the peer may read apart from what only the log gets.
//
// It reads from no connection, keeps no state of a session and looks nothing
// up. The servers, the client, the queue and the configuration use it.
package smtp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/mjl-/mox/dns"
)

const (
	// localpartSizeMax is the largest localpart in bytes, RFC 5321, section
	// 4.5.3.1.1. Addresses with encoded return paths exceed it in the wild, so
	// it applies only when not tolerant.
	localpartSizeMax = 64

	// pathSizeMax is the largest path in bytes with its brackets, RFC 5321,
	// section 4.5.3.1.3.
	pathSizeMax = 256
)

// ErrAddress means that a text is not an address. It is the cause in all errors
// of ParseAddress and ParseLocalpart.
var ErrAddress = errors.New("invalid address")

// Localpart is what stands before the @, decoded: without quotes and escapes.
// It is valid UTF-8, has no control characters of ASCII, and is compared and
// changed (case, separators) only as the settings of its domain say.
type Localpart string

// String returns the localpart as in an address: quoted if it must be.
func (l Localpart) String() string {
	if isDotString(string(l)) {
		return string(l)
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(l) {
		if l[i] == '"' || l[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(l[i])
	}
	b.WriteByte('"')
	return b.String()
}

// IsASCII returns whether the localpart can be sent without SMTPUTF8.
func (l Localpart) IsASCII() bool { return isASCII(string(l)) }

// Address is an address at a domain, as users and configuration have them.
type Address struct {
	Localpart Localpart
	Domain    dns.Domain
}

// IsZero returns whether a holds no address.
func (a Address) IsZero() bool { return a == Address{} }

// String returns the address with the domain in its form for people.
func (a Address) String() string { return a.XString(true) }

// XString returns the address with the domain in ASCII if utf8 isn't allowed. A
// localpart can't be converted.
func (a Address) XString(utf8 bool) string {
	if a.IsZero() {
		return ""
	}
	return a.Localpart.String() + "@" + a.Domain.XName(utf8)
}

// Path returns the address as a path.
func (a Address) Path() Path {
	return Path{Localpart: a.Localpart, IPDomain: dns.IPDomain{Domain: a.Domain}}
}

// ParseAddress parses an address without brackets, with an optionally quoted
// localpart and a domain of A-labels or U-labels. Address literals are refused.
func ParseAddress(s string) (Address, error) {
	sc := scanner{s: s}
	lp := sc.localpart()
	sc.take('@')
	domain := sc.domain()
	sc.end()
	if sc.err != nil {
		return Address{}, fmt.Errorf("%w: %w", ErrAddress, sc.err)
	}
	return Address{Localpart: lp, Domain: domain}, nil
}

// ParseLocalpart parses an optionally quoted localpart.
func ParseLocalpart(s string) (Localpart, error) {
	sc := scanner{s: s}
	lp := sc.localpart()
	sc.end()
	if sc.err != nil {
		return "", fmt.Errorf("%w: %w", ErrAddress, sc.err)
	}
	return lp, nil
}

// Path is the sender or a recipient in an SMTP transaction. The zero value is
// the null reverse-path. A localpart without domain is only for postmaster.
type Path struct {
	Localpart Localpart
	IPDomain  dns.IPDomain
}

// IsZero returns whether p is the null path, "<>".
func (p Path) IsZero() bool { return p == Path{} }

// IsASCII returns whether the path can be sent without SMTPUTF8.
func (p Path) IsASCII() bool { return p.Localpart.IsASCII() }

// Address returns the path as an address; ok is false for the null path, for
// postmaster without domain and for address literals.
func (p Path) Address() (a Address, ok bool) {
	if p.IPDomain.Domain.IsZero() {
		return Address{}, false
	}
	return Address{Localpart: p.Localpart, Domain: p.IPDomain.Domain}, true
}

// String returns the path without brackets, with the domain in its form for
// people. The null path is empty.
func (p Path) String() string { return p.XString(true) }

// XString returns the path without brackets, with the domain in ASCII if utf8
// isn't allowed.
func (p Path) XString(utf8 bool) string {
	switch {
	case p.IsZero():
		return ""
	case p.IPDomain.IsZero():
		return p.Localpart.String()
	}
	return p.Localpart.String() + "@" + p.IPDomain.XString(utf8)
}

// parseAddressLiteral parses the text between the brackets of an address
// literal, RFC 5321, section 4.1.3.
func parseAddressLiteral(s string) (netip.Addr, error) {
	text, is6 := s, false
	if len(s) >= 5 && strings.EqualFold(s[:5], "IPv6:") {
		text, is6 = s[5:], true
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Is4() == is6 || ip.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("address literal %+q", s)
	}
	return ip, nil
}

// isDotString returns whether s is a Dot-string of RFC 5321, section 4.1.2, as
// extended by RFC 6531, section 3.3.
func isDotString(s string) bool {
	atom := 0
	for i := range len(s) {
		switch {
		case isAtext(s[i]):
			atom++
		case s[i] == '.' && atom > 0:
			atom = 0
		default:
			return false
		}
	}
	return atom > 0
}

// isAtext returns whether c may stand in an atom, RFC 5322, section 3.2.3, or
// is a byte of a character beyond ASCII, RFC 6531, section 3.3.
func isAtext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
