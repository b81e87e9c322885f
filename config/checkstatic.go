package config

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mjl-/mox/sasl"
)

// checkStatic checks mox.conf but for its listeners.
func (c *checker) checkStatic() {
	s := c.config.Static
	c.static("DataDir").notEmpty(s.DataDir)
	c.level("LogLevel", s.LogLevel)
	for _, pkg := range slices.Sorted(maps.Keys(s.PackageLogLevels)) {
		c.level("PackageLogLevels."+pkg, s.PackageLogLevels[pkg])
	}
	if d, ok := c.static("Hostname").domain(s.Hostname); ok {
		c.config.Hostname = d
		c.config.hostnames[d] = true
	}
	c.authorities(c.static("TLS.CA"), s.TLS.CA)
	for _, name := range slices.Sorted(maps.Keys(s.ACME)) {
		c.acme(c.static("ACME").in(name), s.ACME[name])
	}
	c.static("Postmaster.Account").account(s.Postmaster.Account)
	c.static("Postmaster.Mailbox").mailbox(s.Postmaster.Mailbox)
	if r := s.HostTLSRPT; r != nil {
		c.static("HostTLSRPT").reportAddress(r.Localpart, c.config.Hostname, destination{account: r.Account, mailbox: r.Mailbox, reports: Reports{TLS: true}})
	}
	c.initialMailboxes(s.InitialMailboxes, s.DefaultMailboxes)
	for _, name := range slices.Sorted(maps.Keys(s.Transports)) {
		c.transport(c.static("Transports").in(name), s.Transports[name])
	}
	c.static("Screening").screening(s.Screening)
	c.static("QuotaMessageSize").notNegative(s.QuotaMessageSize)
}

func (c *checker) level(path, level string) {
	if !slices.Contains(strings.Fields(LogLevels), level) {
		c.bad(StaticName, path, "unknown level %q, need one of: %s", level, LogLevels)
	}
}

func (c *checker) authorities(s scope, ca *CA) {
	if ca == nil {
		return
	}
	if len(ca.CertFiles) == 0 && !ca.AdditionalToSystem {
		s.bad("nobody would be trusted, need CertFiles or AdditionalToSystem")
	}
	for i, name := range ca.CertFiles {
		s := s.in("CertFiles").item(i)
		if c.files == nil {
			continue
		}
		text, err := fs.ReadFile(c.files, name)
		if !s.is(err) {
			continue
		}
		if block, _ := pem.Decode(text); block == nil || block.Type != "CERTIFICATE" {
			s.bad("no certificate in %s", name)
		}
	}
}

func (c *checker) acme(s scope, a ACME) {
	if u := s.in("DirectoryURL").url(a.DirectoryURL); u != nil && u.Scheme != "https" {
		s.in("DirectoryURL").bad("need https")
	}
	s.in("RenewBefore").period(a.RenewBefore)
	if local, domain, ok := strings.Cut(a.ContactEmail, "@"); !ok || local == "" || domain == "" {
		s.in("ContactEmail").bad("%q is not an address", a.ContactEmail)
	}
	s.in("Port").port(a.Port, 0)
	if a.IssuerDomainName != "" {
		s.in("IssuerDomainName").domain(a.IssuerDomainName)
	}
	eab := a.ExternalAccountBinding
	if eab == nil {
		return
	}
	s = s.in("ExternalAccountBinding")
	s.in("KeyID").notEmpty(eab.KeyID)
	s.in("KeyFile").notEmpty(eab.KeyFile)
	if c.files == nil || eab.KeyFile == "" {
		return
	}
	text, err := fs.ReadFile(c.files, eab.KeyFile)
	if s.in("KeyFile").is(err) {
		key, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(key) == 0 {
			s.in("KeyFile").bad("%s is not in base64 for URLs", eab.KeyFile)
		}
	}
}

func (c *checker) initialMailboxes(m InitialMailboxes, deprecated []string) {
	seen := map[string]bool{}
	check := func(path, name string) {
		top, _, _ := strings.Cut(name, "/")
		if err := checkMailbox(name); err != nil {
			c.bad(StaticName, path, "%w", err)
		} else if isInbox(top) {
			c.bad(StaticName, path, "Inbox is always made, and mailboxes below it are not made here")
		} else if seen[name] {
			c.bad(StaticName, path, "mailbox %q is named twice", name)
		}
		seen[name] = true
	}
	for _, u := range m.uses() {
		check("InitialMailboxes.SpecialUse."+strings.TrimSuffix(u.Use, "s"), u.Name)
	}
	for i, name := range m.Regular {
		check(fmt.Sprintf("InitialMailboxes.Regular[%d]", i), name)
	}
	if len(deprecated) > 0 && len(seen) > 0 {
		c.static("DefaultMailboxes").bad("cannot be set together with InitialMailboxes")
	}
	for i, name := range deprecated {
		check(fmt.Sprintf("DefaultMailboxes[%d]", i), name)
	}
}

func (c *checker) transport(s scope, t Transport) {
	var kinds []string
	kind := func(name string, set bool) {
		if set {
			kinds = append(kinds, name)
		}
	}
	kind("Submissions", t.Submissions != nil)
	kind("Submission", t.Submission != nil)
	kind("SMTP", t.SMTP != nil)
	kind("Socks", t.Socks != nil)
	kind("Direct", t.Direct != nil)
	kind("Fail", t.Fail != nil)
	if len(kinds) > 1 {
		s.bad("only one kind can be set, there are: %s", strings.Join(kinds, ", "))
	}
	for _, name := range kinds {
		s := s.in(name)
		switch name {
		case "Submissions":
			if t.Submissions.NoSTARTTLS || t.Submissions.STARTTLSInsecureSkipVerify {
				s.bad("NoSTARTTLS and STARTTLSInsecureSkipVerify cannot be set, it is always over TLS")
			}
			s.smtpTransport(t.Submissions)
		case "Submission":
			s.smtpTransport(t.Submission)
		case "SMTP":
			s.smtpTransport(t.SMTP)
		case "Socks":
			s.socks(t.Socks)
		case "Direct":
			if t.Direct.DisableIPv4 && t.Direct.DisableIPv6 {
				s.bad("DisableIPv4 and DisableIPv6 cannot both be set")
			}
		case "Fail":
			if code := t.Fail.SMTPCode; code != 0 && (code < 400 || code > 599) {
				s.in("SMTPCode").bad("need 400 to 599")
			}
			s.in("SMTPMessage").text(t.Fail.SMTPMessage)
		}
	}
}

// transportMechanisms are those that can be named, best first.
var transportMechanisms = []string{sasl.SCRAM256Plus, sasl.SCRAM256, sasl.SCRAM1Plus, sasl.SCRAM1, sasl.CRAMMD5, sasl.Plain}

func (s scope) smtpTransport(t *TransportSMTP) {
	if _, err := netip.ParseAddr(t.Host); err != nil {
		s.in("Host").domain(t.Host)
	}
	s.in("Port").port(t.Port, 0)
	if t.NoSTARTTLS && t.STARTTLSInsecureSkipVerify {
		s.bad("NoSTARTTLS and STARTTLSInsecureSkipVerify cannot both be set")
	}
	if t.Auth != nil {
		s.in("Auth.Username").notEmpty(t.Auth.Username)
		s.in("Auth.Password").notEmpty(t.Auth.Password)
		s.in("Auth.Mechanisms").oneOf(t.Auth.Mechanisms, transportMechanisms)
	}
}

func (s scope) socks(t *TransportSocks) {
	i := max(0, strings.LastIndexByte(t.Address, ':'))
	host, port := strings.Trim(t.Address[:i], "[]"), strings.TrimPrefix(t.Address[i:], ":")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		s.in("Address").bad("%q is not a host with a port", t.Address)
	}
	if len(t.RemoteIPs) == 0 {
		s.in("RemoteIPs").bad("need at least one address")
	}
	s.in("RemoteIPs").ips(t.RemoteIPs)
	s.in("RemoteHostname").domain(t.RemoteHostname)
}

// ips returns the addresses of a list, those that are.
func (s scope) ips(list []string) (ips []netip.Addr) {
	for i, text := range list {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			s.item(i).bad("%q is not an IP address", text)
			continue
		}
		ips = append(ips, ip.Unmap())
	}
	return ips
}

// transportName checks a reference to a transport.
func (s scope) transportName(name string) {
	if _, ok := s.c.config.Static.Transports[name]; !ok && !s.c.without[StaticName] {
		s.bad("no transport %q in %s", name, StaticName)
	}
}

// listener tells whether one of the listeners has what is asked for. If mox.conf
// could not be read, one has.
func (s scope) listener(has func(Listener) bool) bool {
	return s.c.without[StaticName] || slices.ContainsFunc(slices.Collect(maps.Values(s.c.config.Static.Listeners)), has)
}
