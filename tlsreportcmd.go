package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/mjl-/mox/admin"
)

const mtastsListHelp = `List the MTA-STS policies of domains that mail was sent to.

The server keeps them, and goes by them until their time is over. The columns are the
domain, the mode of the policy, the id of its record, when it expires, when it was
fetched last, when mail was sent there last, give or take a day, and why it could not be
fetched the last time. Behind a mode whose time is over is "expired"; "-" is where none
was ever had. Times are in UTC.

With a domain, all that is kept of its policy is printed, with its text.

	-json  print an array with all there is to know of each
`

const mtastsRefreshHelp = `Ask for the MTA-STS policy of a domain now.

The server does so by itself once a day, and when the record of the domain has another
id. A policy that is in force stays if there is no other. What is kept then is printed,
as by "mtasts list".

	-json  print it as JSON
`

const tlsrptResultsHelp = `List what came of TLS with the servers of other domains in the last days.

It is collected to be reported to those who want to know (TLSRPT), unless
NoOutgoingTLSReports is set in mox.conf. There is a line for each day, domain of
recipients, policy and whose it is: of the domain (sts) or of one of its hosts (tlsa), or
none. Then come the numbers of connections that did as the policy has it, and of those
that did not. Below are the failures: how many, what, with which host, and why.

With a domain, only those of mail for it, or of the host with this name.

	-json  print an array with the policies and failures as they are in reports
`

// optionalDomain parses flags and at most one argument.
func (inv *invocation) optionalDomain(flags *jsonFlags) (string, error) {
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return "", err
	}
	switch args := flags.Args(); len(args) {
	case 0:
		return "", nil
	case 1:
		return args[0], nil
	}
	return "", &usageError{}
}

func runMTASTSList(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	domain, err := inv.optionalDomain(flags)
	if err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.MTASTSList](ctx, c, "mtastsList", admin.MTASTSListRequest{Domain: domain})
	if err != nil {
		return err
	}
	return inv.print(flags.json, list.Policies, func() {
		if domain != "" {
			for _, p := range list.Policies {
				inv.printPolicy(p)
			}
			return
		}
		w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
		for _, p := range list.Policies {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
				p.Domain, policyMode(p), orDash(p.ID), tableTime(p.Expires), tableTime(p.Updated), tableTime(p.Used), orDash(cell(p.Error, reasonMax)))
		}
		_ = w.Flush() // As with other lists.
		if list.More {
			inv.printf("there are more\n")
		}
	})
}

// reasonMax is the width of reasons in lists, in characters.
const reasonMax = 100

// policyMode returns the mode of a policy for people.
func policyMode(p admin.MTASTSPolicy) string {
	switch {
	case p.Mode == "":
		return "-"
	case !p.InForce:
		return string(p.Mode) + " (expired)"
	}
	return string(p.Mode)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func runMTASTSRefresh(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "mtastsRefresh", admin.MTASTSRefreshRequest{Domain: inv.args[0]}, inv.printPolicy)
}

// printPolicy prints all that is kept of a policy.
func (inv *invocation) printPolicy(p admin.MTASTSPolicy) {
	inv.printf("domain   %s\nmode     %s\n", p.Domain, policyMode(p))
	if p.Mode != "" {
		inv.printf("id       %s\nexpires  %s\nupdated  %s, first %s\n", p.ID, tableTime(p.Expires), tableTime(p.Updated), tableTime(p.First))
	}
	if !p.Used.IsZero() {
		inv.printf("used     %s\n", tableTime(p.Used))
	}
	if !p.Failed.IsZero() {
		inv.printf("failed   %s, with the record %s: %s\n", tableTime(p.Failed), p.FailedID, cell(p.Error, len(p.Error)))
	}
	if p.Text != "" {
		inv.printf("\n")
		for line := range strings.Lines(p.Text) {
			inv.printf("\t%s\n", cell(strings.TrimRight(line, "\r\n"), len(line)))
		}
	}
}

func runTLSRPTResults(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	domain, err := inv.optionalDomain(flags)
	if err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	list, err := ctlCallPlain[admin.TLSResults](ctx, c, "tlsResults", admin.TLSResultsRequest{Domain: domain})
	if err != nil {
		return err
	}
	return inv.print(flags.json, list.Results, func() {
		for _, r := range list.Results {
			inv.printTLSResult(r)
		}
		if list.More {
			inv.printf("there are more\n")
		}
	})
}

func (inv *invocation) printTLSResult(r admin.TLSResult) {
	for _, p := range r.Policies {
		inv.printf("%s  %s  %s of %s  %d good, %d failed\n", r.Day, r.RecipientDomain, p.Policy.Type, r.PolicyDomain, p.Summary.Success, p.Summary.Failure)
		for _, f := range p.Failures {
			inv.printf("\t%d  %s", f.Sessions, f.Type)
			for _, word := range []string{f.MXHost, f.ReceivingIP, f.Reason} {
				if word != "" {
					inv.printf("  %s", word)
				}
			}
			inv.printf("\n")
		}
	}
}
