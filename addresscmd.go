package main

import (
	"context"
	"strings"

	"github.com/mjl-/mox/admin"
)

const addressAddHelp = `Give an account another address.

With @domain it is for all addresses of the domain that have no account. An address
can have no catchall separator of its domain, and is of one account only, in whatever
spelling; an alias is none.

	-json  print the address as JSON
`

const addressRmHelp = `Take an address from its account.

It leaves aliases too, unless it is the last member of one. An address that a TLS
public key logs in with, or a message in the queue is from, stays. It goes from the login
addresses of its account that give senders of their own (FromIDLoginAddresses) too.

	-json  print the address as JSON
`

const addressAccountHelp = `Print the account that gets mail for an address.

Spelling, catchall separators and catchall addresses count as for mail. For an alias
its members are printed, after "alias".

	-json  print what there is to know as JSON
`

func runAddressAdd(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 2); err != nil {
		return err
	}
	req := admin.AddressAddRequest{Address: inv.args[0], Account: inv.args[1]}
	return callPrint(ctx, inv, flags.json, "addressAdd", req, func(res admin.AddressChanged) {
		inv.printf("address %s added to account %s\n", res.Address, res.Account)
	})
}

func runAddressRm(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "addressRemove", admin.AddressRequest{Address: inv.args[0]}, func(res admin.AddressChanged) {
		inv.printf("address %s removed from account %s\n", res.Address, res.Account)
		if len(res.Aliases) > 0 {
			inv.printf("it was a member of: %s\n", strings.Join(res.Aliases, " "))
		}
		if len(res.FromIDLogins) > 0 {
			inv.printf("no longer a login address with senders of its own: %s\n", strings.Join(res.FromIDLogins, " "))
		}
	})
}

func runAddressAccount(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "addressAccount", admin.AddressRequest{Address: inv.args[0]}, func(res admin.AddressOwner) {
		if res.Account == "" {
			inv.printf("alias %s\n", strings.Join(res.Members, " "))
			return
		}
		inv.printf("%s\n", res.Account)
	})
}
