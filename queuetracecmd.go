package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/trace"
)

const queueTraceHelp = `Show the way of messages, step by step: where each came from, what was decided about
it and why, each attempt to deliver it, what its sender was told, where it is now.

Messages are found by the id that they have, or had, in the queue, by Message-ID, with or
without angle brackets, or by the address of a sender or recipient, in the envelope or in
From. With -cid it is what happened in a connection or delivery, whose id lines of the log
have.

Steps are kept for a time and as far as there is room: see Trace in mox.conf. A crash can
lose those of the last second, and a flood some of them: then it says so. The server must
be running. Times are in UTC.

	-cid id              by connection or delivery, in place of the argument
	-since when          only steps from then on: a time, as 2026-11-21 or
	                     2026-11-21T12:00:00Z, or how long ago, as 2h or 3d
	-until when          only steps until then
	-n number            at most so many steps, the newest; if absent, 1000
	-json                print an array with all there is to know of each step
`

// traceStepsDefault is how many steps are shown if nothing is said.
const traceStepsDefault = 1000

func runQueueTrace(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	req := admin.QueueTraceRequest{Max: traceStepsDefault}
	now := time.Now()
	flags.StringVar(&req.CID, "cid", "", "")
	flags.Func("since", "", func(s string) (err error) {
		req.Since, err = parseMoment(s, now)
		return err
	})
	flags.Func("until", "", func(s string) (err error) {
		req.Until, err = parseMoment(s, now)
		return err
	})
	flags.IntVar(&req.Max, "n", req.Max, "")
	asJSON := flags.Bool("json", false, "")
	if err := parseFlags(flags, inv.args); err != nil {
		return err
	}
	if inv.args = flags.Args(); len(inv.args) > 1 || (len(inv.args) == 1) == (req.CID != "") {
		return &usageError{}
	}
	if req.Max <= 0 {
		return &usageError{"-n needs a number more than 0"}
	}
	req.Query = strings.Join(inv.args, "")
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	res, err := ctlCallPlain[admin.QueueTraceResult](ctx, c, "queueTrace", req)
	if err != nil {
		return err
	}
	if res.More {
		inv.errorf("warning: there are older steps than these %d, choose with -n or -until", len(res.Events))
	}
	return inv.print(*asJSON, withGaps(res), func() { inv.printMessages(res) })
}

// parseMoment parses a time, or how long it is before now.
func parseMoment(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	var d admin.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil || d < 0 {
		return time.Time{}, errors.New("need a time, as 2026-11-21T12:00:00Z, or how long ago, as 2h or 3d")
	}
	return now.Add(-time.Duration(d)), nil
}

// withGaps returns all events in their order.
func withGaps(res admin.QueueTraceResult) []trace.Event {
	all := append([]trace.Event{}, slices.Concat(res.Events, res.Gaps)...) // Not null in JSON.
	slices.SortStableFunc(all, func(a, b trace.Event) int { return a.Time.Compare(b.Time) })
	return all
}

// printMessages prints messages for people, with their steps.
func (inv *invocation) printMessages(res admin.QueueTraceResult) {
	for i, events := range trace.Group(res.Events) {
		if i > 0 {
			inv.printf("\n")
		}
		inv.printf("%s\n", traceTitle(events))
		for j := range events {
			inv.printStep(&events[j])
		}
		for _, line := range traceNow(events) {
			inv.printf("  %s\n", line)
		}
	}
	if len(res.Events) == 0 {
		inv.printf("nothing is known about that; steps are kept for %s\n", daysText(res.KeepFor))
	}
	if len(res.Gaps) == 0 {
		return
	}
	inv.printf("\nSteps can be missing:\n")
	for i := range res.Gaps {
		inv.printf("  %s  %s\n", traceTime(res.Gaps[i].Time), gapText(res.Gaps[i].Missing))
	}
}

// printStep prints one step: a line with its time, and others below it.
func (inv *invocation) printStep(e *trace.Event) {
	lines := stepLines(e)
	inv.printf("  %s  %s\n", traceTime(e.Time), lines[0])
	for _, line := range lines[1:] {
		inv.printf("  %*s  %s\n", len(traceTimeLayout), "", line)
	}
}

// traceTimeLayout is how times of steps are printed.
const traceTimeLayout = "2006-01-02T15:04:05.000Z"

func traceTime(t time.Time) string { return t.UTC().Format(traceTimeLayout) }

// daysText returns a duration in days, if it is one of whole days.
func daysText(s string) string {
	d, err := time.ParseDuration(s)
	if days := d / (24 * time.Hour); err == nil && days > 1 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", days)
	}
	return s
}

// gapText says what is missing.
func gapText(m *trace.Missing) string {
	switch {
	case m == nil:
		return "not known what"
	case m.Restart:
		return "the server was started, after one that did not stop in order: its last second may be missing"
	}
	return fmt.Sprintf("%d steps before were not kept: there were too many at a time, or the disk failed", m.Events)
}
