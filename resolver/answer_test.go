package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

// reply makes a reply with records for the answer and the authority section.
func reply(t testing.TB, rcode int, answer, authority string) *mdns.Msg {
	t.Helper()
	m := &mdns.Msg{MsgHdr: mdns.MsgHdr{Response: true, RecursionAvailable: true, Rcode: rcode}}
	m.Answer, m.Ns = records(t, answer), records(t, authority)
	return m
}

func records(t testing.TB, text string) (list []mdns.RR) {
	t.Helper()
	parser := mdns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		list = append(list, rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

const soa = "example.org. 900 SOA ns. host. 1 2 3 4 600\n"

func TestInterpret(t *testing.T) {
	t.Parallel()
	long := ""
	for i := range aliasesMax + 1 {
		long += fmt.Sprintf("h%d. 60 CNAME h%d.\n", i, i+1)
	}
	const nx, ok = mdns.RcodeNameError, mdns.RcodeSuccess
	for _, c := range []struct {
		what      string
		name      string // Empty: "x.example.org.".
		rcode     int
		answer    string
		authority string
		want      answer // Of records only the number is compared.
		err       error
	}{
		{what: "records", answer: "x.example.org. 60 A 192.0.2.1\nx.example.org. 50 A 192.0.2.2", want: answer{name: "x.example.org.", records: make([]mdns.RR, 2), ttl: 50 * time.Second}},
		{what: "the owner in another case", answer: "X.EXAMPLE.org. 60 A 192.0.2.1", want: answer{name: "x.example.org.", records: make([]mdns.RR, 1), ttl: time.Minute}},
		{what: "records of another name", answer: "y.example.org. 60 A 192.0.2.1", authority: soa, want: answer{name: "x.example.org.", none: dns.ErrNoData, ttl: 10 * time.Minute}},
		{what: "records of another type", answer: "x.example.org. 60 AAAA ::1", authority: soa, want: answer{name: "x.example.org.", none: dns.ErrNoData, ttl: 10 * time.Minute}},
		{what: "records of another class", answer: "x.example.org. 60 CH A 192.0.2.1", authority: soa, want: answer{name: "x.example.org.", none: dns.ErrNoData, ttl: 10 * time.Minute}},
		{what: "a TTL that is too long", answer: "x.example.org. 2147483647 A 192.0.2.1", want: answer{name: "x.example.org.", records: make([]mdns.RR, 1), ttl: ttlMax}},
		{what: "a TTL with the highest bit", answer: "x.example.org. 2147483648 A 192.0.2.1", want: answer{name: "x.example.org.", records: make([]mdns.RR, 1)}},

		{what: "aliases in any order", answer: "z. 60 A 192.0.2.1\nY. 50 CNAME Z.\nx.example.org. 70 CNAME y.", want: answer{name: "z.", aliases: 2, records: make([]mdns.RR, 1), ttl: 50 * time.Second}},
		{what: "an alias, and nothing about it", answer: "x.example.org. 60 CNAME y.", want: answer{name: "y.", aliases: 1, more: true, ttl: time.Minute}},
		{what: "an alias of no name", rcode: nx, answer: "x.example.org. 60 CNAME y.", want: answer{name: "y.", aliases: 1, none: dns.ErrNotFound}},
		{what: "an alias of a name without records", answer: "x.example.org. 60 CNAME y.example.org.", authority: soa, want: answer{name: "y.example.org.", aliases: 1, none: dns.ErrNoData, ttl: time.Minute}},
		{what: "an alias into another zone, whose SOA is not there", answer: "x.example.org. 60 CNAME y.", authority: soa, want: answer{name: "y.", aliases: 1, more: true, ttl: time.Minute}},
		{what: "an alias of an alias to the first", answer: "x.example.org. 60 CNAME y.\ny. 60 CNAME x.example.org.", err: errAliases},
		{what: "too many aliases", name: "h0.", answer: long, err: errAliases},
		{what: "as many as there may be", name: "h1.", answer: long, want: answer{name: fmt.Sprintf("h%d.", aliasesMax+1), aliases: aliasesMax, more: true, ttl: time.Minute}},
		{what: "an alias beside records", answer: "x.example.org. 60 CNAME y.\nx.example.org. 60 A 192.0.2.1", want: answer{name: "x.example.org.", records: make([]mdns.RR, 1), ttl: time.Minute}},

		{what: "no name", rcode: nx, authority: soa, want: answer{name: "x.example.org.", none: dns.ErrNotFound, ttl: 10 * time.Minute}},
		{what: "no name, not to be kept", rcode: nx, want: answer{name: "x.example.org.", none: dns.ErrNotFound}},
		{what: "no name and records", rcode: nx, answer: "x.example.org. 60 A 192.0.2.1", err: errContradicts},
		{what: "no records, not to be kept", want: answer{name: "x.example.org.", none: dns.ErrNoData}},
		{what: "a SOA with a short TTL", authority: "org. 30 SOA ns. host. 1 2 3 4 600", want: answer{name: "x.example.org.", none: dns.ErrNoData, ttl: 30 * time.Second}},
		{what: "a SOA that lasts too long", authority: ". 86400 SOA ns. host. 1 2 3 4 86400", want: answer{name: "x.example.org.", none: dns.ErrNoData, ttl: negativeTTLMax}},
		{what: "a SOA of another zone", authority: "example.com. 60 SOA ns. host. 1 2 3 4 60", want: answer{name: "x.example.org.", none: dns.ErrNoData}},
		{what: "a referral", authority: "org. 60 NS ns.org.", err: errNotRecursive},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			if c.name == "" {
				c.name = "x.example.org."
			}
			got, err := interpret(question{c.name, mdns.TypeA}, reply(t, c.rcode, c.answer, c.authority))
			if !errors.Is(err, c.err) {
				t.Fatalf("got error %v, want %v", err, c.err)
			}
			if got.name != c.want.name || got.aliases != c.want.aliases || !errors.Is(got.none, c.want.none) || got.more != c.want.more || got.ttl != c.want.ttl || len(got.records) != len(c.want.records) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	m := reply(t, ok, "", "")
	m.RecursionAvailable = false
	if _, err := interpret(question{"x.", mdns.TypeA}, m); !errors.Is(err, errNotRecursive) {
		t.Errorf("a server that looks up nothing: got error %v", err)
	}
	got, err := interpret(question{"x.", mdns.TypeCNAME}, reply(t, ok, "x. 60 CNAME y.\ny. 60 CNAME z.", ""))
	if err != nil || got.name != "x." || len(got.records) != 1 || got.aliases != 0 {
		t.Errorf("asking for the alias: got %+v, %v", got, err)
	}
}

func TestExtended(t *testing.T) {
	t.Parallel()
	m := reply(t, mdns.RcodeServerFailure, "", "")
	if e := extended(m); e != nil || isBogus(e) {
		t.Errorf("got %+v without EDNS", e)
	}
	m.SetEdns0(udpSize, false)
	opt := m.IsEdns0()
	opt.Option = append(opt.Option, &mdns.EDNS0_COOKIE{Code: mdns.EDNS0COOKIE}, &mdns.EDNS0_EDE{InfoCode: 7, ExtraText: "old"}, &mdns.EDNS0_EDE{InfoCode: 1})
	if e := extended(m); e == nil || *e != (dns.Extended{Code: 7, Text: "old"}) {
		t.Errorf("got %+v", e)
	}
	for code, want := range map[uint16]bool{0: false, 5: false, 6: true, 12: true, 13: false, 22: false} {
		if got := isBogus(&dns.Extended{Code: code}); got != want {
			t.Errorf("code %d: got bogus %t", code, got)
		}
	}
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":              "",
		"v=spf1":        "v=spf1",
		`a\"b\\c`:       `a"b\c`,
		`\000\255\032x`: "\x00\xff x",
		`\`:             `\`,
		`\12`:           "12",
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	// All bytes go through a message unchanged.
	all := ""
	for i := range 255 {
		all += fmt.Sprintf("\\%03d", i)
	}
	m := &mdns.Msg{Answer: []mdns.RR{&mdns.TXT{Hdr: mdns.RR_Header{Name: "x.", Rrtype: mdns.TypeTXT, Class: mdns.ClassINET}, Txt: []string{all}}}}
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unpack(packet); err != nil {
		t.Fatal(err)
	}
	got := unescape(m.Answer[0].(*mdns.TXT).Txt[0])
	for i := range 255 {
		if got[i] != byte(i) {
			t.Errorf("got byte %#x at %d", got[i], i)
		}
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	ok := func(ip string, authentic bool) found {
		return found{ips: []netip.Addr{netip.MustParseAddr(ip)}, result: dns.Result{Authentic: authentic, Name: "x."}}
	}
	none := func(err error, authentic bool) found {
		return found{result: dns.Result{Authentic: authentic, Name: "x."}, err: err}
	}
	for _, c := range []struct {
		what      string
		a, b      found
		ips       int
		authentic bool
		err       error
	}{
		{"both", ok("192.0.2.1", true), ok("::1", true), 2, true, nil},
		{"both, one not authentic", ok("192.0.2.1", true), ok("::1", false), 2, false, nil},
		{"one", ok("192.0.2.1", true), none(dns.ErrNoData, false), 1, true, nil},
		{"the other", none(dns.ErrNoData, false), ok("::1", true), 1, true, nil},
		{"one, the other unknown", ok("192.0.2.1", true), found{err: dns.ErrTemporary}, 1, true, nil},
		{"one, the other bogus", ok("192.0.2.1", true), found{err: dns.ErrBogus}, 0, false, dns.ErrBogus},
		{"none, the other unknown", none(dns.ErrNoData, true), found{err: dns.ErrTemporary}, 0, false, dns.ErrTemporary},
		{"no records", none(dns.ErrNoData, true), none(dns.ErrNoData, true), 0, true, dns.ErrNoData},
		{"no records, one not authentic", none(dns.ErrNoData, true), none(dns.ErrNoData, false), 0, false, dns.ErrNoData},
		{"no name", none(dns.ErrNotFound, true), none(dns.ErrNotFound, true), 0, true, dns.ErrNotFound},
		{"no name says one", none(dns.ErrNoData, true), none(dns.ErrNotFound, true), 0, true, dns.ErrNotFound},
	} {
		for _, got := range []found{join(c.a, c.b), join(c.b, c.a)} {
			if len(got.ips) != c.ips || got.result.Authentic != c.authentic || !errors.Is(got.err, c.err) {
				t.Errorf("%s: got %+v", c.what, got)
			}
		}
	}
}

// FuzzReply checks what is taken from packets: only what was asked for, within the
// limits, and the same each time.
func FuzzReply(f *testing.F) {
	q := newQuery(question{"x.example.org.", mdns.TypeA}, form{edns: true})
	q.msg.Id = 1
	for _, seed := range []*mdns.Msg{
		reply(f, 0, "x.example.org. 60 A 192.0.2.1\nx.example.org. 50 A 192.0.2.2", ""),
		reply(f, 0, "x.example.org. 60 CNAME y.\ny. 60 CNAME z.\nz. 60 A 192.0.2.1", ""),
		reply(f, 0, "x.example.org. 60 CNAME y.\ny. 60 CNAME x.example.org.", ""),
		reply(f, 3, "", soa),
		reply(f, 0, `x.example.org. 60 CNAME a\.b\000c.example.org.`, soa),
		reply(f, 2, "", ""),
	} {
		seed.Question, seed.Id = q.msg.Question, 1
		packet, err := seed.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	f.Add([]byte("\x00\x01\x80\x00\x00\x01\xff\xff\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, verdict := q.match(packet)
		if (m == nil) != (verdict == stray || verdict == truncated) {
			t.Fatalf("got message %v with verdict %v", m, verdict)
		}
		if m == nil {
			return
		}
		a, err := interpret(question{"x.example.org.", mdns.TypeA}, m)
		if err != nil {
			if a.name != "" {
				t.Errorf("got %+v with error %v", a, err)
			}
			return
		}
		n := 0
		for _, is := range []bool{len(a.records) > 0, a.none != nil, a.more} {
			if is {
				n++
			}
		}
		if n != 1 || a.aliases < 0 || a.aliases > aliasesMax || a.ttl < 0 || a.ttl > ttlMax || a.name != lower(a.name) || a.more && a.aliases == 0 {
			t.Errorf("got %+v", a)
		}
		if _, ok := mdns.IsDomainName(a.name); !ok || !strings.HasSuffix(a.name, ".") {
			t.Errorf("got name %q", a.name)
		}
		for _, rr := range a.records {
			if !slices.Contains(m.Answer, rr) || !strings.EqualFold(rr.Header().Name, a.name) || rr.Header().Rrtype != mdns.TypeA || !address(rr).Is4() && len(rr.(*mdns.A).A) > 0 {
				t.Errorf("got record %v of %q", rr, a.name)
			}
		}
		if b, err := interpret(question{"x.example.org.", mdns.TypeA}, m); err != nil || b.name != a.name || len(b.records) != len(a.records) {
			t.Errorf("got %+v and %+v", a, b)
		}
	})
}
