package delivery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
)

func TestChooseHosts(t *testing.T) {
	t.Parallel()
	domain := mustDomain(t, "example.org")
	self := func(d dns.Domain) bool { return d.ASCII == "us.example" }
	notFound := &dns.Error{Op: "MX", Name: "example.org.", Err: dns.ErrNotFound}
	var many []dns.MX
	var manyHosts []string
	for i := range 30 {
		many = append(many, dns.MX{Preference: uint16(i), Host: fmt.Sprintf("mx%d.example.org.", i)})
		if i < hostsMax {
			manyHosts = append(manyHosts, fmt.Sprintf("mx%d.example.org", i))
		}
	}
	for _, test := range []struct {
		name   string
		domain dns.Domain
		mx     []dns.MX
		err    error
		want   []string
		status string // Of the failure, if one is wanted.
		perm   bool
	}{
		{"by preference", domain, records("20 b.example.org., 10 a.example.org., 65535 c.example.org."), nil, []string{"a.example.org", "b.example.org", "c.example.org"}, "", false},
		{"no MX: the domain itself", domain, nil, dns.ErrNoData, []string{"example.org"}, "", false},
		{"an answer without records", domain, nil, nil, []string{"example.org"}, "", false},
		{"no such domain", domain, nil, notFound, nil, "5.1.2", true},
		{"a name that can't be asked for", domain, nil, dns.ErrName, nil, "5.1.2", true},
		{"the answer is unknown", domain, nil, dns.ErrTemporary, nil, "4.4.3", false},
		{"the answer is bogus", domain, nil, dns.ErrBogus, nil, "4.4.3", false},
		{"another error is no answer", domain, nil, errors.New("broken"), nil, "4.4.3", false},
		{"null MX", domain, records("0 ."), nil, nil, "5.1.10", true},
		{"null MX with another preference", domain, records("10 ."), nil, nil, "5.1.10", true},
		{"a null MX beside others, which must not be, is left out", domain, records("0 ., 10 a.example.org."), nil, []string{"a.example.org"}, "", false},
		{"an address as a name is left out", domain, records("0 192.0.2.1., 10 a.example.org."), nil, []string{"a.example.org"}, "", false},
		{"no valid name", domain, records("0 192.0.2.1., 10 -.example.org."), nil, nil, "5.4.4", true},
		{"underscores and upper case", domain, records("0 Mail_1.Example.ORG."), nil, []string{"mail_1.example.org"}, "", false},
		{"the same host twice", domain, records("10 a.example.org., 20 b.example.org., 30 a.example.org."), nil, []string{"a.example.org", "b.example.org"}, "", false},
		{"no more than the maximum", domain, many, nil, manyHosts, "", false},
		{"we are the best", domain, records("10 us.example., 20 a.example.org."), nil, nil, "5.4.6", true},
		{"we are the only one", domain, records("10 us.example."), nil, nil, "5.4.6", true},
		{"we are second, the same preference goes too", domain, records("20 us.example., 10 a.example.org., 20 b.example.org., 30 c.example.org."), nil, []string{"a.example.org"}, "", false},
		{"we are there twice", domain, records("30 us.example., 20 US.example., 10 a.example.org., 25 b.example.org."), nil, []string{"a.example.org"}, "", false},
		{"no MX, and the domain is our name", mustDomain(t, "us.example"), nil, dns.ErrNoData, nil, "5.4.6", true},
	} {
		hosts, f := chooseHosts(test.domain, test.mx, test.err, self, rand.New(rand.NewPCG(1, 2)))
		var got []string
		for _, h := range hosts {
			got = append(got, h.ASCII)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got hosts %q, want %q", test.name, got, test.want)
		}
		checkFailure(t, test.name, f, test.status, test.perm)
	}
}

// records parses MX records: "10 a.example., 20 b.example.".
func records(s string) (list []dns.MX) {
	for r := range strings.SplitSeq(s, ", ") {
		var mx dns.MX
		if _, err := fmt.Sscan(r, &mx.Preference, &mx.Host); err != nil {
			panic(err)
		}
		list = append(list, mx)
	}
	return list
}

// checkFailure checks the code of a failure, "" for none.
func checkFailure(t *testing.T, name string, f *failure, status string, permanent bool) {
	t.Helper()
	switch {
	case f == nil && status == "":
	case f == nil || status == "":
		t.Errorf("%s: got failure %+v, want %q", name, f, status)
	case f.enhanced != status || f.permanent != permanent || f.text == "":
		t.Errorf("%s: got failure %+v, want status %q, permanent %v", name, f, status, permanent)
	case permanent != strings.HasPrefix(status, "5."):
		t.Errorf("%s: permanent %v with status %q", name, permanent, status)
	}
}

// TestChooseHostsSpreads checks that hosts of the same preference all come first
// at times, and never behind one of a higher.
func TestChooseHostsSpreads(t *testing.T) {
	t.Parallel()
	mx := records("10 a.example., 10 b.example., 10 c.example., 20 d.example.")
	first := map[string]int{}
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		hosts, f := chooseHosts(mustDomain(t, "example.org"), mx, nil, func(dns.Domain) bool { return false }, random)
		if f != nil || len(hosts) != 4 || hosts[3].ASCII != "d.example" {
			t.Fatalf("got %v, %v", hosts, f)
		}
		first[hosts[0].ASCII]++
	}
	for _, h := range []string{"a.example", "b.example", "c.example"} {
		if first[h] < 50 {
			t.Errorf("%s came first %d times of 300", h, first[h])
		}
	}
}

func TestOrderAddresses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, ips, last, want string }{
		{"none", "", "", ""},
		{"as in the answer", "192.0.2.1 192.0.2.2", "", "192.0.2.1 192.0.2.2"},
		{"families alternate, IPv6 begins", "192.0.2.1 2001:db8::1 2001:db8::2", "", "2001:db8::1 192.0.2.1 2001:db8::2"},
		{"what is left of one family comes at the end", "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1", "", "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3"},
		{"the family tried last comes second", "2001:db8::1 192.0.2.1", "2001:db8::1", "192.0.2.1 2001:db8::1"},
		{"and so it changes each time", "2001:db8::1 192.0.2.1", "192.0.2.1", "2001:db8::1 192.0.2.1"},
		{"also if that was another host", "2001:db8::1 192.0.2.1", "2001:db8::99", "192.0.2.1 2001:db8::1"},
		{"the address tried last comes last", "192.0.2.1 192.0.2.2 192.0.2.3", "192.0.2.1", "192.0.2.2 192.0.2.3 192.0.2.1"},
		{"only one family, the other tried last", "192.0.2.1", "2001:db8::1", "192.0.2.1"},
		{"only one address, tried last", "192.0.2.1", "192.0.2.1", "192.0.2.1"},
		{"mapped addresses are IPv4", "::ffff:192.0.2.1 192.0.2.1", "", "192.0.2.1"},
		{"what can be nobody's", "0.0.0.0 :: 224.0.0.1 ff02::1 255.255.255.255 192.0.2.1", "", "192.0.2.1"},
		{"no more than the maximum", "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5", "", "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4"},
	} {
		var ips []netip.Addr
		for _, s := range strings.Fields(test.ips) {
			ips = append(ips, netip.MustParseAddr(s))
		}
		var last netip.Addr
		if test.last != "" {
			last = netip.MustParseAddr(test.last)
		}
		var got []string
		for _, ip := range orderAddresses(ips, last) {
			got = append(got, ip.String())
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%s: got %q, want %q", test.name, s, test.want)
		}
	}
}

func TestParseHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want string }{
		{"mx.example.org.", "mx.example.org"},
		{"MX.example.org", "mx.example.org"},
		{"xn--bcher-kva.example.", "xn--bcher-kva.example"},
		{"a_b.example.", "a_b.example"},
		{"_.example.", "_.example"},
		{"", ""},
		{".", ""},
		{"[192.0.2.1]", ""},
		{"192.0.2.1.", ""},
		{"a_ b.example.", ""},
		{"a\\_b.example.", ""},
	} {
		got, err := parseHost(test.in)
		if got.ASCII != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q: got %q, %v, want %q", test.in, got.ASCII, err, test.want)
		}
	}
}

func mustDomain(t *testing.T, s string) dns.Domain {
	t.Helper()
	d, err := dns.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// FuzzParseHost checks that a name that was parsed is one that a resolver and a
// TLS connection can be given, and is parsed as itself.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"mx.example.org.", "A_b.Example.", "xn--bcher-kva.example.", "b\u00fccher.example.", ".", "_", "a..b.", "192.0.2.1.", "a\\046b.example."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseHost(s)
		if err != nil {
			return
		}
		if strings.Trim(d.ASCII, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || dns.CheckName(d.Absolute()) != nil {
			t.Fatalf("%q became %q", s, d.ASCII)
		}
		if again, err := parseHost(d.Absolute()); err != nil || again != d {
			t.Fatalf("%q became %q, and that %q, %v", s, d.ASCII, again.ASCII, err)
		}
	})
}
