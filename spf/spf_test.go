package spf_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/spf"
)

// exampleZone is that of RFC 7208, appendix A, with records for what the tests ask.
const exampleZone = `
example.com.            MX    10 mail-a.example.com.
example.com.            MX    20 mail-b.example.com.
example.com.            A     192.0.2.10
example.com.            A     192.0.2.11
amy.example.com.        A     192.0.2.65
bob.example.com.        A     192.0.2.66
mail-a.example.com.     A     192.0.2.129
mail-b.example.com.     A     192.0.2.130
www.example.com.        CNAME example.com.
example.org.            MX    10 mail-c.example.org.
mail-c.example.org.     A     192.0.2.140
10.2.0.192.in-addr.arpa.  PTR example.com.
11.2.0.192.in-addr.arpa.  PTR example.com.
65.2.0.192.in-addr.arpa.  PTR amy.example.com.
66.2.0.192.in-addr.arpa.  PTR bob.example.com.
129.2.0.192.in-addr.arpa. PTR mail-a.example.com.
130.2.0.192.in-addr.arpa. PTR mail-b.example.com.
140.2.0.192.in-addr.arpa. PTR mail-c.example.org.
4.0.0.10.in-addr.arpa.    PTR bob.example.com.

; Appendix A.3 and A.4.
mobile-users._spf.example.com.      TXT "v=spf1 ip4:192.0.2.66 exists:%{l1r+}.%{d}"
mary.mobile-users._spf.example.com. A   127.0.0.2
fred.mobile-users._spf.example.com. A   127.0.0.2
_spf.example.net.                   TXT "v=spf1 exists:%{ir}.%{v}._spf.example.net -all"
1.2.0.192.in-addr._spf.example.net. A   127.0.0.2
`

func resolver(t *testing.T, zone string) *dnstest.Resolver {
	t.Helper()
	r, err := dnstest.New(zone, ".")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func args(ip, localpart, domain string) spf.Args {
	return spf.Args{
		RemoteIP:      netip.MustParseAddr(ip),
		Hello:         dns.IPDomain{Domain: dns.Domain{ASCII: "mail-a.example.com"}},
		MailFrom:      smtp.Address{Localpart: smtp.Localpart(localpart), Domain: dns.Domain{ASCII: domain}}.Path(),
		LocalHostname: dns.Domain{ASCII: "mx.example.net"},
		Now:           time.Unix(1767225600, 0),
	}
}

// TestExamples has the records of RFC 7208, appendix A, and who passes.
func TestExamples(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		record string
		pass   string // Addresses.
		fail   string
	}{
		{"v=spf1 +all", "192.0.2.10 10.0.0.4 2001:db8::1", ""},
		{"v=spf1 a -all", "192.0.2.10 192.0.2.11", "192.0.2.65"},
		{"v=spf1 a:example.org -all", "", "192.0.2.10 192.0.2.140"},
		{"v=spf1 mx -all", "192.0.2.129 192.0.2.130", "192.0.2.10 192.0.2.140"},
		{"v=spf1 mx:example.org -all", "192.0.2.140", "192.0.2.129"},
		{"v=spf1 mx mx:example.org -all", "192.0.2.129 192.0.2.130 192.0.2.140", "192.0.2.10"},
		{"v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.128 192.0.2.131 192.0.2.140 192.0.2.143", "192.0.2.132 192.0.2.139"},
		{"v=spf1 ptr -all", "192.0.2.10 192.0.2.65", "192.0.2.140 10.0.0.4"},
		{"v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.129 192.0.2.140", "192.0.2.65"},
		{"v=spf1 include:mobile-users._spf.%{d} -all", "192.0.2.66", "192.0.2.65"},
		{"v=spf1 redirect=_spf.example.net", "192.0.2.1", "192.0.2.2"},
	} {
		r := resolver(t, exampleZone+fmt.Sprintf("example.com. TXT %q\n", tc.record))
		for want, ips := range map[spf.Result]string{spf.Pass: tc.pass, spf.Fail: tc.fail} {
			for ip := range strings.FieldsSeq(ips) {
				if e := spf.Verify(t.Context(), r, args(ip, "strong-bad", "example.com")); e.Result != want || !e.Authentic {
					t.Errorf("%s: %s: got %+v, want %s", tc.record, ip, e, want)
				}
			}
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	const zone = exampleZone + `
example.com.       TXT "v=spf1 include:mobile-users._spf.%{d} a -all exp=why.%{d}"
why.example.com.   TXT "%{l} at %{i} is not ours, says %{r} on %{t}"
helo.example.com.  TXT "v=spf1 a:mail-a.example.com ?all"
mail-a.example.com. TXT "v=spf1 a -all"
none.example.com.  TXT "hello"
two.example.com.   TXT "v=spf1 a"
two.example.com.   TXT "v=spf1 mx"
bad.example.com.   TXT "v=spf1 a moo"
incnone.example.com. TXT "v=spf1 include:none.example.com"
inctemp.example.com. TXT "v=spf1 include:temp.example.com -all"
incbad.example.com.  TXT "v=spf1 include:bad.example.com -all"
redirnone.example.com. TXT "v=spf1 redirect=nope.example.com"
redirmany.example.com. TXT "v=spf1 a a a a a a a a a a redirect=nope.example.com"
redir.example.com. TXT "v=spf1 a:amy.example.com redirect=helo.example.com"
mxtemp.example.com. TXT "v=spf1 mx -all"
mxtemp.example.com. MX 10 temp.example.com.
ptrtemp.example.com. TXT "v=spf1 ptr -all"
existstemp.example.com. TXT "v=spf1 exists:temp.example.com -all"
local.example.com. TXT "v=spf1 exists:%{l}.x.example.com include:%{l}.example.com ?all exp=why.example.com"
utf8.example.com.  TXT "v=spf1 -all exp=why.example.com"
nullmx.example.com. TXT "v=spf1 mx -all"
nullmx.example.com. MX 0 .
oddmx.example.com. TXT "v=spf1 mx -all"
oddmx.example.com. MX 0 odd\032name.example.com.
oddmx.example.com. MX 1 amy.example.com.
six.example.com.   TXT "v=spf1 a//64 mx:six.example.com//32 -all"
six.example.com.   AAAA 2001:db8::1
six.example.com.   A    192.0.2.6
six.example.com.   MX 10 six.example.com.
voidptr.example.com. TXT "v=spf1 ptr ptr:a.example ptr:b.example -all"
`
	r := resolver(t, zone)
	r.Fail("", "temp.example.com", dnstest.Temporary)
	r.Fail("", "bogus.example.com", dnstest.Bogus)
	r.Fail("", "5.2.0.192.in-addr.arpa", dnstest.Temporary)
	null := args("192.0.2.129", "", "")
	null.MailFrom = smtp.Path{}
	literal := null
	literal.Hello = dns.IPDomain{IP: literal.RemoteIP}
	noIP := args("192.0.2.1", "x", "example.com")
	noIP.RemoteIP = netip.Addr{}
	for _, tc := range []struct {
		name      string
		args      spf.Args
		result    spf.Result
		mechanism string
		problem   error
	}{
		{"an address of the domain", args("192.0.2.10", "x", "example.com"), spf.Pass, "a", nil},
		{"the same in IPv6 form", args("::ffff:192.0.2.10", "x", "example.com"), spf.Pass, "a", nil},
		{"through an include", args("192.0.2.66", "x", "example.com"), spf.Pass, "include:mobile-users._spf.%{d}", nil},
		{"through an include, by localpart", args("203.0.113.1", "mary+x", "example.com"), spf.Pass, "include:mobile-users._spf.%{d}", nil},
		{"someone else", args("203.0.113.1", "x", "example.com"), spf.Fail, "-all", nil},
		{"the null path", null, spf.Pass, "a", nil},
		{"the null path and an address literal", literal, spf.None, "", spf.ErrDomain},
		{"no address", noIP, spf.None, "", spf.ErrDomain},
		{"a single label", args("192.0.2.1", "x", "localhost"), spf.None, "", spf.ErrDomain},
		{"no such domain", args("192.0.2.1", "x", "nope.example.com"), spf.None, "", dns.ErrNotFound},
		{"no record of ours", args("192.0.2.1", "x", "none.example.com"), spf.None, "", spf.ErrNoRecord},
		{"two records", args("192.0.2.1", "x", "two.example.com"), spf.PermError, "", spf.ErrRecords},
		{"a syntax error", args("192.0.2.1", "x", "bad.example.com"), spf.PermError, "", nil},
		{"a failing lookup", args("192.0.2.1", "x", "temp.example.com"), spf.TempError, "", dns.ErrTemporary},
		{"a bogus answer", args("192.0.2.1", "x", "bogus.example.com"), spf.TempError, "", dns.ErrBogus},
		{"an include without record", args("192.0.2.1", "x", "incnone.example.com"), spf.PermError, "include:none.example.com", nil},
		{"an include that fails", args("192.0.2.1", "x", "inctemp.example.com"), spf.TempError, "include:temp.example.com", dns.ErrTemporary},
		{"an include with a syntax error", args("192.0.2.1", "x", "incbad.example.com"), spf.PermError, "include:bad.example.com", nil},
		{"a redirect to nothing", args("192.0.2.1", "x", "redirnone.example.com"), spf.PermError, "", dns.ErrNotFound},
		{"a redirect beyond the limit", args("192.0.2.1", "x", "redirmany.example.com"), spf.PermError, "a", spf.ErrLimit},
		{"a redirect", args("192.0.2.129", "x", "redir.example.com"), spf.Pass, "a:mail-a.example.com", nil},
		{"a redirect, and nothing matches", args("192.0.2.1", "x", "redir.example.com"), spf.Neutral, "?all", nil},
		{"nothing matches", args("192.0.2.1", "x", "mobile-users._spf.example.com"), spf.Neutral, "default", nil},
		{"an exchanger that fails", args("192.0.2.1", "x", "mxtemp.example.com"), spf.TempError, "mx", dns.ErrTemporary},
		{"a name of the peer that fails", args("192.0.2.5", "x", "ptrtemp.example.com"), spf.Fail, "-all", nil},
		{"names of the peer are never void", args("192.0.2.77", "x", "voidptr.example.com"), spf.Fail, "-all", nil},
		{"exists that fails", args("192.0.2.1", "x", "existstemp.example.com"), spf.TempError, "exists:temp.example.com", dns.ErrTemporary},
		{"a localpart that can't be in a name", args("192.0.2.1", "jör", "local.example.com"), spf.Neutral, "?all", nil},
		{"a localpart with a space", args("192.0.2.1", "a b", "local.example.com"), spf.PermError, "include:%{l}.example.com", nil},
		{"a null MX", args("192.0.2.1", "x", "nullmx.example.com"), spf.Fail, "-all", nil},
		{"an exchanger that can't be looked up", args("192.0.2.65", "x", "oddmx.example.com"), spf.Pass, "mx", nil},
		{"IPv6", args("2001:db8::2", "x", "six.example.com"), spf.Pass, "a//64", nil},
		{"IPv6 of an exchanger", args("2001:db8:1::2", "x", "six.example.com"), spf.Pass, "mx:six.example.com//32", nil},
	} {
		e := spf.Verify(t.Context(), r, tc.args)
		if e.Result != tc.result || e.Mechanism != tc.mechanism || tc.problem != nil && !errors.Is(e.Problem, tc.problem) {
			t.Errorf("%s: got %+v", tc.name, e)
		}
		if bad := e.Result == spf.None || e.Result == spf.TempError || e.Result == spf.PermError; bad != (e.Problem != nil) {
			t.Errorf("%s: got problem %v", tc.name, e.Problem)
		}
		if e.Result == spf.TempError && e.Authentic {
			t.Errorf("%s: a failure is authentic", tc.name)
		}
	}
	if e := spf.Verify(t.Context(), r, null); e.Identity != spf.Hello || e.Domain.ASCII != "mail-a.example.com" {
		t.Errorf("null path: got %+v", e)
	}
	e := spf.Verify(t.Context(), r, args("203.0.113.1", "x", "example.com"))
	if want := "x at 203.0.113.1 is not ours, says mx.example.net on 1767225600"; e.Explanation != want || e.Identity != spf.MailFrom {
		t.Errorf("got %+v, want explanation %q", e, want)
	}
	if e := spf.Verify(t.Context(), r, args("203.0.113.1", "jör", "utf8.example.com")); e.Result != spf.Fail || e.Explanation != "" {
		t.Errorf("explanation that isn't ASCII: got %+v", e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e := spf.Verify(ctx, r, args("203.0.113.1", "x", "example.com")); e.Result != spf.TempError {
		t.Errorf("out of time: got %+v", e)
	}
}

// TestAuthentic takes the protection away from one part of what was asked.
func TestAuthentic(t *testing.T) {
	t.Parallel()
	const zone = exampleZone + `example.com. TXT "v=spf1 include:example.net a:host.example.edu -all"` + "\n" +
		`example.net. TXT "v=spf1 ip4:203.0.113.0/24"` + "\nhost.example.edu. A 192.0.2.99\n"
	for _, tc := range []struct {
		without string
		ip      string
		want    bool
	}{
		{"", "203.0.113.1", true},
		{"", "192.0.2.1", true},
		{"example.com.", "203.0.113.1", false},
		{"example.net.", "203.0.113.1", false},
		{"example.edu.", "203.0.113.1", true}, // Not asked.
		{"example.edu.", "192.0.2.1", false},
	} {
		r := resolver(t, zone)
		if tc.without != "" {
			r.SetAuthentic(tc.without, false)
		}
		if e := spf.Verify(t.Context(), r, args(tc.ip, "x", "example.com")); e.Authentic != tc.want {
			t.Errorf("without %q, %s: got %+v", tc.without, tc.ip, e)
		}
	}
}

// counting counts lookups of all kinds that SPF makes.
type counting struct {
	*dnstest.Resolver
	lookups int
}

func (c *counting) LookupTXT(ctx context.Context, name string) ([]string, dns.Result, error) {
	c.lookups++
	return c.Resolver.LookupTXT(ctx, name)
}

func (c *counting) LookupIP(ctx context.Context, network, host string) ([]netip.Addr, dns.Result, error) {
	c.lookups++
	return c.Resolver.LookupIP(ctx, network, host)
}

func (c *counting) LookupMX(ctx context.Context, name string) ([]dns.MX, dns.Result, error) {
	c.lookups++
	return c.Resolver.LookupMX(ctx, name)
}

func (c *counting) LookupAddr(ctx context.Context, ip netip.Addr) ([]string, dns.Result, error) {
	c.lookups++
	return c.Resolver.LookupAddr(ctx, ip)
}

// TestHostile has policies made to cost as much as possible.
func TestHostile(t *testing.T) {
	t.Parallel()
	var zone strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&zone, format+"\n", args...) }
	line(`self.example. TXT "v=spf1 include:self.example redirect=self.example"`)
	line(`ping.example. TXT "v=spf1 include:pong.example -all"`)
	line(`pong.example. TXT "v=spf1 redirect=ping.example"`)
	for i := range 300 {
		line(`wide%d.example. TXT "v=spf1 include:a%d.example include:b%d.example"`, i, i, i)
		line(`4.3.2.1.in-addr.arpa. PTR p%d.example.`, i)
		line(`p%d.example. A 1.2.3.5`, i)
		line(`manymx.example. MX %d p%d.example.`, i, i)
		line(`chain%d.example. TXT "v=spf1 a:p0.example include:chain%d.example ?all"`, i, i+1)
		line(`voids%d.example. TXT "v=spf1 include:voids%d.example a:no.example"`, i, i+1)
	}
	line(`manymx.example. TXT "v=spf1 mx -all"`)
	for i := range 10 {
		for j := range 10 {
			line(`mx%d.example. MX %d p%d.example.`, i, j, j)
		}
	}
	line(`most.example. TXT "v=spf1 mx:mx0.example mx:mx1.example mx:mx2.example mx:mx3.example mx:mx4.example mx:mx5.example mx:mx6.example mx:mx7.example mx:mx8.example mx:mx%%{p}.example -all exp=e.%%{p}"`)
	line(`dots.example. TXT "v=spf1 a:%s.example ?all"`, strings.Repeat("%{s}", 40))
	text := "v=spf1" + strings.Repeat(" ip4:198.51.100.1 ip6:2001:db8::1 x=%{l}", 1400) + " -all"
	line(`large.example. TXT %s`, chunks(text))
	line(`wideexp.example. TXT "v=spf1 -all exp=t.wideexp.example"`)
	line(`t.wideexp.example. TXT %s`, chunks(strings.Repeat("%{s}", 15000)))
	r := &counting{Resolver: resolver(t, zone.String())}
	for _, tc := range []struct {
		domain  string
		result  spf.Result
		lookups int // At most.
	}{
		{"self.example", spf.PermError, 11},
		{"ping.example", spf.PermError, 11},
		{"chain0.example", spf.PermError, 11},
		{"voids0.example", spf.PermError, 11},
		{"wide0.example", spf.PermError, 2},
		{"manymx.example", spf.PermError, 2},
		{"most.example", spf.Fail, 123},
		{"dots.example", spf.Neutral, 2},
		{"large.example", spf.Fail, 1},
		{"wideexp.example", spf.Fail, 2},
	} {
		r.lookups = 0
		e := spf.Verify(t.Context(), r, args("1.2.3.4", strings.Repeat("x", 64), tc.domain))
		if e.Result != tc.result || r.lookups > tc.lookups {
			t.Errorf("%s: got %s after %d lookups (%v), want %s after at most %d", tc.domain, e.Result, r.lookups, e.Problem, tc.result, tc.lookups)
		}
		if len(e.Explanation) > 800 {
			t.Errorf("%s: explanation of %d bytes", tc.domain, len(e.Explanation))
		}
	}
}

// chunks returns a text as the strings of a TXT record.
func chunks(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(250, len(s))
		fmt.Fprintf(&b, "%q ", s[:n])
		s = s[n:]
	}
	return b.String()
}

func TestLookup(t *testing.T) {
	t.Parallel()
	r := resolver(t, "a.example. TXT \"other\"\na.example. TXT \"v=spf1 -all\"\nb.example. TXT \"v=spf1 moo\"\nc.example. TXT \"other\"")
	text, record, res, err := spf.Lookup(t.Context(), r, dns.Domain{ASCII: "a.example"})
	if text != "v=spf1 -all" || len(record.Directives) != 1 || !res.Authentic || err != nil {
		t.Errorf("got %q, %+v, %+v, %v", text, record, res, err)
	}
	text, _, _, err = spf.Lookup(t.Context(), r, dns.Domain{ASCII: "b.example"})
	if _, ok := errors.AsType[*spf.SyntaxError](err); !ok || text != "v=spf1 moo" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, _, _, err := spf.Lookup(t.Context(), r, dns.Domain{ASCII: "c.example"}); !errors.Is(err, spf.ErrNoRecord) {
		t.Errorf("got %v", err)
	}
	if _, _, _, err := spf.Lookup(t.Context(), r, dns.Domain{ASCII: "d.example"}); !dns.IsNone(err) {
		t.Errorf("got %v", err)
	}
}
