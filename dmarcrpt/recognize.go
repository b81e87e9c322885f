// Package dmarcrpt has the aggregate reports of DMARC, RFC 9990 and before that RFC
// 7489: what servers tell the owner of a domain about mail that says it is from there.
//
// It tells whether a message is one, from its structure, and whether one may be
// believed. What is in a report isn't read yet.
package dmarcrpt

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
)

// futureMax is how far in the future a report may end: clocks differ.
const futureMax = time.Minute

var (
	// ErrNotAuthenticated means that nothing shows that a report is from whom it says
	// it is. The message can be delivered, but the report must not be used.
	ErrNotAuthenticated = errors.New("DMARC report that doesn't pass DMARC")

	// ErrDomain means that a report says it is about a domain of somebody else.
	ErrDomain = errors.New("DMARC report about a domain that is not ours")

	// ErrPeriod means that a report is about a time to come.
	ErrPeriod = errors.New("DMARC report that ends in the future")
)

// types are the media types that reports have, by RFC 9990 or else. For those with
// false anything goes, so the name must tell.
var types = map[string]bool{
	"APPLICATION/GZIP":             true,
	"APPLICATION/X-GZIP":           true,
	"APPLICATION/ZIP":              true,
	"APPLICATION/X-ZIP":            true,
	"APPLICATION/X-ZIP-COMPRESSED": true,
	"APPLICATION/XML":              true,
	"TEXT/XML":                     true,
	"APPLICATION/OCTET-STREAM":     false,
}

// Claim is what a message that looks like a report says of itself.
type Claim struct {
	Domain    dns.Domain // Whom it is about.
	Submitter dns.Domain // Who made it.
	End       time.Time  // Of the time it is about. Zero if it doesn't tell.
}

// Recognize tells whether a message looks like a report: it has a part of one of
// the types for that, and its name or the subject is that of a report. Nothing is
// decoded or decompressed for that.
func Recognize(h message.Header, p *message.Part) (Claim, bool) {
	if p.Subtype == "REPORT" && strings.EqualFold(p.Param("REPORT-TYPE"), "tlsrpt") {
		return Claim{}, false // It has the same subject.
	}
	domain, submitter, subject := message.ParseReportSubject(h.Get("Subject"))
	fitting := false
	for _, leaf := range message.Leaves(p) {
		sure, known := types[leaf.Type+"/"+leaf.Subtype]
		if !known {
			continue
		}
		filename := leaf.Filename()
		name, named := message.ParseReportName(filename)
		if named && isExtension(name.Extension) {
			return Claim{name.Domain, name.Submitter, name.End}, true
		}
		fitting = fitting || sure && !strings.Contains(strings.ToLower(filename), ".json")
	}
	if !subject || !fitting {
		return Claim{}, false
	}
	return Claim{Domain: domain, Submitter: submitter}, true
}

// isExtension tells whether the name of a report may end so.
func isExtension(s string) bool {
	switch s {
	case "xml", "xml.gz", "xml.zip", "zip", "gz":
		return true
	}
	return false
}

// Check returns nil if a report may be used, as far as that can be told without
// reading it: the message passes DMARC, it is about a domain for which ours returns
// true, and about the past. The error is ErrNotAuthenticated, ErrDomain or ErrPeriod.
func (c Claim) Check(passed bool, ours func(dns.Domain) bool, now time.Time) error {
	switch {
	case !passed:
		return ErrNotAuthenticated
	case !ours(c.Domain):
		return fmt.Errorf("%w: %s", ErrDomain, c.Domain)
	case c.End.After(now.Add(futureMax)):
		return fmt.Errorf("%w: %s", ErrPeriod, c.End.Format(time.RFC3339))
	}
	return nil
}
