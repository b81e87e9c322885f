package admin

import (
	"context"
	"errors"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/smtp"
)

// AddressRequest names an address; "@domain" is a catchall.
type AddressRequest struct {
	Address string `json:"address"`
}

// AddressAddRequest is for AddressAdd.
type AddressAddRequest struct {
	Address string `json:"address"` // "@domain" for a catchall.
	Account string `json:"account"`
}

// AddressChanged is an address that was added or removed.
type AddressChanged struct {
	Address string   `json:"address"` // As it is, or was, in the configuration.
	Account string   `json:"account"`
	Aliases []string `json:"aliases,omitempty"` // That a removed address was a member of.

	// FromIDLogins are spellings of a removed address that gave senders of their own.
	FromIDLogins []string `json:"fromIdLogins,omitempty"`
}

// AddressAdd gives an account another address.
func (a *Admin) AddressAdd(ctx context.Context, req AddressAddRequest) (AddressChanged, error) {
	address, err := parseAddress(req.Address)
	if err != nil {
		return AddressChanged{}, err
	}
	err = a.update(ctx, func(e *edit) error {
		if _, err := e.account(req.Account); err != nil {
			return err
		}
		return e.addAddress(req.Account, address)
	})
	if err != nil {
		return AddressChanged{}, err
	}
	a.log.InfoContext(ctx, "address added", "address", formatAddress(address), "account", req.Account)
	return AddressChanged{Address: formatAddress(address), Account: req.Account}, nil
}

// addAddress adds an address to an account, which exists.
func (e *edit) addAddress(account string, address smtp.Address) error {
	if _, err := e.domain(address.Domain); err != nil {
		return err
	}
	if owner, key, err := e.owner(address); err == nil {
		return userError("%s is an address of account %q already, written as %s", formatAddress(address), owner, key)
	}
	changed := e.Accounts[account]
	if changed.Destinations == nil {
		changed.Destinations = map[string]config.Destination{}
	}
	changed.Destinations[formatAddress(address)] = config.Destination{}
	e.Accounts[account] = changed
	return nil
}

// AddressRemove takes an address from its account, and from aliases. An address
// that is still needed stays: as the last of an alias, for logins with a TLS public
// key, or for a message in the queue.
func (a *Admin) AddressRemove(ctx context.Context, req AddressRequest) (AddressChanged, error) {
	address, err := parseAddress(req.Address)
	if err != nil {
		return AddressChanged{}, err
	}
	var res AddressChanged
	err = a.update(ctx, func(e *edit) (err error) {
		res = AddressChanged{}
		if res.Account, res.Address, err = e.owner(address); err != nil {
			return err
		}
		canonical := e.before.Canonical(address)
		if err := a.checkQueued(ctx, res.Account, canonical); err != nil {
			return err
		}
		if res.Aliases, err = e.dropMembers(map[smtp.Address]bool{canonical: true}); err != nil {
			return err
		}
		delete(e.Accounts[res.Account].Destinations, res.Address)
		res.FromIDLogins = e.dropFromIDLogins(res.Account, canonical)
		return a.checkKeys(ctx, e)
	})
	if err != nil {
		return AddressChanged{}, err
	}
	a.log.InfoContext(ctx, "address removed", "address", res.Address, "account", res.Account, "aliases", res.Aliases)
	return res, nil
}

// dropFromIDLogins takes an address out of the FromIDLoginAddresses of its account, in
// all spellings, and returns them. With a catchall go those that only it has.
func (e *edit) dropFromIDLogins(name string, canonical smtp.Address) (dropped []string) {
	account := e.Accounts[name]
	var left []string
	for _, login := range account.FromIDLoginAddresses {
		a, ok := e.canonical(login)
		gone := ok && a == canonical
		if ok && canonical.Localpart == "" && a.Domain == canonical.Domain {
			_, _, err := e.owner(a)
			gone = err != nil
		}
		if gone {
			dropped = append(dropped, login)
		} else {
			left = append(left, login)
		}
	}
	account.FromIDLoginAddresses = left
	e.Accounts[name] = account
	return dropped
}

// AddressOwner says where mail for an address goes.
type AddressOwner struct {
	Address    string   `json:"address"`              // In canonical form.
	Account    string   `json:"account,omitempty"`    // Empty for an alias.
	Mailbox    string   `json:"mailbox,omitempty"`    // Of the account.
	CatchAll   bool     `json:"catchAll,omitempty"`   // The account has the domain's catchall.
	Postmaster bool     `json:"postmaster,omitempty"` // As every domain has one.
	Members    []string `json:"members,omitempty"`    // Of an alias.
}

// AddressAccount looks up where mail for an address goes, in any spelling and with
// a separator. Whether its domain is disabled doesn't matter.
func (a *Admin) AddressAccount(_ context.Context, req AddressRequest) (AddressOwner, error) {
	address, err := parseAddress(req.Address)
	if err != nil {
		return AddressOwner{}, err
	}
	t, err := a.opts.Config().Lookup(address)
	switch {
	case errors.Is(err, config.ErrNoDomain):
		return AddressOwner{}, noDomain(address.Domain)
	case err != nil:
		return AddressOwner{}, &Error{Code: NotFound, Message: formatAddress(address) + " is not an address here"}
	}
	owner := AddressOwner{
		Address: formatAddress(t.Canonical), Account: t.Account, Mailbox: t.Mailbox, CatchAll: t.CatchAll, Postmaster: t.Postmaster,
	}
	for _, m := range t.Members {
		owner.Members = append(owner.Members, m.Canonical.String())
	}
	return owner, nil
}
