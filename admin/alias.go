package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// Alias is an address that stands for several others.
type Alias struct {
	Alias        string   `json:"alias"` // As localpart@domain.
	Addresses    []string `json:"addresses"`
	PostPublic   bool     `json:"postPublic"`   // Anyone may send to it, otherwise only its members.
	AllowMsgFrom bool     `json:"allowMsgFrom"` // Its members may send from it.
}

// AliasList is all aliases of a domain, by name.
type AliasList struct {
	Aliases []Alias `json:"aliases"`
}

// AliasRequest names an alias, as localpart@domain.
type AliasRequest struct {
	Alias string `json:"alias"`
}

// AliasAddressesRequest names an alias and addresses of accounts.
type AliasAddressesRequest struct {
	Alias     string   `json:"alias"`
	Addresses []string `json:"addresses"`
}

// AliasUpdateRequest is for AliasUpdate. What is absent stays as it is.
type AliasUpdateRequest struct {
	Alias        string `json:"alias"`
	PostPublic   *bool  `json:"postPublic,omitempty"`
	AllowMsgFrom *bool  `json:"allowMsgFrom,omitempty"`
}

// aliasPlace is where an alias is in the configuration.
type aliasPlace struct{ domain, localpart string }

func (p aliasPlace) String() string { return p.localpart + "@" + p.domain }

// alias returns an alias as others see it.
func (p aliasPlace) alias(a config.Alias) Alias {
	return Alias{p.String(), append([]string{}, a.Addresses...), a.PostPublic, a.AllowMsgFrom}
}

// findAlias looks up an alias, in any spelling.
func findAlias(c *config.Config, d config.Dynamic, address smtp.Address) (p aliasPlace, err error) {
	want := c.Canonical(address)
	for name, domain := range d.Domains {
		if parsed, err := dns.ParseConfigDomain(name); err != nil || parsed != address.Domain {
			continue
		}
		for localpart := range domain.Aliases {
			own, err := smtp.ParseAddress(localpart + "@" + name)
			if err == nil && c.Canonical(own) == want {
				return aliasPlace{name, localpart}, nil
			}
		}
		return p, &Error{Code: NotFound, Message: fmt.Sprintf("no alias %s", address)}
	}
	return p, noDomain(address.Domain)
}

// AliasList returns the aliases of a domain.
func (a *Admin) AliasList(_ context.Context, req DomainRequest) (AliasList, error) {
	d, err := parseDomain(req.Domain)
	if err != nil {
		return AliasList{}, err
	}
	for name, domain := range a.opts.Config().Dynamic.Domains {
		if parsed, err := dns.ParseConfigDomain(name); err != nil || parsed != d {
			continue
		}
		list := AliasList{Aliases: []Alias{}}
		for _, localpart := range slices.Sorted(maps.Keys(domain.Aliases)) {
			list.Aliases = append(list.Aliases, aliasPlace{name, localpart}.alias(domain.Aliases[localpart]))
		}
		return list, nil
	}
	return AliasList{}, noDomain(d)
}

// AliasGet returns an alias.
func (a *Admin) AliasGet(_ context.Context, req AliasRequest) (Alias, error) {
	address, err := parseFullAddress(req.Alias)
	if err != nil {
		return Alias{}, err
	}
	c := a.opts.Config()
	p, err := findAlias(c, c.Dynamic, address)
	if err != nil {
		return Alias{}, err
	}
	return p.alias(c.Dynamic.Domains[p.domain].Aliases[p.localpart]), nil
}

// AliasAdd adds an alias, to which anyone can send.
func (a *Admin) AliasAdd(ctx context.Context, req AliasAddressesRequest) (Alias, error) {
	address, err := parseFullAddress(req.Alias)
	if err != nil {
		return Alias{}, err
	}
	var res Alias
	err = a.update(ctx, func(e *edit) error {
		key, err := e.domain(address.Domain)
		if err != nil {
			return err
		}
		if p, err := findAlias(e.before, *e.Dynamic, address); err == nil {
			return userError("alias %s exists", p)
		}
		alias := config.Alias{PostPublic: true}
		if alias.Addresses, err = e.addMembers(nil, req.Addresses); err != nil {
			return err
		}
		domain := e.Domains[key]
		if domain.Aliases == nil {
			domain.Aliases = map[string]config.Alias{}
		}
		p := aliasPlace{key, address.Localpart.String()}
		domain.Aliases[p.localpart] = alias
		e.Domains[key] = domain
		res = p.alias(alias)
		return nil
	})
	if err != nil {
		return Alias{}, err
	}
	a.log.InfoContext(ctx, "alias added", "alias", res.Alias, "addresses", res.Addresses)
	return res, nil
}

// addMembers adds addresses to the members of an alias, as they are written in
// their accounts.
func (e *edit) addMembers(members, addresses []string) ([]string, error) {
	if len(addresses) == 0 {
		return nil, userError("at least one address is needed")
	}
	has := map[smtp.Address]bool{}
	for _, member := range members {
		canonical, _ := e.canonical(member)
		has[canonical] = true
	}
	for _, s := range addresses {
		address, err := parseFullAddress(s)
		if err != nil {
			return nil, err
		}
		_, key, err := e.owner(address)
		if err != nil {
			return nil, err
		}
		if canonical := e.before.Canonical(address); has[canonical] {
			return nil, userError("%s is a member already", key)
		} else {
			has[canonical] = true
		}
		members = append(members, key)
	}
	return members, nil
}

// AliasUpdate changes who may send to an alias, and from it.
func (a *Admin) AliasUpdate(ctx context.Context, req AliasUpdateRequest) (Alias, error) {
	return a.changeAlias(ctx, req.Alias, func(_ *edit, alias *config.Alias) error {
		if req.PostPublic != nil {
			alias.PostPublic = *req.PostPublic
		}
		if req.AllowMsgFrom != nil {
			alias.AllowMsgFrom = *req.AllowMsgFrom
		}
		return nil
	})
}

// AliasAddAddresses adds members to an alias.
func (a *Admin) AliasAddAddresses(ctx context.Context, req AliasAddressesRequest) (Alias, error) {
	return a.changeAlias(ctx, req.Alias, func(e *edit, alias *config.Alias) (err error) {
		alias.Addresses, err = e.addMembers(alias.Addresses, req.Addresses)
		return err
	})
}

// AliasRemoveAddresses takes members from an alias, but not the last one.
func (a *Admin) AliasRemoveAddresses(ctx context.Context, req AliasAddressesRequest) (Alias, error) {
	return a.changeAlias(ctx, req.Alias, func(e *edit, alias *config.Alias) (err error) {
		alias.Addresses, err = e.removeMembers(alias.Addresses, req.Addresses)
		return err
	})
}

// removeMembers takes addresses from the members of an alias.
func (e *edit) removeMembers(members, addresses []string) ([]string, error) {
	if len(addresses) == 0 {
		return nil, userError("at least one address is needed")
	}
	members = slices.Clone(members)
	for _, s := range addresses {
		address, err := parseFullAddress(s)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(members, func(member string) bool {
			canonical, ok := e.canonical(member)
			return ok && canonical == e.before.Canonical(address)
		})
		if i < 0 {
			return nil, &Error{Code: NotFound, Message: fmt.Sprintf("%s is not a member", address)}
		}
		members = slices.Delete(members, i, i+1)
	}
	if len(members) == 0 {
		return nil, userError("an alias has at least one member: add others first, or remove it")
	}
	return members, nil
}

// changeAlias changes an alias.
func (a *Admin) changeAlias(ctx context.Context, name string, fn func(e *edit, alias *config.Alias) error) (Alias, error) {
	address, err := parseFullAddress(name)
	if err != nil {
		return Alias{}, err
	}
	var res Alias
	err = a.update(ctx, func(e *edit) error {
		p, err := findAlias(e.before, *e.Dynamic, address)
		if err != nil {
			return err
		}
		aliases := e.Domains[p.domain].Aliases
		alias := aliases[p.localpart]
		if err := fn(e, &alias); err != nil {
			return err
		}
		aliases[p.localpart] = alias
		res = p.alias(alias)
		return nil
	})
	if err != nil {
		return Alias{}, err
	}
	a.log.InfoContext(ctx, "alias changed", "alias", res.Alias, "addresses", res.Addresses, "post_public", res.PostPublic, "allow_msg_from", res.AllowMsgFrom)
	return res, nil
}

// AliasRemove removes an alias, and returns what it was.
func (a *Admin) AliasRemove(ctx context.Context, req AliasRequest) (Alias, error) {
	address, err := parseFullAddress(req.Alias)
	if err != nil {
		return Alias{}, err
	}
	var res Alias
	err = a.update(ctx, func(e *edit) error {
		p, err := findAlias(e.before, *e.Dynamic, address)
		if err != nil {
			return err
		}
		aliases := e.Domains[p.domain].Aliases
		res = p.alias(aliases[p.localpart])
		delete(aliases, p.localpart)
		return nil
	})
	if err != nil {
		return Alias{}, err
	}
	a.log.InfoContext(ctx, "alias removed", "alias", res.Alias, "addresses", res.Addresses)
	return res, nil
}
