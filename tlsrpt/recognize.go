// Package tlsrpt has the reports about TLS connections that servers send each
// other, RFC 8460.
//
// It tells whether a message is one, from its structure, and whether one may be
// believed. What is in a report isn't read yet.
package tlsrpt

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
)

// Service is what a key of DKIM must be for that signs reports (RFC 8460, section 3).
const Service = "tlsrpt"

var (
	// ErrNotAuthenticated means that nothing shows that a report is from whom it says
	// it is. The message can be delivered, but the report must not be used.
	ErrNotAuthenticated = errors.New("TLS report without signature of its sender for such reports")

	// ErrDomain means that a report says it is about a domain of somebody else.
	ErrDomain = errors.New("TLS report about a domain that is not ours")
)

// Claim is what a message that looks like a report says of itself.
type Claim struct {
	Domain    dns.Domain // Whom it is about. Zero if it doesn't tell.
	Submitter dns.Domain // Who made it. Zero if it doesn't tell.
}

// Recognize tells whether a message looks like a report, by its types. Nothing is
// decoded or decompressed for that.
func Recognize(h message.Header, p *message.Part) (c Claim, ok bool) {
	ok = p.Type == "MULTIPART" && p.Subtype == "REPORT" && strings.EqualFold(p.Param("REPORT-TYPE"), "tlsrpt")
	for _, leaf := range message.Leaves(p) {
		if leaf.Type != "APPLICATION" || leaf.Subtype != "TLSRPT+JSON" && leaf.Subtype != "TLSRPT+GZIP" {
			continue
		}
		ok = true
		if name, named := message.ParseReportName(leaf.Filename()); named {
			c = Claim{name.Domain, name.Submitter}
		}
	}
	if !ok {
		return Claim{}, false
	}
	if c.Domain.IsZero() {
		c.Domain, c.Submitter, _ = message.ParseReportSubject(h.Get("Subject"))
	}
	// The fields that are there for this count more.
	if d, err := dns.ParseDomain(h.Get("TLS-Report-Domain")); err == nil {
		c.Domain = d
	}
	if d, err := dns.ParseDomain(h.Get("TLS-Report-Submitter")); err == nil {
		c.Submitter = d
	}
	return c, true
}

// Check returns nil if a report may be used, as far as that can be told without
// reading it: a whole message is signed by the domain in From, or by one above it in
// its organisation, with a key that is for reports (RFC 8460, section 3), and it is
// about a domain for which ours returns true, or doesn't tell. The error is
// ErrNotAuthenticated or ErrDomain.
func (c Claim) Check(signatures []dkim.Evaluation, from, org dns.Domain, ours func(dns.Domain) bool) error {
	if !authenticated(signatures, from, org) {
		return ErrNotAuthenticated
	}
	if !c.Domain.IsZero() && !ours(c.Domain) {
		return fmt.Errorf("%w: %s", ErrDomain, c.Domain)
	}
	return nil
}

func authenticated(signatures []dkim.Evaluation, from, org dns.Domain) bool {
	for _, e := range signatures {
		s := e.Signature
		if e.Result != dkim.Pass || s == nil || s.Length >= 0 || e.Record == nil || !e.Record.Allows(Service) {
			continue
		}
		if s.Domain == from || within(from, s.Domain) && within(s.Domain, org) {
			return true
		}
	}
	return false
}

// within tells whether a domain is another one or below it.
func within(d, other dns.Domain) bool {
	return !other.IsZero() && (d == other || strings.HasSuffix(d.ASCII, "."+other.ASCII))
}
