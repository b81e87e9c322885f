package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/screen"
)

const explainHelp = `Show what would happen to a message for a recipient, step by step, and why.

The running server does for the message all that it does for one that comes in: it asks
DNS who it is from, and the account what it knows of the sender, what its rules and its
junk filter say. It delivers nothing, remembers nothing, and the sender learns nothing.

The message is a file, "-" for standard input, as a mail program saves it. If this server
has received it, how it came is read from its header, and the fields that the server
added are left out. Else, or to try something else:

	-ip address          of the peer
	-hello name          that the peer gives with EHLO
	-mailfrom address    sender of the envelope, "" for notifications
	-tls true            whether the peer uses TLS; if not known, it does
	-at time             when it comes, as 2026-11-21T12:00:00Z; if not known, now

DNS and accounts are asked as they are now. Rates are not looked at, and the threshold of
a junk filter varies by chance each time.

	-json                print all as JSON
`

func runExplain(ctx context.Context, inv *invocation) error {
	req := admin.ExplainRequest{}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.StringVar(&req.IP, "ip", "", "")
	flags.StringVar(&req.Hello, "hello", "", "")
	flags.Func("mailfrom", "", func(s string) error { req.MailFrom = &s; return nil })
	flags.Func("tls", "", func(s string) error {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("need true or false")
		}
		req.TLS = &b
		return nil
	})
	flags.Func("at", "", func(s string) (err error) {
		req.At, err = time.Parse(time.RFC3339, s)
		return err
	})
	asJSON := flags.Bool("json", false, "")
	if err := inv.parse(flags, 2); err != nil {
		return err
	}
	req.Rcpt = flags.Arg(1)
	var err error
	if req.Content, _, err = inv.readMessage(flags.Arg(0)); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	res, err := ctlCallPlain[admin.Explanations](ctx, c, "explain", req)
	if err != nil {
		return err
	}
	return inv.print(*asJSON, res.List, func() {
		for i, e := range res.List {
			if i > 0 {
				inv.printf("\n")
			}
			inv.printExplanation(e)
		}
	})
}

// printExplanation prints an explanation for people.
func (inv *invocation) printExplanation(e screen.Explanation) {
	for_ := e.Rcpt
	if e.Account != "" {
		for_ += ", account " + e.Account
	}
	inv.printf("For %s:\n\n", for_)
	w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
	line := func(name, text string) { _, _ = fmt.Fprintf(w, "  %s\t%s\n", name, text) }
	line("envelope", envelopeText(e))
	if e.From != "" {
		line("from", cell(e.From, explainTextMax))
	}
	for _, a := range e.Authentication {
		text := a.Result
		if a.Reason != "" {
			text += ": " + a.Reason
		}
		if a.About != "" {
			text += "  " + a.About
		}
		line(a.Method, cell(text, explainTextMax))
	}
	if e.Forged > 0 {
		line("forged", fmt.Sprintf("%d fields of the message say to be results of this server", e.Forged))
	}
	if r := e.Rule; r != nil {
		line("rule", cell(fmt.Sprintf("ruleset %d %s: mailbox %s", r.Index+1, r.Comment, r.Mailbox), explainTextMax))
	}
	_ = w.Flush() // To standard output: as with other commands, nobody is left to tell.
	if len(e.Steps) > 0 {
		inv.printf("\n")
	}
	for i, s := range e.Steps {
		inv.printf("  %2d. %s: %s\n", i+1, s.Name, cell(s.Finding, explainTextMax))
		if s.Effect != "" {
			inv.printf("      -> %s\n", cell(s.Effect, explainTextMax))
		}
	}
	inv.printf("\n%s (%s): %s\n", outcomeText(e), e.Reason, cell(e.Explanation, explainTextMax))
	inv.printf("The sender reads: %s\n", cell(e.Reply, explainTextMax))
}

// explainTextMax bounds a text in characters.
const explainTextMax = 500

func envelopeText(e screen.Explanation) string {
	from := e.MailFrom
	if from == "" {
		from = "the null sender"
	}
	text := "from " + from
	if e.Hello != "" {
		text += ", by " + e.Hello
	}
	if e.IP != "" {
		text += " [" + e.IP + "]"
	} else {
		text += ", address of the peer not known"
	}
	if e.TLS {
		text += " with TLS"
	} else {
		text += " without TLS"
	}
	text += ", at " + e.At.UTC().Format(time.RFC3339)
	if e.Found {
		text += ", as its header says"
	}
	return cell(text, explainTextMax)
}

func outcomeText(e screen.Explanation) string {
	if e.Mailbox == "" {
		text := "Refused"
		if e.Rejects != "" {
			text += ", kept in " + e.Rejects
		}
		return text
	}
	text := "Accepted into " + e.Mailbox
	if e.Wait != "" {
		text += " after " + e.Wait
	}
	return text
}
