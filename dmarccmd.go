package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dmarc"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/spf"
)

const dmarcLookupHelp = `Look up the DMARC policy for mail from a domain, and print what it says.

It is the record of the domain itself, or else that of its organisational domain, which
is found by the records of the domains above it. That domain is printed too: domains
that have it in common can send mail for each other.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-json     print it as JSON
`

const dmarcVerifyHelp = `Verify a message from standard input with SPF, DKIM and DMARC.

The address, the sender in MAIL FROM and the name in EHLO are those of the server that
the message came from: "" for a null sender or an unknown name. If both are empty, SPF
is left out. Line ends can be those of a file.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-json     print it as JSON
`

const dmarcCheckReportAddrsHelp = `Check the addresses for reports in the DMARC policy for a domain.

An address of another organisation gets no reports unless that agrees, with a record
at <domain>._report._dmarc.<its domain>.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-json     print it as JSON
`

// diagnosedSizeMax bounds a message for a command in bytes, as for incoming mail.
const diagnosedSizeMax = 100 << 20

// dmarcRecordReport is what dmarc lookup prints.
type dmarcRecordReport struct {
	Domain   string
	Org      string // Empty if not known.
	RecordAt string // Domain with the record, empty if there is none.
	Text     string
	Record   string       // Without what is wrong, unknown or has its default value.
	Policy   dmarc.Policy // For mail that fails, empty if not known.
	Problems []string     // What is wrong in the record, and without effect.
	DNSSEC   bool         // DNSSEC protects all answers that led here.
	Error    string
}

func runDMARCLookup(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	domain, err := inv.parseDomain(flags)
	if err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	// Of a message without anything that verifies it.
	report := newDMARCRecordReport(domain, dmarc.Evaluate(ctx, r, dmarc.Args{From: domain}))
	return inv.printChecked(flags.json, report, report.Error != "", func() { inv.printDMARCRecord(report) })
}

// parseDomain parses the arguments of a command that takes a domain.
func (inv *invocation) parseDomain(flags *dnsFlags) (dns.Domain, error) {
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return dns.Domain{}, err
	}
	if flags.NArg() != 1 {
		return dns.Domain{}, &usageError{}
	}
	domain, err := dns.ParseDomain(strings.TrimSuffix(flags.Arg(0), "."))
	if err != nil {
		return dns.Domain{}, &usageError{err.Error()}
	}
	return domain, nil
}

// printChecked is print, with the exit status for what was found to be bad.
func (inv *invocation) printChecked(asJSON bool, report any, bad bool, text func()) error {
	if err := inv.print(asJSON, report, text); err != nil {
		return err
	}
	if bad {
		return exitStatus(exitError)
	}
	return nil
}

func newDMARCRecordReport(domain dns.Domain, e dmarc.Evaluation) dmarcRecordReport {
	report := dmarcRecordReport{
		Domain: domain.Name(), Org: e.OrgDomain.Name(), RecordAt: e.RecordDomain.Name(), Text: e.RecordText, Policy: e.Policy,
		Problems: []string{}, DNSSEC: e.Authentic,
	}
	if e.Record != nil {
		report.Record = e.Record.String()
		for _, p := range e.Record.Problems {
			report.Problems = append(report.Problems, p.Error())
		}
	}
	switch {
	case e.Result == dmarc.ResultNone:
		report.Error = dmarc.ErrNoRecord.Error()
	case e.Err != nil:
		report.Error = e.Err.Error()
	}
	if report.Error != "" {
		report.Policy = ""
	}
	return report
}

func (inv *invocation) printDMARCRecord(r dmarcRecordReport) {
	if r.RecordAt != "" {
		inv.printf("record of %s for %s, %s:\n\t%q\n", r.RecordAt, r.Domain, withDNSSEC(r.DNSSEC), r.Text)
		inv.printf("understood as:\n\t%q\n", r.Record)
	}
	for _, p := range r.Problems {
		inv.printf("without effect: %s\n", p)
	}
	if r.Org != "" {
		inv.printf("organisational domain: %s\n", r.Org)
	}
	if r.Policy != "" {
		inv.printf("policy for mail that fails: %s\n", r.Policy)
	}
	if r.Error != "" {
		inv.printf("error: %s\n", r.Error)
	}
}

// dmarcVerifyReport is what dmarc verify prints.
type dmarcVerifyReport struct {
	From   string      // Domain in From.
	SPF    dmarcMethod // With an empty Result if left out.
	DKIM   []dmarcMethod
	Result dmarc.Result
	Policy dmarc.Policy // To be applied.
	Record dmarcRecordReport
	Error  string // Of DMARC.
}

// dmarcMethod is a result of SPF, or of one signature.
type dmarcMethod struct {
	Domain  string
	Result  string
	Aligned string // "strict", "relaxed" or "none". For DKIM that of the closest, others have none.
	DNSSEC  bool
	Error   string
}

func runDMARCVerify(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	if flags.NArg() != 3 {
		return &usageError{}
	}
	sender, err := parseSender(flags.Arg(0), flags.Arg(1), flags.Arg(2))
	if err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	content, err := readDiagnosed(inv.stdin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	report, err := verifyDMARC(ctx, r, sender, content)
	if err != nil {
		return err
	}
	bad := report.Result != dmarc.ResultPass && report.Result != dmarc.ResultNone
	return inv.printChecked(flags.json, report, bad, func() { inv.printDMARC(report) })
}

// parseSender parses what is known of the server that a message came from. Of an
// unknown sender RemoteIP is the zero value.
func parseSender(ip, mailFrom, hello string) (args spf.Args, err error) {
	if args.RemoteIP, err = netip.ParseAddr(ip); err != nil {
		return spf.Args{}, &usageError{fmt.Sprintf("%+q is not an IP address", ip)}
	}
	args.Now = time.Now()
	if mailFrom == "" && hello == "" {
		return spf.Args{}, nil
	}
	if mailFrom != "" {
		address, err := smtp.ParseAddress(mailFrom)
		if err != nil {
			return spf.Args{}, &usageError{fmt.Sprintf("%+q is not an address", mailFrom)}
		}
		args.MailFrom = address.Path()
	}
	if hello != "" {
		if args.Hello.Domain, err = dns.ParseDomain(hello); err != nil {
			return spf.Args{}, &usageError{err.Error()}
		}
	}
	return args, nil
}

// readDiagnosed reads a message for a command, with the line ends of mail.
func readDiagnosed(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, diagnosedSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("reading message: %w", err)
	}
	if len(content) > diagnosedSizeMax {
		return nil, fmt.Errorf("message is larger than %d bytes", diagnosedSizeMax)
	}
	content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n")), nil
}

// verifyDMARC evaluates everything about a message. The error is about the message:
// it has not one sender.
func verifyDMARC(ctx context.Context, r dns.Resolver, sender spf.Args, content []byte) (report dmarcVerifyReport, err error) {
	header := message.NewHeader(content)
	from := message.ParseAddressList(header.Get("From"))
	if header.Count("From") != 1 || len(from) != 1 {
		return report, errors.New("message does not have exactly one address in From, and DMARC is about that")
	}
	var args dmarc.Args
	if args.From, err = dns.ParseDomain(from[0].Host); err != nil {
		return report, fmt.Errorf("domain in From: %w", err)
	}
	if sender.RemoteIP.IsValid() {
		e := spf.Verify(ctx, r, sender)
		args.SPF = dmarc.Identifier{Domain: e.Domain, Result: string(e.Result)}
		report.SPF = dmarcMethod{Domain: e.Domain.Name(), Result: string(e.Result), DNSSEC: e.Authentic, Error: errorText(e.Problem)}
	}
	report.DKIM = []dmarcMethod{}
	signatures, err := dkim.Verify(ctx, r, bytes.NewReader(content), int64(len(content)), dkim.VerifyOptions{Now: time.Now()})
	if err != nil {
		return report, fmt.Errorf("verifying signatures: %w", err)
	}
	for _, e := range signatures {
		m := dmarcMethod{Result: string(e.Result), Aligned: dmarc.NotAligned.String(), DNSSEC: e.Authentic, Error: errorText(e.Err)}
		if e.Signature != nil {
			m.Domain = e.Signature.Domain.Name()
			args.DKIM = append(args.DKIM, dmarc.Identifier{Domain: e.Signature.Domain, Result: string(e.Result)})
		}
		report.DKIM = append(report.DKIM, m)
	}
	report.conclude(args.From, dmarc.Evaluate(ctx, r, args))
	return report, nil
}

// conclude adds what DMARC says.
func (report *dmarcVerifyReport) conclude(from dns.Domain, e dmarc.Evaluation) {
	report.From, report.Result, report.Policy, report.Error = from.Name(), e.Result, e.Policy, errorText(e.Err)
	report.SPF.Aligned = e.SPF.String()
	for i := range report.DKIM {
		if m := &report.DKIM[i]; m.Result == "pass" && m.Domain == e.DKIMDomain.Name() {
			m.Aligned = e.DKIM.String()
		}
	}
	report.Record = newDMARCRecordReport(from, e)
	report.Record.Policy, report.Record.Error = "", ""
}

// errorText returns what an error says, "" for none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (inv *invocation) printDMARC(r dmarcVerifyReport) {
	inv.printf("from: %s\n", r.From)
	if r.SPF.Result != "" {
		inv.printMethod("spf", r.SPF)
	}
	for _, m := range r.DKIM {
		inv.printMethod("dkim", m)
	}
	inv.printDMARCRecord(r.Record)
	inv.printf("dmarc: %s", r.Result)
	if r.Result == dmarc.ResultFail {
		inv.printf(", policy %s", r.Policy)
	}
	inv.printf("\n")
	if r.Error != "" {
		inv.printf("error: %s\n", r.Error)
	}
}

func (inv *invocation) printMethod(name string, m dmarcMethod) {
	inv.printf("%s: %s for %s, alignment %s, %s\n", name, m.Result, m.Domain, m.Aligned, withDNSSEC(m.DNSSEC))
	if m.Error != "" {
		inv.printf("\t%s\n", m.Error)
	}
}

// reportAddressReport is an address for reports, as dmarc checkreportaddrs prints it.
type reportAddressReport struct {
	URI      string
	External bool     // Of another organisation.
	Send     []string // Where reports go. Empty: nowhere, see Error.
	DNSSEC   bool
	Error    string
}

func runDMARCCheckReportAddrs(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	domain, err := inv.parseDomain(flags)
	if err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	e := dmarc.Evaluate(ctx, r, dmarc.Args{From: domain})
	if e.Record == nil {
		if e.Err != nil {
			return e.Err
		}
		return fmt.Errorf("%s: %w", domain.Name(), dmarc.ErrNoRecord)
	}
	list := []reportAddressReport{}
	bad := false
	for _, a := range dmarc.CheckReportAddresses(ctx, r, e.RecordDomain, e.Record.AggregateReports) {
		item := reportAddressReport{URI: a.URI.String(), External: a.External, Send: []string{}, DNSSEC: a.Authentic, Error: errorText(a.Err)}
		for _, u := range a.Send {
			item.Send = append(item.Send, u.String())
		}
		bad = bad || a.Err != nil
		list = append(list, item)
	}
	return inv.printChecked(flags.json, list, bad, func() { inv.printReportAddresses(list) })
}

func (inv *invocation) printReportAddresses(list []reportAddressReport) {
	if len(list) == 0 {
		inv.printf("the record asks for no reports\n")
	}
	for _, a := range list {
		whose := "of the same organisation"
		if a.External {
			whose = "of another organisation"
		}
		switch {
		case a.Error != "":
			inv.printf("%s: no reports: %s\n", a.URI, a.Error)
		default:
			inv.printf("%s, %s, %s: reports go to %s\n", a.URI, whose, withDNSSEC(a.DNSSEC), strings.Join(a.Send, ", "))
		}
	}
}
