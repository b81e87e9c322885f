package config

import (
	"bytes"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// Signing returns the selectors that mail from a domain is signed with, nil if it is
// not signed. It is not to be changed.
func (c *Config) Signing(d dns.Domain) []dkim.Selector { return c.signing[d] }

// SignNotice returns what is put in front of a message of our own to sign it, whose
// From is that path: nothing if the domain doesn't sign.
func (c *Config) SignNotice(from smtp.Path, content []byte, utf8 bool, now time.Time) ([]byte, error) {
	author, ok := from.Address()
	selectors := c.Signing(author.Domain)
	if !ok || len(selectors) == 0 {
		return nil, nil
	}
	opts := dkim.SignOptions{Author: author, Selectors: selectors, Now: now, SMTPUTF8: utf8}
	return dkim.Sign(bytes.NewReader(content), int64(len(content)), opts)
}

// DKIMKeyFiles returns the names of the files with keys of all selectors, each once,
// sorted.
func (d *Dynamic) DKIMKeyFiles() []string {
	names := map[string]bool{}
	for _, domain := range d.Domains {
		for _, sel := range domain.DKIM.Selectors {
			names[sel.PrivateKeyFile] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// SigningWith is Signing for a configuration that was checked without its files. The
// error, if any, is Problems.
func (c *Config) SigningWith(d dns.Domain, files fs.FS) ([]dkim.Selector, error) {
	check := &checker{config: &Config{signing: map[dns.Domain][]dkim.Selector{}}, files: files}
	for name, domain := range c.Dynamic.Domains {
		if own, err := dns.ParseConfigDomain(name); err == nil && own == d {
			check.dkim(check.dynamic("Domains").in(name).in("DKIM"), domain.DKIM, own)
		}
	}
	return check.config.signing[d], check.problems.err()
}
