package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

// edit is a change of domains.conf on its way: what is to become of it, and what
// addresses meant before.
type edit struct {
	*config.Dynamic
	static config.Static
	before *config.Config // Only for what it looks up: its maps are those that change.
}

// update changes domains.conf, or nothing. An error of fn, and what would make the
// configuration invalid, is for the user.
func (a *Admin) update(ctx context.Context, fn func(e *edit) error) error {
	err := a.opts.Update(ctx, func(d *config.Dynamic) error {
		static := a.opts.Config().Static
		before, err := config.Check(static, *d, nil)
		if err != nil {
			return err
		}
		return fn(&edit{d, static, before})
	})
	if errors.Is(err, live.ErrEdited) {
		return &Error{User, err.Error(), err} // It says what is wrong with the file.
	}
	if problems, ok := errors.AsType[config.Problems](err); ok {
		return &Error{User, problems.Error(), err}
	}
	return err
}

// after returns what the configuration would be, nil if it would not be valid.
func (e *edit) after() *config.Config {
	c, err := config.Check(e.static, *e.Dynamic, nil)
	if err != nil {
		return nil
	}
	return c
}

// parseAddress parses an address, or a catchall as "@domain", which has no
// localpart.
func parseAddress(s string) (a smtp.Address, err error) {
	if name, ok := strings.CutPrefix(s, "@"); ok {
		a.Domain, err = dns.ParseDomain(name)
	} else {
		a, err = smtp.ParseAddress(s)
	}
	if err != nil {
		return a, userError("%q is not an address: %v", s, err)
	}
	return a, nil
}

// parseFullAddress is parseAddress without catchalls.
func parseFullAddress(s string) (smtp.Address, error) {
	a, err := parseAddress(s)
	if err == nil && a.Localpart == "" {
		err = userError("%q is a catchall address, where one of a user is needed", s)
	}
	return a, err
}

// formatAddress returns an address as the configuration has it.
func formatAddress(a smtp.Address) string {
	if a.Localpart == "" {
		return "@" + a.Domain.Name()
	}
	return a.String()
}

// account returns an account of the configuration.
func (e *edit) account(name string) (config.Account, error) {
	account, ok := e.Accounts[name]
	if !ok {
		return account, noAccount(name)
	}
	return account, nil
}

func noAccount(name string) error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("no account %q", name)}
}

// domain returns the key of a domain in the configuration.
func (e *edit) domain(d dns.Domain) (key string, err error) {
	for key := range e.Domains {
		if parsed, err := dns.ParseConfigDomain(key); err == nil && parsed == d {
			return key, nil
		}
	}
	return "", noDomain(d)
}

func noDomain(d dns.Domain) error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("no domain %q", d.Name())}
}

// parseDomain parses the name of a domain.
func parseDomain(name string) (dns.Domain, error) {
	d, err := dns.ParseDomain(name)
	if err != nil {
		return d, userError("%q is not a domain: %v", name, err)
	}
	return d, nil
}

// canonical returns the canonical form of an address as the configuration has it.
func (e *edit) canonical(key string) (smtp.Address, bool) {
	a, err := parseAddress(key)
	return e.before.Canonical(a), err == nil
}

// owner returns the account with an address, and how it is written there.
func (e *edit) owner(address smtp.Address) (account, key string, err error) {
	want := e.before.Canonical(address)
	for name, account := range e.Accounts {
		for key := range account.Destinations {
			if canonical, ok := e.canonical(key); ok && canonical == want {
				return name, key, nil
			}
		}
	}
	return "", "", &Error{Code: NotFound, Message: fmt.Sprintf("%s is not an address of an account", formatAddress(address))}
}

// dropMembers takes addresses out of all aliases, and returns the aliases that
// change. One that would have no member left is an error.
func (e *edit) dropMembers(gone map[smtp.Address]bool) (changed []string, err error) {
	for _, domain := range slices.Sorted(maps.Keys(e.Domains)) {
		aliases := e.Domains[domain].Aliases
		for _, localpart := range slices.Sorted(maps.Keys(aliases)) {
			alias, name := aliases[localpart], localpart+"@"+domain
			left := slices.DeleteFunc(slices.Clone(alias.Addresses), func(member string) bool {
				canonical, ok := e.canonical(member)
				return ok && gone[canonical]
			})
			switch {
			case len(left) == len(alias.Addresses):
				continue
			case len(left) == 0:
				return nil, userError("alias %s would have no members: remove it first, or add others", name)
			}
			alias.Addresses = left
			aliases[localpart] = alias
			changed = append(changed, name)
		}
	}
	return changed, nil
}

// checkKeys returns an error if a TLS public key would log in with an address that
// is not its account's any more.
func (a *Admin) checkKeys(ctx context.Context, e *edit) error {
	after := e.after()
	if after == nil {
		return nil // Which is an error of its own.
	}
	keys, err := a.opts.Logins.TLSPublicKeys(ctx, "")
	if err != nil {
		return err
	}
	for _, key := range keys {
		address, err := smtp.ParseAddress(key.LoginAddress)
		if err != nil {
			continue
		}
		owner, _, err := e.before.Login(address)
		next, _, nextErr := after.Login(address)
		if err == nil && owner == key.Account && (nextErr != nil || next != owner) {
			return userError("TLS public key %s (%q) of account %q logs in with %s: remove the key first", key.Fingerprint, key.Name, key.Account, key.LoginAddress)
		}
	}
	return nil
}

// checkQueued returns an error if a message of an account from an address is in the
// queue. Whoever answers it, or gets what can't be delivered, needs that.
func (a *Admin) checkQueued(ctx context.Context, account string, address smtp.Address) error {
	if a.opts.Queue == nil || address.Localpart == "" {
		return nil
	}
	list, err := a.opts.Queue.List(ctx, queue.Filter{Account: account, From: address.String(), Max: 1}, queue.Sort{})
	if err != nil {
		return fmt.Errorf("looking for messages from %s: %w", address, err)
	}
	if len(list) > 0 {
		return userError("message %d from %s is in the queue: wait until it is delivered, or remove it first", list[0].ID, address)
	}
	return nil
}
