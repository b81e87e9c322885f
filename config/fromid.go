package config

import (
	"strings"

	"github.com/mjl-/mox/smtp"
)

const (
	// FromIDSize is the length of the random text in a sender's address: 128 bits in
	// base32.
	FromIDSize = 26

	// FromIDSizeMin is the least, for long localparts: 80 bits.
	FromIDSizeMin = 16

	// localpartSizeMax bounds a localpart in bytes: RFC 5321, section 4.5.3.1.1.
	localpartSizeMax = 64
)

// UsesFromID tells whether mail that is sent after logging in with an address gets
// senders of its own (FromIDLoginAddresses). What follows a separator counts: one
// spelling of an address can have it, and another not.
func (c *Config) UsesFromID(account string, login smtp.Address) bool {
	d, ok := c.domains[login.Domain]
	login.Localpart = d.fold(login.Localpart)
	return ok && account != "" && c.fromIDs[addressKey(login)] == account
}

// SplitFromID returns an address without what follows the first of the separators of
// its domain, and that. The id is empty if there is none.
func (c *Config) SplitFromID(a smtp.Address) (base smtp.Address, id string) {
	d := c.domains[a.Domain]
	if len(d.separators) == 0 {
		return a, ""
	}
	local, id, ok := strings.Cut(string(a.Localpart), d.separators[0])
	if !ok || local == "" || id == "" {
		return a, ""
	}
	a.Localpart = smtp.Localpart(local)
	return a, id
}

// FromIDRoom returns how long an id can be in an address, in bytes: at most FromIDSize.
func (c *Config) FromIDRoom(a smtp.Address) int {
	d := c.domains[a.Domain]
	if len(d.separators) == 0 {
		return 0
	}
	return max(0, min(FromIDSize, localpartSizeMax-len(a.Localpart)-len(d.separators[0])))
}

// HasFromID tells whether the domain of an address has a separator for ids.
func (c *Config) HasFromID(a smtp.Address) bool { return len(c.domains[a.Domain].separators) > 0 }

// WithFromID returns an address with an id.
func (c *Config) WithFromID(a smtp.Address, id string) smtp.Address {
	if d := c.domains[a.Domain]; len(d.separators) > 0 {
		a.Localpart += smtp.Localpart(d.separators[0] + id)
	}
	return a
}
