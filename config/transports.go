package config

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
)

// Way is how mail is sent on: a transport of mox.conf that was checked. The zero
// value is the usual way, directly to the servers of a domain. At most one of
// Relay, Proxy and Fail is set.
type Way struct {
	Name  string // In mox.conf. Empty for the usual way.
	Relay *Relay
	Proxy *Proxy
	Fail  *smtp.Error // What each message fails with.

	NoIPv4, NoIPv6 bool // Not both.
}

// RelayTLS is how a connection with a server is protected.
type RelayTLS int

// The ways to protect it.
const (
	RelayImmediate  RelayTLS = iota // TLS from the beginning.
	RelaySTARTTLS                   // STARTTLS is required.
	RelayUnverified                 // Likewise, without verifying the server.
	RelayPlain                      // No TLS.
)

// Relay is a server that mail is handed to.
type Relay struct {
	Host  dns.IPDomain
	Port  uint16
	TLS   RelayTLS
	Login *Login // Nil: without.
}

// Login is how to log in to a server. It doesn't show its password when it is
// logged or printed.
type Login struct {
	Username   string
	Password   string   `json:"-"`
	Mechanisms []string // That may be used, best first.
}

// String returns the username.
func (l Login) String() string { return l.Username }

// GoString returns the username too.
func (l Login) GoString() string { return l.String() }

// Proxy is a SOCKS5 proxy.
type Proxy struct {
	Address   string       // Host and port.
	RemoteIPs []netip.Addr // From which its connections come.
	Hello     dns.Domain   // For EHLO: RemoteHostname.
}

// Ways returns the names of all transports, sorted.
func (c *Config) Ways() []string { return slices.Sorted(maps.Keys(c.ways)) }

// Way returns a transport by its name, false if there is none. The empty name is
// the usual way.
func (c *Config) Way(name string) (Way, bool) {
	w, ok := c.ways[name]
	return w, ok || name == ""
}

// Defaults of a Fail transport.
const (
	failCode = 554
	failText = "mail for this recipient is not sent on by this server"
)

// wayNameMax bounds names of transports in bytes: they are kept with each attempt, and
// are labels of metrics.
const wayNameMax = 64

// Ports of servers that mail is handed to.
const (
	portSMTP        = 25
	portSubmission  = 587
	portSubmissions = 465
)

// transports checks the transports, and works them out.
func (c *checker) transports() {
	for _, name := range slices.Sorted(maps.Keys(c.config.Static.Transports)) {
		s := c.static("Transports").in(name)
		if len(name) > wayNameMax {
			s.bad("a name of more than %d bytes", wayNameMax)
		}
		c.config.ways[name] = s.transport(name, c.config.Static.Transports[name])
	}
}

// kinds returns the names of what is set, in the order of the fields.
func (t Transport) kinds() (kinds []string) {
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"Submissions", t.Submissions != nil},
		{"Submission", t.Submission != nil},
		{"SMTP", t.SMTP != nil},
		{"Socks", t.Socks != nil},
		{"Direct", t.Direct != nil},
		{"Fail", t.Fail != nil},
	} {
		if k.set {
			kinds = append(kinds, k.name)
		}
	}
	return kinds
}

// transport checks all kinds that are set, though only one can be.
func (s scope) transport(name string, t Transport) Way {
	if kinds := t.kinds(); len(kinds) > 1 {
		s.bad("only one kind can be set, there are: %s", strings.Join(kinds, ", "))
	}
	w := Way{Name: name}
	if t.Submissions != nil {
		if t.Submissions.NoSTARTTLS || t.Submissions.STARTTLSInsecureSkipVerify {
			s.in("Submissions").bad("NoSTARTTLS and STARTTLSInsecureSkipVerify cannot be set, it is always over TLS")
		}
		w.Relay = s.in("Submissions").relay(t.Submissions, portSubmissions)
		w.Relay.TLS = RelayImmediate
	}
	if t.Submission != nil {
		w.Relay = s.in("Submission").relay(t.Submission, portSubmission)
	}
	if t.SMTP != nil {
		w.Relay = s.in("SMTP").relay(t.SMTP, portSMTP)
	}
	if t.Socks != nil {
		w.Proxy = s.in("Socks").proxy(t.Socks)
	}
	if d := t.Direct; d != nil {
		w.NoIPv4, w.NoIPv6 = d.DisableIPv4, d.DisableIPv6
		if w.NoIPv4 && w.NoIPv6 {
			s.in("Direct").bad("DisableIPv4 and DisableIPv6 cannot both be set")
		}
	}
	if t.Fail != nil {
		w.Fail = s.in("Fail").refusal(t.Fail)
	}
	return w
}

// transportMechanisms are those that can be named, best first. All but the last are
// used if none is.
var transportMechanisms = []string{sasl.SCRAM256Plus, sasl.SCRAM256, sasl.SCRAM1Plus, sasl.SCRAM1, sasl.CRAMMD5, sasl.Plain}

// credentialMax bounds names and passwords in bytes: those that packages that carry
// them take.
const credentialMax = 1024

func (s scope) relay(t *TransportSMTP, port int64) *Relay {
	r := &Relay{TLS: RelaySTARTTLS}
	if ip, err := netip.ParseAddr(t.Host); err == nil {
		r.Host.IP = ip.Unmap()
		if ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
			s.in("Host").bad("%q is not the address of a server", t.Host)
		}
	} else {
		r.Host.Domain, _ = s.in("Host").domain(t.Host)
	}
	r.Port, _ = s.in("Port").port(t.Port, port)
	switch {
	case t.NoSTARTTLS && t.STARTTLSInsecureSkipVerify:
		s.bad("NoSTARTTLS and STARTTLSInsecureSkipVerify cannot both be set")
	case t.NoSTARTTLS:
		r.TLS = RelayPlain
	case t.STARTTLSInsecureSkipVerify:
		r.TLS = RelayUnverified
	}
	if t.Auth != nil {
		r.Login = s.in("Auth").login(t.Auth, r.TLS)
	}
	return r
}

func (s scope) login(a *TransportAuth, protection RelayTLS) *Login {
	s.in("Username").credential(a.Username)
	s.in("Password").credential(a.Password)
	s.in("Mechanisms").oneOf(a.Mechanisms, transportMechanisms)
	l := &Login{Username: a.Username, Password: a.Password, Mechanisms: a.Mechanisms}
	if len(l.Mechanisms) == 0 {
		l.Mechanisms = transportMechanisms[:len(transportMechanisms)-1]
	}
	if protection != RelayPlain {
		return l
	}
	if slices.Contains(l.Mechanisms, sasl.Plain) {
		s.in("Mechanisms").warn("with NoSTARTTLS, PLAIN shows the password to all who are on the way to the server")
	}
	if !slices.ContainsFunc(l.Mechanisms, func(m string) bool { return !strings.HasSuffix(m, "-PLUS") }) {
		s.in("Mechanisms").bad("those that end with -PLUS need TLS, and NoSTARTTLS is set")
	}
	return l
}

// credential checks a name or password. It doesn't repeat it.
func (s scope) credential(text string) {
	if text == "" {
		s.bad("must not be empty")
	} else if len(text) > credentialMax || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		s.bad("need at most %d bytes of UTF-8 without control characters", credentialMax)
	}
}

func (s scope) proxy(t *TransportSocks) *Proxy {
	p := &Proxy{Address: t.Address}
	if !isHostPort(t.Address) {
		s.in("Address").bad("%q is not a host with a port", t.Address)
	}
	if len(t.RemoteIPs) == 0 {
		s.in("RemoteIPs").bad("need at least one address")
	}
	p.RemoteIPs = s.in("RemoteIPs").ips(t.RemoteIPs)
	p.Hello, _ = s.in("RemoteHostname").domain(t.RemoteHostname)
	return p
}

// isHostPort tells whether text is a name, or an address as in a URL, with a port.
func isHostPort(text string) bool {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Port() != 0
	}
	host, port, ok := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	_, isName := dns.ParseConfigDomain(host)
	return ok && err == nil && n != 0 && isName == nil
}

func (s scope) refusal(t *TransportFail) *smtp.Error {
	code := cmp.Or(t.SMTPCode, failCode)
	if code < 400 || code > 599 {
		s.in("SMTPCode").bad("need 400 to 599")
	}
	s.in("SMTPMessage").text(t.SMTPMessage)
	return &smtp.Error{Code: int(code), Enhanced: smtp.Enhanced(int(code), smtp.DetailPolicy), Text: cmp.Or(t.SMTPMessage, failText)}
}

// Authorities are those whose certificates are trusted, of servers that mail is sent
// to and of web sites.
type Authorities struct {
	Certificates []*x509.Certificate // Empty if the configuration was checked without its files.
	SystemToo    bool                // Those of the system are trusted besides.
}

func (c *checker) authorities(s scope, ca *CA) {
	if ca == nil {
		return
	}
	if len(ca.CertFiles) == 0 && !ca.AdditionalToSystem {
		s.bad("nobody would be trusted, need CertFiles or AdditionalToSystem")
	}
	a := &Authorities{SystemToo: ca.AdditionalToSystem}
	c.config.Authorities = a
	if c.files == nil {
		return
	}
	for i, name := range ca.CertFiles {
		certs, err := readCertificates(c.files, name)
		s.in("CertFiles").item(i).is(err)
		a.Certificates = append(a.Certificates, certs...)
	}
}

// readCertificates returns the certificates in a PEM file, of which there is one at
// least.
func readCertificates(files fs.FS, name string) (certs []*x509.Certificate, err error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in %s: %w", len(certs)+1, name, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("no certificate in %s", name)
	}
	return certs, nil
}
