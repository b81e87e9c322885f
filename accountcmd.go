package main

import (
	"context"
	"flag"
	"strings"

	"github.com/mjl-/mox/admin"
)

const accountAddHelp = `Add an account to domains.conf, with its first address.

The domain must be there. The account takes mail at once; nobody can log in before
it has a password, see setaccountpassword. If data of an account of that name is
still there, the command refuses: "config account rm" removes that.

	-json  print the account as JSON
`

const accountRmHelp = `Remove an account, with all its mail.

It goes from domains.conf and takes no more mail, its connections are ended, its
messages in the queue are dropped, its addresses leave aliases, its TLS public keys
and its data go. Files are erased in the background, also after a restart. It is not
asked again whether you are sure.

An account that was taken out of domains.conf by hand has kept its data. Then this
command removes that.

	-json  print what was removed as JSON
`

const accountListHelp = `List the accounts.

One in a line. Behind those to which nobody can log in is a tab and "(disabled)".

	-json  print an array with domains and reasons
`

const accountAddressesHelp = `List the addresses of an account.

One in a line; @domain is for all addresses of a domain that have no account.

	-json  print an array
`

const accountDisableHelp = `Keep users of an account from logging in.

The message tells them why: at most 256 printable ASCII characters. Connections are
ended. Mail is still taken.

	-json  print the account as JSON
`

const accountEnableHelp = `Let users of an account log in again.

	-json  print the account as JSON
`

// jsonFlags are flags of a command that can print JSON.
type jsonFlags struct {
	*flag.FlagSet
	json bool
}

func (inv *invocation) jsonFlags() *jsonFlags {
	flags := &jsonFlags{FlagSet: inv.flagSet()}
	flags.BoolVar(&flags.json, "json", false, "")
	return flags
}

// callPrint makes a call and prints the answer: as JSON, if that was asked for, or
// with human.
func callPrint[Res any](ctx context.Context, inv *invocation, asJSON bool, name string, req any, human func(Res)) error {
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	res, err := ctlCallPlain[Res](ctx, c, name, req)
	if err != nil {
		return err
	}
	return inv.print(asJSON, res, func() { human(res) })
}

func runAccountAdd(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 2); err != nil {
		return err
	}
	req := admin.AccountAddRequest{Account: inv.args[0], Address: inv.args[1]}
	return callPrint(ctx, inv, flags.json, "accountAdd", req, func(res admin.AccountAdded) {
		inv.printf("account %s added with address %s\n", res.Account, res.Address)
		inv.printPasswordHint(res.Account)
	})
}

// printPasswordHint says what a new account lacks.
func (inv *invocation) printPasswordHint(account string) {
	inv.printf("it has no password yet, set one with: mox setaccountpassword %s\n", account)
}

func runAccountRm(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "accountRemove", admin.AccountRequest{Account: inv.args[0]}, inv.printAccountRemoved)
}

func (inv *invocation) printAccountRemoved(res admin.AccountRemoved) {
	what := "account"
	if !res.Configured {
		what = "data of account"
	}
	inv.printf("%s %s removed\n", what, res.Account)
	if len(res.Aliases) > 0 {
		inv.printf("it was a member of: %s\n", strings.Join(res.Aliases, " "))
	}
	if res.Queued > 0 {
		inv.printf("messages dropped from the queue: %d\n", res.Queued)
	}
	if res.Suppressions > 0 {
		inv.printf("addresses on its suppression list: %d\n", res.Suppressions)
	}
	if res.TLSPublicKeys > 0 {
		inv.printf("TLS public keys removed: %d\n", res.TLSPublicKeys)
	}
	if res.Data {
		inv.printf("its files are being erased\n")
	}
}

func runAccountList(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.AccountList](ctx, c, "accountList", admin.Nothing{})
	if err != nil {
		return err
	}
	return inv.print(flags.json, list.Accounts, func() {
		for _, a := range list.Accounts {
			disabled := ""
			if a.LoginDisabled != "" {
				disabled = "\t(disabled)"
			}
			inv.printf("%s%s\n", a.Name, disabled)
		}
	})
}

func runAccountAddresses(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.Addresses](ctx, c, "accountAddresses", admin.AccountRequest{Account: inv.args[0]})
	if err != nil {
		return err
	}
	return inv.print(flags.json, list.Addresses, func() {
		for _, address := range list.Addresses {
			inv.printf("%s\n", address)
		}
	})
}

func runAccountDisable(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 2); err != nil {
		return err
	}
	req := admin.AccountDisableRequest{Account: inv.args[0], Message: inv.args[1]}
	return callPrint(ctx, inv, flags.json, "accountDisable", req, func(res admin.Account) {
		inv.printf("account %s disabled\n", res.Name)
	})
}

func runAccountEnable(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "accountEnable", admin.AccountRequest{Account: inv.args[0]}, func(res admin.Account) {
		inv.printf("account %s enabled\n", res.Name)
	})
}
