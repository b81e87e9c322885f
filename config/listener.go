package config

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
)

const (
	// maxMessageSizeDefault is for SMTPMaxMessageSize, in bytes.
	maxMessageSizeDefault = 100 * 1024 * 1024

	// maxMessageSizeMax bounds SMTPMaxMessageSize, in bytes: sizes of messages
	// are kept in 32 bits.
	maxMessageSizeMax = 1 << 31
)

// tlsVersions are the values of MinVersion.
var tlsVersions = map[string]uint16{
	"":        tls.VersionTLS12,
	"TLSv1.0": tls.VersionTLS10,
	"TLSv1.1": tls.VersionTLS11,
	"TLSv1.2": tls.VersionTLS12,
	"TLSv1.3": tls.VersionTLS13,
}

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
	hostname := c.config.Hostname
	if l.Hostname != "" {
		d, err := dns.ParseConfigDomain(l.Hostname)
		if c.is(StaticName, path+".Hostname", err) {
			hostname = d
			c.config.hostnames[d] = true
		}
	}
	if l.SMTPMaxMessageSize < 0 || l.SMTPMaxMessageSize > maxMessageSizeMax {
		c.bad(StaticName, path+".SMTPMaxMessageSize", "need 0 to %d", int64(maxMessageSizeMax))
	}
	size := l.SMTPMaxMessageSize
	if size == 0 {
		size = maxMessageSizeDefault
	}
	ips := c.ips(path+".IPs", l.IPs)
	keys := c.tls(path+".TLS", l.TLS)
	c.needTLS(path, l)

	add := func(enabled bool, e Endpoint, port, defaultPort int64) {
		if port < 0 || port > 65535 {
			c.bad(StaticName, path+"."+e.Service.section()+".Port", "port %d is not 0 to 65535", port)
			return
		}
		if port == 0 {
			port = defaultPort
		}
		e.Listener, e.Hostname, e.TLS = name, hostname, keys
		for _, ip := range ips {
			e.Addr = netip.AddrPortFrom(ip, uint16(port))
			if enabled {
				endpoints = append(endpoints, e)
			}
		}
	}
	smtp := Endpoint{Service: ServiceSMTP, MaxMessageSize: size, StartTLSDisabled: l.SMTP.NoSTARTTLS}
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

func (c *checker) ips(path string, list []string) (ips []netip.Addr) {
	if len(list) == 0 {
		c.bad(StaticName, path, "need at least one address")
	}
	for i, s := range list {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			c.bad(StaticName, fmt.Sprintf("%s[%d]", path, i), "%q is not an IP address", s)
			continue
		}
		ips = append(ips, ip.Unmap())
	}
	return ips
}

// needTLS names all services at once that need the missing TLS section.
func (c *checker) needTLS(path string, l Listener) {
	if l.TLS != nil {
		return
	}
	var need []string
	if l.SMTP.Enabled && !l.SMTP.NoSTARTTLS {
		need = append(need, "SMTP without NoSTARTTLS")
	}
	if l.Submission.Enabled && !l.Submission.NoRequireSTARTTLS {
		need = append(need, "Submission without NoRequireSTARTTLS")
	}
	if l.Submissions.Enabled {
		need = append(need, "Submissions")
	}
	if l.IMAP.Enabled && !l.IMAP.NoRequireSTARTTLS {
		need = append(need, "IMAP without NoRequireSTARTTLS")
	}
	if l.IMAPS.Enabled {
		need = append(need, "IMAPS")
	}
	if len(need) > 0 {
		c.bad(StaticName, path, "a TLS section is needed for: %s", strings.Join(need, ", "))
	}
}

func (c *checker) tls(path string, t *TLS) *TLSFiles {
	if t == nil {
		return nil
	}
	version, ok := tlsVersions[t.MinVersion]
	if !ok {
		c.bad(StaticName, path+".MinVersion", "%q is not one of TLSv1.0, TLSv1.1, TLSv1.2, TLSv1.3", t.MinVersion)
	}
	keys := &TLSFiles{MinVersion: version, ClientAuthDisabled: t.ClientAuthDisabled}
	if len(t.KeyCerts) == 0 {
		c.bad(StaticName, path+".KeyCerts", "need at least one key with certificate")
	}
	for i, kc := range t.KeyCerts {
		if c.files == nil {
			continue
		}
		cert, err := loadKeyCert(c.files, kc)
		if c.is(StaticName, fmt.Sprintf("%s.KeyCerts[%d]", path, i), err) {
			keys.Certificates = append(keys.Certificates, cert)
		}
	}
	return keys
}

func loadKeyCert(files fs.FS, kc KeyCert) (tls.Certificate, error) {
	cert, err := fs.ReadFile(files, kc.CertFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading certificate: %w", err)
	}
	key, err := fs.ReadFile(files, kc.KeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key and certificate %s: %w", kc.CertFile, err)
	}
	return pair, nil
}
