package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
	"golang.org/x/text/unicode/norm"
)

var (
	// ErrNoDomain means mail for the domain is not taken here. The caller should
	// refuse it for good, or send it on if it comes from a user.
	ErrNoDomain = errors.New("not a domain of this server")

	// ErrNoAddress means the domain is ours and the address doesn't exist. The
	// caller should refuse it for good.
	ErrNoAddress = errors.New("no such address")

	// ErrDomainDisabled means the domain takes no mail for now. The caller should
	// have the sender try later.
	ErrDomainDisabled = errors.New("domain is disabled")

	// ErrSender means that an account may not send from an address. The caller
	// should refuse it for good.
	ErrSender = errors.New("not an address of the account")
)

// Target is where mail for an address goes.
type Target struct {
	// Canonical is the address as others see it in headers like Delivered-To: of
	// two spellings that reach the same mailbox there is one. For a catchall it
	// is the address asked for, in canonical form.
	Canonical smtp.Address

	Account string // Empty for an alias.
	Mailbox string // Never empty with an account.

	CatchAll   bool // No address of its own, its domain takes all.
	Postmaster bool // Taken because every domain must have a postmaster.

	Refuse *smtp.Error // Mail is to be refused with this, nil if not.

	Alias        bool
	Members      []Target // Of an alias; each has an account.
	PostPublic   bool     // Of an alias: anyone may send to it, otherwise only members.
	AllowMsgFrom bool     // Of an alias: accounts of members may send from it.

	// AuthRequired is what senders are told whose mail is refused since neither SPF
	// nor DKIM verify them. Empty: it is taken.
	AuthRequired string

	// Reports tells what reports others send to the address, if the configuration
	// has it for that.
	Reports Reports

	rules []Rule // See Match. None with an alias: members have their own.
}

// Reports tells what reports an address is for.
type Reports struct {
	DMARC bool // Aggregate reports about mail from a domain, RFC 9990.
	TLS   bool // About TLS connections for a domain or to this host, RFC 8460.
}

// IsMember tells whether an address is one of those an alias stands for.
func (t Target) IsMember(canonical smtp.Address) bool {
	return slices.ContainsFunc(t.Members, func(m Target) bool { return m.Canonical == canonical })
}

type domain struct {
	disabled      bool
	caseSensitive bool
	separators    []string
}

type destination struct {
	account string
	mailbox string
	address string // As configured.
	refuse  *smtp.Error
	reports Reports
	rules   []Rule

	authRequired string
}

type alias struct {
	address      string         // As configured.
	members      []smtp.Address // In canonical form; each has a destination.
	postPublic   bool
	allowMsgFrom bool
}

// addressKey returns the key of an address in lookup tables. The localpart must
// be in canonical form; it is empty for the catchall address.
func addressKey(canonical smtp.Address) string {
	return string(canonical.Localpart) + "@" + canonical.Domain.ASCII
}

func catchall(d dns.Domain) string {
	return addressKey(smtp.Address{Domain: d})
}

// fold returns the form in which localparts of the domain are compared.
func (d domain) fold(l smtp.Localpart) smtp.Localpart {
	s := norm.NFC.String(string(l))
	if !d.caseSensitive {
		s = strings.ToLower(s)
	}
	return smtp.Localpart(s)
}

// canonical folds and cuts off what comes with the first separator, unless
// nothing would be left.
func (d domain) canonical(l smtp.Localpart) smtp.Localpart {
	s := string(d.fold(l))
	cut := len(s)
	for _, separator := range d.separators {
		if i := strings.Index(s, separator); i > 0 && i < cut {
			cut = i
		}
	}
	return smtp.Localpart(s[:cut])
}

// Canonical returns the form of an address that is the same for all spellings
// that reach the same mailbox. Localparts of other servers are left alone.
func (c *Config) Canonical(a smtp.Address) smtp.Address {
	if d, ok := c.domains[a.Domain]; ok {
		a.Localpart = d.canonical(a.Localpart)
	}
	return a
}

// IsHost tells whether d is a name of the server itself. Of addresses there only
// postmaster's exists, unless it is a domain with accounts too.
func (c *Config) IsHost(d dns.Domain) bool { return c.hostnames[d] }

// DeliversHere tells whether mail for a domain, in A-labels, stays on this
// server. It is false for address literals.
func (c *Config) DeliversHere(name string) bool {
	d, err := dns.ParseDomain(name)
	return err == nil && (c.IsLocal(d) || c.IsHost(d))
}

// IsLocal tells whether d is a domain with accounts, disabled or not.
func (c *Config) IsLocal(d dns.Domain) bool {
	_, ok := c.domains[d]
	return ok
}

// Resolve returns where mail for a recipient goes. The error is ErrNoDomain,
// ErrNoAddress or ErrDomainDisabled.
func (c *Config) Resolve(path smtp.Path) (Target, error) {
	address := smtp.Address{Localpart: path.Localpart, Domain: path.IPDomain.Domain}
	postmaster := strings.EqualFold(string(path.Localpart), "postmaster")
	if postmaster && path.IPDomain.IsZero() {
		address.Domain = c.Hostname
		return c.postmaster(address), nil
	}
	d, ok := c.domains[address.Domain]
	if path.IPDomain.IsIP() || !ok {
		if postmaster && c.hostnames[address.Domain] {
			return c.postmaster(address), nil
		}
		if !path.IPDomain.IsIP() {
			// Reports about the host are all that its own name is for besides.
			address.Localpart = domain{}.canonical(address.Localpart)
			if dest, ok := c.destinations[addressKey(address)]; ok {
				return dest.target(address), nil
			}
		}
		return Target{}, ErrNoDomain
	}
	if d.disabled {
		return Target{}, ErrDomainDisabled
	}
	return c.resolve(d, address)
}

// Lookup is Resolve for an address of a domain with accounts, disabled or not. An
// address without a localpart is the catchall.
func (c *Config) Lookup(address smtp.Address) (Target, error) {
	d, ok := c.domains[address.Domain]
	if !ok {
		return Target{}, ErrNoDomain
	}
	return c.resolve(d, address)
}

// resolve is Resolve for an address of a domain, disabled or not.
func (c *Config) resolve(d domain, address smtp.Address) (Target, error) {
	postmaster := strings.EqualFold(string(address.Localpart), "postmaster")
	address.Localpart = d.canonical(address.Localpart)
	key := addressKey(address)
	if dest, ok := c.destinations[key]; ok {
		return dest.target(address), nil
	}
	if a, ok := c.aliases[key]; ok {
		return c.aliasTarget(address, a), nil
	}
	if postmaster || strings.EqualFold(string(address.Localpart), "postmaster") {
		return c.postmaster(address), nil
	}
	if dest, ok := c.destinations[catchall(address.Domain)]; ok {
		t := dest.target(address)
		t.CatchAll = true
		return t, nil
	}
	return Target{}, ErrNoAddress
}

func (c *Config) postmaster(address smtp.Address) Target {
	address.Localpart = "postmaster"
	p := c.Static.Postmaster
	return Target{Canonical: address, Account: p.Account, Mailbox: p.Mailbox, Postmaster: true}
}

func (d destination) target(address smtp.Address) Target {
	return Target{
		Canonical: address, Account: d.account, Mailbox: d.mailbox, Refuse: d.refuse,
		AuthRequired: d.authRequired, Reports: d.reports, rules: d.rules,
	}
}

func (c *Config) aliasTarget(address smtp.Address, a alias) Target {
	t := Target{Canonical: address, Alias: true, PostPublic: a.postPublic, AllowMsgFrom: a.allowMsgFrom}
	for _, member := range a.members {
		t.Members = append(t.Members, c.destinations[addressKey(member)].target(member))
	}
	return t
}

// Login returns the account that logs in with an address: one of its own, in any
// spelling, with a separator, or under its catchall. The error is ErrNoDomain or
// ErrNoAddress. A disabled domain or account doesn't matter here.
func (c *Config) Login(address smtp.Address) (account string, canonical smtp.Address, err error) {
	d, ok := c.domains[address.Domain]
	if !ok {
		return "", smtp.Address{}, ErrNoDomain
	}
	address.Localpart = d.canonical(address.Localpart)
	for _, key := range []string{addressKey(address), catchall(address.Domain)} {
		if dest, ok := c.destinations[key]; ok {
			return dest.account, address, nil
		}
	}
	return "", smtp.Address{}, ErrNoAddress
}

// MaySend returns nil if an account may send from an address: if mail to it comes
// to the account, as to an address of its own in any spelling, with a separator,
// or under its catchall. From an alias only if that is allowed to its members.
// The error is ErrSender or, for an address that is fine otherwise,
// ErrDomainDisabled.
func (c *Config) MaySend(account string, address smtp.Address) error {
	d, ok := c.domains[address.Domain]
	if !ok {
		return ErrSender
	}
	t, err := c.resolve(d, address)
	is := func(t Target) bool { return t.Account == account }
	switch {
	case err != nil || !t.Alias && !is(t):
		return ErrSender
	case t.Alias && !(t.AllowMsgFrom && slices.ContainsFunc(t.Members, is)):
		return ErrSender
	case d.disabled:
		return ErrDomainDisabled
	}
	return nil
}
