// Package resolver is a dns.Resolver that asks the name servers of the system, and
// validates their answers by DNSSEC, from the keys of the root on.
//
// An answer is authentic if it validates. In mode system-ad, and in mode auto if no
// server passes DNSSEC records on, it is authentic if a server says so by its AD
// bit that can be believed: it is reached over loopback, or the configuration says
// "trust-ad".
//
// One lookup goes through layers, each in a file of its own: lookup.go follows
// aliases from question to question; query.go answers a question from the cache, or
// by asking once for all who wait; validate.go reads a reply and validates it, with
// the keys that zones.go finds; exchange.go gets a reply from one of the servers.
// What a reply says is decided without any of them, in answer.go; whether a
// signature is valid in sign.go and delegation.go; what NSEC and NSEC3 records prove
// in denial.go and the files beside it; and how much all that may cost in budget.go.
package resolver

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// cacheSizeDefault is the size of the cache in bytes if Options has none. It is
// enough for more than 20,000 names.
const cacheSizeDefault = 16 << 20

// Mode is who validates answers.
type Mode string

// The modes.
const (
	// Auto is Validate as long as a server passes DNSSEC records on, else SystemAD.
	Auto Mode = "auto"

	// Validate validates, and takes nothing from servers that do not pass DNSSEC
	// records on.
	Validate Mode = "validate"

	// SystemAD believes the AD bit of servers that are reached over loopback, or that
	// are trusted by configuration.
	SystemAD Mode = "system-ad"
)

// Modes are all of them.
var Modes = []Mode{Auto, Validate, SystemAD}

// Options is what a Resolver needs. The zero value is for ordinary use.
type Options struct {
	// Mode is who validates. Empty: Auto.
	Mode Mode

	// Anchors are DS records of the root as in a zone file, one a line; comments
	// begin with a semicolon. They are what validation begins with. Empty: those of
	// the keys of IANA that are in use, 20326 and 38696.
	Anchors string

	// Unsigned are absolute names of domains in which nothing is validated, though it
	// should be: those that only our name servers know (RFC 7646). What is for local
	// use by standards needs no mention.
	Unsigned []string

	// Servers are the name servers to ask, as addresses with or without port. Empty:
	// those of Config.
	Servers []string

	// TrustAD says that the AD bit of Servers counts, also of those that are not
	// reached over loopback. For that, the way to them must be safe from others.
	TrustAD bool

	// Config is the path of a resolv.conf. It is read again after it changed. Empty:
	// /etc/resolv.conf, but nothing on Windows, where lookups fail with ErrTemporary
	// unless there are Servers.
	Config string

	// CacheSize bounds the memory for answers in bytes, roughly. Zero: 16 MiB.
	// Negative: nothing is kept.
	CacheSize int64

	// Dial connects to a server, network is "udp" or "tcp". Nil: with package net.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Observe is told what is worth counting. It must be quick. Nil: nobody is.
	Observe func(Event)
}

// Event is something worth counting. All its strings come from closed sets.
type Event struct {
	// Kind is "lookup": for one type of records; "exchange": one try to get a reply;
	// "mode": in mode auto it is found out what the servers do, or it has changed.
	Kind string
	Type string // "A", "MX", …. Not of a mode.

	// Result of a lookup is "ok", "nodata", "notfound", "temporary", "bogus" or
	// "invalid". Of an exchange it is "answer", "failure" (the server could not),
	// "truncated", "case" (a reply with other letters than the question, which may
	// be forged), "stray" (too many replies to other questions) or "error" (among
	// them a time-out). Of a mode, "validating", or "stripped": no server passes
	// DNSSEC records on, see Status.
	Result string

	Network   string // Of an exchange, "udp" or "tcp".
	Cached    bool   // The lookup asked no server.
	Authentic bool   // Of a lookup.
	Took      time.Duration
	Cost      Cost // Of a lookup.
}

// Resolver looks up records. It is safe for concurrent use.
type Resolver struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	observe func(Event)
	config  *config
	slots   chan struct{} // One is held by each exchange.

	mode     Mode
	anchors  []*mdns.DS
	unsigned map[string]string // See unsignedZones.
	peers    *peers

	cache   cache
	flights flights
	forget  func()    // Clears the cache, that of the Resolver a Trace is made for.
	trace   *recorder // Nil but in a Resolver for one Trace.
}

var _ dns.Resolver = (*Resolver)(nil)

// New returns a Resolver. It fails only for Options that can't be meant; the
// configuration of the system is read when it is first needed.
func New(opts Options) (*Resolver, error) {
	r := &Resolver{
		dial:    opts.Dial,
		observe: opts.Observe,
		slots:   make(chan struct{}, exchangesMax),
		mode:    cmp.Or(opts.Mode, Auto),
		peers:   &peers{traits: map[netip.AddrPort]traits{}},
	}
	if r.dial == nil {
		r.dial = (&net.Dialer{}).DialContext
	}
	if r.observe == nil {
		r.observe = func(Event) {}
	}
	r.forget = r.cache.clear
	r.cache.max = opts.CacheSize
	if r.cache.max == 0 {
		r.cache.max = cacheSizeDefault
	}
	path := opts.Config
	if path == "" && runtime.GOOS != "windows" {
		path = "/etc/resolv.conf"
	}
	servers, err := parseServers(opts.Servers, opts.TrustAD)
	if err != nil {
		return nil, fmt.Errorf("name servers: %w", err)
	}
	if r.anchors, err = parseAnchors(opts.Anchors); err != nil {
		return nil, fmt.Errorf("trust anchors: %w", err)
	}
	if r.unsigned, err = unsignedZones(opts.Unsigned); err != nil {
		return nil, fmt.Errorf("domains that are not validated: %w", err)
	}
	if !slices.Contains(Modes, r.mode) {
		return nil, fmt.Errorf("unknown mode %q", r.mode)
	}
	r.config = newConfig(servers, path)
	return r, nil
}

// LookupIP implements dns.Resolver.
func (r *Resolver) LookupIP(ctx context.Context, network, host string) ([]netip.Addr, dns.Result, error) {
	switch network {
	case "ip4":
		return lookupAs(ctx, r, host, mdns.TypeA, address)
	case "ip6":
		return lookupAs(ctx, r, host, mdns.TypeAAAA, address)
	case "ip":
	default:
		return nil, dns.Result{}, &dns.Error{Op: "A", Name: host, Err: fmt.Errorf("%w: network %q", dns.ErrName, network)}
	}
	var v4, v6 found
	var wg sync.WaitGroup
	wg.Go(func() { v4.ips, v4.result, v4.err = lookupAs(ctx, r, host, mdns.TypeA, address) })
	v6.ips, v6.result, v6.err = lookupAs(ctx, r, host, mdns.TypeAAAA, address)
	wg.Wait()
	f := join(v4, v6)
	return f.ips, f.result, f.err
}

// found is what a lookup of addresses found.
type found struct {
	ips    []netip.Addr
	result dns.Result
	err    error
}

// join returns what lookups of two kinds of addresses say together.
func join(a, b found) found {
	for _, f := range []found{a, b} {
		if errors.Is(f.err, dns.ErrBogus) {
			return f
		}
	}
	switch {
	case a.err == nil && b.err == nil:
		a.ips = append(a.ips, b.ips...)
		a.result.Authentic = a.result.Authentic && b.result.Authentic
		return a
	case a.err == nil:
		return a
	case b.err == nil:
		return b
	case !dns.IsNone(a.err):
		return a
	case !dns.IsNone(b.err):
		return b
	case errors.Is(a.err, dns.ErrNotFound):
		a, b = b, a
	}
	// Neither has addresses. Should the answers differ on whether there is a name,
	// there is none.
	b.result.Authentic = a.result.Authentic && b.result.Authentic
	return b
}

// LookupMX implements dns.Resolver.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]dns.MX, dns.Result, error) {
	return lookupAs(ctx, r, name, mdns.TypeMX, func(rr *mdns.MX) dns.MX { return dns.MX{Preference: rr.Preference, Host: lower(rr.Mx)} })
}

// LookupTXT implements dns.Resolver.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, dns.Result, error) {
	return lookupAs(ctx, r, name, mdns.TypeTXT, func(rr *mdns.TXT) string { return unescape(strings.Join(rr.Txt, "")) })
}

// LookupAddr implements dns.Resolver.
func (r *Resolver) LookupAddr(ctx context.Context, ip netip.Addr) ([]string, dns.Result, error) {
	return lookupAs(ctx, r, dns.ReverseName(ip), mdns.TypePTR, func(rr *mdns.PTR) string { return lower(rr.Ptr) })
}

// LookupSRV implements dns.Resolver.
func (r *Resolver) LookupSRV(ctx context.Context, name string) ([]dns.SRV, dns.Result, error) {
	return lookupAs(ctx, r, name, mdns.TypeSRV, func(rr *mdns.SRV) dns.SRV {
		return dns.SRV{Priority: rr.Priority, Weight: rr.Weight, Port: rr.Port, Target: lower(rr.Target)}
	})
}

// LookupTLSA implements dns.Resolver.
func (r *Resolver) LookupTLSA(ctx context.Context, name string) ([]dns.TLSA, dns.Result, error) {
	return lookupAs(ctx, r, name, mdns.TypeTLSA, func(rr *mdns.TLSA) dns.TLSA {
		data, _ := hex.DecodeString(rr.Certificate) // It was made from bytes.
		return dns.TLSA{Usage: rr.Usage, Selector: rr.Selector, Matching: rr.MatchingType, Data: data}
	})
}

// LookupNS implements dns.Resolver.
func (r *Resolver) LookupNS(ctx context.Context, name string) ([]string, dns.Result, error) {
	return lookupAs(ctx, r, name, mdns.TypeNS, func(rr *mdns.NS) string { return lower(rr.Ns) })
}

// LookupCNAME implements dns.Resolver.
func (r *Resolver) LookupCNAME(ctx context.Context, name string) (string, dns.Result, error) {
	res, err := r.lookup(ctx, name, mdns.TypeCNAME)
	if err != nil {
		return "", res.Result, err
	}
	return res.Name, res.Result, nil
}

// lookupAs looks up records of a type, and converts them.
func lookupAs[R mdns.RR, T any](ctx context.Context, r *Resolver, name string, typ uint16, convert func(R) T) ([]T, dns.Result, error) {
	res, err := r.lookup(ctx, name, typ)
	if err != nil {
		return nil, res.Result, err
	}
	list := make([]T, 0, len(res.records))
	for _, rr := range res.records {
		if typed, ok := rr.(R); ok {
			list = append(list, convert(typed))
		}
	}
	return list, res.Result, nil
}

// address returns the address of an A or AAAA record.
func address(rr mdns.RR) netip.Addr {
	var ip net.IP
	switch rr := rr.(type) {
	case *mdns.A:
		ip = rr.A
	case *mdns.AAAA:
		ip = rr.AAAA
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// lower returns a name in lower case. In its form for reading it is ASCII.
func lower(name string) string { return strings.ToLower(name) }

// escape returns a name, which has no backslash yet, as names in replies come.
func escape(name string) string { return specials.Replace(name) }

var specials = strings.NewReplacer(`'`, `\'`, `@`, `\@`, `;`, `\;`, `(`, `\(`, `)`, `\)`, `"`, `\"`)

// unescape returns the bytes of a character string, which comes as RFC 1035,
// section 5.1, has it: a backslash before a character, or before three digits.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c != '\\' || i+1 == len(s):
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			c = (s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0'
			i += 3
		default:
			i++
			c = s[i]
		}
		b = append(b, c)
	}
	return string(b)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
