package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/spf"
)

const spfCheckHelp = `Check whether a host may send mail for a domain, with its SPF policy.

Instead of a domain an address can be given: some policies depend on the part before
the @. What the domain says about a refusal is its own text. Nothing is sent.

	-hello    the name that the host gives with EHLO, if the policy depends on it
	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-json     print it as JSON
`

const spfLookupHelp = `Look up the SPF policy of a domain, and print what it says.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-json     print it as JSON
`

const spfParseHelp = `Parse an SPF policy, and print what it says or what is wrong with it.

The policy is the text of the TXT record, as one argument: "v=spf1 mx -all".

	-json   print it as JSON
`

// checkWait bounds an evaluation that takes many lookups, as for incoming mail.
const checkWait = time.Minute

// spfReport is what spf check prints.
type spfReport struct {
	Domain      string
	IP          string
	Result      spf.Result
	Mechanism   string // "default" if none matched.
	Explanation string // Of the domain, for fail.
	DNSSEC      bool   // DNSSEC protects all answers that led to the result.
	Problem     string // Of none, temperror and permerror.
}

func runSPFCheck(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	hello := flags.String("hello", "", "")
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return &usageError{}
	}
	args, err := spfArgs(flags.Arg(0), flags.Arg(1), *hello)
	if err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	e := spf.Verify(ctx, r, args)
	report := spfReport{Domain: e.Domain.Name(), IP: args.RemoteIP.String(), Result: e.Result, Mechanism: e.Mechanism, Explanation: e.Explanation, DNSSEC: e.Authentic}
	if e.Problem != nil {
		report.Problem = e.Problem.Error()
	}
	if err := inv.print(flags.json, report, func() { inv.printSPF(report) }); err != nil {
		return err
	}
	if e.Result == spf.TempError || e.Result == spf.PermError {
		return exitStatus(exitError)
	}
	return nil
}

// spfArgs parses the arguments of spf check.
func spfArgs(sender, ip, hello string) (args spf.Args, err error) {
	if !strings.Contains(sender, "@") {
		sender = "postmaster@" + sender
	}
	address, err := smtp.ParseAddress(sender)
	if err != nil {
		return spf.Args{}, &usageError{fmt.Sprintf("%+q is neither a domain nor an address", sender)}
	}
	if args.RemoteIP, err = netip.ParseAddr(ip); err != nil {
		return spf.Args{}, &usageError{fmt.Sprintf("%+q is not an IP address", ip)}
	}
	args.MailFrom, args.Hello.Domain, args.Now = address.Path(), address.Domain, time.Now()
	if hello != "" {
		if args.Hello.Domain, err = dns.ParseDomain(hello); err != nil {
			return spf.Args{}, &usageError{fmt.Sprintf("-hello: %v", err)}
		}
	}
	return args, nil
}

func (inv *invocation) printSPF(r spfReport) {
	inv.printf("%s for %s: %s, %s\n", r.IP, r.Domain, r.Result, withDNSSEC(r.DNSSEC))
	if r.Mechanism != "" {
		inv.printf("mechanism: %s\n", r.Mechanism)
	}
	if r.Explanation != "" {
		inv.printf("%s explains: %s\n", r.Domain, r.Explanation)
	}
	if r.Problem != "" {
		inv.printf("problem: %s\n", r.Problem)
	}
}

func withDNSSEC(authentic bool) string {
	if authentic {
		return "with DNSSEC"
	}
	return "without DNSSEC"
}

// spfRecordReport is a policy, as spf lookup and spf parse print it.
type spfRecordReport struct {
	Domain string `json:",omitempty"`
	Text   string
	DNSSEC bool // Not for spf parse.
	Terms  []spfTerm
	Error  string // The policy can't be used, or is not known.
}

// spfTerm is a directive or modifier of a policy.
type spfTerm struct {
	Text    string
	Meaning string
}

func runSPFLookup(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return &usageError{}
	}
	domain, err := dns.ParseDomain(strings.TrimSuffix(flags.Arg(0), "."))
	if err != nil {
		return &usageError{err.Error()}
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	text, record, res, err := spf.Lookup(ctx, r, domain)
	report := newSPFRecordReport(text, record, err)
	report.Domain, report.DNSSEC = domain.Name(), res.Authentic
	return inv.printSPFRecord(flags.json, report)
}

func runSPFParse(_ context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 1); err != nil {
		return err
	}
	record, err := spf.ParseRecord(flags.Arg(0))
	return inv.printSPFRecord(flags.json, newSPFRecordReport(flags.Arg(0), record, err))
}

func newSPFRecordReport(text string, record spf.Record, err error) spfRecordReport {
	r := spfRecordReport{Text: text, Terms: []spfTerm{}}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	for _, d := range record.Directives {
		r.Terms = append(r.Terms, spfTerm{d.Text, string(d.Qualifier) + " for " + spfHosts(d)})
	}
	if !record.Redirect.IsZero() {
		r.Terms = append(r.Terms, spfTerm{"redirect=" + record.Redirect.String(), "else the policy of " + record.Redirect.String()})
	}
	if !record.Explanation.IsZero() {
		r.Terms = append(r.Terms, spfTerm{"exp=" + record.Explanation.String(), "a fail is explained at " + record.Explanation.String()})
	}
	for _, m := range record.Modifiers {
		r.Terms = append(r.Terms, spfTerm{m.Name + "=" + m.Value, "unknown, without effect"})
	}
	return r
}

// spfHosts says which hosts a mechanism is about.
func spfHosts(d spf.Directive) string {
	domain := d.Domain.String()
	if domain == "" {
		domain = "the domain"
	}
	networks := ""
	if d.Bits4 < 32 || d.Bits6 < 128 {
		networks = fmt.Sprintf(", and the networks /%d or /%d around them", d.Bits4, d.Bits6)
	}
	switch d.Mechanism {
	case "all":
		return "all hosts"
	case "include":
		return "hosts that the policy of " + domain + " lets pass"
	case "a":
		return "the addresses of " + domain + networks
	case "mx":
		return "the mail exchangers of " + domain + networks
	case "ptr":
		return "hosts whose names are in " + domain
	case "exists":
		return "all hosts, if " + domain + " has an IPv4 address"
	}
	return d.Network.String()
}

// printSPFRecord prints a policy. One that can't be used is an error.
func (inv *invocation) printSPFRecord(asJSON bool, r spfRecordReport) error {
	err := inv.print(asJSON, r, func() {
		if r.Domain != "" {
			inv.printf("policy of %s, %s:\n", r.Domain, withDNSSEC(r.DNSSEC))
		}
		if r.Text != "" {
			inv.printf("%q\n", r.Text)
		}
		for _, t := range r.Terms {
			inv.printf("\t%s\t%s\n", t.Text, t.Meaning)
		}
		if r.Error != "" {
			inv.printf("error: %s\n", r.Error)
		}
	})
	if err == nil && r.Error != "" {
		return exitStatus(exitError)
	}
	return err
}
