package store

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
)

// Bounds of what is kept of a sender. Each domain and address is a key of a row.
const (
	domainMax  = 255 // Bytes of a domain.
	addressMax = 320 // Bytes of an address: RFC 5321, section 4.5.3.1, has 64 and 255 for its parts.
	dkimMax    = 10  // Domains with a signature: each is a row to change when the message is marked.

	// VerdictMax is the largest Verdict of a message in bytes.
	VerdictMax = 16 << 10
)

// Sender returns who the message is from. Of a forwarded message the forwarder
// doesn't count: neither its address, nor its names, nor signatures of its domain
// and of those below.
//
// It is for decisions too, so that a message counts later by what was looked up
// when it came in.
func (f *Facts) Sender() screen.Sender {
	b := *f
	b.bound()
	f = &b
	s := screen.Sender{From: f.From, FromOrg: f.FromOrg, Validation: screen.Validation(f.Validation), DKIM: f.DKIM}
	if f.Forwarded {
		s.DKIM = slices.DeleteFunc(slices.Clone(f.DKIM), func(d string) bool { return strings.HasSuffix("."+d, "."+f.ForwardDKIM) })
		return s
	}
	s.IP, _ = netip.ParseAddr(f.RemoteIP) // Without one there is none.
	s.Hello, s.HelloVerified = f.HelloDomain, f.HelloVerified
	s.MailFrom, s.MailFromVerified = addressKey(f.MailFrom), f.MailFromVerified
	return s
}

// Sender returns who the message is from, as Facts.Sender.
func (e *Email) Sender() screen.Sender { return e.Facts.Sender() }

// addressKey returns a path as Facts has it in the form of screen.Sender, "" for
// one that is no address.
func addressKey(path string) string {
	a, err := smtp.ParseAddress(path)
	if err != nil {
		return ""
	}
	return bounded(a.XString(false), addressMax)
}

// bound drops what is larger than can be kept: to cut it would make it somebody
// else's.
func (f *Facts) bound() {
	f.HelloDomain = bounded(f.HelloDomain, domainMax)
	f.From = bounded(f.From, addressMax)
	f.FromOrg = bounded(f.FromOrg, domainMax)
	f.ForwardDKIM = bounded(f.ForwardDKIM, domainMax)
	f.Validation = min(max(f.Validation, int(screen.ValidationNone)), int(screen.ValidationStrict))
	var domains []string
	for _, d := range f.DKIM {
		if d = bounded(d, domainMax); d != "" && !slices.Contains(domains, d) && len(domains) < dkimMax {
			domains = append(domains, d)
		}
	}
	f.DKIM = domains
}

// bounded returns s, or "" if it is longer than n bytes or can't be a key.
func bounded(s string, n int) string {
	if len(s) > n || strings.ContainsRune(s, 0) {
		return ""
	}
	return s
}
