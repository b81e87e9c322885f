package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"text/tabwriter"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/webhook"
)

const webhookFilterHelp = `
Only calls for which all of these hold, all calls if none is given:

	-ids 1,2             these ids
	-account name        for a webhook of this account
	-event name          about this event: incoming, delivered, suppressed, delayed,
	                     failed, relayed, expanded, canceled, unrecognized
	-submitted when      queued before or after a time relative to now: ">-1h" is in the
	                     last hour, "<-2d" more than two days ago
`

const webhookWaitingFilterHelp = webhookFilterHelp + `	-nextattempt when    next attempt before or after such a time: "<1h" is in the next
	                     hour or due
	-n number            at most so many
`

const queueWebhookListHelp = `List calls of webhooks that wait in the queue.

The columns are the id, the time it was queued, the account, the event, the address,
the attempts so far, the time of the next, and what the last failed of. Times are in
UTC, as in the log. Long addresses and errors are cut; -json has them whole.
` + webhookWaitingFilterHelp + `
	-sort by             nextattempt, the default, or queued
	-asc                 the earliest first, not the latest
	-json                print an array with all there is to know of each call
`

const queueWebhookScheduleHelp = `Change when the next attempts of calls of webhooks are.

The duration, as 30m, 1h30m or 2d, is added to the time of the next attempt; with
-now it counts from now, so that "-now 0" is at once. One to take off has to follow
"--", as in "-- -1h". Calls that run stay as they are. Prints how many changed.
` + webhookWaitingFilterHelp + `
	-now                 from now
	-json                print the number and the ids as JSON
`

const queueWebhookCancelHelp = `Give up calls of webhooks: no further attempt is made.

One that runs goes on, and what comes of it is noted if retired webhooks are kept.
Prints how many calls it was.
` + webhookWaitingFilterHelp + `
	-json                print the number and the ids as JSON
`

const queueWebhookPrintHelp = `Print a call of a webhook that waits in the queue, as JSON.

It has what came of the attempts so far, and what is told. For a message that came
in that is not there: it is read from the account when the call is made.
`

const queueWebhookRetiredListHelp = `List calls of webhooks that left the queue, as long as they are kept.

How long that is says KeepRetiredWebhookPeriod of the account; without it, none is
kept. The columns are the id, the time it was queued, the account, the event, the
address, the attempts, what became of it (called, failed, superseded by a newer one
about the same message, canceled, or crowded out by too many that waited), the time
of that, and the last error.
` + webhookFilterHelp + `	-lastactivity when   left the queue before or after such a time, or its last result came
	-n number            at most so many

	-sort by             lastactivity, the default, or queued
	-asc                 the earliest first, not the latest
	-json                print an array with all there is to know of each call
`

const queueWebhookRetiredPrintHelp = `Print a call of a webhook that left the queue, as JSON.
`

// webhookFlags are the flags of commands on calls of webhooks.
type webhookFlags struct {
	*flag.FlagSet
	filter admin.WebhookFilter
	json   bool
}

func (inv *invocation) webhookFlags(retired bool) *webhookFlags {
	f := &webhookFlags{FlagSet: inv.flagSet()}
	f.Func("ids", "", func(s string) (err error) {
		f.filter.IDs, err = parseIDs(f.filter.IDs, s)
		return err
	})
	f.StringVar(&f.filter.Account, "account", "", "")
	f.Func("event", "", func(s string) error {
		if f.filter.Event = webhook.Event(s); !f.filter.Event.Valid() {
			return fmt.Errorf("there is no such event")
		}
		return nil
	})
	f.TextVar(&f.filter.Submitted, "submitted", admin.When{}, "")
	if retired {
		f.TextVar(&f.filter.LastActive, "lastactivity", admin.When{}, "")
	} else {
		f.TextVar(&f.filter.NextAttempt, "nextattempt", admin.When{}, "")
	}
	f.Func("n", "", func(s string) (err error) {
		f.filter.Max, err = parseMax(s)
		return err
	})
	return f
}

func runQueueWebhookList(ctx context.Context, inv *invocation) error {
	return inv.listWebhooks(ctx, "queueWebhookList", false)
}

func runQueueWebhookRetiredList(ctx context.Context, inv *invocation) error {
	return inv.listWebhooks(ctx, "queueWebhookRetiredList", true)
}

// listWebhooks prints what a call returns.
func (inv *invocation) listWebhooks(ctx context.Context, call string, retired bool) error {
	flags := inv.webhookFlags(retired)
	req := admin.WebhookListRequest{}
	flags.StringVar(&req.Sort, "sort", "", "")
	flags.BoolVar(&req.Asc, "asc", false, "")
	flags.BoolVar(&flags.json, "json", false, "")
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	req.Filter = flags.filter
	list, err := ctlCallPlain[admin.WebhookList](ctx, c, call, req)
	if err != nil {
		return err
	}
	if list.More {
		inv.errorf("warning: there are more than these %d calls, choose with flags", len(list.Webhooks))
	}
	return inv.print(flags.json, list.Webhooks, func() { inv.printWebhooks(list.Webhooks, retired) })
}

// printWebhooks prints a table. Its columns and their order stay, since scripts read
// them.
func (inv *invocation) printWebhooks(hooks []admin.Webhook, retired bool) {
	w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
	if retired {
		_, _ = fmt.Fprintln(w, "ID\tQueued\tAccount\tEvent\tURL\tAttempts\tOutcome\tLast activity\tLast error")
	} else {
		_, _ = fmt.Fprintln(w, "ID\tQueued\tAccount\tEvent\tURL\tAttempts\tNext attempt\tLast error")
	}
	for _, h := range hooks {
		next := tableTime(h.NextAttempt)
		if retired {
			next = string(h.Outcome) + "\t" + tableTime(h.LastActivity)
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", h.ID, tableTime(h.Submitted), h.Account, h.Event, cell(h.URL, queueAddressMax),
			h.Attempts, next, cell(h.LastError(), queueErrorMax))
	}
	_ = w.Flush() // To standard output: as with other commands, nobody is left to tell.
}

func runQueueWebhookSchedule(ctx context.Context, inv *invocation) error {
	flags := inv.webhookFlags(false)
	now := flags.Bool("now", false, "")
	flags.BoolVar(&flags.json, "json", false, "")
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	req := admin.WebhookScheduleRequest{Filter: flags.filter, FromNow: *now}
	if err := req.Delay.UnmarshalText([]byte(inv.args[0])); err != nil {
		return &usageError{err.Error()}
	}
	return inv.changeWebhooks(ctx, flags, "queueWebhookSchedule", req)
}

func runQueueWebhookCancel(ctx context.Context, inv *invocation) error {
	flags := inv.webhookFlags(false)
	flags.BoolVar(&flags.json, "json", false, "")
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	return inv.changeWebhooks(ctx, flags, "queueWebhookCancel", admin.WebhookRequest{Filter: flags.filter})
}

// changeWebhooks makes a call that changes calls of webhooks, and prints how many.
func (inv *invocation) changeWebhooks(ctx context.Context, flags *webhookFlags, call string, req any) error {
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	changed, err := ctlCallPlain[admin.QueueChanged](ctx, c, call, req)
	if err != nil {
		return err
	}
	return inv.print(flags.json, changed, func() { inv.printf("calls changed: %d\n", changed.Changed) })
}

func runQueueWebhookPrint(ctx context.Context, inv *invocation) error {
	return inv.printWebhook(ctx, "queueWebhookGet")
}

func runQueueWebhookRetiredPrint(ctx context.Context, inv *invocation) error {
	return inv.printWebhook(ctx, "queueWebhookRetiredGet")
}

// printWebhook prints what a call returns for an id.
func (inv *invocation) printWebhook(ctx context.Context, call string) error {
	if err := inv.parse(inv.flagSet(), 1); err != nil {
		return err
	}
	id, err := inv.idArg()
	if err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	h, err := ctlCallPlain[admin.Webhook](ctx, c, call, admin.WebhookGetRequest{ID: id})
	if err != nil {
		return err
	}
	e := json.NewEncoder(inv.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	return e.Encode(h)
}
