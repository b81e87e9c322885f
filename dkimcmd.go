package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

const dkimGenEd25519Help = `Make an Ed25519 key for DKIM, and print it as PEM.

It is for PrivateKeyFile of a selector in domains.conf. Not all receivers know such
keys yet, so there should be one of RSA too. See "mox dkim txt" for its record in DNS.
`

const dkimGenRSAHelp = `Make an RSA key of 2048 bits for DKIM, and print it as PEM.

It is for PrivateKeyFile of a selector in domains.conf. See "mox dkim txt" for its
record in DNS.
`

const dkimLookupHelp = `Look up the DKIM key of a selector and a domain, and check it.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port
	-json     print it as JSON
`

const dkimTXTHelp = `Print the record in DNS for a DKIM key, whose PEM is read from standard input.

	-json  print it as JSON
`

const dkimVerifyHelp = `Verify the DKIM signatures of a message in a file, or from standard input with -.

All signatures are verified, also those of keys that are only being tested. It exits
with status 1 unless one passes.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port
	-json     print it as JSON
`

const dkimSignHelp = `Sign a message in a file, or from standard input with -, and print it.

The keys are those that domains.conf has for the domain in From.
`

// dkimKeyReport is what a lookup of a key found.
type dkimKeyReport struct {
	Name    string // Where the key is, absolute.
	Text    string // As published, empty if there is none.
	KeyType string
	Bits    int
	Hashes  []string // Acceptable ones. Null: all.
	Flags   []string
	Notes   string
	DNSSEC  bool // DNSSEC protects the answer.
	Error   string
}

// dkimTXTReport is the record for a key.
type dkimTXTReport struct {
	Text string // In one piece.
	Zone string // As a zone file has it.
}

// dkimReport is what is known of the signatures of a message.
type dkimReport struct {
	Signatures []dkimSignatureReport
	Skipped    int // Signatures that were not looked at, since there are too many.
}

// dkimSignatureReport is what is known of one signature.
type dkimSignatureReport struct {
	Result    string
	Domain    string
	Selector  string
	Algorithm string
	Canon     string
	Identity  string
	Headers   []string // That are signed.
	Time      *time.Time
	Expires   *time.Time
	KeyBits   int
	Testing   bool // The domain only tries DKIM out.
	DNSSEC    bool // DNSSEC protects the key.
	Error     string
}

func runDKIMGenEd25519(_ context.Context, inv *invocation) error {
	return inv.printKey(func(r io.Reader) (crypto.Signer, error) { return dkim.GenerateEd25519(r) })
}

func runDKIMGenRSA(_ context.Context, inv *invocation) error {
	return inv.printKey(func(r io.Reader) (crypto.Signer, error) { return dkim.GenerateRSA(r) })
}

// printKey prints a new key.
func (inv *invocation) printKey(generate func(io.Reader) (crypto.Signer, error)) error {
	if err := inv.parse(inv.flagSet(), 0); err != nil {
		return err
	}
	key, err := generate(rand.Reader)
	if err != nil {
		return fmt.Errorf("making key: %w", err)
	}
	text, err := dkim.FormatKey(key)
	if err != nil {
		return err
	}
	_, err = inv.stdout.Write(text)
	return err
}

func runDKIMTXT(_ context.Context, inv *invocation) error {
	const keySizeMax = 1 << 20 // Bytes. A key has some thousands.
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(inv.stdin, keySizeMax))
	if err != nil {
		return fmt.Errorf("reading key: %w", err)
	}
	key, err := dkim.ParseKey(text)
	if err != nil {
		return err
	}
	rec, err := dkim.NewRecord(key.Public())
	if err != nil {
		return err
	}
	report := dkimTXTReport{rec.Text(), quoteTXT(rec.Text())}
	return inv.print(flags.json, report, func() { inv.printf("<selector>._domainkey.<domain>.\tIN\tTXT\t%s\n", report.Zone) })
}

func runDKIMLookup(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return &usageError{}
	}
	selector, err := dkim.ParseSelector(flags.Arg(0))
	if err != nil {
		return &usageError{fmt.Sprintf("%q is not a selector: %v", flags.Arg(0), err)}
	}
	domain, err := dns.ParseDomain(strings.TrimSuffix(flags.Arg(1), "."))
	if err != nil {
		return &usageError{err.Error()}
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	key := dkim.Lookup(ctx, r, selector, domain)
	report := dkimKeyReport{Name: selector + "._domainkey." + domain.Absolute(), Text: key.Text, DNSSEC: key.Authentic, Error: errorText(key.Err)}
	if rec := key.Record; rec != nil {
		report.KeyType, report.Bits, report.Hashes, report.Flags, report.Notes = rec.KeyType, rec.Bits(), rec.Hashes, rec.Flags, rec.Notes
		if len(rec.Key) == 0 {
			report.Error = dkim.ErrRevoked.Error()
		}
	}
	return inv.printChecked(flags.json, report, report.Error != "", func() { inv.printDKIMKey(report) })
}

func (inv *invocation) printDKIMKey(r dkimKeyReport) {
	inv.printf("%s, %s:\n", r.Name, withDNSSEC(r.DNSSEC))
	if r.Text != "" {
		inv.printf("\t%q\n", r.Text)
	}
	if r.Bits > 0 {
		inv.printf("key: %s, %d bits\n", r.KeyType, r.Bits)
	}
	if r.Error != "" {
		inv.printf("error: %q\n", r.Error)
	}
}

// readMessage reads a message from a file, or standard input for "-", with the line
// ends of mail. Unix says that it had others.
func (inv *invocation) readMessage(name string) (content []byte, unix bool, err error) {
	r := inv.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, false, fmt.Errorf("opening message: %w", err)
		}
		defer func() { _ = f.Close() }() // Nothing was written.
		r = f
	}
	var came bytes.Buffer
	content, err = readDiagnosed(io.TeeReader(r, &came))
	return content, !bytes.Contains(came.Bytes(), []byte("\r\n")), err
}

// verifiedMessage parses the arguments of a command that verifies a message.
func (inv *invocation) verifiedMessage() (flags *dnsFlags, r dns.Resolver, content []byte, err error) {
	flags = inv.dnsFlags()
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return nil, nil, nil, err
	}
	if flags.NArg() != 1 {
		return nil, nil, nil, &usageError{}
	}
	if r, err = inv.resolverFor(flags); err != nil {
		return nil, nil, nil, err
	}
	content, _, err = inv.readMessage(flags.Arg(0))
	return flags, r, content, err
}

func runDKIMVerify(ctx context.Context, inv *invocation) error {
	flags, r, content, err := inv.verifiedMessage()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	list, err := dkim.Verify(ctx, r, bytes.NewReader(content), int64(len(content)), dkim.VerifyOptions{Now: time.Now(), IgnoreTestMode: true})
	if err != nil {
		return fmt.Errorf("verifying signatures: %w", err)
	}
	report := dkimReport{Signatures: []dkimSignatureReport{}}
	pass := false
	for _, e := range list {
		pass = pass || e.Result == dkim.Pass
		if report.Skipped = e.Skipped; e.Skipped == 0 {
			report.Signatures = append(report.Signatures, newDKIMSignatureReport(e))
		}
	}
	return inv.printChecked(flags.json, report, !pass, func() { inv.printDKIM(report) })
}

func newDKIMSignatureReport(e dkim.Evaluation) dkimSignatureReport {
	report := dkimSignatureReport{Result: string(e.Result), DNSSEC: e.Authentic, Error: errorText(e.Err)}
	if e.Record != nil {
		report.KeyBits, report.Testing = e.Record.Bits(), e.Record.Testing()
	}
	s := e.Signature
	if s == nil {
		return report
	}
	report.Domain, report.Selector, report.Algorithm, report.Canon = s.Domain.Name(), s.Selector, s.Algorithm, s.Canon.String()
	report.Identity, report.Headers = s.Identity, s.Headers
	if !s.Time.IsZero() {
		report.Time = &s.Time
	}
	if !s.Expires.IsZero() {
		report.Expires = &s.Expires
	}
	return report
}

func (inv *invocation) printDKIM(report dkimReport) {
	if len(report.Signatures) == 0 {
		inv.printf("the message is not signed\n")
	}
	for _, s := range report.Signatures {
		inv.printf("%s", s.Result)
		if s.Domain != "" {
			inv.printf(": domain %s, selector %s, %q, %s, identity %q", s.Domain, s.Selector, s.Algorithm, s.Canon, s.Identity)
		}
		inv.printf("\n")
		if s.KeyBits > 0 {
			inv.printf("\tkey of %d bits, %s\n", s.KeyBits, withDNSSEC(s.DNSSEC))
		}
		if s.Testing {
			inv.printf("\tthe domain is only testing DKIM: this counts for nothing unless it passes\n")
		}
		if len(s.Headers) > 0 {
			inv.printf("\tsigned: %q\n", strings.Join(s.Headers, " "))
		}
		if s.Time != nil {
			inv.printf("\tmade %s\n", s.Time.Format(time.RFC3339))
		}
		if s.Expires != nil {
			inv.printf("\texpires %s\n", s.Expires.Format(time.RFC3339))
		}
		if s.Error != "" {
			inv.printf("\terror: %q\n", s.Error)
		}
	}
	if report.Skipped > 0 {
		inv.printf("%d more are not looked at\n", report.Skipped)
	}
}

func runDKIMSign(_ context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 1); err != nil {
		return err
	}
	content, unix, err := inv.readMessage(inv.args[0])
	if err != nil {
		return err
	}
	c, err := live.Open(inv.config, live.Options{WithoutKeys: true})
	if err != nil {
		return err
	}
	header := message.NewHeader(content)
	from := message.ParseAddressList(header.Get("From"))
	if header.Count("From") != 1 || len(from) != 1 {
		return errors.New("message does not have exactly one address in From, and that is who signs")
	}
	author, err := smtp.ParseAddress(from[0].Mailbox + "@" + from[0].Host)
	if err != nil {
		return fmt.Errorf("address in From: %w", err)
	}
	selectors, err := c.Current().SigningWith(author.Domain, c.Files())
	if err != nil {
		return err
	}
	if len(selectors) == 0 {
		return fmt.Errorf("the configuration has no selectors to sign mail from %s with", author.Domain)
	}
	signature, err := dkim.Sign(bytes.NewReader(content), int64(len(content)), dkim.SignOptions{
		Author: author, Selectors: selectors, Now: time.Now(), SMTPUTF8: message.NeedsSMTPUTF8(header),
	})
	if err != nil {
		return err
	}
	signed := append(signature, content...)
	if unix {
		signed = bytes.ReplaceAll(signed, []byte("\r\n"), []byte("\n"))
	}
	_, err = inv.stdout.Write(signed)
	return err
}
