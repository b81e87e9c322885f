package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtpclient"
)

const daneDialHelp = `Connect to a server with TLS, and verify it with its TLSA records (DANE).

The addresses and the records must be protected by DNSSEC. The record by which the
server is good is printed, with the errors. Then what comes in goes to the server,
and what it says is printed, until it closes the connection.

	-anchors  a file with DS records of the root, to be trusted instead of those built in
	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-usages   usages that count, names or numbers separated by commas, of pkix-ta,
	          pkix-ee, dane-ta and dane-ee (all)
`

const daneDialMXHelp = `Connect to a mail server of a domain, and verify it with its TLSA records (DANE).

Its mail servers are tried in the order of their preference, or only the one that is
named, until one can be verified after STARTTLS. Then what comes in goes to it, and
what it says is printed, until it closes the connection. Nothing is sent before but
EHLO and STARTTLS.

	-anchors        a file with DS records of the root, to be trusted instead of those built in
	-ehlohostname   the name for EHLO (localhost)
	-mode           who validates DNSSEC: auto, validate or system-ad
	-port           the port of the servers (25)
	-server         ask this name server, an address with or without port, instead
`

// Limits of dialing: the time to connect to an address, and for the handshake.
const (
	dialWait      = 30 * time.Second
	handshakeWait = 30 * time.Second
)

// daneHost is a server to be verified.
type daneHost struct {
	dane.Path
	addresses []netip.Addr
	finding   dane.Finding
}

// daneDialer looks up servers and connects to them.
type daneDialer struct {
	resolver dns.Resolver
	usages   []dane.Usage
}

func runDANEDial(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	list := flags.String("usages", "", "")
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return &usageError{}
	}
	usages, err := parseUsages(*list)
	if err != nil {
		return err
	}
	path, err := parseHostPort(flags.Arg(0))
	if err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	d := daneDialer{r, usages}
	host, err := d.lookup(ctx, path)
	if err != nil {
		return err
	}
	conn, record, err := d.dialTLS(ctx, host)
	if err != nil {
		return err
	}
	inv.errorf("%s is verified by TLSA %s", host.Host.Name(), record)
	return inv.pipe(ctx, conn)
}

// parseUsages parses a list of usages. Empty: all.
func parseUsages(s string) (usages []dane.Usage, err error) {
	if s == "" {
		return dane.AllUsages(), nil
	}
	for word := range strings.SplitSeq(s, ",") {
		u, err := dane.ParseUsage(strings.TrimSpace(word))
		if err != nil {
			return nil, &usageError{fmt.Sprintf("-usages: %v", err)}
		}
		usages = append(usages, u)
	}
	return usages, nil
}

func parseHostPort(s string) (dane.Path, error) {
	name, port, err := net.SplitHostPort(s)
	if err != nil {
		return dane.Path{}, &usageError{fmt.Sprintf("%+q is not a host with a port", s)}
	}
	host, err := dns.ParseDomain(strings.TrimSuffix(name, "."))
	if err != nil {
		return dane.Path{}, &usageError{err.Error()}
	}
	n, err := parsePort(port)
	return dane.Path{Host: host, Port: n}, err
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, &usageError{fmt.Sprintf("%+q is not a port", s)}
	}
	return uint16(n), nil
}

// lookup finds the addresses and the records of a server. It fails if it can't be
// verified.
func (d daneDialer) lookup(ctx context.Context, p dane.Path) (h daneHost, err error) {
	if h.addresses, p.Addresses, err = d.resolver.LookupIP(ctx, "ip", p.Host.Absolute()); err != nil {
		return h, err
	}
	h.Path = p
	if h.finding, err = dane.Lookup(ctx, d.resolver, p, d.usages...); err != nil {
		return h, err
	}
	if len(h.finding.Records) > 0 {
		return h, nil
	}
	reason := "it has no TLSA records that can be used"
	switch {
	case !p.NextHop.IsZero() && !p.MX.Authentic:
		reason = "DNSSEC does not protect the MX records of " + p.NextHop.Name()
	case !h.finding.Applies && !p.Addresses.Authentic:
		reason = "DNSSEC does not protect its addresses"
	case !h.finding.Applies:
		reason = "it has no TLSA records that DNSSEC protects"
	}
	return h, fmt.Errorf("%s can't be verified: %s", p.Host.Name(), reason)
}

func (h daneHost) verifier() dane.Verifier {
	return dane.Verifier{Records: h.finding.Records, Names: h.finding.Names, Now: time.Now()}
}

// dial connects to the first address that answers.
func (h daneHost) dial(ctx context.Context) (net.Conn, error) {
	var errs []error
	for _, ip := range h.addresses {
		dialer := net.Dialer{Timeout: dialWait}
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(ip, h.Port).String())
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// dialTLS connects to a server that speaks TLS from the beginning.
func (d daneDialer) dialTLS(ctx context.Context, h daneHost) (net.Conn, dane.Record, error) {
	raw, err := h.dial(ctx)
	if err != nil {
		return nil, dane.Record{}, err
	}
	var record dane.Record
	conn := tls.Client(raw, &tls.Config{
		ServerName: h.finding.Base.ASCII, InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) (err error) {
			record, err = h.verifier().Verify(cs.PeerCertificates)
			return err
		},
	})
	ctx, cancel := context.WithTimeout(ctx, handshakeWait)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, dane.Record{}, errors.Join(fmt.Errorf("TLS with %s: %w", h.Host.Name(), err), raw.Close())
	}
	return conn, record, nil
}

func runDANEDialMX(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	hello := flags.String("ehlohostname", "localhost", "")
	portText := flags.String("port", "25", "")
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	if n := flags.NArg(); n != 1 && n != 2 {
		return &usageError{}
	}
	port, err := parsePort(*portText)
	if err != nil {
		return err
	}
	domain, err := dns.ParseDomain(strings.TrimSuffix(flags.Arg(0), "."))
	if err != nil {
		return &usageError{err.Error()}
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	d := daneDialer{r, dane.SMTPUsages()}
	paths, err := d.exchangers(ctx, domain, port, flags.Arg(1))
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range paths {
		conn, record, err := d.dialSMTP(ctx, p, *hello)
		if err == nil {
			inv.errorf("%s is verified by TLSA %s", p.Host.Name(), record)
			return inv.pipe(ctx, conn)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// exchangers returns the mail servers of a domain, in order, or only one of them.
func (d daneDialer) exchangers(ctx context.Context, domain dns.Domain, port uint16, only string) (paths []dane.Path, err error) {
	records, result, err := d.resolver.LookupMX(ctx, domain.Absolute())
	if err != nil && !errors.Is(err, dns.ErrNoData) {
		return nil, err
	}
	slices.SortStableFunc(records, func(a, b dns.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	if len(records) == 0 {
		records = []dns.MX{{Host: domain.Absolute()}} // RFC 5321, section 5.1.
	}
	for _, mx := range records {
		host, err := dns.ParseDomain(strings.TrimSuffix(mx.Host, "."))
		if err == nil && (only == "" || strings.EqualFold(strings.TrimSuffix(only, "."), host.ASCII)) {
			paths = append(paths, dane.Path{NextHop: domain, MX: result, Host: host, Port: port})
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s has no such mail server", domain.Name())
	}
	return paths, nil
}

// dialSMTP connects to a mail server, up to the EHLO after STARTTLS.
func (d daneDialer) dialSMTP(ctx context.Context, p dane.Path, hello string) (net.Conn, dane.Record, error) {
	h, err := d.lookup(ctx, p)
	if err != nil {
		return nil, dane.Record{}, err
	}
	conn, err := h.dial(ctx)
	if err != nil {
		return nil, dane.Record{}, err
	}
	c, err := smtpclient.New(ctx, conn, smtpclient.Options{
		Hello: hello, TLS: smtpclient.TLSRequired, TLSConfig: &tls.Config{ServerName: h.finding.Base.ASCII},
		Verify: &smtpclient.Verify{DANE: smtpclient.CheckRequired, TLSA: h.verifier()},
	})
	if err != nil {
		return nil, dane.Record{}, fmt.Errorf("%s: %w", h.Host.Name(), err)
	}
	return c.Detach(), c.Verified().Record, nil
}

// pipe copies what comes in to conn, and what comes from there out, until the other
// side closes it or ctx is done. It closes conn.
func (inv *invocation) pipe(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // Closed again below.
	defer stop()
	go func() { // Nobody waits for it: what comes in may never end, and the process does.
		_, err := io.Copy(conn, inv.stdin)
		if closer, ok := conn.(interface{ CloseWrite() error }); ok && err == nil {
			_ = closer.CloseWrite() // The other side notices otherwise, too.
		}
	}()
	_, err := io.Copy(inv.stdout, conn)
	_ = conn.Close() // Nothing is lost any more.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
