package dane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
)

// smtpPort is the port of mail between servers.
const smtpPort = 25

// Path is how a server was found, with what DNSSEC said of the way.
type Path struct {
	// NextHop is the domain whose mail exchangers were looked up, and MX what there is
	// to know of that answer, also if it was that there are none. Zero: the host was
	// not found that way.
	NextHop dns.Domain
	MX      dns.Result

	Host      dns.Domain // As in the MX record, or the domain itself.
	Addresses dns.Result // Of looking up its addresses.

	Port uint16 // Zero: 25.
}

// Finding is what a server promises by its TLSA records.
type Finding struct {
	// Applies means that there are authentic records. The server is then committed to
	// TLS, and nothing may be sent to it without. It must be verified unless none of
	// them can be used (RFC 7672, section 2.2).
	Applies bool

	Base    dns.Domain // Whose records they are: the name for SNI (RFC 7672, section 8.1).
	Names   []string   // For Verifier.
	Records []Record   // Those that can be used, as from Usable.
	All     []dns.TLSA // All there are, for reports.
}

// Lookup looks up the TLSA records of a server: those of the name at the end of
// its aliases, else of the name itself (RFC 7672, section 2.2). Where the way to
// it is not authentic no DANE applies, and for mail nothing is asked.
//
// Errors are those of a Resolver that leave unknown what the server promises.
// Callers must take it for unreachable now: an attacker can cause them at will.
func Lookup(ctx context.Context, r dns.Resolver, p Path, usages ...Usage) (Finding, error) {
	for _, base := range p.bases() {
		records, result, err := r.LookupTLSA(ctx, tlsaName(base, p.port()))
		switch {
		case dns.IsNone(err), err == nil && !result.Authentic:
			continue
		case errors.Is(err, dns.ErrName): // Too long with the labels in front.
			continue
		case err != nil:
			return Finding{}, fmt.Errorf("looking up TLSA records: %w", err)
		}
		return Finding{Applies: true, Base: base, Names: p.names(base), Records: Usable(records, usages...), All: records}, nil
	}
	return Finding{}, nil
}

func (p Path) port() uint16 {
	if p.Port == 0 {
		return smtpPort
	}
	return p.Port
}

// tlsaName returns where the records of a server are, RFC 6698, section 3.
func tlsaName(base dns.Domain, port uint16) string {
	return fmt.Sprintf("_%d._tcp.%s", port, base.Absolute())
}

// bases returns the names whose records count, in order, RFC 7672, sections 2.2.1
// and 2.2.2.
//
// Of an alias that leads out of what DNSSEC protects, the name itself counts: the
// alias can be protected, and whether it is shows by its records. A plain name
// whose addresses are not authentic is in an unsigned zone. Many servers of such
// zones don't answer for TLSA, so they must not be asked.
func (p Path) bases() []dns.Domain {
	if !p.NextHop.IsZero() && !p.MX.Authentic || p.Host.IsZero() {
		return nil
	}
	end := domainOf(p.Addresses.Name)
	alias := !end.IsZero() && end.ASCII != p.Host.ASCII
	switch {
	case p.Addresses.Authentic && alias:
		return []dns.Domain{end, p.Host}
	case p.Addresses.Authentic, alias:
		return []dns.Domain{p.Host}
	}
	return nil
}

// domainOf returns a name of an answer as a domain.
func domainOf(name string) dns.Domain { return dns.Domain{ASCII: strings.TrimSuffix(name, ".")} }

// names returns the names of which a certificate must have one, RFC 7672, section
// 3.2.2: the base; the host as named and as expanded, if that is authentic; the
// next hop likewise, which for all its hosts may be one name.
func (p Path) names(base dns.Domain) []string {
	list := []string{base.ASCII, p.Host.ASCII}
	if p.Addresses.Authentic {
		list = append(list, domainOf(p.Addresses.Name).ASCII)
	}
	if !p.NextHop.IsZero() {
		list = append(list, p.NextHop.ASCII, domainOf(p.MX.Name).ASCII)
	}
	var names []string
	for _, name := range list {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
