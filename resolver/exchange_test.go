package resolver_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

const zone = `
$ORIGIN example.org.
@     SOA   ns hostmaster 1 3600 600 86400 60
@     TXT   "one"
www   CNAME web
web   CNAME @
a0 CNAME a1
a1 CNAME a2
a2 CNAME a3
a3 CNAME a4
a4 CNAME a5
a5 CNAME a6
a6 CNAME a7
a7 CNAME a8
a8 CNAME a9
a9 CNAME a10
a10 CNAME a11
a11 CNAME a12
a12 CNAME a13
a13 CNAME a14
a14 CNAME a15
a15 CNAME a16
a16 CNAME a17
a17 TXT "end"
self CNAME self
loop CNAME pool
pool CNAME loop
odd  CNAME a\.b\000c
jo\@example.com._spf TXT "macro"
a\.b\000c TXT "odd"
short 5 TXT "one"
zero  0 TXT "one"
`

// network has servers by address, in memory.
type network map[string]*dnstest.Zone

func (n network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if z := n[address]; z != nil {
		return z.Dial(ctx, network, address)
	}
	return nil, errors.New("no route to " + address)
}

// events collects what is observed.
type events struct {
	mu   sync.Mutex
	list []resolver.Event
}

func (e *events) observe(ev resolver.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

// take returns results since the last time, as "udp:answer ok".
func (e *events) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var words []string
	for _, ev := range e.list {
		switch {
		case ev.Kind == "exchange":
			words = append(words, ev.Network+":"+ev.Result)
		case ev.Cached:
			words = append(words, "cached:"+ev.Result)
		default:
			words = append(words, ev.Result)
		}
	}
	e.list = nil
	return strings.Join(words, " ")
}

func newZone(t testing.TB) *dnstest.Zone {
	t.Helper()
	z, err := dnstest.ParseZone(zone)
	if err != nil {
		t.Fatal(err)
	}
	z.SetAuthentic("example.org", true)
	return z
}

func newResolver(t testing.TB, opts resolver.Options) (*resolver.Resolver, *events) {
	t.Helper()
	e := &events{}
	opts.Observe, opts.Mode = e.observe, cmp.Or(opts.Mode, resolver.SystemAD)
	r, err := resolver.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return r, e
}

// TestFaults has a server with one thing wrong at a time.
func TestFaults(t *testing.T) {
	t.Parallel()
	many := make([]dnstest.Forgery, 20)
	for _, c := range []struct {
		name   string
		faults dnstest.Faults
		events string
		took   time.Duration
		want   error
	}{
		{"nothing wrong", dnstest.Faults{}, "udp:answer ok", 0, nil},
		{"slow", dnstest.Faults{Delay: time.Second}, "udp:answer ok", time.Second, nil},
		{"too slow at first", dnstest.Faults{Delay: 3 * time.Second}, "udp:error udp:answer ok", 5 * time.Second, nil},
		{"too slow", dnstest.Faults{Delay: 9 * time.Second}, "udp:error udp:error udp:error temporary", 14 * time.Second, dns.ErrTemporary},
		{"one query is lost", dnstest.Faults{Drop: 1}, "udp:error udp:answer ok", 2 * time.Second, nil},
		{"all queries are lost", dnstest.Faults{Drop: 100}, "udp:error udp:error udp:error temporary", 14 * time.Second, dns.ErrTemporary},
		{"truncated", dnstest.Faults{Truncate: true}, "udp:truncated tcp:answer ok", 0, nil},
		{"truncated, slow", dnstest.Faults{Truncate: true, Delay: time.Second}, "udp:truncated tcp:answer ok", 2 * time.Second, nil},
		{"truncated, and no TCP", dnstest.Faults{Truncate: true, RefuseTCP: true}, "udp:truncated tcp:error udp:truncated tcp:error udp:truncated tcp:error temporary", 0, dns.ErrTemporary},
		{"truncated, and nonsense over TCP", dnstest.Faults{Truncate: true, OnlyForged: true, Forgeries: []dnstest.Forgery{dnstest.WrongCase}, ForgeriesTCP: []dnstest.Forgery{dnstest.WrongName}}, "udp:case tcp:stray udp:case tcp:stray udp:case tcp:stray temporary", 0, dns.ErrTemporary},
		{"without EDNS", dnstest.Faults{NoEDNS: true}, "udp:failure udp:answer ok", 0, nil},
		{"without SOA", dnstest.Faults{NoSOA: true}, "udp:answer ok", 0, nil},
		{"forged replies before the good one", dnstest.Faults{Forgeries: []dnstest.Forgery{dnstest.WrongID, dnstest.WrongName, dnstest.WrongType, dnstest.Echo, dnstest.Garbage, dnstest.Short}}, "udp:answer ok", 0, nil},
		{"forged replies only", dnstest.Faults{Forgeries: []dnstest.Forgery{dnstest.WrongID, dnstest.WrongName}, OnlyForged: true}, "udp:error udp:error udp:error temporary", 14 * time.Second, dns.ErrTemporary},
		{"too many forged replies", dnstest.Faults{Forgeries: many}, "udp:stray tcp:answer ok", 0, nil},
		{"a reply forged but for the case of letters", dnstest.Faults{Forgeries: []dnstest.Forgery{dnstest.WrongCase}}, "udp:case tcp:answer ok", 0, nil},
		{"questions in lower case", dnstest.Faults{LowerCase: true}, "udp:case tcp:case ok", 0, nil},
		{"questions in lower case, and no TCP", dnstest.Faults{LowerCase: true, RefuseTCP: true}, "udp:case tcp:error udp:case tcp:error udp:case tcp:error temporary", 0, dns.ErrTemporary},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				z := newZone(t)
				z.SetFaults(c.faults)
				r, events := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: z.Dial})
				start := time.Now()
				txt, res, err := r.LookupTXT(t.Context(), "example.org.")
				if !errors.Is(err, c.want) || err == nil && (len(txt) != 1 || txt[0] != "one" || !res.Authentic) {
					t.Errorf("got %q, %+v, %v", txt, res, err)
				}
				if got := events.take(); got != c.events {
					t.Errorf("got events %q, want %q", got, c.events)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
			})
		})
	}
}

// TestTraits shows that what a server can't do is remembered for a while.
func TestTraits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t)
		r, events := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: z.Dial, CacheSize: -1})
		check := func(what, want string) {
			t.Helper()
			if _, _, err := r.LookupTXT(t.Context(), "example.org."); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if got := events.take(); got != want {
				t.Errorf("%s: got events %q, want %q", what, got, want)
			}
		}
		z.SetFaults(dnstest.Faults{NoEDNS: true})
		check("first without EDNS", "udp:failure udp:answer ok")
		check("then without EDNS at once", "udp:answer ok")
		time.Sleep(2 * time.Hour)
		check("tried again", "udp:failure udp:answer ok")
		z.Clear()
		z.SetFaults(dnstest.Faults{LowerCase: true})
		check("first with mixed case", "udp:case tcp:case ok")
		check("then in lower case", "udp:answer ok")
		time.Sleep(2 * time.Hour)
		check("mixed again", "udp:case tcp:case ok")
	})
}

// TestServers has two servers, of which one is wrong.
func TestServers(t *testing.T) {
	t.Parallel()
	const first, second = "192.0.2.1:53", "192.0.2.2:53"
	for _, c := range []struct {
		name   string
		break1 func(*dnstest.Zone)
		break2 func(*dnstest.Zone)
		events string // Of two lookups one after the other.
		took   time.Duration
		want   error
	}{
		{"nothing wrong", nil, nil, "udp:answer ok udp:answer ok", 0, nil},
		{"the first is silent", func(z *dnstest.Zone) { z.SetFaults(dnstest.Faults{Drop: 100}) }, nil, "udp:error udp:answer ok udp:answer ok", 2 * time.Second, nil},
		{"the first fails", func(z *dnstest.Zone) { z.Fail("", "example.org", dnstest.Temporary) }, nil, "udp:failure udp:answer ok udp:failure udp:answer ok", 0, nil},
		{"both fail", func(z *dnstest.Zone) { z.Fail("", "example.org", dnstest.Temporary) }, func(z *dnstest.Zone) { z.Fail("", "example.org", dnstest.Temporary) }, "udp:failure udp:failure temporary udp:failure udp:failure temporary", 0, dns.ErrTemporary},
		{"the first says it is bogus, and the second does not know", func(z *dnstest.Zone) { z.Fail("", "example.org", dnstest.Bogus) }, nil, "udp:failure bogus udp:failure bogus", 0, dns.ErrBogus},
		{"the first fails, the second is silent", func(z *dnstest.Zone) { z.Fail("", "example.org", dnstest.Temporary) }, func(z *dnstest.Zone) { z.SetFaults(dnstest.Faults{Drop: 100}) }, "udp:failure udp:error udp:error udp:error temporary udp:failure udp:error udp:error udp:error temporary", 28 * time.Second, dns.ErrTemporary},
		{"the first is silent, the second says no such name", func(z *dnstest.Zone) { z.SetFaults(dnstest.Faults{Drop: 100}) }, func(z *dnstest.Zone) { z.Remove("", "example.org") }, "udp:error udp:answer nodata udp:answer nodata", 2 * time.Second, dns.ErrNoData},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				z1, z2 := newZone(t), newZone(t)
				if c.break1 != nil {
					c.break1(z1)
				}
				if c.break2 != nil {
					c.break2(z2)
				}
				r, events := newResolver(t, resolver.Options{Servers: []string{first, second}, Dial: network{first: z1, second: z2}.dial, CacheSize: -1})
				start := time.Now()
				for range 2 {
					txt, res, err := r.LookupTXT(t.Context(), "example.org.")
					if !errors.Is(err, c.want) || res.Authentic || (err == nil) != (len(txt) > 0) {
						t.Errorf("got %q, %+v, %v", txt, res, err)
					}
					var e *dns.Error
					if err != nil && !errors.As(err, &e) {
						t.Errorf("got error %v of type %T", err, err)
					}
				}
				if got := events.take(); got != c.events {
					t.Errorf("got events %q, want %q", got, c.events)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
			})
		})
	}
}

// TestNoServer has nobody to talk to.
func TestNoServer(t *testing.T) {
	t.Parallel()
	r, events := newResolver(t, resolver.Options{Servers: []string{"192.0.2.1"}, Dial: network{}.dial})
	if _, _, err := r.LookupTXT(t.Context(), "example.org."); !errors.Is(err, dns.ErrTemporary) || !strings.Contains(err.Error(), "no route to 192.0.2.1:53") {
		t.Errorf("got %v", err)
	}
	if got := events.take(); got != "udp:error udp:error udp:error temporary" {
		t.Errorf("got events %q", got)
	}
}

// TestTrust shows whose AD bit counts.
func TestTrust(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server string
		trust  bool
		want   bool
	}{
		{"127.0.0.1:53", false, true},
		{"127.1.2.3:53", false, true},
		{"[::1]:53", false, true},
		{"192.0.2.1:53", false, false},
		{"192.0.2.1:53", true, true},
	} {
		r, _ := newResolver(t, resolver.Options{Servers: []string{c.server}, TrustAD: c.trust, Dial: newZone(t).Dial})
		for _, name := range []string{"example.org.", "www.example.org.", "nope.example.org."} {
			if _, res, err := r.LookupTXT(t.Context(), name); err != nil && !dns.IsNone(err) || res.Authentic != c.want {
				t.Errorf("%s, trust %t, %s: got %+v, %v", c.server, c.trust, name, res, err)
			}
		}
		if _, res, _ := r.LookupTXT(t.Context(), "example.com."); res.Authentic {
			t.Errorf("%s: got an authentic answer of a zone that is not", c.server)
		}
	}
}

// TestAliases follows them within replies, and from one to the next.
func TestAliases(t *testing.T) {
	t.Parallel()
	for _, faults := range []dnstest.Faults{{}, {OneAlias: true}} {
		z := newZone(t)
		z.SetFaults(faults)
		r, _ := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: z.Dial})
		for _, c := range []struct {
			name, txt, end string
			want           error
		}{
			{"example.org.", "one", "example.org.", nil},
			{"WWW.Example.ORG.", "one", "example.org.", nil},
			{"a1.example.org.", "end", "a17.example.org.", nil},
			{"a0.example.org.", "", "", dns.ErrTemporary},
			{"self.example.org.", "", "", dns.ErrTemporary},
			{"loop.example.org.", "", "", dns.ErrTemporary},
			{"odd.example.org.", "odd", `a\.b\000c.example.org.`, nil},
			{"nope.example.org.", "", "nope.example.org.", dns.ErrNotFound},
		} {
			for range 2 { // The second time from the cache.
				txt, res, err := r.LookupTXT(t.Context(), c.name)
				if !errors.Is(err, c.want) || res.Name != c.end || strings.Join(txt, "") != c.txt || res.Authentic != (c.end != "") {
					t.Errorf("%s: got %q, %+v, %v", c.name, txt, res, err)
				}
			}
			name, res, err := r.LookupCNAME(t.Context(), c.name)
			switch {
			case c.name == "example.org." && !errors.Is(err, dns.ErrNoData):
				t.Errorf("%s is no alias: got %q, %v", c.name, name, err)
			case c.name == "nope.example.org." && !errors.Is(err, dns.ErrNotFound):
				t.Errorf("%s is no name: got %q, %v", c.name, name, err)
			case c.txt != "" && c.name != "example.org." && (err != nil || name != c.end || res.Name != c.end):
				t.Errorf("%s: got %q, %+v, %v", c.name, name, res, err)
			case errors.Is(c.want, dns.ErrTemporary) && !errors.Is(err, dns.ErrTemporary):
				t.Errorf("%s: got %q, %v", c.name, name, err)
			}
		}
		if n := z.Queries("TXT", "example.org"); n > 4 {
			t.Errorf("asked %d times for what is kept", n)
		}
	}
}

// TestNames shows which names are not asked for at all.
func TestNames(t *testing.T) {
	t.Parallel()
	r, events := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: newZone(t).Dial})
	for _, name := range []string{"", "example.org", "localhost", "a..b.", strings.Repeat("x", 64) + ".org.", "\u00e9.org.", "a b."} {
		if _, res, err := r.LookupTXT(t.Context(), name); !errors.Is(err, dns.ErrName) || res != (dns.Result{}) {
			t.Errorf("%q: got %+v, %v", name, res, err)
		}
		if got := events.take(); got != "invalid" {
			t.Errorf("%q: got events %q", name, got)
		}
	}
	if _, _, err := r.LookupIP(t.Context(), "udp", "example.org."); !errors.Is(err, dns.ErrName) {
		t.Errorf("got %v of a network that is none", err)
	}
}

// TestOddNames asks for names with each character there may be in them, as SPF
// macros make them.
func TestOddNames(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	r, events := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: z.Dial})
	if txt, _, err := r.LookupTXT(t.Context(), "jo@example.com._spf.example.org."); err != nil || len(txt) != 1 {
		t.Errorf("got %q, %v", txt, err)
	}
	events.take()
	for c := byte('!'); c <= '~'; c++ {
		if c == '.' || c == '\\' {
			continue
		}
		name := "x" + string(rune(c)) + ".example.org."
		if _, _, err := r.LookupTXT(t.Context(), name); !errors.Is(err, dns.ErrNotFound) {
			t.Errorf("%q: got %v", name, err)
		}
		if got := events.take(); got != "udp:answer notfound" && (c < 'a' || c > 'z' || got != "cached:notfound") {
			t.Errorf("%q: got events %q", name, got)
		}
	}
}

// TestCaching shows how long answers last, in a server that changes them.
func TestCaching(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t)
		r, events := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: z.Dial})
		check := func(what, name, want string) {
			t.Helper()
			txt, _, err := r.LookupTXT(t.Context(), name)
			if err != nil && !dns.IsNone(err) && !errors.Is(err, dns.ErrTemporary) {
				t.Errorf("%s: %v", what, err)
			}
			if got := strings.Join(append(txt, events.take()), " "); got != want {
				t.Errorf("%s: got %q, want %q", what, got, want)
			}
		}
		check("first", "short.example.org.", "one udp:answer ok")
		if err := z.Set(`short.example.org. 5 TXT "two"`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Second - time.Nanosecond)
		check("last moment, in another case", "SHORT.example.org.", "one cached:ok")
		time.Sleep(time.Nanosecond)
		check("over", "short.example.org.", "two udp:answer ok")
		check("not to be kept", "zero.example.org.", "one udp:answer ok")
		check("not to be kept, again", "zero.example.org.", "one udp:answer ok")
		check("an alias", "www.example.org.", "one udp:answer ok")
		check("an alias, again", "www.example.org.", "one cached:ok")

		check("no name", "nope.example.org.", "udp:answer notfound")
		check("no name, again", "nope.example.org.", "cached:notfound")
		time.Sleep(time.Minute)
		check("no name, after a minute", "nope.example.org.", "udp:answer notfound")
		check("a name without records", "org.", "udp:answer nodata")
		check("a name without records and SOA, again", "org.", "udp:answer nodata")

		z.Fail("", "example.org", dnstest.Temporary)
		time.Sleep(time.Hour)
		check("a failure", "example.org.", "udp:failure temporary")
		z.Clear()
		check("failures are not kept", "example.org.", "one udp:answer ok")
	})
}

// TestWaiters has many ask the same at once.
func TestWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t)
		z.SetFaults(dnstest.Faults{Delay: time.Second})
		r, _ := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: z.Dial})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if txt, _, err := r.LookupTXT(t.Context(), "zero.example.org."); err != nil || len(txt) != 1 {
					t.Errorf("got %q, %v", txt, err)
				}
			})
		}
		wg.Wait()
		if n := z.Queries("TXT", "zero.example.org"); n != 1 {
			t.Errorf("got %d queries for 100 who ask", n)
		}
	})
}

// TestMany has more at a time than there are exchanges, for a server that doesn't
// reply. All must come to an end, within their time.
func TestMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t)
		z.SetFaults(dnstest.Faults{Drop: 1 << 20})
		r, _ := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: z.Dial})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				if _, _, err := r.LookupTXT(t.Context(), fmt.Sprintf("h%d.example.org.", i)); !errors.Is(err, dns.ErrTemporary) {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestCancel shows that a lookup ends with its caller, and leaves nothing behind:
// the bubble waits for all goroutines.
func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t)
		z.Fail("", "example.org", dnstest.Timeout)
		r, _ := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: z.Dial})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, _, err := r.LookupIP(ctx, "ip", "example.org.")
		if !errors.Is(err, dns.ErrTemporary) || !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if _, _, err := r.LookupTXT(ctx, "short.example.org."); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v from a context that is done", err)
		}
	})
}

// TestConfig takes servers from a file, which changes.
func TestConfig(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("search example.com\nnameserver 192.0.2.1\n")
	z1, z2 := newZone(t), newZone(t)
	if err := z2.Set(`example.org. TXT "two"`); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r, _ := newResolver(t, resolver.Options{Config: path, Dial: network{"192.0.2.1:53": z1, "127.0.0.1:53": z2}.dial})
		check := func(what, want string, authentic bool) {
			t.Helper()
			if txt, res, err := r.LookupTXT(t.Context(), "example.org."); err != nil || strings.Join(txt, "") != want || res.Authentic != authentic {
				t.Errorf("%s: got %q, %+v, %v", what, txt, res, err)
			}
		}
		check("as it is", "one", false)
		write("nameserver 192.0.2.1\noptions trust-ad\n")
		check("changed, too soon", "one", false)
		time.Sleep(5 * time.Second)
		check("the same server is trusted now", "one", true)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		check("no file", "two", true)
	})
}

// TestLoopback asks a server with real sockets: UDP, and TCP for what is large.
func TestLoopback(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	large := ""
	for i := range 100 {
		large += fmt.Sprintf("large.example.org. TXT \"%03d%s\"\n", i, strings.Repeat("x", 200))
	}
	if err := z.Set(large); err != nil {
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
	r, events := newResolver(t, resolver.Options{Servers: []string{s.Addr}})
	if txt, res, err := r.LookupTXT(t.Context(), "example.org."); err != nil || len(txt) != 1 || !res.Authentic {
		t.Errorf("got %q, %+v, %v", txt, res, err)
	}
	if txt, _, err := r.LookupTXT(t.Context(), "large.example.org."); err != nil || len(txt) != 100 {
		t.Errorf("got %d records, %v", len(txt), err)
	}
	if got := events.take(); got != "udp:answer ok udp:truncated tcp:answer ok" {
		t.Errorf("got events %q", got)
	}
	z.SetFaults(dnstest.Faults{Forgeries: []dnstest.Forgery{dnstest.WrongID, dnstest.Garbage}})
	if _, _, err := r.LookupTXT(t.Context(), "short.example.org."); err != nil {
		t.Error(err)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, _, err := r.LookupTXT(t.Context(), fmt.Sprintf("h%d.example.org.", i)); !errors.Is(err, dns.ErrNotFound) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
}

// brokenConn fails when a number of bytes was read.
type brokenConn struct {
	net.Conn
	left int
}

func (c *brokenConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

func (c *brokenConn) Write(b []byte) (int, error) {
	if c.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(b)
}

// TestBroken has connections that break at each place.
func TestBroken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		network string
		left    int
	}{{"udp", -1}, {"udp", 0}, {"tcp", -1}, {"tcp", 0}, {"tcp", 1}, {"tcp", 2}, {"tcp", 20}} {
		z := newZone(t)
		z.SetFaults(dnstest.Faults{Truncate: true})
		r, _ := newResolver(t, resolver.Options{Servers: []string{"127.0.0.1"}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := z.Dial(ctx, network, address)
			if network == c.network {
				conn = &brokenConn{conn, c.left}
			}
			return conn, err
		}})
		if _, _, err := r.LookupTXT(t.Context(), "example.org."); !errors.Is(err, dns.ErrTemporary) {
			t.Errorf("%s after %d bytes: got %v", c.network, c.left, err)
		}
	}
}
