package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/mjl-/mox/admin"
)

const retiredListHelp = `List messages that have left the queue, one line for each recipient.

There are those of accounts with KeepRetiredMessagePeriod in domains.conf, for that
long after the last that was heard of them. The columns are the id, the time it was
queued, who it was from, who it was to, its size in bytes, what came of it
(delivered, failed, dropped), the attempts, the time of that or of the last answer
that came later, and what the last attempt failed of. Times are in UTC.

Only messages for which all of these hold, all messages if none is given:

	-ids 1,2             these ids
	-account name        sent by this account
	-from address        from this address; @domain for a domain, <> for notifications
	-to address          to this address, or @domain
	-submitted when      submitted before or after a time relative to now: ">-1h" is in
	                     the last hour, "<-2d" more than two days ago
	-lastactivity when   last heard of before or after such a time
	-transport name      chosen for this transport; "" for the usual way
	-result success      those that were delivered, or with failure the others
	-n number            at most so many

	-sort by             lastactivity, the default, or queued
	-asc                 the earliest first, not the latest
	-json                print an array with all there is to know of each message
`

const retiredPrintHelp = `Print a message that has left the queue, as JSON.
`

func runRetiredList(ctx context.Context, inv *invocation) error {
	flags := &queueFlags{FlagSet: inv.flagSet()}
	req := admin.QueueRetiredListRequest{}
	f := &req.Filter
	flags.Func("ids", "", flags.setIDs)
	flags.StringVar(&f.Account, "account", "", "")
	flags.StringVar(&f.From, "from", "", "")
	flags.StringVar(&f.To, "to", "", "")
	flags.TextVar(&f.Submitted, "submitted", admin.When{}, "")
	flags.TextVar(&f.LastActivity, "lastactivity", admin.When{}, "")
	flags.Func("transport", "", func(s string) error {
		f.Transport = &s
		return nil
	})
	flags.Func("result", "", func(s string) error {
		if s != "success" && s != "failure" {
			return fmt.Errorf("need success or failure")
		}
		f.Result = s
		return nil
	})
	flags.Func("n", "", flags.setMax)
	flags.StringVar(&req.Sort, "sort", "", "")
	flags.BoolVar(&req.Asc, "asc", false, "")
	flags.BoolVar(&flags.json, "json", false, "")
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	f.IDs, f.Max = flags.filter.IDs, flags.filter.Max
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.QueueRetiredList](ctx, c, "queueRetiredList", req)
	if err != nil {
		return err
	}
	if list.More {
		inv.errorf("warning: there are more than these %d messages, choose with flags", len(list.Messages))
	}
	return inv.print(flags.json, list.Messages, func() { inv.printRetired(list.Messages) })
}

// printRetired prints a table. Its columns and their order stay, since scripts read
// them.
func (inv *invocation) printRetired(messages []admin.QueueRetiredMessage) {
	w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tQueued\tFrom\tTo\tSize\tResult\tAttempts\tLast activity\tLast error")
	for _, m := range messages {
		from := m.From
		if from == "" {
			from = "<>"
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\n", m.ID, tableTime(m.Queued), cell(from, queueAddressMax), cell(m.To, queueAddressMax),
			m.Size, m.Outcome, m.Attempts, tableTime(m.LastActivity), cell(m.LastError(), queueErrorMax))
	}
	_ = w.Flush()
}

func runRetiredPrint(ctx context.Context, inv *invocation) error {
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
	m, err := ctlCallPlain[admin.QueueRetiredMessage](ctx, c, "queueRetiredGet", admin.QueueRetiredGetRequest{ID: id})
	if err != nil {
		return err
	}
	e := json.NewEncoder(inv.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	return e.Encode(m)
}
