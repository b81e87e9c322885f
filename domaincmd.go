package main

import (
	"context"
	"slices"
	"strings"

	"github.com/mjl-/mox/admin"
)

const domainAddHelp = `Add a domain to domains.conf.

For an account that isn't there, give the localpart of its address at the domain:
the account is added too. An account that is there gets the address postmaster at
the domain, unless it is the postmaster of the server. With + after the localpart of
an address mail comes to that address.

Two DKIM keys are made, of RSA with 2048 bits: one to sign mail from the domain
with, from now on, and one to replace it later. They are in the directory dkim
beside domains.conf. The records for DNS are printed: publish them now, or others
may not accept the mail.

	-disabled  take no mail for the domain yet: senders try again later
	-json      print the domain as JSON
`

const domainRmHelp = `Remove a domain from domains.conf, with its aliases.

Accounts that have it, or addresses there, must be removed or changed first. Files of
DKIM keys that nothing else needs are moved to the directory old beside them.

	-json  print the domain as JSON
`

const domainDisableHelp = `Take no mail for a domain for now.

Senders are told to try again later, and users can't send from its addresses.

	-json  print the domain as JSON
`

const domainEnableHelp = `Take mail for a domain again.

	-json  print the domain as JSON
`

func runDomainAdd(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	req := admin.DomainAddRequest{}
	flags.BoolVar(&req.Disabled, "disabled", false, "")
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	switch args := flags.Args(); len(args) {
	case 2:
		req.Domain, req.Account = args[0], args[1]
	case 3:
		req.Domain, req.Account, req.Localpart = args[0], args[1], args[2]
	default:
		return &usageError{}
	}
	return callPrint(ctx, inv, flags.json, "domainAdd", req, func(res admin.DomainAdded) {
		inv.printf("domain %s added\n", res.Domain)
		switch {
		case res.Created:
			inv.printf("account %s added with address %s\n", res.Account, res.Address)
			inv.printPasswordHint(res.Account)
		case res.Address != "":
			inv.printf("address %s added to account %s\n", res.Address, res.Account)
		}
		inv.printRecords(res.DNSRecords)
	})
}

func runDomainRm(ctx context.Context, inv *invocation) error {
	return inv.changeDomain(ctx, "domainRemove", "removed")
}

func runDomainDisable(ctx context.Context, inv *invocation) error {
	return inv.changeDomain(ctx, "domainDisable", "disabled")
}

func runDomainEnable(ctx context.Context, inv *invocation) error {
	return inv.changeDomain(ctx, "domainEnable", "enabled")
}

// changeDomain makes a call that changes a domain, and prints what it did.
func (inv *invocation) changeDomain(ctx context.Context, call, did string) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, call, admin.DomainRequest{Domain: inv.args[0]}, func(res admin.Domain) {
		inv.printf("domain %s %s\n", res.Domain, did)
		for _, name := range res.OldDKIMKeys {
			inv.printf("DKIM key moved to %s\n", name)
		}
	})
}

// txtPartMax bounds a string of a TXT record, in bytes (RFC 1035, section 3.3.14).
const txtPartMax = 255

// printRecords prints records as lines of a zone file.
func (inv *invocation) printRecords(records []admin.DNSRecord) {
	if len(records) == 0 {
		return
	}
	inv.printf("\npublish in DNS:\n")
	for _, r := range records {
		inv.printf("%s\tIN\t%s\t%s\n", r.Name, r.Type, quoteTXT(r.Value))
	}
}

// quoteTXT returns the text of a TXT record as a zone file has it.
func quoteTXT(text string) string {
	var parts []string
	for part := range slices.Chunk([]byte(text), txtPartMax) {
		parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(part))+`"`)
	}
	return strings.Join(parts, " ")
}
