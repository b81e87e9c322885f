package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/smtp"
)

// AccountRequest names an account.
type AccountRequest struct {
	Account string `json:"account"`
}

// Account is an account in a list.
type Account struct {
	Name          string `json:"name"`
	Domain        string `json:"domain"`
	LoginDisabled string `json:"loginDisabled,omitempty"` // Why nobody can log in, if so.
}

// AccountList is all accounts that are configured, by name.
type AccountList struct {
	Accounts []Account `json:"accounts"`
}

// AccountList returns all accounts.
func (a *Admin) AccountList(context.Context, Nothing) (AccountList, error) {
	c := a.opts.Config()
	list := AccountList{Accounts: []Account{}}
	for _, name := range c.Accounts() {
		list.Accounts = append(list.Accounts, Account{name, c.Dynamic.Accounts[name].Domain, c.LoginDisabled(name)})
	}
	return list, nil
}

// Addresses are addresses as they are configured; "@domain" is a catchall.
type Addresses struct {
	Addresses []string `json:"addresses"`
}

// AccountAddresses returns the addresses of an account, sorted. Aliases are not
// among them.
func (a *Admin) AccountAddresses(_ context.Context, req AccountRequest) (Addresses, error) {
	account, ok := a.opts.Config().Dynamic.Accounts[req.Account]
	if !ok {
		return Addresses{}, noAccount(req.Account)
	}
	return Addresses{append([]string{}, slices.Sorted(maps.Keys(account.Destinations))...)}, nil
}

// AccountAddRequest is for AccountAdd.
type AccountAddRequest struct {
	Account string `json:"account"` // Of a-z and 0-9, and inside of dashes, dots and underscores; at most 64.
	Address string `json:"address"` // Its first, at a domain that is configured.
}

// AccountAdded is an account that was made.
type AccountAdded struct {
	Account string `json:"account"`
	Address string `json:"address"` // As it is in the configuration.
}

// AccountAdd makes an account. When it returns, the account takes mail; nobody can
// log in before it has a password, or a TLS public key. Of an account of that name
// there must be nothing, also no data that was left when somebody removed it from
// the configuration.
func (a *Admin) AccountAdd(ctx context.Context, req AccountAddRequest) (AccountAdded, error) {
	address, err := parseFullAddress(req.Address)
	if err != nil {
		return AccountAdded{}, err
	}
	err = a.addAccount(ctx, req.Account, func(e *edit) error {
		return e.addAccount(req.Account, address)
	})
	if err != nil {
		return AccountAdded{}, err
	}
	a.log.InfoContext(ctx, "account added", "account", req.Account, "address", address.String())
	return AccountAdded{req.Account, formatAddress(address)}, nil
}

// addAccount adds a new account to the configuration.
func (e *edit) addAccount(name string, address smtp.Address) error {
	if _, ok := e.Accounts[name]; ok {
		return userError("account %q exists", name)
	}
	domain, err := e.domain(address.Domain)
	if err != nil {
		return err
	}
	if e.Accounts == nil {
		e.Accounts = map[string]config.Account{}
	}
	e.Accounts[name] = config.Account{
		Domain: domain, Destinations: map[string]config.Destination{formatAddress(address): {}},
		JunkFilter: config.DefaultJunkFilter(),
	}
	return nil
}

// addAccount makes a change that adds an account, and makes its data. If that
// fails, the account goes from the configuration again.
func (a *Admin) addAccount(ctx context.Context, name string, change func(e *edit) error) error {
	if err := config.CheckAccountName(name); err != nil {
		return userError("%v", err)
	}
	k := a.opts.Keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := a.opts.Config().Dynamic.Accounts[name]; ok {
		return userError("account %q exists", name)
	}
	if has, err := a.opts.Accounts.HasData(name); err != nil {
		return err
	} else if has {
		return userError("the data of an account %q is still there: remove it with that account, or choose another name", name)
	}
	if err := a.update(ctx, change); err != nil {
		return err
	}
	err := k.make(ctx, name)
	if err == nil {
		return nil
	}
	undo := a.update(context.WithoutCancel(ctx), func(e *edit) error {
		delete(e.Accounts, name)
		return nil
	})
	if undo != nil {
		undo = fmt.Errorf("account %q stays in the configuration, without data: %w", name, undo)
	}
	return errors.Join(err, undo)
}

// AccountRemoved is what was removed with an account.
type AccountRemoved struct {
	Account       string   `json:"account"`
	Configured    bool     `json:"configured"`    // False: only its data was left.
	Data          bool     `json:"data"`          // It had data, which is being erased.
	Aliases       []string `json:"aliases"`       // That it was a member of.
	Queued        int      `json:"queued"`        // Messages in the queue that were dropped.
	Suppressions  int      `json:"suppressions"`  // Addresses on its list of those it sent no mail to.
	TLSPublicKeys int      `json:"tlsPublicKeys"` // That could log in.
}

// AccountRemove removes an account with its mail and all that belongs to it: it
// takes no more mail, its sessions are ended, its messages in the queue are dropped,
// and its data is gone when it returns. Files are erased afterwards. An account of
// the same name may be made then, and is another one.
//
// It also removes the data of an account that is not configured any more.
func (a *Admin) AccountRemove(ctx context.Context, req AccountRequest) (AccountRemoved, error) {
	res := AccountRemoved{Account: req.Account, Aliases: []string{}}
	k := a.opts.Keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := config.CheckAccountName(req.Account); err != nil {
		return res, noAccount(req.Account)
	}
	// Its id is needed, or mail on its way to it could not be told from that of a
	// later account. Without it nothing is changed.
	id, err := k.idOf(ctx, req.Account)
	if err != nil {
		return res, fmt.Errorf("the data can't be removed as it is, and nothing was changed: %w", err)
	}
	_, res.Configured = a.opts.Config().Dynamic.Accounts[req.Account]
	res.Data = id != ""
	if !res.Configured && !res.Data {
		return res, noAccount(req.Account)
	}
	ctx = context.WithoutCancel(ctx) // What was begun ends.
	if res.Configured {
		aliases, err := a.removeFromConfig(ctx, req.Account)
		if err != nil {
			return res, err
		}
		res.Aliases = append(res.Aliases, aliases...)
		a.log.InfoContext(ctx, "account removed from the configuration", "account", req.Account)
	}
	removed, err := k.remove(ctx, req.Account, id)
	res.Queued, res.Suppressions, res.TLSPublicKeys = removed.queued, removed.listed, removed.keys
	if err != nil {
		return res, fmt.Errorf("account %q is removed from the configuration, and the rest goes on: %w", req.Account, err)
	}
	return res, nil
}

// removeFromConfig removes an account, also from aliases, which it returns.
func (a *Admin) removeFromConfig(ctx context.Context, name string) (aliases []string, err error) {
	err = a.update(ctx, func(e *edit) error {
		account, err := e.account(name)
		if err != nil {
			return err
		}
		if e.static.Postmaster.Account == name {
			return userError("account %q is that of the postmaster, see %s: name another there first", name, config.StaticName)
		}
		gone := map[smtp.Address]bool{}
		for key := range account.Destinations {
			if canonical, ok := e.canonical(key); ok {
				gone[canonical] = true
			}
		}
		aliases, err = e.dropMembers(gone)
		delete(e.Accounts, name)
		return err
	})
	return aliases, err
}

// AccountDisableRequest is for AccountDisable.
type AccountDisableRequest struct {
	Account string `json:"account"`
	Message string `json:"message"` // For users who log in: 1 to 256 printable ASCII characters.
}

// AccountDisable keeps all users of an account from logging in, and ends the
// sessions there are. Mail is still taken.
func (a *Admin) AccountDisable(ctx context.Context, req AccountDisableRequest) (Account, error) {
	if req.Message == "" {
		return Account{}, userError("a message is needed that tells users why they can't log in")
	}
	return a.setDisabled(ctx, req.Account, req.Message)
}

// AccountEnable lets users of an account log in again.
func (a *Admin) AccountEnable(ctx context.Context, req AccountRequest) (Account, error) {
	return a.setDisabled(ctx, req.Account, "")
}

func (a *Admin) setDisabled(ctx context.Context, name, message string) (Account, error) {
	var account config.Account
	err := a.update(ctx, func(e *edit) (err error) {
		if account, err = e.account(name); err != nil {
			return err
		}
		account.LoginDisabled = message
		e.Accounts[name] = account
		return nil
	})
	if err != nil {
		return Account{}, err
	}
	a.log.InfoContext(ctx, "logins changed", "account", name, "disabled", message)
	if message != "" {
		a.opts.EndSessions(name)
	}
	return Account{name, account.Domain, account.LoginDisabled}, nil
}
