package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
	"golang.org/x/text/unicode/norm"
)

// LogLevels are the values of LogLevel and PackageLogLevels, most severe first.
const LogLevels = "error warn info debug trace traceauth tracedata"

const (
	// accountNameMax bounds names of accounts in bytes: they are names of
	// directories and in many logs.
	accountNameMax = 64

	// textMax bounds texts for peers in bytes, so that a reply fits one line.
	textMax = 256

	// separatorMax bounds a localpart separator in bytes; any is odd beyond one.
	separatorMax = 8

	// userDefault is whom the server runs as.
	userDefault = "mox"

	// aliasMembersMax bounds the copies that one message to one address makes.
	aliasMembersMax = 1000

	// Defaults of MaxOutgoingMessagesPerDay and MaxFirstTimeRecipientsPerDay: more
	// than a person sends, and not enough to be worth a stolen password.
	maxOutgoingMessagesDefault    = 1000
	maxFirstTimeRecipientsDefault = 200
)

// Check checks the two files together and returns the configuration they make,
// or all Problems found in them.
//
// Files gives the contents of key and certificate files, by their names in the
// configuration: relative to the directory of mox.conf or, other than fs.FS
// usually has it, absolute or with "..". If it is nil they are not read.
func Check(s Static, d Dynamic, files fs.FS) (*Config, error) {
	c, problems := check(s, d, files)
	if err := problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// check checks files that could be read. Of one named in without there is
// nothing: it is not checked, and what refers to it is taken to be right.
func check(s Static, d Dynamic, files fs.FS, without ...string) (*Config, Problems) {
	c := &checker{
		config: &Config{
			Static: s, Dynamic: d,
			hostnames:    map[dns.Domain]bool{},
			domains:      map[dns.Domain]domain{},
			destinations: map[string]destination{},
			aliases:      map[string]alias{},
			signing:      map[dns.Domain][]dkim.Selector{},
			junkFlags:    map[string]JunkFlags{},
			fromIDs:      map[string]string{},
			ways:         map[string]Way{},
			routes:       routes{accounts: map[string][]route{}, domains: map[dns.Domain][]route{}},
		},
		files:   files,
		without: map[string]bool{},
	}
	for _, name := range without {
		c.without[name] = true
	}
	c.domains()
	c.accounts()
	c.aliases()
	if !c.without[StaticName] {
		c.marked(c.static(""), reflect.ValueOf(s))
		c.checkStatic()
		c.queue()
		c.trace()
		c.resolver()
		c.listeners()
	}
	if !c.without[DynamicName] {
		c.marked(c.dynamic(""), reflect.ValueOf(d))
		c.moreOfDomains()
		c.moreOfAccounts()
		c.web()
		c.config.routes.all = c.dynamic("Routes").routes(d.Routes)
		c.dynamic("MonitorDNSBLs").domains(d.MonitorDNSBLs)
	}
	return c.config, c.problems
}

// checker collects problems while it works out a configuration.
type checker struct {
	config   *Config
	files    fs.FS
	without  map[string]bool // Files that could not be read.
	problems Problems
}

// bad notes a problem of a setting.
func (c *checker) bad(file, path string, format string, args ...any) {
	c.problems = append(c.problems, &Problem{File: file, Path: path, Err: fmt.Errorf(format, args...)})
}

// is notes err, if there is one, as the problem of a setting.
func (c *checker) is(file, path string, err error) bool {
	if err != nil {
		c.bad(file, path, "%w", err)
	}
	return err == nil
}

// checkMailbox refuses names that a store would have to change or refuse.
func checkMailbox(name string) error {
	switch {
	case name == "":
		return errors.New("mailbox name must not be empty")
	case !norm.NFC.IsNormalString(name):
		return fmt.Errorf("mailbox name %+q is not in Unicode normal form C", name)
	case strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.Contains(name, "//"):
		return fmt.Errorf("mailbox name %q has an empty part", name)
	case strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }) || strings.ContainsAny(name, "*%"):
		return fmt.Errorf("mailbox name %q has a character that is not allowed", name)
	}
	return nil
}

func (c *checker) domains() {
	for _, name := range slices.Sorted(maps.Keys(c.config.Dynamic.Domains)) {
		path := "Domains." + name
		d := c.config.Dynamic.Domains[name]
		separators := c.separators(path, d)
		parsed, err := dns.ParseConfigDomain(name)
		if err != nil {
			c.bad(DynamicName, path, "%w", err)
		} else if _, ok := c.config.domains[parsed]; ok {
			c.bad(DynamicName, path, "domain is configured twice, in different spellings")
		} else {
			c.config.domains[parsed] = domain{d.Disabled, d.LocalpartCaseSensitive, separators}
		}
	}
}

// separators returns what is configured in one of two ways.
func (c *checker) separators(path string, d Domain) []string {
	list := d.LocalpartCatchallSeparators
	if d.LocalpartCatchallSeparator != "" {
		if len(list) > 0 {
			c.bad(DynamicName, path+".LocalpartCatchallSeparators", "cannot be set together with LocalpartCatchallSeparator")
		}
		list = []string{d.LocalpartCatchallSeparator}
	}
	for i, s := range list {
		switch {
		case s == "" || len(s) > separatorMax || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '@' || c == '"' }):
			c.bad(DynamicName, path, "separator %+q: need 1 to %d printable ASCII characters, not space, @ or quote", s, separatorMax)
		case slices.Contains(list[:i], s):
			c.bad(DynamicName, path, "separator %q is named twice", s)
		}
	}
	return list
}

// accountName is what the spec of names says; the length is checked apart.
var accountName = regexp.MustCompile(`^[a-z0-9]([-._a-z0-9]*[a-z0-9])?$`)

// CheckAccountName returns what is wrong with a name for an account.
func CheckAccountName(name string) error {
	if !accountName.MatchString(name) || len(name) > accountNameMax {
		return fmt.Errorf("account name %q: need a-z and 0-9, with dashes, dots and underscores inside, at most %d", name, accountNameMax)
	}
	return nil
}

func (c *checker) accounts() {
	for _, name := range slices.Sorted(maps.Keys(c.config.Dynamic.Accounts)) {
		a := c.config.Dynamic.Accounts[name]
		path := "Accounts." + name
		c.is(DynamicName, path, CheckAccountName(name))
		if d, err := dns.ParseConfigDomain(a.Domain); err != nil {
			c.bad(DynamicName, path+".Domain", "%w", err)
		} else if _, ok := c.config.domains[d]; !ok {
			c.bad(DynamicName, path+".Domain", "no domain %q", a.Domain)
		}
		for _, address := range slices.Sorted(maps.Keys(a.Destinations)) {
			c.destination(name, path+".Destinations."+address, address, a.Destinations[address])
		}
	}
}

// destination checks one address of an account and adds it to the lookup table.
func (c *checker) destination(account, path, address string, d Destination) {
	dest := destination{account: account, mailbox: d.Mailbox, address: address, rules: compileRules(d.Rulesets), authRequired: d.MessageAuthRequiredSMTPError}
	if dest.mailbox == "" {
		dest.mailbox = "Inbox"
	} else {
		c.is(DynamicName, path+".Mailbox", checkMailbox(d.Mailbox))
	}
	if d.SMTPError != "" {
		var err error
		dest.refuse, err = parseSMTPError(d.SMTPError)
		c.is(DynamicName, path+".SMTPError", err)
		if d.Mailbox != "" || len(d.Rulesets) > 0 {
			c.bad(DynamicName, path+".SMTPError", "cannot be set together with Mailbox or Rulesets")
		}
	}
	canonical, ok := c.address(path, address)
	if !ok {
		return
	}
	key := addressKey(canonical)
	if other, ok := c.config.destinations[key]; ok {
		c.bad(DynamicName, path, "address is that of %s in account %q too", other.address, other.account)
		return
	}
	c.config.destinations[key] = dest
}

// address returns the canonical form of an address in the configuration, with an
// empty localpart for a catchall. It notes problems; ok is false then.
func (c *checker) address(path, address string) (a smtp.Address, ok bool) {
	var err error
	if name, catchall := strings.CutPrefix(address, "@"); catchall {
		a.Domain, err = dns.ParseConfigDomain(name)
	} else {
		a, err = smtp.ParseAddress(address)
	}
	if !c.is(DynamicName, path, err) {
		return a, false
	}
	d, ok := c.config.domains[a.Domain]
	if !ok {
		c.bad(DynamicName, path, "no domain %q", a.Domain.Name())
		return a, false
	}
	canonical := d.canonical(a.Localpart)
	if canonical != d.fold(a.Localpart) {
		c.bad(DynamicName, path, "address must not have a catchall separator of its domain")
		return a, false
	}
	a.Localpart = canonical
	return a, true
}

func parseSMTPError(s string) (*smtp.Error, error) {
	code, text, ok := strings.Cut(s, " ")
	if !ok || text == "" || len(text) > textMax || !isPrintable(text) {
		return nil, fmt.Errorf("need 421 or 550, a space and a text of at most %d printable ASCII characters", textMax)
	}
	switch code {
	case "421": // Only that the recipient has to wait: with 421 the connection would end.
		return smtp.Errorf(smtp.CodeLocalError, smtp.DetailSystem, "%s", text), nil
	case "550":
		return smtp.Errorf(smtp.CodeMailboxPermanent, smtp.DetailBadMailbox, "%s", text), nil
	}
	return nil, fmt.Errorf("code %q is not 421 or 550", code)
}

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c >= 0x7f })
}

func (c *checker) aliases() {
	for _, name := range slices.Sorted(maps.Keys(c.config.Dynamic.Domains)) {
		d := c.config.Dynamic.Domains[name]
		for _, localpart := range slices.Sorted(maps.Keys(d.Aliases)) {
			c.alias("Domains."+name+".Aliases."+localpart, localpart+"@"+name, d.Aliases[localpart])
		}
	}
}

func (c *checker) alias(path, address string, a Alias) {
	members := c.members(path, a)
	canonical, ok := c.address(path, address)
	if !ok {
		return
	}
	key := addressKey(canonical)
	if other, ok := c.config.destinations[key]; ok {
		c.bad(DynamicName, path, "address is that of %s in account %q too", other.address, other.account)
	} else if _, ok := c.config.aliases[key]; ok {
		c.bad(DynamicName, path, "alias is configured twice, in different spellings")
	} else {
		c.config.aliases[key] = alias{address, members, a.PostPublic, a.AllowMsgFrom}
	}
}

func (c *checker) members(path string, a Alias) (members []smtp.Address) {
	if len(a.Addresses) == 0 || len(a.Addresses) > aliasMembersMax {
		c.bad(DynamicName, path+".Addresses", "need 1 to %d addresses", aliasMembersMax)
	}
	for i, address := range a.Addresses {
		path := fmt.Sprintf("%s.Addresses[%d]", path, i)
		if strings.HasPrefix(address, "@") {
			c.bad(DynamicName, path, "a catchall address cannot be a member")
			continue
		}
		member, ok := c.address(path, address)
		if !ok {
			continue
		}
		if _, ok := c.config.destinations[addressKey(member)]; !ok {
			c.bad(DynamicName, path, "%s is not an address of an account", address)
		} else if slices.Contains(members, member) {
			c.bad(DynamicName, path, "%s is named twice", address)
		}
		members = append(members, member)
	}
	return members
}
