package config

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
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
	c.transports()
	c.static("Screening").screening(s.Screening)
	c.static("QuotaMessageSize").notNegative(s.QuotaMessageSize)
	c.static("QuotaMessageCount").notNegative(s.QuotaMessageCount)
}

func (c *checker) level(path, level string) {
	if !slices.Contains(strings.Fields(LogLevels), level) {
		c.bad(StaticName, path, "unknown level %q, need one of: %s", level, LogLevels)
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
