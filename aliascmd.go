package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/mjl-/mox/admin"
)

const aliasListHelp = `List the aliases of a domain.

One in a line.

	-json  print an array with all there is to know of each
`

const aliasPrintHelp = `Print an alias.

The first lines say who may use it, those behind them, with a tab, are its members.

	-json  print it as JSON
`

const aliasAddHelp = `Add an alias: an address that stands for others.

Each message to it goes to all its members, which are addresses of accounts. Anyone
can send to it; see "config alias update".

	-json  print it as JSON
`

const aliasUpdateHelp = `Change who may use an alias.

	-postpublic true|false    whether anyone may send to it, not its members alone
	-allowmsgfrom true|false  whether its members may send from it
	-json                     print it as JSON
`

const aliasRmHelp = `Remove an alias.

	-json  print what it was as JSON
`

const aliasAddaddrHelp = `Add members to an alias.

	-json  print it as JSON
`

const aliasRmaddrHelp = `Take members from an alias.

The last one stays: remove the alias instead.

	-json  print it as JSON
`

func runAliasList(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.AliasList](ctx, c, "aliasList", admin.DomainRequest{Domain: inv.args[0]})
	if err != nil {
		return err
	}
	return inv.print(flags.json, list.Aliases, func() {
		for _, a := range list.Aliases {
			inv.printf("%s\n", a.Alias)
		}
	})
}

func runAliasPrint(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "aliasGet", admin.AliasRequest{Alias: inv.args[0]}, func(res admin.Alias) {
		inv.printf("alias %s\npostpublic %v\nallowmsgfrom %v\nmembers:\n", res.Alias, res.PostPublic, res.AllowMsgFrom)
		for _, address := range res.Addresses {
			inv.printf("\t%s\n", address)
		}
	})
}

func runAliasAdd(ctx context.Context, inv *invocation) error {
	return inv.changeAlias(ctx, "aliasAdd", "added")
}

func runAliasAddaddr(ctx context.Context, inv *invocation) error {
	return inv.changeAlias(ctx, "aliasAddAddresses", "changed")
}

func runAliasRmaddr(ctx context.Context, inv *invocation) error {
	return inv.changeAlias(ctx, "aliasRemoveAddresses", "changed")
}

// changeAlias makes a call about an alias and addresses, and prints what it did.
func (inv *invocation) changeAlias(ctx context.Context, call, did string) error {
	flags := inv.jsonFlags()
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	args := flags.Args()
	if len(args) < 2 {
		return &usageError{}
	}
	req := admin.AliasAddressesRequest{Alias: args[0], Addresses: args[1:]}
	return callPrint(ctx, inv, flags.json, call, req, func(res admin.Alias) { inv.printAlias(res, did) })
}

func (inv *invocation) printAlias(a admin.Alias, did string) {
	inv.printf("alias %s %s, members: %d\n", a.Alias, did, len(a.Addresses))
}

func runAliasUpdate(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	req := admin.AliasUpdateRequest{}
	flags.Func("postpublic", "", setBool(&req.PostPublic))
	flags.Func("allowmsgfrom", "", setBool(&req.AllowMsgFrom))
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	if req.PostPublic == nil && req.AllowMsgFrom == nil {
		return &usageError{"nothing to change"}
	}
	req.Alias = inv.args[0]
	return callPrint(ctx, inv, flags.json, "aliasUpdate", req, func(res admin.Alias) { inv.printAlias(res, "changed") })
}

// setBool returns a function for a flag that is true, false, or not given.
func setBool(to **bool) func(string) error {
	return func(s string) error {
		v, err := strconv.ParseBool(s)
		if err != nil || s != strconv.FormatBool(v) {
			return fmt.Errorf("need true or false")
		}
		*to = &v
		return nil
	}
}

func runAliasRm(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "aliasRemove", admin.AliasRequest{Alias: inv.args[0]}, func(res admin.Alias) { inv.printAlias(res, "removed") })
}
