package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Errors of a Resolver. Each comes within an *Error, to be told apart with
// errors.Is.
var (
	// ErrNotFound means the name does not exist (NXDOMAIN).
	ErrNotFound = errors.New("dns: no such name")

	// ErrNoData means the name exists, and has no records of the type.
	ErrNoData = errors.New("dns: no records of this type")

	// ErrTemporary means the answer is unknown now. Callers must defer, not treat
	// the name as without records: an attacker can cause it at will.
	ErrTemporary = errors.New("dns: temporary failure")

	// ErrBogus means the answer fails DNSSEC validation. Callers must not use the
	// name in any way, and should defer: it is a kind of ErrTemporary.
	ErrBogus = fmt.Errorf("%w: bogus answer", ErrTemporary)

	// ErrName means the question can't be asked: the name is not absolute, or no
	// name. It is a mistake of the caller or of who gave it the name.
	ErrName = errors.New("dns: invalid name")
)

// IsNone returns whether err says for certain that there are no such records.
func IsNone(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoData) }

// Error is a failed lookup.
type Error struct {
	Op       string // "MX", "A", …
	Name     string
	Server   string    // Address and port of the one that answered, if any.
	Extended *Extended // If the server gave a reason (RFC 8914), or our own validation did.
	Err      error     // Wraps one of the above, and that of the context if it was done.
}

// Extended is an extended DNS error, RFC 8914.
type Extended struct {
	Code uint16 // INFO-CODE.
	Text string // EXTRA-TEXT, as the server wrote it. Not to be shown unquoted.
}

// extendedNames are the names of codes, RFC 8914, section 5.2, and of those
// registered since.
var extendedNames = []string{
	"Other", "Unsupported DNSKEY Algorithm", "Unsupported DS Digest Type", "Stale Answer", "Forged Answer", "DNSSEC Indeterminate", "DNSSEC Bogus",
	"Signature Expired", "Signature Not Yet Valid", "DNSKEY Missing", "RRSIGs Missing", "No Zone Key Bit Set", "NSEC Missing", "Cached Error",
	"Not Ready", "Blocked", "Censored", "Filtered", "Prohibited", "Stale NXDOMAIN Answer", "Not Authoritative", "Not Supported",
	"No Reachable Authority", "Network Error", "Invalid Data", "Signature Expired before Valid", "Too Early", "Unsupported NSEC3 Iterations Value",
}

// Name returns the name of the code, as it is registered, or "" of one not known.
// It comes from a closed set.
func (e *Extended) Name() string {
	if int(e.Code) < len(extendedNames) {
		return extendedNames[e.Code]
	}
	return ""
}

// String tells the code, its name if it has one, and the text.
func (e *Extended) String() string {
	s := fmt.Sprintf("extended error %d", e.Code)
	if name := e.Name(); name != "" {
		s += ", " + name
	}
	if e.Text != "" {
		s += fmt.Sprintf(": %q", e.Text)
	}
	return s
}

// Error tells what was asked, and the reason.
func (e *Error) Error() string {
	s := fmt.Sprintf("looking up %s of %q: %v", e.Op, e.Name, e.Err)
	if e.Extended != nil {
		s += " (" + e.Extended.String() + ")"
	}
	return s
}

// Unwrap returns the kind of error.
func (e *Error) Unwrap() error { return e.Err }

// Result is what there is to know of an answer besides its records. It is set
// for ErrNotFound and ErrNoData too, and zero for other errors.
type Result struct {
	// Authentic means that the whole answer, with all aliases on the way, is
	// protected by DNSSEC from the root to its records, or to the proof that there
	// are none.
	Authentic bool

	// Name is the absolute name the records belong to: the one asked for, or the
	// last of a chain of CNAMEs.
	Name string
}

// MX is a mail exchanger, RFC 5321, section 5.1. A null MX (RFC 7505) has the host ".".
type MX struct {
	Preference uint16
	Host       string // Absolute. As all names in answers, see Resolver.
}

// SRV is a service record, RFC 2782.
type SRV struct {
	Priority, Weight, Port uint16
	Target                 string // Absolute.
}

// TLSA is a TLSA record, RFC 6698, section 2.1.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Resolver looks up records. It is safe for concurrent use, and bounds the time
// of each lookup by itself, also if ctx does not. Each error is an *Error.
//
// Names are absolute: in A-labels, ending in a dot, as Domain.Absolute returns
// them; others get ErrName (see CheckName). Nothing is ever looked up relative to
// a local domain. CNAMEs are followed, at most 16 of them and no loops; more are
// ErrTemporary, as they are with other resolvers.
//
// Names in answers are absolute, and in lower case. They need not be names of
// hosts: what is odd in a label is escaped as in RFC 1035, section 5.1. Records
// come in no particular order, and without records there is ErrNotFound or
// ErrNoData, never an empty list.
type Resolver interface {
	// LookupIP returns the A and AAAA records of a host. Network is "ip4", "ip6",
	// or "ip" for both. Then there is no error if there are addresses of one kind,
	// unless the answer for the other is ErrBogus; Authentic is about the addresses
	// returned.
	LookupIP(ctx context.Context, network, host string) ([]netip.Addr, Result, error)
	// LookupMX returns the mail exchangers of a domain.
	LookupMX(ctx context.Context, name string) ([]MX, Result, error)
	// LookupTXT returns one string for each record, its parts joined. It may hold
	// any bytes.
	LookupTXT(ctx context.Context, name string) ([]string, Result, error)
	// LookupAddr returns the absolute names of an address (PTR).
	LookupAddr(ctx context.Context, ip netip.Addr) ([]string, Result, error)
	// LookupSRV returns service records, for a name as "_submission._tcp.example.org.".
	LookupSRV(ctx context.Context, name string) ([]SRV, Result, error)
	// LookupTLSA returns TLSA records, for a name as "_25._tcp.mx.example.org.".
	LookupTLSA(ctx context.Context, name string) ([]TLSA, Result, error)
	// LookupNS returns the names of the servers of a zone. A name that is not the
	// top of a zone gets ErrNoData.
	LookupNS(ctx context.Context, name string) ([]string, Result, error)
	// LookupCNAME returns the absolute name at the end of the chain of CNAMEs,
	// whether or not that exists, or ErrNoData if there is no CNAME.
	LookupCNAME(ctx context.Context, name string) (string, Result, error)
}
