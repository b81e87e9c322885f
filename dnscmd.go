package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/resolver"
	"github.com/mjl-/mox/system"
)

const dnsLookupHelp = `Look up records in DNS, and tell whether DNSSEC protects them.

Types are ptr (of an address), mx, cname, ips (a and aaaa), a, aaaa, ns, txt, srv
and tlsa. Without a type it is ptr for an address, and ips for a name. Names are
absolute, also without the dot at their end. Aliases (CNAME) are followed.

Lookups are made as the server makes them: with the settings for DNS in the
configuration if there is one, else with the name servers of the system.

With -trace it looks the name up again, from the root on, and explains the chain of
trust: each delegation and each zone's keys, whose signatures they have, until
when, and the proofs that something does not exist.

	-anchors  a file with DS records of the root, to be trusted instead of those built in
	-mode     who validates: auto, validate or system-ad
	-server   ask this name server, an address with or without port, instead
	-trace    explain how the answer was found
	-json     print it as JSON
`

// dnsFlags are the flags of commands that look up names.
type dnsFlags struct {
	*jsonFlags
	server, mode, anchors string
}

func (inv *invocation) dnsFlags() *dnsFlags {
	flags := &dnsFlags{jsonFlags: inv.jsonFlags()}
	flags.StringVar(&flags.server, "server", "", "")
	flags.StringVar(&flags.mode, "mode", "", "")
	flags.StringVar(&flags.anchors, "anchors", "", "")
	return flags
}

// resolverFor returns a resolver for a command: with the settings in the
// configuration if there is one, else with the name servers of the system; but with
// what flags say instead.
func (inv *invocation) resolverFor(flags *dnsFlags) (*resolver.Resolver, error) {
	opts, err := inv.resolverOptions()
	if err != nil {
		return nil, err
	}
	if flags.server != "" {
		opts.Servers, opts.TrustAD = []string{flags.server}, false
	}
	if flags.anchors != "" {
		text, err := os.ReadFile(flags.anchors)
		if err != nil {
			return nil, fmt.Errorf("reading trust anchors: %w", err)
		}
		opts.Anchors = string(text)
	}
	modes := []resolver.Mode{resolver.Auto, resolver.Validate, resolver.SystemAD}
	if mode := resolver.Mode(flags.mode); mode != "" {
		if !slices.Contains(modes, mode) {
			return nil, &usageError{fmt.Sprintf("-mode: %q is none of %v", flags.mode, modes)}
		}
		opts.Mode = mode
	}
	r, err := resolver.New(opts)
	if err != nil && flags.server != "" {
		return nil, &usageError{fmt.Sprintf("-server: %v", err)}
	}
	return r, err
}

// resolverOptions returns the settings for DNS.
func (inv *invocation) resolverOptions() (resolver.Options, error) {
	if _, err := os.Stat(inv.config); errors.Is(err, fs.ErrNotExist) {
		return resolver.Options{}, nil
	}
	c, err := live.Open(inv.config, live.Options{WithoutKeys: true})
	if err != nil {
		return resolver.Options{}, err
	}
	return system.ResolverOptions(c.Current().Static.Resolver), nil
}

// lookupReport is what a lookup found, as dns lookup prints it.
type lookupReport struct {
	Type    string
	Name    string // As asked for, absolute.
	Result  string // "ok", "nodata", "notfound", "bogus" or "temporary".
	DNSSEC  bool   // DNSSEC protects the answer, also one that there are no records.
	Alias   string // The name the records belong to, if it is another.
	Records []string
	Error   string        // Of bogus and temporary.
	Trace   []traceReport `json:",omitempty"`
}

func runDNSLookup(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	withTrace := flags.Bool("trace", false, "")
	typ, name, err := inv.parseLookup(flags)
	if err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	report := lookup(ctx, r, typ, name)
	if *withTrace {
		if report.Trace, err = traceLookup(ctx, r, report); err != nil {
			return err
		}
	}
	if err := inv.print(flags.json, report, func() { inv.printLookup(report) }); err != nil {
		return err
	}
	if report.Result != "ok" {
		return exitStatus(exitError)
	}
	return nil
}

// parseLookup takes the type, and the absolute name. For ptr it is an address.
func (inv *invocation) parseLookup(flags *dnsFlags) (typ, name string, err error) {
	if err := parseFlags(flags.FlagSet, inv.args); err != nil {
		return "", "", err
	}
	args := flags.Args()
	switch len(args) {
	case 1:
		typ, name = "ips", args[0]
		if _, err := netip.ParseAddr(name); err == nil {
			typ = "ptr"
		}
	case 2:
		typ, name = strings.ToLower(args[0]), args[1]
	default:
		return "", "", &usageError{}
	}
	if _, ok := lookups[typ]; !ok && typ != "ptr" {
		return "", "", &usageError{fmt.Sprintf("no such type: %s", typ)}
	}
	if typ == "ptr" {
		if _, err := netip.ParseAddr(name); err != nil {
			return "", "", &usageError{fmt.Sprintf("%q is not an address", name)}
		}
		return typ, name, nil
	}
	if name, err = absoluteName(name); err != nil {
		return "", "", &usageError{err.Error()}
	}
	return typ, name, nil
}

// absoluteName returns a name in the form for lookups: in A-labels, and with a dot
// at its end. Labels may begin with an underscore.
func absoluteName(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	prefix, rest := "", name
	for strings.HasPrefix(rest, "_") || strings.HasPrefix(rest, "*.") {
		label, after, _ := strings.Cut(rest, ".")
		prefix, rest = prefix+label+".", after
	}
	if d, err := dns.ParseDomain(rest); err == nil {
		name = prefix + d.ASCII
	}
	name = strings.ToLower(name) + "."
	return name, dns.CheckName(name)
}

// lookups has how to look up each type, but ptr.
var lookups = map[string]func(ctx context.Context, r dns.Resolver, name string) ([]string, dns.Result, error){
	"mx":   texts(dns.Resolver.LookupMX, func(mx dns.MX) string { return fmt.Sprintf("%d %s", mx.Preference, mx.Host) }),
	"txt":  texts(dns.Resolver.LookupTXT, strconv.Quote),
	"ns":   texts(dns.Resolver.LookupNS, func(s string) string { return s }),
	"ips":  addresses("ip"),
	"a":    addresses("ip4"),
	"aaaa": addresses("ip6"),
	"srv": texts(dns.Resolver.LookupSRV, func(s dns.SRV) string {
		return fmt.Sprintf("%d %d %d %s", s.Priority, s.Weight, s.Port, s.Target)
	}),
	"tlsa": texts(dns.Resolver.LookupTLSA, func(t dns.TLSA) string {
		return fmt.Sprintf("%d %d %d %x", t.Usage, t.Selector, t.Matching, t.Data)
	}),
	"cname": func(ctx context.Context, r dns.Resolver, name string) ([]string, dns.Result, error) {
		target, result, err := r.LookupCNAME(ctx, name)
		if err != nil {
			return nil, result, err
		}
		return []string{target}, result, nil
	},
}

// texts returns a lookup whose records are texts, in order.
func texts[T any](lookup func(dns.Resolver, context.Context, string) ([]T, dns.Result, error), text func(T) string) func(context.Context, dns.Resolver, string) ([]string, dns.Result, error) {
	return func(ctx context.Context, r dns.Resolver, name string) ([]string, dns.Result, error) {
		records, result, err := lookup(r, ctx, name)
		var list []string
		for _, rec := range records {
			list = append(list, text(rec))
		}
		slices.SortFunc(list, byPreference)
		return list, result, err
	}
}

// byPreference compares records as texts, those that begin with a number by that.
func byPreference(a, b string) int {
	first := func(s string) int {
		word, _, _ := strings.Cut(s, " ")
		n, _ := strconv.Atoi(word) // Others are all the same.
		return n
	}
	return cmp.Or(cmp.Compare(first(a), first(b)), strings.Compare(a, b))
}

// addresses returns a lookup of addresses.
func addresses(network string) func(context.Context, dns.Resolver, string) ([]string, dns.Result, error) {
	return texts(func(r dns.Resolver, ctx context.Context, name string) ([]netip.Addr, dns.Result, error) {
		return r.LookupIP(ctx, network, name)
	}, netip.Addr.String)
}

// lookup looks up records.
func lookup(ctx context.Context, r dns.Resolver, typ, name string) lookupReport {
	report := lookupReport{Type: typ, Name: name, Result: "ok"}
	var result dns.Result
	var err error
	if typ == "ptr" {
		ip, _ := netip.ParseAddr(name) // It was parsed before.
		report.Name = dns.ReverseName(ip)
		report.Records, result, err = texts(func(r dns.Resolver, ctx context.Context, _ string) ([]string, dns.Result, error) {
			return r.LookupAddr(ctx, ip)
		}, strings.Clone)(ctx, r, name)
	} else {
		report.Records, result, err = lookups[typ](ctx, r, name)
	}
	report.DNSSEC = result.Authentic
	if typ != "cname" && result.Name != "" && result.Name != report.Name {
		report.Alias = result.Name
	}
	switch {
	case err == nil:
	case errors.Is(err, dns.ErrNotFound):
		report.Result = "notfound"
	case errors.Is(err, dns.ErrNoData):
		report.Result = "nodata"
	case errors.Is(err, dns.ErrBogus):
		report.Result, report.Error = "bogus", err.Error()
	default:
		report.Result, report.Error = "temporary", err.Error()
	}
	return report
}

// printLookup prints a lookup: a line about it, and one for each record.
func (inv *invocation) printLookup(l lookupReport) {
	what := fmt.Sprintf("%s of %s", l.Type, l.Name)
	if l.Alias != "" {
		what += fmt.Sprintf(", an alias of %s", l.Alias)
	}
	dnssec := "without DNSSEC"
	if l.DNSSEC {
		dnssec = "with DNSSEC"
	}
	switch l.Result {
	case "ok":
		inv.printf("%s, %s:\n", what, dnssec)
	case "notfound":
		inv.printf("%s, %s: no such name\n", what, dnssec)
	case "nodata":
		inv.printf("%s, %s: no such records\n", what, dnssec)
	case "bogus":
		inv.printf("%s: the answer is bogus, nobody may use it: %s\n", what, l.Error)
	default:
		inv.printf("%s: unknown at present: %s\n", what, l.Error)
	}
	for _, rec := range l.Records {
		inv.printf("\t%s\n", rec)
	}
	for _, t := range l.Trace {
		inv.printTrace(t.Trace)
	}
}
