package config

import (
	"cmp"
	"crypto"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
)

const (
	// policyIDMax bounds the id of an MTA-STS policy, RFC 8461, section 3.1.
	policyIDMax = 32

	// policyAgeMax bounds its age, RFC 8461, section 3.2.
	policyAgeMax = 31557600 * time.Second

	// selectorSuffix makes the name of a selector, which may be a number, one of a
	// domain.
	selectorSuffix = ".example"
)

// moreOfDomains checks what needs accounts and their addresses.
func (c *checker) moreOfDomains() {
	for _, name := range slices.Sorted(maps.Keys(c.config.Dynamic.Domains)) {
		d := c.config.Dynamic.Domains[name]
		s := c.dynamic("Domains").in(name)
		own, err := dns.ParseConfigDomain(name)
		if err != nil {
			continue // Known.
		}
		if d.ClientSettingsDomain != "" {
			s.in("ClientSettingsDomain").domain(d.ClientSettingsDomain)
		}
		c.dkim(s.in("DKIM"), d.DKIM, own)
		if r := d.DMARC; r != nil {
			s := s.in("DMARC")
			s.reportAddress(r.Localpart, s.reportDomain(r.Domain, own), destination{account: r.Account, mailbox: r.Mailbox, reports: Reports{DMARC: true}})
		}
		if r := d.TLSRPT; r != nil {
			s := s.in("TLSRPT")
			s.reportAddress(r.Localpart, s.reportDomain(r.Domain, own), destination{account: r.Account, mailbox: r.Mailbox, reports: Reports{TLS: true}})
		}
		if d.MTASTS != nil {
			s.in("MTASTS").policy(d.MTASTS)
		}
		c.config.routes.domains[own] = s.in("Routes").routes(d.Routes)
	}
}

// reportDomain returns the domain of an address for reports.
func (s scope) reportDomain(name string, own dns.Domain) dns.Domain {
	if name == "" {
		return own
	}
	s = s.in("Domain")
	d, ok := s.domain(name)
	if !ok {
		return dns.Domain{}
	}
	if _, ok := s.c.config.domains[d]; !ok {
		s.bad("no domain %q", name)
	}
	return d
}

func (c *checker) dkim(s scope, d DKIM, own dns.Domain) {
	selectors := map[string]dkim.Selector{}
	for _, name := range slices.Sorted(maps.Keys(d.Selectors)) {
		selectors[name] = c.selector(s.in("Selectors").in(name), name, d.Selectors[name])
	}
	for i, name := range d.Sign {
		sel, ok := selectors[name]
		if !ok {
			s.in("Sign").item(i).bad("no selector %q", name)
		} else if sel.Key != nil {
			c.config.signing[own] = append(c.config.signing[own], sel)
		}
	}
	s.in("Sign").once(d.Sign)
}

// selector checks a selector, and returns it as it signs; without key if keys are
// not read.
func (c *checker) selector(s scope, name string, sel Selector) dkim.Selector {
	parsed, err := dns.ParseConfigDomain(name + selectorSuffix)
	if err != nil {
		s.bad("selector must be a name in DNS: %w", err)
	}
	switch sel.Hash {
	case "", "sha256":
	case "sha1":
		s.in("Hash").warn("sha1 is insecure, and many servers don't accept it")
	default:
		s.in("Hash").bad("%q is not sha256 or sha1", sel.Hash)
	}
	from := len(sel.Headers) == 0
	for i, header := range sel.Headers {
		if !isToken(header) {
			s.in("Headers").item(i).bad("%q is not a name of a header field", header)
		}
		from = from || strings.EqualFold(header, "From")
	}
	if !from {
		s.in("Headers").bad("From must be signed")
	}
	s.in("Expiration").period(sel.Expiration)
	s.in("PrivateKeyFile").notEmpty(sel.PrivateKeyFile)
	var key crypto.Signer
	if c.files != nil && sel.PrivateKeyFile != "" {
		var err error
		key, err = c.dkimKey(sel)
		s.in("PrivateKeyFile").is(err)
	}
	return dkim.Selector{
		Name: strings.TrimSuffix(parsed.ASCII, selectorSuffix), Key: key, Hash: cmp.Or(sel.Hash, "sha256"),
		Canon:   dkim.Canonicalization{HeaderRelaxed: sel.Canonicalization.HeaderRelaxed, BodyRelaxed: sel.Canonicalization.BodyRelaxed},
		Headers: sel.Headers, DontSeal: sel.DontSealHeaders, Expiration: sel.Expiration,
	}
}

// isToken tells whether text can be the name of a header field. That is a little
// stricter than RFC 5322, section 2.2, and as RFC 9110, section 5.6.2.
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

// policy checks an MTA-STS policy.
func (s scope) policy(p *MTASTS) {
	other := func(c rune) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') }
	if id := p.PolicyID; id == "" || len(id) > policyIDMax || strings.ContainsFunc(id, other) {
		s.in("PolicyID").bad("need 1 to %d letters and digits", policyIDMax)
	}
	if !slices.Contains([]string{"none", "testing", "enforce"}, p.Mode) {
		s.in("Mode").bad("%q is not one of: none testing enforce", p.Mode)
	}
	if p.MaxAge < 0 || p.MaxAge > policyAgeMax {
		s.in("MaxAge").bad("need 0s to %v", policyAgeMax)
	}
	for i, mx := range p.MX {
		s.in("MX").item(i).domain(strings.TrimPrefix(mx, "*."))
	}
	if !s.listener(func(l Listener) bool { return l.MTASTSHTTPS.Enabled }) {
		s.bad("no listener in %s has MTASTSHTTPS", StaticName)
	}
}
