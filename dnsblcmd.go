package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnsbl"
)

const dnsblCheckHelp = `Look up an IP address in a blocklist that is published with DNS.

The list is named by its zone, as in "mox dnsbl check sbl.spamhaus.org 192.0.2.1".
The exit status is 0 whether or not the address is listed, and 1 if the list does
not answer.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-json     print it as JSON
`

const dnsblCheckHealthHelp = `Check whether a blocklist that is published with DNS works.

A list must have the entry 127.0.0.2, which is for tests, and must not have 127.0.0.1;
or, for lists of IPv6 addresses, ::FFFF:7F00:2 and ::FFFF:7F00:1. One that was given
up fails this, and so do most that refuse to answer a public resolver.

	-mode     who validates DNSSEC: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-json     print it as JSON
`

// dnsblReport is what dnsbl check prints.
type dnsblReport struct {
	Zone        string
	IP          string
	Listed      bool
	Codes       []netip.Addr // The meaning is the list's.
	Explanation string       // Of the list.
	Error       string       // The list does not answer.
}

// dnsblZone parses the flags and arguments of a command about a list.
func (inv *invocation) dnsblZone(args int) (flags *dnsFlags, zone dns.Domain, err error) {
	flags = inv.dnsFlags()
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return nil, dns.Domain{}, err
	}
	if flags.NArg() != args {
		return nil, dns.Domain{}, &usageError{}
	}
	if zone, err = dns.ParseDomain(strings.TrimSuffix(flags.Arg(0), ".")); err != nil {
		return nil, dns.Domain{}, &usageError{err.Error()}
	}
	return flags, zone, nil
}

func runDNSBLCheck(ctx context.Context, inv *invocation) error {
	flags, zone, err := inv.dnsblZone(2)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(flags.Arg(1))
	if err != nil {
		return &usageError{fmt.Sprintf("%+q is not an IP address", flags.Arg(1))}
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	l, failure := dnsbl.Lookup(ctx, r, zone, ip)
	report := dnsblReport{Zone: zone.Name(), IP: ip.String(), Listed: l.Listed, Codes: append([]netip.Addr{}, l.Codes...), Explanation: l.Explanation}
	if failure != nil {
		report.Error = failure.Error()
	}
	if err := inv.print(flags.json, report, func() { inv.printDNSBL(report) }); err != nil {
		return err
	}
	if failure != nil {
		return exitStatus(exitError)
	}
	return nil
}

func (inv *invocation) printDNSBL(r dnsblReport) {
	switch {
	case r.Error != "":
		inv.printf("%s in %s: unknown: %s\n", r.IP, r.Zone, r.Error)
	case !r.Listed:
		inv.printf("%s in %s: not listed\n", r.IP, r.Zone)
	default:
		inv.printf("%s in %s: listed, with %v\n", r.IP, r.Zone, r.Codes)
	}
	if r.Explanation != "" {
		inv.printf("%s explains: %s\n", r.Zone, r.Explanation)
	}
}

// healthReport is what dnsbl checkhealth prints.
type healthReport struct {
	Zone    string
	Healthy bool
	Error   string
}

func runDNSBLCheckHealth(ctx context.Context, inv *invocation) error {
	flags, zone, err := inv.dnsblZone(1)
	if err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	report := healthReport{Zone: zone.Name(), Healthy: true}
	if err := dnsbl.CheckHealth(ctx, r, zone); err != nil {
		report.Healthy, report.Error = false, err.Error()
	}
	if err := inv.print(flags.json, report, func() {
		if report.Healthy {
			inv.printf("%s works\n", report.Zone)
		} else {
			inv.printf("%s does not work: %s\n", report.Zone, report.Error)
		}
	}); err != nil {
		return err
	}
	if !report.Healthy {
		return exitStatus(exitError)
	}
	return nil
}
