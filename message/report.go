package message

import (
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
)

// reportPartsMax bounds the parts of a message that are looked at for a report.
// Reports have two or three.
const reportPartsMax = 100

// ReportName is what the name of the file of a report says, about mail (RFC 9990,
// section 2.5) or about TLS (RFC 8460, section 5.1). Anyone can write anything there.
type ReportName struct {
	Submitter  dns.Domain // Who made the report.
	Domain     dns.Domain // Whom it is about.
	Begin, End time.Time  // Of the time it covers, in seconds.
	Extension  string     // What follows the first dot after the numbers, in lower case: "xml.gz".
}

// ParseReportName parses the name of the file of a report:
//
//	receiver "!" policy-domain "!" begin "!" end [ "!" unique-id ] "." extension
func ParseReportName(name string) (r ReportName, ok bool) {
	words := strings.SplitN(strings.TrimSpace(name), "!", 5)
	if len(words) < 4 {
		return ReportName{}, false
	}
	last := len(words) - 1
	rest, extension, ok := strings.Cut(words[last], ".")
	if !ok {
		return ReportName{}, false
	}
	words[last] = rest
	var errs [4]error
	r.Submitter, errs[0] = dns.ParseDomain(words[0])
	r.Domain, errs[1] = dns.ParseDomain(words[1])
	r.Begin, errs[2] = parseSeconds(words[2])
	r.End, errs[3] = parseSeconds(words[3])
	if errs != [4]error{} {
		return ReportName{}, false
	}
	r.Extension = strings.ToLower(extension)
	return r, true
}

// parseSeconds parses seconds since 1970, with 32 bits.
func parseSeconds(s string) (time.Time, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return time.Unix(int64(n), 0).UTC(), err //nolint:gosec // Of 32 bits.
}

// ParseReportSubject parses the subject of a report about mail or TLS (RFC 9990,
// section 2.6; RFC 8460, section 5.3):
//
//	Report Domain: example.net Submitter: mail.example.com Report-ID: <id>
//
// Case and what comes after the submitter don't matter.
func ParseReportSubject(subject string) (domain, submitter dns.Domain, ok bool) {
	words := strings.Fields(truncate(subject, lineLenMax))
	if len(words) < 5 || !strings.EqualFold(strings.Join([]string{words[0], words[1], words[3]}, " "), "Report Domain: Submitter:") {
		return dns.Domain{}, dns.Domain{}, false
	}
	domain, err := dns.ParseDomain(words[2])
	if err != nil {
		return dns.Domain{}, dns.Domain{}, false
	}
	submitter, err = dns.ParseDomain(words[4])
	return domain, submitter, err == nil
}

// Leaves returns the parts of a message that aren't multiparts, at most
// reportPartsMax. Messages within it are leaves too: what is in a message that was
// sent on is not what this one says.
func Leaves(p *Part) (leaves []*Part) {
	if p.Type != "MULTIPART" {
		return []*Part{p}
	}
	for i := range p.Parts {
		leaves = append(leaves, Leaves(&p.Parts[i])...)
		if len(leaves) >= reportPartsMax {
			return leaves[:reportPartsMax]
		}
	}
	return leaves
}
