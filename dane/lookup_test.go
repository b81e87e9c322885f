package dane

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
)

// exampleZone is the example of RFC 7672, section 3.2.2, and what else can be.
const exampleZone = `
exchange.example.org          CNAME mail.example.org
mail.example.org              CNAME example.com
example.com                   MX    10 mx10.example.com
mx10.example.com              A     192.0.2.10
_25._tcp.mx10.example.com     TLSA  2 0 1 0000000000000000000000000000000000000000000000000000000000000010
mx15.example.com              CNAME mxbackup.example.com
mxbackup.example.com          A     192.0.2.15
_25._tcp.mx15.example.com     TLSA  2 0 1 0000000000000000000000000000000000000000000000000000000000000015
mx20.example.com              CNAME mxbackup.example.net
mxbackup.example.net          A     198.51.100.20
_25._tcp.mxbackup.example.net TLSA  2 0 1 0000000000000000000000000000000000000000000000000000000000000020

direct.example.com            A     192.0.2.30
_25._tcp.direct.example.com   CNAME tlsa.example.com
_587._tcp.direct.example.com  TLSA  3 1 1 0000000000000000000000000000000000000000000000000000000000000587
tlsa.example.com              TLSA  3 1 1 0000000000000000000000000000000000000000000000000000000000000030
bare.example.com              A     192.0.2.31
odd.example.com               A     192.0.2.32
_25._tcp.odd.example.com      TLSA  0 0 1 00
lent.example.com              A     192.0.2.33
_25._tcp.lent.example.com     CNAME tlsa.unsigned.example
failing.example.com           A     192.0.2.34
bogus.example.com             A     192.0.2.35

unsigned.example              MX    10 mx10.example.com
mx.unsigned.example           A     203.0.113.1
_25._tcp.mx.unsigned.example  TLSA  3 1 1 0000000000000000000000000000000000000000000000000000000000000040
tlsa.unsigned.example         TLSA  3 1 1 0000000000000000000000000000000000000000000000000000000000000041
out.example.com               CNAME mx.unsigned.example
_25._tcp.out.example.com      TLSA  3 1 1 0000000000000000000000000000000000000000000000000000000000000050
in.unsigned.example           CNAME mx10.example.com
outbare.example.com           CNAME mx.unsigned.example
outfailing.example.com        CNAME mx.unsigned.example
mixed.example.com             CNAME failing.example.com
_25._tcp.mixed.example.com    TLSA  3 1 1 0000000000000000000000000000000000000000000000000000000000000060
`

func TestLookup(t *testing.T) {
	t.Parallel()
	r, err := dnstest.New(exampleZone, "example.org", "example.com", "example.net")
	if err != nil {
		t.Fatal(err)
	}
	for name, failure := range map[string]dnstest.Failure{
		"_25._tcp.failing.example.com": dnstest.Temporary, "_25._tcp.bogus.example.com": dnstest.Bogus,
		"_25._tcp.outfailing.example.com": dnstest.Temporary, "_25._tcp.bare.unsigned.example": dnstest.Temporary,
	} {
		r.Fail("TLSA", name, failure)
	}
	const none, unknown, bogus = "none", "unknown", "bogus"
	for _, test := range []struct {
		name, nextHop, host string
		port                uint16
		want                string // The base, last digits of the records, and names.
	}{
		{"a mail exchanger", "exchange.example.org", "mx10.example.com", 25, "mx10.example.com [10] mx10.example.com exchange.example.org example.com"},
		{"an alias with records of its own", "exchange.example.org", "mx15.example.com", 25, "mx15.example.com [15] mx15.example.com mxbackup.example.com exchange.example.org example.com"},
		{"an alias of a name with records", "exchange.example.org", "mx20.example.com", 25, "mxbackup.example.net [20] mxbackup.example.net mx20.example.com exchange.example.org example.com"},
		{"a domain without mail exchangers", "direct.example.com", "direct.example.com", 25, "direct.example.com [30] direct.example.com"},
		{"a server of its own port", "", "direct.example.com", 587, "direct.example.com [87] direct.example.com"},
		{"the usual port", "", "direct.example.com", 0, "direct.example.com [30] direct.example.com"},
		{"no records", "example.com", "bare.example.com", 25, none},
		{"no records at this port", "", "direct.example.com", 465, none},
		{"records that can't be used", "example.com", "odd.example.com", 25, "odd.example.com [] odd.example.com example.com"},
		{"an alias of the records that leads out of DNSSEC", "example.com", "lent.example.com", 25, none},
		{"records unknown", "example.com", "failing.example.com", 25, unknown},
		{"bogus records", "example.com", "bogus.example.com", 25, bogus},
		{"records at the end of an alias unknown", "example.com", "mixed.example.com", 25, unknown},
		{"mail exchangers without DNSSEC", "unsigned.example", "mx10.example.com", 25, none},
		{"addresses without DNSSEC", "example.com", "mx.unsigned.example", 25, none},
		{"an alias that leads out of DNSSEC", "example.com", "out.example.com", 25, "out.example.com [50] out.example.com example.com"},
		{"such an alias without records", "example.com", "outbare.example.com", 25, none},
		{"such an alias, records unknown", "example.com", "outfailing.example.com", 25, unknown},
		{"an alias that leads into DNSSEC", "example.com", "in.unsigned.example", 25, none},
	} {
		p := Path{Host: domain(t, test.host), Port: test.port}
		_, p.Addresses, _ = r.LookupIP(t.Context(), "ip", p.Host.Absolute()) // What is not there has its own row.
		if test.nextHop != "" {
			p.NextHop = domain(t, test.nextHop)
			_, p.MX, _ = r.LookupMX(t.Context(), p.NextHop.Absolute())
		}
		found, err := Lookup(t.Context(), r, p, SMTPUsages()...)
		got := none
		switch {
		case errors.Is(err, dns.ErrBogus):
			got = bogus
		case errors.Is(err, dns.ErrTemporary):
			got = unknown
		case err != nil:
			got = err.Error()
		case found.Applies:
			got = describe(found)
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	// Servers of unsigned zones often don't answer for TLSA, and are not asked.
	if n := r.Lookups("TLSA", "_25._tcp.mx.unsigned.example"); n != 0 {
		t.Errorf("TLSA of an unsigned zone was looked up %d times", n)
	}
}

func describe(f Finding) string {
	digits := []string{}
	for _, r := range f.Records {
		digits = append(digits, fmt.Sprintf("%x", r.Data[len(r.Data)-1:]))
	}
	return fmt.Sprintf("%s %v %s", f.Base.ASCII, digits, strings.Join(f.Names, " "))
}

func domain(t *testing.T, name string) dns.Domain {
	t.Helper()
	d, err := dns.ParseDomain(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestLookupLongName has a name that has no room for the labels in front.
func TestLookupLongName(t *testing.T) {
	t.Parallel()
	r, err := dnstest.New("", ".")
	if err != nil {
		t.Fatal(err)
	}
	host := domain(t, strings.Repeat(strings.Repeat("a", 60)+".", 4)+"example")
	found, err := Lookup(t.Context(), r, Path{Host: host, Addresses: dns.Result{Authentic: true, Name: host.Absolute()}}, SMTPUsages()...)
	if err != nil || found.Applies {
		t.Errorf("got %v, %v", found, err)
	}
	if found, err := Lookup(t.Context(), r, Path{Addresses: dns.Result{Authentic: true}}); err != nil || found.Applies {
		t.Errorf("an address: got %v, %v", found, err)
	}
}
