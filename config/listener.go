package config

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
)

const (
	// maxMessageSizeDefault is for SMTPMaxMessageSize, in bytes.
	maxMessageSizeDefault = 100 * 1024 * 1024

	// maxMessageSizeMax bounds SMTPMaxMessageSize, in bytes: sizes of messages
	// are kept in 32 bits.
	maxMessageSizeMax = 1 << 31

	// firstTimeDelayMax bounds FirstTimeSenderDelay: senders wait ten minutes for
	// the answer to a message (RFC 5321, section 4.5.3.2.6).
	firstTimeDelayMax = 5 * time.Minute

	// firstTimeDelay is for FirstTimeSenderDelay.
	firstTimeDelay = 15 * time.Second
)

func (c *checker) listeners() {
	used := map[netip.AddrPort]string{}
	for _, name := range slices.Sorted(maps.Keys(c.config.Static.Listeners)) {
		path := "Listeners." + name
		for _, e := range c.listener(name, path, c.config.Static.Listeners[name]) {
			what := path + "." + e.Service.section()
			if other, ok := used[e.Addr]; ok {
				c.bad(StaticName, what, "address %s is used by %s already", e.Addr, other)
			}
			used[e.Addr] = what
			c.config.Endpoints = append(c.config.Endpoints, e)
		}
	}
}

// section returns the name of a service in mox.conf.
func (s Service) section() string {
	return map[Service]string{
		ServiceSMTP: "SMTP", ServiceSubmission: "Submission", ServiceSubmissions: "Submissions",
		ServiceIMAP: "IMAP", ServiceIMAPS: "IMAPS", ServiceMetrics: "MetricsHTTP",
	}[s]
}

// listener checks one listener and returns what it has to listen on.
func (c *checker) listener(name, path string, l Listener) (endpoints []Endpoint) {
	s := c.static(path)
	hostname := c.config.Hostname
	if l.Hostname != "" {
		if d, ok := s.in("Hostname").domain(l.Hostname); ok {
			hostname = d
			c.config.hostnames[d] = true
		}
	}
	if l.SMTPMaxMessageSize < 0 || l.SMTPMaxMessageSize > maxMessageSizeMax {
		s.in("SMTPMaxMessageSize").bad("need 0 to %d", int64(maxMessageSizeMax))
	}
	size := l.SMTPMaxMessageSize
	if size == 0 {
		size = maxMessageSizeDefault
	}
	if len(l.IPs) == 0 {
		s.in("IPs").bad("need at least one address")
	}
	ips := s.in("IPs").ips(l.IPs)
	s.nat(l)
	keys := c.tls(s.in("TLS"), l.TLS)
	s.needTLS(l)
	s.smtp(l.SMTP)
	s.webPorts(l)

	add := func(enabled bool, e Endpoint, port, defaultPort int64) {
		n, ok := s.in(e.Service.section()).in("Port").port(port, defaultPort)
		if !ok || !enabled {
			return
		}
		e.Listener, e.Hostname, e.TLS = name, hostname, keys
		for _, ip := range ips {
			e.Addr = netip.AddrPortFrom(ip, n)
			endpoints = append(endpoints, e)
		}
	}
	smtp := Endpoint{Service: ServiceSMTP, MaxMessageSize: size, StartTLSDisabled: l.SMTP.NoSTARTTLS, StartTLSRequired: l.SMTP.RequireSTARTTLS}
	smtp.Blocklists, smtp.FirstTimeDelay = parseDomains(l.SMTP.DNSBLs), firstTimeDelay
	if d := l.SMTP.FirstTimeSenderDelay; d != nil {
		smtp.FirstTimeDelay = *d
	}
	smtp.TicketsDisabled = l.SMTP.TLSSessionTicketsDisabled == nil || *l.SMTP.TLSSessionTicketsDisabled
	add(l.SMTP.Enabled, smtp, l.SMTP.Port, 25)
	submission := Endpoint{Service: ServiceSubmission, MaxMessageSize: size, PlainLogins: l.Submission.NoRequireSTARTTLS}
	add(l.Submission.Enabled, submission, l.Submission.Port, 587)
	add(l.Submissions.Enabled, Endpoint{Service: ServiceSubmissions, MaxMessageSize: size}, l.Submissions.Port, 465)
	add(l.IMAP.Enabled, Endpoint{Service: ServiceIMAP, PlainLogins: l.IMAP.NoRequireSTARTTLS}, l.IMAP.Port, 143)
	add(l.IMAPS.Enabled, Endpoint{Service: ServiceIMAPS}, l.IMAPS.Port, 993)
	add(l.MetricsHTTP.Enabled, Endpoint{Service: ServiceMetrics}, l.MetricsHTTP.Port, 8010)
	return endpoints
}

// parseDomains returns the domains of a list without those that are none, which
// are told elsewhere.
func parseDomains(list []string) (domains []dns.Domain) {
	for _, text := range list {
		if d, err := dns.ParseConfigDomain(text); err == nil {
			domains = append(domains, d)
		}
	}
	return domains
}

// nat checks the addresses of a listener behind NAT.
func (s scope) nat(l Listener) {
	if len(l.NATIPs) > 0 && l.IPsNATed {
		s.in("IPsNATed").bad("cannot be set together with NATIPs")
	}
	for i, text := range l.NATIPs {
		if ip, err := netip.ParseAddr(text); err != nil || ip.Unmap().IsUnspecified() || ip.Unmap().IsLoopback() {
			s.in("NATIPs").item(i).bad("%q is not a public IP address", text)
		}
	}
}

// smtp checks what is only for mail of other servers.
func (s scope) smtp(l SMTP) {
	if l.NoSTARTTLS && l.RequireSTARTTLS {
		s.in("SMTP.RequireSTARTTLS").bad("cannot be set together with NoSTARTTLS")
	}
	s.in("SMTP.DNSBLs").domains(l.DNSBLs)
	if d := l.FirstTimeSenderDelay; d != nil && (*d < 0 || *d > firstTimeDelayMax) {
		s.in("SMTP.FirstTimeSenderDelay").bad("need 0s to %v", firstTimeDelayMax)
	}
}

// webService is a service that speaks HTTP, with or without TLS.
type webService struct {
	name    string // In mox.conf.
	enabled bool
	port    int64
	ifZero  int64
	tls     bool
	path    string // Empty if it has none.
}

// webServices returns all that a listener has.
func (l Listener) webServices() []webService {
	return []webService{
		{"AccountHTTP", l.AccountHTTP.Enabled, l.AccountHTTP.Port, 80, false, l.AccountHTTP.Path},
		{"AccountHTTPS", l.AccountHTTPS.Enabled, l.AccountHTTPS.Port, 443, true, l.AccountHTTPS.Path},
		{"AdminHTTP", l.AdminHTTP.Enabled, l.AdminHTTP.Port, 80, false, l.AdminHTTP.Path},
		{"AdminHTTPS", l.AdminHTTPS.Enabled, l.AdminHTTPS.Port, 443, true, l.AdminHTTPS.Path},
		{"WebmailHTTP", l.WebmailHTTP.Enabled, l.WebmailHTTP.Port, 80, false, l.WebmailHTTP.Path},
		{"WebmailHTTPS", l.WebmailHTTPS.Enabled, l.WebmailHTTPS.Port, 443, true, l.WebmailHTTPS.Path},
		{"WebAPIHTTP", l.WebAPIHTTP.Enabled, l.WebAPIHTTP.Port, 80, false, l.WebAPIHTTP.Path},
		{"WebAPIHTTPS", l.WebAPIHTTPS.Enabled, l.WebAPIHTTPS.Port, 443, true, l.WebAPIHTTPS.Path},
		{"PprofHTTP", l.PprofHTTP.Enabled, l.PprofHTTP.Port, 8011, false, ""},
		{"AutoconfigHTTPS", l.AutoconfigHTTPS.Enabled, l.AutoconfigHTTPS.Port, 443, !l.AutoconfigHTTPS.NonTLS, ""},
		{"MTASTSHTTPS", l.MTASTSHTTPS.Enabled, l.MTASTSHTTPS.Port, 443, !l.MTASTSHTTPS.NonTLS, ""},
		{"WebserverHTTP", l.WebserverHTTP.Enabled, l.WebserverHTTP.Port, 80, false, ""},
		{"WebserverHTTPS", l.WebserverHTTPS.Enabled, l.WebserverHTTPS.Port, 443, true, ""},
		{"Submissions.EnabledOnHTTPS", l.Submissions.EnabledOnHTTPS, 0, 443, true, ""},
		{"IMAPS.EnabledOnHTTPS", l.IMAPS.EnabledOnHTTPS, 0, 443, true, ""},
	}
}

// webPorts checks the services that speak HTTP. Several can have one port, if all
// of them speak TLS there or none does.
func (s scope) webPorts(l Listener) {
	first := map[uint16]webService{}
	for _, w := range l.webServices() {
		s := s.in(w.name)
		if w.path != "" && !strings.HasPrefix(w.path, "/") {
			s.in("Path").bad("must start with a slash")
		} else if w.path != "" && !strings.HasSuffix(w.path, "/") {
			s.in("Path").warn("a slash at the end is missing, %s/ is used", w.path)
		}
		port, ok := s.in("Port").port(w.port, w.ifZero)
		if !ok || !w.enabled {
			continue
		}
		other, ok := first[port]
		if !ok {
			first[port] = w
		} else if other.tls != w.tls {
			s.bad("port %d cannot be with TLS for one and without for another: %s uses it too", port, other.name)
		}
	}
}

// needTLS names all services at once that need the missing TLS section.
func (s scope) needTLS(l Listener) {
	if l.TLS != nil {
		return
	}
	var need []string
	add := func(enabled bool, what string) {
		if enabled {
			need = append(need, what)
		}
	}
	add(l.SMTP.Enabled && !l.SMTP.NoSTARTTLS, "SMTP without NoSTARTTLS")
	add(l.Submission.Enabled && !l.Submission.NoRequireSTARTTLS, "Submission without NoRequireSTARTTLS")
	add(l.Submissions.Enabled, "Submissions")
	add(l.IMAP.Enabled && !l.IMAP.NoRequireSTARTTLS, "IMAP without NoRequireSTARTTLS")
	add(l.IMAPS.Enabled, "IMAPS")
	for _, w := range l.webServices() {
		add(w.enabled && w.tls, w.name)
	}
	if len(need) > 0 {
		s.bad("a TLS section is needed for: %s", strings.Join(need, ", "))
	}
}

func (c *checker) tls(s scope, t *TLS) *TLSFiles {
	if t == nil {
		return nil
	}
	version, ok := tlsVersions[t.MinVersion]
	if !ok {
		s.in("MinVersion").bad("%q is not one of TLSv1.0, TLSv1.1, TLSv1.2, TLSv1.3", t.MinVersion)
	}
	keys := &TLSFiles{MinVersion: version, ClientAuthDisabled: t.ClientAuthDisabled}
	switch {
	case t.ACME == "" && len(t.KeyCerts) == 0:
		s.in("KeyCerts").bad("need at least one key with certificate, or ACME")
	case t.ACME != "" && len(t.KeyCerts) > 0:
		s.in("KeyCerts").bad("cannot be set together with ACME")
	}
	if _, ok := c.config.Static.ACME[t.ACME]; t.ACME != "" && !ok {
		s.in("ACME").bad("no %q under ACME", t.ACME)
	}
	if c.files == nil {
		return keys
	}
	for i, kc := range t.KeyCerts {
		cert, err := loadKeyCert(c.files, kc)
		if s.in("KeyCerts").item(i).is(err) {
			keys.Certificates = append(keys.Certificates, cert)
		}
	}
	c.hostKeys(s.in("HostPrivateKeyFiles"), t.HostPrivateKeyFiles)
	return keys
}
