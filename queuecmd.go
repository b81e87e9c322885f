package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/mjl-/mox/admin"
)

const queueFilterHelp = `
Only messages for which all of these hold, all messages if none is given:

	-ids 1,2             these ids
	-account name        sent by this account
	-from address        from this address; @domain for a domain, <> for notifications
	-to address          to this address, or @domain
	-submitted when      submitted before or after a time relative to now: ">-1h" is in
	                     the last hour, "<-2d" more than two days ago
	-nextattempt when    next attempt before or after such a time: "<1h" is in the next
	                     hour or due
	-hold true           those that are held, or with false the others
	-transport name      those that this transport was chosen for by "queue transport";
	                     with "" those that routes decide about
	-n number            at most so many
`

const queueListHelp = `List messages in the queue, one line for each recipient.

The columns are the id, the time it was queued, who it is from, who it is to, its
size in bytes, its state (waiting, held, delivering), the attempts so far, the
time of the next, and what the last failed of. Times are in UTC, as in the log.
Long addresses and errors are cut; -json has them whole.
` + queueFilterHelp + `
	-sort by             nextattempt, the default, or queued
	-asc                 the earliest first, not the latest
	-json                print an array with all there is to know of each message
`

const queueHoldHelp = `Keep messages in the queue from being tried, until they are released.

A message that is being delivered is held if that attempt fails. Prints how many
messages it was.
` + queueFilterHelp + `
	-json                print the number and the ids as JSON
`

const queueUnholdHelp = `Let held messages in the queue be tried, at the time of their next attempt.

Held are those of "queue hold" and of "queue holdrules add", messages for other
servers in a queue that was restored from a backup, and messages whose content is
damaged; "queue list -json" says which. Rules hold them no more once they are
released. To try them at once, "queue schedule -now 0" comes after it. Prints how
many messages it was.
` + queueFilterHelp + `
	-json                print the number and the ids as JSON
`

const queueScheduleHelp = `Change when the next attempts of messages in the queue are.

The duration, as 30m, 1h30m or 2d, is added to the time of the next attempt; with
-now it counts from now, so that "-now 0" is at once. One to take off has to follow
"--", as in "-- -1h". Messages that are being delivered stay as they are. Prints how
many changed.
` + queueFilterHelp + `
	-now                 from now
	-json                print the number and the ids as JSON
`

const queueFailHelp = `Give up messages in the queue, and tell their senders.

The sender gets the notification that would come when all attempts have failed.
Prints how many messages it was.
` + queueFilterHelp + `
	-json                print the number and the ids as JSON
`

const queueDropHelp = `Remove messages from the queue, and tell nobody.

A message that is being delivered is removed if that attempt fails. Prints how
many messages it was.
` + queueFilterHelp + `
	-json                print the number and the ids as JSON
`

const queueDumpHelp = `Print a message in the queue, as it will be sent.

Lines end with CRLF.
`

// queueFlags are the flags of commands on the queue.
type queueFlags struct {
	*flag.FlagSet
	filter admin.QueueFilter
	json   bool
}

func (inv *invocation) queueFlags() *queueFlags {
	f := &queueFlags{FlagSet: inv.flagSet()}
	f.Func("ids", "", f.setIDs)
	f.StringVar(&f.filter.Account, "account", "", "")
	f.StringVar(&f.filter.From, "from", "", "")
	f.StringVar(&f.filter.To, "to", "", "")
	f.TextVar(&f.filter.Submitted, "submitted", admin.When{}, "")
	f.TextVar(&f.filter.NextAttempt, "nextattempt", admin.When{}, "")
	f.Func("hold", "", f.setHold)
	f.Func("transport", "", func(s string) error {
		f.filter.Transport = &s
		return nil
	})
	f.Func("n", "", f.setMax)
	f.BoolVar(&f.json, "json", false, "")
	return f
}

func (f *queueFlags) setIDs(s string) (err error) {
	f.filter.IDs, err = parseIDs(f.filter.IDs, s)
	return err
}

// parseIDs adds numbers between commas to a list. None is a mistake, not all.
func parseIDs(list []int64, s string) ([]int64, error) {
	for word := range strings.SplitSeq(s, ",") {
		id, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not an id", word)
		}
		list = append(list, id)
	}
	return list, nil
}

func (f *queueFlags) setHold(s string) error {
	held, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("need true or false")
	}
	f.filter.Hold = &held
	return nil
}

func (f *queueFlags) setMax(s string) (err error) {
	f.filter.Max, err = parseMax(s)
	return err
}

func parseMax(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("need a number more than 0")
	}
	return n, nil
}

func runQueueList(ctx context.Context, inv *invocation) error {
	flags := inv.queueFlags()
	req := admin.QueueListRequest{}
	flags.StringVar(&req.Sort, "sort", "", "")
	flags.BoolVar(&req.Asc, "asc", false, "")
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	req.Filter = flags.filter
	list, err := ctlCallPlain[admin.QueueList](ctx, c, "queueList", req)
	if err != nil {
		return err
	}
	if list.More {
		inv.errorf("warning: there are more than these %d messages, choose with flags", len(list.Messages))
	}
	return inv.print(flags.json, list.Messages, func() { inv.printQueue(list.Messages) })
}

// Widest columns of a list, in characters.
const (
	queueAddressMax = 40
	queueErrorMax   = 100
)

// printQueue prints a table. Its columns and their order stay, since scripts
// read them.
func (inv *invocation) printQueue(messages []admin.QueueMessage) {
	w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tQueued\tFrom\tTo\tSize\tState\tAttempts\tNext attempt\tLast error")
	for _, m := range messages {
		from := m.From
		if from == "" {
			from = "<>"
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\n", m.ID, tableTime(m.Queued), cell(from, queueAddressMax), cell(m.To, queueAddressMax),
			m.Size, m.State, m.Attempts, tableTime(m.NextAttempt), cell(m.LastError(), queueErrorMax))
	}
	_ = w.Flush() // To standard output: as with other commands, nobody is left to tell.
}

// tableTime returns a time in one word, "-" for none.
func tableTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// cell returns text for a table: on one line, at most so many characters, and
// nothing that a terminal would act on. Empty text is "-".
func cell(s string, charactersMax int) string {
	if s == "" {
		return "-"
	}
	var out []rune
	for _, c := range s {
		if len(out) == charactersMax {
			out[charactersMax-1] = '…'
			break
		}
		switch {
		case unicode.IsSpace(c):
			c = ' '
		case !unicode.IsPrint(c):
			c = unicode.ReplacementChar
		}
		out = append(out, c)
	}
	return string(out)
}

func runQueueSchedule(ctx context.Context, inv *invocation) error {
	flags := inv.queueFlags()
	now := flags.Bool("now", false, "")
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	req := admin.QueueScheduleRequest{Filter: flags.filter, FromNow: *now}
	if err := req.Delay.UnmarshalText([]byte(inv.args[0])); err != nil {
		return &usageError{err.Error()}
	}
	return inv.changeQueue(ctx, flags, "queueSchedule", req)
}

func runQueueHold(ctx context.Context, inv *invocation) error {
	flags := inv.queueFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	return inv.changeQueue(ctx, flags, "queueHold", admin.QueueRequest{Filter: flags.filter})
}

func runQueueUnhold(ctx context.Context, inv *invocation) error {
	flags := inv.queueFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	return inv.changeQueue(ctx, flags, "queueUnhold", admin.QueueRequest{Filter: flags.filter})
}

func runQueueFail(ctx context.Context, inv *invocation) error {
	flags := inv.queueFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	return inv.changeQueue(ctx, flags, "queueFail", admin.QueueRequest{Filter: flags.filter})
}

func runQueueDrop(ctx context.Context, inv *invocation) error {
	flags := inv.queueFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	return inv.changeQueue(ctx, flags, "queueDrop", admin.QueueRequest{Filter: flags.filter})
}

// changeQueue makes a call that changes messages, and prints how many.
func (inv *invocation) changeQueue(ctx context.Context, flags *queueFlags, call string, req any) error {
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	changed, err := ctlCallPlain[admin.QueueChanged](ctx, c, call, req)
	if err != nil {
		return err
	}
	return inv.print(flags.json, changed, func() { inv.printf("messages changed: %d\n", changed.Changed) })
}

func runQueueDump(ctx context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 1); err != nil {
		return err
	}
	id, err := strconv.ParseInt(inv.args[0], 10, 64)
	if err != nil {
		return &usageError{fmt.Sprintf("%q is not an id", inv.args[0])}
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	return ctlCallRaw(ctx, c, "queueDump", admin.QueueDumpRequest{ID: id}, inv.stdout)
}
