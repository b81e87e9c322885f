package screen

import (
	"net/netip"
	"strings"
)

// Validation is how far the domain in From is known to be the sender's.
type Validation int

// The validations, weakest first.
const (
	ValidationNone    Validation = iota
	ValidationRelaxed            // SPF or DKIM is aligned in the relaxed way (RFC 9989, section 4.4.1), without a DMARC policy.
	ValidationDMARC              // DMARC passes.
	ValidationStrict             // SPF or DKIM is for the very domain in From.
)

// String returns the name for headers and logs.
func (v Validation) String() string {
	return [...]string{"none", "relaxed", "dmarc", "strict"}[v]
}

// Sender is who a message comes from, as far as it was found out. Domains are in
// A-labels and lower case, without dot at the end.
type Sender struct {
	IP netip.Addr // Zero if it must not count, as for forwarded mail.

	Hello         string // Domain of EHLO, "" for none.
	HelloVerified bool   // SPF passes for it.

	MailFrom         string // Address, "" for the null sender.
	MailFromVerified bool   // SPF passes for its domain.

	From       string // The one address in From with its localpart in lower case, "" if there is not exactly one.
	FromOrg    string // Organisational domain of From.
	Validation Validation

	DKIM []string // Domains with a signature that passes.
}

// Kind is what a reputation is about.
type Kind int

// The kinds. Their numbers are stored.
const (
	FromAddress     Kind = iota + 1 // The address in From.
	FromDomain                      // Its domain.
	FromOrg                         // Its organisational domain.
	DKIMDomain                      // A domain with a signature that passes.
	MailFromAddress                 // The verified address in MAIL FROM.
	MailFromDomain                  // Its domain.
	HelloDomain                     // The verified domain in EHLO.
	Net1                            // IPv4 /32, IPv6 /64.
	Net2                            // IPv4 /26, IPv6 /48.
	Net3                            // IPv4 /21, IPv6 /32.
)

// Key is what the reputation of senders is kept by, for each mailbox.
type Key struct {
	Kind      Kind
	Validated bool // Of the kinds about From: whether From was validated.
	Value     string
}

// Keys returns all keys of a sender: those under which a message counts once it
// is marked as junk or not.
func (s Sender) Keys() []Key {
	var keys []Key
	add := func(kind Kind, validated bool, value string) {
		if value != "" {
			keys = append(keys, Key{kind, validated, value})
		}
	}
	valid := s.Validation != ValidationNone
	add(FromAddress, valid, s.From)
	add(FromDomain, valid, domainOf(s.From))
	add(FromOrg, valid, s.FromOrg)
	for _, d := range s.DKIM {
		add(DKIMDomain, true, d)
	}
	if s.MailFromVerified {
		add(MailFromAddress, true, s.MailFrom)
		add(MailFromDomain, true, domainOf(s.MailFrom))
	}
	if s.HelloVerified {
		add(HelloDomain, true, s.Hello)
	}
	for i, net := range Networks(s.IP) {
		add(Net1+Kind(i), false, net)
	}
	return keys
}

// Networks returns the networks around an address, narrowest first; empty texts
// for the zero Addr.
func Networks(ip netip.Addr) (nets [3]string) {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return nets
	}
	bits := [3]int{64, 48, 32}
	if ip.Is4() {
		bits = [3]int{32, 26, 21}
	}
	for i, n := range bits {
		if p, err := ip.Prefix(n); err == nil {
			nets[i] = p.String()
		}
	}
	return nets
}

func domainOf(address string) string {
	i := strings.LastIndexByte(address, '@')
	return address[i+1:]
}
