package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/mjl-/mox/admin"
)

const holdRulesListHelp = `List the rules that keep messages in the queue from being tried.

The columns are the id, the account and the domain of the sender, the domain of
the recipient, "-" for any, and the time it was added, in UTC.

	-json                print an array with the rules
`

const holdRulesAddHelp = `Keep messages that match from being tried, until they are released.

A rule is about messages for which all that is given holds, and about all if
nothing is. Those that are in the queue are held, as "queue hold" does, and those
that will be submitted, also for recipients at this server. Messages released with
"queue unhold" are held by no rule again.

Prints the id of the rule, and how many messages of the queue are held now.

	-account name        sent by this account
	-senderdom domain    with a sender (MAIL FROM) at this domain
	-recipientdom domain to a recipient at this domain
	-json                print rule and number as JSON
`

const holdRulesRemoveHelp = `Remove a rule that keeps messages from being tried.

Messages that it holds stay held: "queue unhold" releases them.

	-json                print an empty JSON object
`

const queueRequireTLSHelp = `Change what is asked of TLS for messages in the queue.

With yes they only go to servers that are verified and promise to do the same, as
with the REQUIRETLS extension. With no they go also where TLS fails that policies
of the domain ask for, as with the header field "TLS-Required: No". With default
the policies of the domain decide. Counts from the next attempt on. Prints how many
messages changed.
` + queueFilterHelp + `
	-json                print the number and the ids as JSON
`

func runHoldRulesList(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.QueueHoldRules](ctx, c, "queueHoldRuleList", admin.Nothing{})
	if err != nil {
		return err
	}
	return inv.print(flags.json, list.Rules, func() { inv.printHoldRules(list.Rules) })
}

// printHoldRules prints a table.
func (inv *invocation) printHoldRules(rules []admin.QueueHoldRule) {
	w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tAccount\tSender domain\tRecipient domain\tAdded")
	for _, r := range rules {
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", r.ID, cell(r.Account, queueAddressMax), cell(r.SenderDomain, queueAddressMax),
			cell(r.RecipientDomain, queueAddressMax), tableTime(r.Added))
	}
	_ = w.Flush()
}

func runHoldRulesAdd(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	req := admin.QueueHoldRuleAddRequest{}
	flags.StringVar(&req.Account, "account", "", "")
	flags.StringVar(&req.SenderDomain, "senderdom", "", "")
	flags.StringVar(&req.RecipientDomain, "recipientdom", "", "")
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "queueHoldRuleAdd", req, func(res admin.QueueHoldRuleAdded) {
		inv.printf("hold rule %d added, messages of the queue held: %d\n", res.Rule.ID, res.Held)
	})
}

func runHoldRulesRemove(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	id, err := inv.idArg()
	if err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "queueHoldRuleRemove", admin.QueueHoldRuleRemoveRequest{ID: id}, func(admin.Nothing) {
		inv.printf("hold rule %d removed\n", id)
	})
}

// idArg returns the first argument, which must be an id.
func (inv *invocation) idArg() (int64, error) {
	id, err := strconv.ParseInt(inv.args[0], 10, 64)
	if err != nil {
		return 0, &usageError{fmt.Sprintf("%q is not an id", inv.args[0])}
	}
	return id, nil
}

func runQueueRequireTLS(ctx context.Context, inv *invocation) error {
	flags := inv.queueFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	req := admin.QueueRequireTLSRequest{Filter: flags.filter}
	switch word := inv.args[0]; word {
	case "yes", "no":
		require := word == "yes"
		req.RequireTLS = &require
	case "default":
	default:
		return &usageError{fmt.Sprintf("need yes, no or default, not %q", word)}
	}
	return inv.changeQueue(ctx, flags, "queueRequireTLS", req)
}
