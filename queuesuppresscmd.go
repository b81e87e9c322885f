package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/mjl-/mox/admin"
)

const suppressListHelp = `List addresses that accounts send no mail to.

The columns are the account, the address, since when it is on the list, until when
("-" until it is removed), "manual" or the id of the message that failed, and the
reason. An address is in lower case and without what follows a "+": it stands for
all these spellings.

An address comes on the list of an account by itself when its server says for good
that it takes no mail, or when the last three messages of the account to it have
failed for good, for whatever reason. The first stays for a year, the second for 30
days. Messages to an address on the list fail at once, and their senders are told.

	-account name  only the list of this account
	-json          print an array with all there is to know
`

const suppressAddHelp = `Keep an account from sending mail to an address.

It stays on the list until it is removed. Mail to users of this server is not
affected.

	-reason text  why, for people
	-json         print the entry as JSON
`

const suppressRemoveHelp = `Let an account send mail to an address again.

What failed before is forgotten: it takes three more messages that fail, or one to
which the server says for good that the address takes no mail, for it to come on the
list again.

	-json  print what the entry was as JSON
`

const suppressLookupHelp = `Print which accounts send no mail to an address.

One line for each, as of "queue suppress list". Without any the exit code is 1.

	-account name  only this account
	-json          print the address as it is looked up and the entries as JSON
`

func runSuppressList(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	var req admin.SuppressionListRequest
	flags.StringVar(&req.Account, "account", "", "")
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.SuppressionList](ctx, c, "suppressionList", req)
	if err != nil {
		return err
	}
	if list.More {
		inv.errorf("warning: there are more than these %d addresses, choose with -account", len(list.Suppressions))
	}
	return inv.print(flags.json, list.Suppressions, func() { inv.printSuppressions(list.Suppressions) })
}

// printSuppressions prints a table. Its columns and their order stay, since scripts
// read them.
func (inv *invocation) printSuppressions(list []admin.Suppression) {
	w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "Account\tAddress\tSince\tUntil\tMessage\tReason")
	for _, s := range list {
		message := "manual"
		if !s.Manual {
			message = fmt.Sprint(s.QueueID)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Account, cell(s.Address, suppressAddressMax), tableTime(s.Created), tableTime(s.Until), message, cell(s.Reason, queueErrorMax))
	}
	_ = w.Flush() // To standard output: as with other commands, nobody is left to tell.
}

// suppressAddressMax is as wide as an address can be: it is for other commands to be
// given.
const suppressAddressMax = 320

func runSuppressAdd(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	var req admin.SuppressionAddRequest
	flags.StringVar(&req.Reason, "reason", "", "")
	if err := inv.parse(flags.FlagSet, 2); err != nil {
		return err
	}
	req.Account, req.Address = inv.args[0], inv.args[1]
	return callPrint(ctx, inv, flags.json, "suppressionAdd", req, func(s admin.Suppression) {
		inv.printf("account %s sends no mail to %s any more\n", s.Account, s.Address)
	})
}

func runSuppressRemove(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 2); err != nil {
		return err
	}
	req := admin.SuppressionRequest{Account: inv.args[0], Address: inv.args[1]}
	return callPrint(ctx, inv, flags.json, "suppressionRemove", req, func(s admin.Suppression) {
		inv.printf("account %s sends mail to %s again\n", s.Account, s.Address)
		if s.Reason != "" {
			inv.printf("it was on the list because: %s\n", strings.ReplaceAll(s.Reason, "\n", " "))
		}
	})
}

func runSuppressLookup(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	var req admin.SuppressionLookupRequest
	flags.StringVar(&req.Account, "account", "", "")
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	req.Address = inv.args[0]
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	found, err := ctlCallPlain[admin.SuppressionFound](ctx, c, "suppressionLookup", req)
	if err != nil {
		return err
	}
	err = inv.print(flags.json, found, func() {
		if len(found.Suppressions) > 0 {
			inv.printSuppressions(found.Suppressions)
		}
	})
	if err == nil && len(found.Suppressions) == 0 {
		err = fmt.Errorf("no account has %s on its list", found.Address)
		if req.Account != "" {
			err = fmt.Errorf("account %s does not have %s on its list", req.Account, found.Address)
		}
	}
	return err
}
