package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/resolver"
)

const zone = `
$ORIGIN example.org.
@           3600 SOA   ns hostmaster 1 3600 600 86400 60
@           NS    ns
@           MX    10 mx1
@           MX    20 mx2
@           TXT   "v=spf1 " "mx -all"
mx1         A     192.0.2.1
mx1         AAAA  2001:db8::1
mx2         A     192.0.2.2
www         CNAME web
web         CNAME mx1
dangling    CNAME nowhere
loop        CNAME pool
pool        CNAME loop
a.b.c       TXT   "deep"
*.wild      MX    5 mx1
x.y.wild    TXT   "below a wildcard"
_25._tcp.mx1 TLSA 3 1 1 0001fe
_submission._tcp SRV 1 2 587 mx1
jo\@example.com._spf TXT "odd"
`

func newResolver(t testing.TB, text string, authentic ...string) *Resolver {
	t.Helper()
	r, err := New(text, authentic...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestExistence tells names from records, RFC 4592, section 2.2, and RFC 8020.
func TestExistence(t *testing.T) {
	t.Parallel()
	r := newResolver(t, zone)
	for _, c := range []struct {
		what, name string
		want       error
	}{
		{"a name with records of the type", "example.org.", nil},
		{"in any case", "EXAMPLE.org.", nil},
		{"a name with other records", "mx1.example.org.", dns.ErrNoData},
		{"a name with others below it only", "b.c.example.org.", dns.ErrNoData},
		{"the top", "org.", dns.ErrNoData},
		{"the root", ".", dns.ErrNoData},
		{"no name", "nope.example.org.", dns.ErrNotFound},
		{"below a name", "x.mx1.example.org.", dns.ErrNotFound},
		{"a wildcard", "anything.wild.example.org.", nil},
		{"a wildcard, more labels", "any.thing.wild.example.org.", nil},
		{"a wildcard itself", "*.wild.example.org.", nil},
		{"the name above a wildcard", "wild.example.org.", dns.ErrNoData},
		{"a name hides a wildcard", "y.wild.example.org.", dns.ErrNoData},
		{"also for what is below it", "z.y.wild.example.org.", dns.ErrNotFound},
		{"an alias of nothing", "dangling.example.org.", dns.ErrNotFound},
		{"an alias of a name without the type", "www.example.org.", dns.ErrNoData},
		{"a loop", "loop.example.org.", dns.ErrTemporary},
	} {
		mxs, _, err := r.LookupMX(t.Context(), c.name)
		if !errors.Is(err, c.want) || (err == nil) != (len(mxs) > 0) {
			t.Errorf("%s: got %v, %v, want %v", c.what, mxs, err, c.want)
		}
	}
	if mxs, _, err := r.LookupMX(t.Context(), "q.wild.example.org."); err != nil || !reflect.DeepEqual(mxs, []dns.MX{{Preference: 5, Host: "mx1.example.org."}}) {
		t.Errorf("got %v, %v of a wildcard with a type", mxs, err)
	}
}

// TestAuthentic marks zones and an island in one, also while running.
func TestAuthentic(t *testing.T) {
	t.Parallel()
	r := newResolver(t, zone+"alias CNAME mx1\ninsecure.example.org. A 192.0.2.9\nout.example.net. CNAME mx1.example.org.\nother.example.org. CNAME insecure.example.org.", "example.org")
	r.SetAuthentic("insecure.example.org", false)
	check := func(name string, want bool) {
		t.Helper()
		_, res, err := r.LookupIP(t.Context(), "ip4", name)
		if err != nil && !dns.IsNone(err) || res.Authentic != want {
			t.Errorf("%s: got authentic %t, want %t; error %v", name, res.Authentic, want, err)
		}
	}
	check("mx1.example.org.", true)
	check("nope.example.org.", true)
	check("www.example.org.", true)
	check("insecure.example.org.", false)
	check("other.example.org.", false)
	check("out.example.net.", false)
	r.SetAuthentic("example.net", true)
	check("out.example.net.", true)
	check("example.com.", false)
	r.SetAuthentic(".", true)
	check("example.com.", true)
}

// TestFailures makes names fail, and not any more.
func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(t, zone)
		check := func(what string, want error) {
			t.Helper()
			_, res, err := r.LookupMX(t.Context(), "example.org.")
			if !errors.Is(err, want) || err != nil && res != (dns.Result{}) {
				t.Errorf("%s: got %+v, %v, want %v", what, res, err, want)
			}
		}
		check("before", nil)
		r.Fail("MX", "example.org", Temporary)
		check("a failure of the type", dns.ErrTemporary)
		if _, _, err := r.LookupTXT(t.Context(), "example.org."); err != nil {
			t.Errorf("another type: %v", err)
		}
		r.Fail("MX", "example.org", None)
		check("no failure", nil)
		r.Fail("", "EXAMPLE.ORG.", Bogus)
		check("a bogus answer", dns.ErrBogus)
		var e *dns.Error
		if _, _, err := r.LookupTXT(t.Context(), "example.org."); !errors.As(err, &e) || e.Extended == nil || e.Extended.Code != 6 {
			t.Errorf("got %v, want extended error 6", err)
		}
		start := time.Now()
		r.Fail("MX", "example.org", Timeout)
		check("nobody replies", dns.ErrTemporary)
		if took := time.Since(start); took < time.Second || took > 30*time.Second {
			t.Errorf("lookup without reply took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := r.LookupMX(ctx, "example.org."); !errors.Is(err, dns.ErrTemporary) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller with less time: got %v", err)
		}
		r.Clear()
		check("all cleared", nil)

		r.Fail("A", "mx1.example.org", Temporary)
		if _, _, err := r.LookupIP(t.Context(), "ip4", "www.example.org."); !errors.Is(err, dns.ErrTemporary) {
			t.Errorf("a failure behind an alias: got %v", err)
		}
		if ips, _, err := r.LookupIP(t.Context(), "ip", "mx1.example.org."); err != nil || len(ips) != 1 {
			t.Errorf("one kind of address of two: got %v, %v", ips, err)
		}
	})
}

// TestSet changes records while they are looked up.
func TestSet(t *testing.T) {
	t.Parallel()
	r := newResolver(t, zone)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				if _, _, err := r.LookupIP(t.Context(), "ip4", "mx1.example.org."); err != nil {
					t.Error(err)
				}
				if err := r.Set(fmt.Sprintf("mx1.example.org. A 192.0.2.%d", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := r.Set("mx1.example.org A 192.0.2.100\nmx1.example.org A 192.0.2.101\nnew.example.org A 192.0.2.102"); err != nil {
		t.Fatal(err)
	}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("192.0.2.101")}
	if got, _, err := r.LookupIP(t.Context(), "ip4", "mx1.example.org."); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, _, err := r.LookupIP(t.Context(), "ip6", "mx1.example.org."); err != nil || len(got) != 1 {
		t.Errorf("another type: got %v, %v", got, err)
	}
	r.Remove("A", "mx1.example.org")
	if _, _, err := r.LookupIP(t.Context(), "ip4", "mx1.example.org."); !errors.Is(err, dns.ErrNoData) {
		t.Errorf("type removed: got %v", err)
	}
	r.Remove("AAAA", "mx1.example.org") // _25._tcp is still below it.
	r.Remove("", "new.example.org")
	if _, _, err := r.LookupIP(t.Context(), "ip4", "new.example.org."); !errors.Is(err, dns.ErrNotFound) {
		t.Errorf("name removed: got %v", err)
	}
	if err := r.Set("mx1.example.org A nonsense"); err == nil {
		t.Error("got no error for nonsense")
	}
	if _, err := New("example.org. MX"); err == nil {
		t.Error("got no error for a zone that is none")
	}
}

// TestTypes looks up each type, and what is counted.
func TestTypes(t *testing.T) {
	t.Parallel()
	r := newResolver(t, zone+"1.2.0.192.in-addr.arpa. PTR mx1.example.org.", ".")
	ctx := t.Context()
	check := func(name string, res dns.Result, err error, got, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) || !res.Authentic || res.Name == "" {
			t.Errorf("%s: got %v, %+v, %v, want %v", name, got, res, err, want)
		}
	}
	ips, res, err := r.LookupIP(ctx, "ip", "www.example.org.")
	check("A, AAAA", res, err, ips, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")})
	txt, res, err := r.LookupTXT(ctx, "example.org.")
	check("TXT", res, err, txt, []string{"v=spf1 mx -all"})
	names, res, err := r.LookupAddr(ctx, netip.MustParseAddr("192.0.2.1"))
	check("PTR", res, err, names, []string{"mx1.example.org."})
	srv, res, err := r.LookupSRV(ctx, "_submission._tcp.example.org.")
	check("SRV", res, err, srv, []dns.SRV{{Priority: 1, Weight: 2, Port: 587, Target: "mx1.example.org."}})
	tlsa, res, err := r.LookupTLSA(ctx, "_25._tcp.mx1.example.org.")
	check("TLSA", res, err, tlsa, []dns.TLSA{{Usage: 3, Selector: 1, Matching: 1, Data: []byte{0, 1, 0xfe}}})
	ns, res, err := r.LookupNS(ctx, "example.org.")
	check("NS", res, err, ns, []string{"ns.example.org."})
	name, res, err := r.LookupCNAME(ctx, "www.example.org.")
	check("CNAME", res, err, name, "mx1.example.org.")

	if _, _, err := r.LookupTXT(ctx, "jo@example.com._spf.example.org."); err != nil {
		t.Errorf("an odd name: %v", err)
	}
	if got := r.Queries("TXT", "jo@example.com._spf.example.org"); got != 1 {
		t.Errorf("got %d queries of an odd name", got)
	}
	for _, c := range []struct {
		typ, name string
		want      int
	}{
		{"TXT", "Jo@example.com._spf.example.org", 1},
		{"TXT", `jo\@example.com._spf.example.org`, 1},
		{"A", "www.example.org", 1},
		{"aaaa", "WWW.example.org.", 1},
		{"", "www.example.org", 3},
		{"A", "mx1.example.org", 0},
		{"PTR", "1.2.0.192.in-addr.arpa", 1},
		{"", "nope.example.org", 0},
	} {
		if got := r.Lookups(c.typ, c.name); got != c.want {
			t.Errorf("got %d lookups of %q of %s, want %d", got, c.typ, c.name, c.want)
		}
	}
	if got := r.Queries("A", "mx1.example.org"); got != 1 {
		t.Errorf("got %d queries behind an alias", got)
	}
}

// TestServe asks the server on loopback, over UDP and over TCP.
func TestServe(t *testing.T) {
	t.Parallel()
	z, err := ParseZone(zone)
	if err != nil {
		t.Fatal(err)
	}
	s, err := z.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := resolver.New(resolver.Options{Mode: resolver.SystemAD, Servers: []string{s.Addr}, CacheSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		if mxs, _, err := r.LookupMX(t.Context(), "example.org."); err != nil || len(mxs) != 2 {
			t.Errorf("%s: got %v, %v", what, mxs, err)
		}
	}
	check("UDP")
	z.SetFaults(Faults{Truncate: true})
	check("TCP")
	z.SetFaults(Faults{Truncate: true, RefuseTCP: true})
	if _, _, err := r.LookupMX(t.Context(), "example.org."); !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("no way to the whole reply: got %v", err)
	}
}

// TestServeClose closes a server while clients wait for replies, and while one has
// nothing to say.
func TestServeClose(t *testing.T) {
	t.Parallel()
	z, err := ParseZone(zone)
	if err != nil {
		t.Fatal(err)
	}
	z.SetFaults(Faults{Delay: time.Hour})
	s, err := z.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	idle, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	r, err := resolver.New(resolver.Options{Mode: resolver.SystemAD, Servers: []string{s.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := r.LookupMX(ctx, "example.org."); err == nil {
			t.Error("got an answer")
		}
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("got a byte from a server that is closed")
	}
	if err := idle.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
}

// TestConn holds the connection in memory against what net.Conn promises.
func TestConn(t *testing.T) {
	t.Parallel()
	z, err := ParseZone(zone)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c, err := z.Dial(t.Context(), "udp", serverAddr)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		for _, wait := range []time.Duration{time.Second, -time.Second} {
			if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := c.Read(buf); err == nil || time.Since(start) != max(wait, 0) {
				t.Errorf("got error %v after %v, want one after %v", err, time.Since(start), wait)
			}
		}
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		read := make(chan error)
		go func() {
			_, err := c.Read(buf)
			read <- err
		}()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-read; err == nil {
			t.Error("got no error of reading what was closed")
		}
		if _, err := c.Write(buf); err == nil {
			t.Error("got no error of writing to what was closed")
		}
		if c.LocalAddr().Network() != "udp" || c.RemoteAddr().String() != serverAddr {
			t.Errorf("got addresses %v and %v", c.LocalAddr(), c.RemoteAddr())
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := z.Dial(ctx, "udp", serverAddr); err == nil {
		t.Error("got no error of dialing with a context that is done")
	}
}
