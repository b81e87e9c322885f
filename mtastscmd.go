package main

import (
	"cmp"
	"context"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/policyhost"
	"github.com/mjl-/mox/resolver"
)

const mtastsLookupHelp = `Look up the MTA-STS record of a domain, fetch its policy, and print both.

The policy says to which hosts mail for the domain goes, over verified TLS. It is
fetched as the server does it, but what the server has kept is not looked at: a policy
stays in force there until its time is over, also if it can't be had now.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-json     print it as JSON
`

// mtastsReport is what mtasts lookup prints.
type mtastsReport struct {
	Domain  string
	Alias   string // The name the record belongs to, if it is another.
	Record  string // Text of the one record, empty if there is none.
	ID      string // Of the policy. Empty without valid record, and then nothing is fetched.
	DNSSEC  bool   // DNSSEC protects the record, or that there is none.
	URL     string // Of the policy.
	Text    string // As it was fetched.
	Mode    mtasts.Mode
	MX      []string
	MaxAge  int64          // In seconds.
	Failure mtasts.Failure // Why there is no policy, as in reports about TLS.
	Error   string
}

func runMTASTSLookup(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	domain, err := inv.parseDomain(flags)
	if err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	getter, err := inv.getterFor(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	report := lookupMTASTS(ctx, r, getter, domain)
	return inv.printChecked(flags.json, report, report.Error != "", func() { inv.printMTASTS(report) })
}

// getterFor returns what asks policy hosts.
func (inv *invocation) getterFor(r *resolver.Resolver) (mtasts.Getter, error) {
	if inv.getter != nil {
		return inv.getter, nil
	}
	return policyhost.New(policyhost.Options{Resolver: r, UserAgent: "mox/" + version()})
}

func lookupMTASTS(ctx context.Context, r dns.Resolver, getter mtasts.Getter, domain dns.Domain) mtastsReport {
	found, err := mtasts.LookupRecord(ctx, r, domain)
	report := mtastsReport{
		Domain: domain.Name(), Record: found.Text, ID: found.Record.ID, DNSSEC: found.Authentic, URL: mtasts.URL(domain), MX: []string{}, Error: errorText(err),
	}
	if found.Text != "" && found.Name != "_mta-sts."+domain.Absolute() {
		report.Alias = found.Name
	}
	if err != nil {
		return report
	}
	policy, text, err := mtasts.Fetch(ctx, getter, domain)
	report.Text, report.Failure, report.Error = text, mtasts.FailureOf(err), errorText(err)
	if err != nil {
		return report
	}
	report.Mode, report.MaxAge = policy.Mode, int64(policy.MaxAge/time.Second)
	for _, mx := range policy.MX {
		report.MX = append(report.MX, mx.String())
	}
	return report
}

func (inv *invocation) printMTASTS(r mtastsReport) {
	if r.Record != "" {
		inv.printf("record of %s, %s:\n\t%+q\n", cmp.Or(r.Alias, r.Domain), withDNSSEC(r.DNSSEC), r.Record)
	}
	if r.Mode != "" {
		inv.printf("policy at %s:\n\tmode: %s\n", r.URL, r.Mode)
		for _, mx := range r.MX {
			inv.printf("\tmx: %s\n", mx)
		}
		inv.printf("\tmax_age: %d (%v)\n", r.MaxAge, time.Duration(r.MaxAge)*time.Second)
	} else if r.ID != "" {
		inv.printf("no policy at %s\n", r.URL)
	}
	if r.Error != "" {
		inv.printf("error: %s\n", r.Error)
	}
}
