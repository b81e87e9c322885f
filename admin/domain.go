package admin

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// separatorDefault is the catchall separator of new domains: what most programs
// and people take for one.
const separatorDefault = "+"

// DomainRequest names a domain.
type DomainRequest struct {
	Domain string `json:"domain"`
}

// DomainAddRequest is for DomainAdd.
type DomainAddRequest struct {
	Domain    string `json:"domain"`
	Account   string `json:"account"`             // Of the one that is responsible for it.
	Localpart string `json:"localpart,omitempty"` // Exactly if the account is new: of its address.
	Disabled  bool   `json:"disabled,omitempty"`  // It takes no mail yet.
}

// Domain is a domain that was changed.
type Domain struct {
	Domain   string `json:"domain"` // As it is in the configuration.
	Disabled bool   `json:"disabled"`

	// OldDKIMKeys are files of keys that were moved since nothing needs them any more,
	// relative to the directory of the configuration.
	OldDKIMKeys []string `json:"oldDKIMKeys,omitempty"`
}

// DomainAdded is a domain that was added.
type DomainAdded struct {
	Domain   string `json:"domain"` // As it is in the configuration.
	Disabled bool   `json:"disabled"`
	Account  string `json:"account"`
	Address  string `json:"address,omitempty"` // That the account got, if any.
	Created  bool   `json:"created"`           // The account is new.

	// DNSRecords are to be published: the keys of DKIM. Mail is signed with the first
	// from now on.
	DNSRecords []DNSRecord `json:"dnsRecords,omitempty"`
}

// DomainAdd adds a domain. An account that exists gets the address postmaster at
// the domain, unless it gets that mail as the postmaster of the server. Keys of DKIM
// are made before, and are gone if the domain can't be added.
func (a *Admin) DomainAdd(ctx context.Context, req DomainAddRequest) (DomainAdded, error) {
	d, err := parseDomain(req.Domain)
	if err != nil {
		return DomainAdded{}, err
	}
	c := a.opts.Config()
	_, exists := c.Dynamic.Accounts[req.Account]
	switch {
	case exists && req.Localpart != "":
		return DomainAdded{}, userError("account %q exists: the localpart is for new accounts", req.Account)
	case !exists && req.Localpart == "":
		return DomainAdded{}, userError("no account %q: for a new account a localpart is needed", req.Account)
	}
	if key, err := (&edit{Dynamic: &c.Dynamic}).domain(d); err == nil {
		return DomainAdded{}, userError("domain %q exists", key)
	}
	keys, err := a.makeDKIMKeys(d, time.Now())
	if err != nil {
		return DomainAdded{}, err
	}
	res := DomainAdded{Domain: d.Name(), Disabled: req.Disabled, Account: req.Account, Created: !exists, DNSRecords: keys.records}
	domain := config.Domain{Disabled: req.Disabled, LocalpartCatchallSeparator: separatorDefault, DKIM: keys.settings}
	if exists {
		res.Address, err = a.addDomainTo(ctx, req.Account, d, domain)
	} else {
		res.Address, err = a.addDomainWith(ctx, req, d, domain)
	}
	if err != nil {
		a.dropDKIMKeys(ctx, keys, err)
		return DomainAdded{}, err
	}
	a.log.InfoContext(ctx, "domain added", "domain", res.Domain, "account", req.Account, "disabled", req.Disabled)
	return res, nil
}

// addDomainTo adds a domain for an account that exists, and returns the address it
// got there, if any.
func (a *Admin) addDomainTo(ctx context.Context, account string, d dns.Domain, domain config.Domain) (address string, err error) {
	err = a.update(ctx, func(e *edit) error {
		address = ""
		if _, err := e.account(account); err != nil {
			return err
		}
		if err := e.addDomain(d, domain); err != nil || e.static.Postmaster.Account == account {
			return err
		}
		address = "postmaster@" + d.Name()
		return e.addAddress(account, smtp.Address{Localpart: "postmaster", Domain: d})
	})
	return address, err
}

// addDomainWith adds a domain with a new account, and returns its address.
func (a *Admin) addDomainWith(ctx context.Context, req DomainAddRequest, d dns.Domain, domain config.Domain) (string, error) {
	localpart, err := smtp.ParseLocalpart(req.Localpart)
	if err != nil {
		return "", userError("%q is not a localpart: %v", req.Localpart, err)
	}
	address := smtp.Address{Localpart: localpart, Domain: d}
	return address.String(), a.addAccount(ctx, req.Account, func(e *edit) error {
		if err := e.addDomain(d, domain); err != nil {
			return err
		}
		return e.addAccount(req.Account, address)
	})
}

// addDomain adds a new domain to the configuration.
func (e *edit) addDomain(d dns.Domain, domain config.Domain) error {
	if key, err := e.domain(d); err == nil {
		return userError("domain %q exists", key)
	}
	if e.Domains == nil {
		e.Domains = map[string]config.Domain{}
	}
	e.Domains[d.Name()] = domain
	return nil
}

// DomainRemove removes a domain that no account needs any more, with its aliases.
// Files of its keys of DKIM are moved, not removed: messages that are signed with
// them may still be on their way.
func (a *Admin) DomainRemove(ctx context.Context, req DomainRequest) (Domain, error) {
	var removed config.Domain
	res, err := a.changeDomain(ctx, "removed", req.Domain, func(e *edit, key string, d dns.Domain) error {
		if err := e.checkUnused(d); err != nil {
			return err
		}
		removed = e.Domains[key]
		delete(e.Domains, key)
		return a.checkKeys(ctx, e)
	})
	if err == nil {
		res.OldDKIMKeys = a.retireDKIMKeys(ctx, removed)
	}
	return res, err
}

// checkUnused returns an error if an account has a domain, or addresses there.
func (e *edit) checkUnused(d dns.Domain) error {
	for _, name := range slices.Sorted(maps.Keys(e.Accounts)) {
		account := e.Accounts[name]
		for _, key := range slices.Sorted(maps.Keys(account.Destinations)) {
			if address, err := parseAddress(key); err == nil && address.Domain == d {
				return userError("%s is an address of account %q: remove that first", key, name)
			}
		}
		if own, err := dns.ParseDomain(account.Domain); err == nil && own == d {
			return userError("%s is the domain of account %q: remove that first, or change its domain", d.Name(), name)
		}
	}
	return nil
}

// DomainDisable makes a domain take no mail for now: senders try again later.
func (a *Admin) DomainDisable(ctx context.Context, req DomainRequest) (Domain, error) {
	return a.setDomainDisabled(ctx, req.Domain, true)
}

// DomainEnable makes a domain take mail again.
func (a *Admin) DomainEnable(ctx context.Context, req DomainRequest) (Domain, error) {
	return a.setDomainDisabled(ctx, req.Domain, false)
}

func (a *Admin) setDomainDisabled(ctx context.Context, name string, disabled bool) (Domain, error) {
	change := "enabled"
	if disabled {
		change = "disabled"
	}
	return a.changeDomain(ctx, change, name, func(e *edit, key string, _ dns.Domain) error {
		domain := e.Domains[key]
		domain.Disabled = disabled
		e.Domains[key] = domain
		return nil
	})
}

// changeDomain changes a domain, and logs that as a change.
func (a *Admin) changeDomain(ctx context.Context, change, name string, fn func(e *edit, key string, d dns.Domain) error) (Domain, error) {
	d, err := parseDomain(name)
	if err != nil {
		return Domain{}, err
	}
	var res Domain
	err = a.update(ctx, func(e *edit) error {
		key, err := e.domain(d)
		if err != nil {
			return err
		}
		err = fn(e, key, d)
		res = Domain{Domain: key, Disabled: e.Domains[key].Disabled}
		return err
	})
	if err != nil {
		return Domain{}, err
	}
	a.log.InfoContext(ctx, "domain changed", "change", change, "domain", res.Domain)
	return res, nil
}
