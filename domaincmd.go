package main

import (
	"context"

	"github.com/mjl-/mox/admin"
)

const domainAddHelp = `Add a domain to domains.conf.

For an account that isn't there, give the localpart of its address at the domain:
the account is added too. An account that is there gets the address postmaster at
the domain, unless it is the postmaster of the server. With + after the localpart of
an address mail comes to that address.

	-disabled  take no mail for the domain yet: senders try again later
	-json      print the domain as JSON
`

const domainRmHelp = `Remove a domain from domains.conf, with its aliases.

Accounts that have it, or addresses there, must be removed or changed first.

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
	})
}
