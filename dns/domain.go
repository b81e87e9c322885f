// Package dns has the names of the domain name system: domains in their ASCII
// and Unicode forms, as used in addresses, commands and configuration.
//
// It looks nothing up; that takes a network. Formats and all layers above use
// it, so that no name is ever compared as an unchecked string.
package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

const (
	domainSizeMax = 253 // Bytes of a name in ASCII form, without final dot. RFC 1035, section 2.3.4.
	labelSizeMax  = 63  // Bytes of a label in ASCII form. RFC 1035, section 2.3.4.

	// inputSizeMax bounds what is converted, in bytes. The Unicode form of a
	// name takes at most 4 bytes for each of its ASCII form.
	inputSizeMax = 4 * domainSizeMax
)

var (
	// ErrDomain means that a text is not a domain name. It is the cause in all
	// errors of ParseDomain and ParseConfigDomain.
	ErrDomain = errors.New("invalid domain name")

	// ErrASCIIForm means that the configuration has the ASCII form of an
	// internationalised name, where its readable form is required.
	ErrASCIIForm = errors.New("name must be written in its Unicode form")
)

// profile converts as a lookup does (RFC 5891, section 5), but leaves hyphens
// to our own check: names such as r3---sn.example exist.
var profile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true), idna.CheckHyphens(false), idna.StrictDomainName(true))

// Domain is a domain name. Two Domains that were parsed are equal with == when
// they are the same name.
type Domain struct {
	ASCII   string // A-labels, lower case, no dot at the end. Empty for the zero value.
	Unicode string // With U-labels. Only set if different from ASCII.
}

// ParseDomain parses a name of A-labels, U-labels or a mixture, in any case. It
// refuses a dot at the end, and names whose last label is a number: those are
// IP addresses in the wrong place.
func ParseDomain(s string) (Domain, error) {
	if err := checkSyntax(s); err == nil && !strings.Contains(s, "xn--") {
		return Domain{ASCII: s}, nil
	}
	if s == "" || len(s) > inputSizeMax {
		return Domain{}, fmt.Errorf("%w: %d bytes", ErrDomain, len(s))
	}
	ascii, err := profile.ToASCII(s)
	if err != nil {
		return Domain{}, fmt.Errorf("%w: %w", ErrDomain, err)
	}
	if err := checkSyntax(ascii); err != nil {
		return Domain{}, err
	}
	unicode, err := profile.ToUnicode(ascii)
	if err != nil {
		return Domain{}, fmt.Errorf("%w: %w", ErrDomain, err)
	}
	// Conversion must lead back, or two names could look like one.
	if again, err := profile.ToASCII(unicode); err != nil || again != ascii {
		return Domain{}, fmt.Errorf("%w: %q and %q are not the same", ErrDomain, ascii, unicode)
	}
	if unicode == ascii {
		unicode = ""
	}
	return Domain{ASCII: ascii, Unicode: unicode}, nil
}

// ParseConfigDomain is ParseDomain for configuration files, where a name must
// be readable: the ASCII form of an internationalised name is ErrASCIIForm.
func ParseConfigDomain(s string) (Domain, error) {
	d, err := ParseDomain(s)
	if err != nil {
		return Domain{}, err
	}
	if d.Unicode != "" && strings.Contains(strings.ToLower(s), "xn--") {
		return Domain{}, fmt.Errorf("%w: %s instead of %s", ErrASCIIForm, d.Unicode, s)
	}
	return d, nil
}

// checkSyntax checks an ASCII form: lower-case letters, digits and hyphens (RFC
// 1123, section 2.1), and the sizes.
func checkSyntax(s string) error {
	if s == "" || len(s) > domainSizeMax {
		return fmt.Errorf("%w: %d bytes", ErrDomain, len(s))
	}
	start, number := 0, true
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '.' {
			if i == start || i-start > labelSizeMax || s[start] == '-' || s[i-1] == '-' {
				return fmt.Errorf("%w: label %q", ErrDomain, s[start:i])
			}
			if i < len(s) {
				start, number = i+1, true
			}
			continue
		}
		switch c := s[i]; {
		case c >= '0' && c <= '9':
		case c >= 'a' && c <= 'z' || c == '-':
			number = false
		default:
			return fmt.Errorf("%w: character %q", ErrDomain, c)
		}
	}
	if number {
		return fmt.Errorf("%w: last label is the number %s", ErrDomain, s[start:])
	}
	return nil
}

// Name returns the form for people: Unicode if there is one.
func (d Domain) Name() string {
	if d.Unicode != "" {
		return d.Unicode
	}
	return d.ASCII
}

// XName returns Name if utf8 is allowed in its place, and otherwise the ASCII form.
func (d Domain) XName(utf8 bool) string {
	if utf8 {
		return d.Name()
	}
	return d.ASCII
}

// IsZero returns whether d holds no name.
func (d Domain) IsZero() bool { return d == Domain{} }

// String returns the name for logs, with both forms if they differ.
func (d Domain) String() string {
	if d.Unicode == "" {
		return d.ASCII
	}
	return d.Unicode + "/" + d.ASCII
}

// IPDomain is what may stand behind the @ of an address or in EHLO: a domain or
// an IP address. Exactly one is set, none in the zero value.
type IPDomain struct {
	IP     netip.Addr
	Domain Domain
}

// IsIP returns whether d is an address.
func (d IPDomain) IsIP() bool { return d.IP.IsValid() }

// IsZero returns whether d holds neither.
func (d IPDomain) IsZero() bool { return d == IPDomain{} }

// XString returns a name, or an address literal in brackets (RFC 5321, section 4.1.3).
func (d IPDomain) XString(utf8 bool) string {
	switch {
	case !d.IP.IsValid():
		return d.Domain.XName(utf8)
	case d.IP.Is4():
		return "[" + d.IP.String() + "]"
	}
	return "[IPv6:" + d.IP.String() + "]"
}

// String returns a name for logs, or an address literal.
func (d IPDomain) String() string {
	if d.IsIP() {
		return d.XString(false)
	}
	return d.Domain.String()
}

// Absolute returns the name as a Resolver takes it: in A-labels, with a dot at the end.
func (d Domain) Absolute() string { return d.ASCII + "." }
