package resolver_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// fuzzed are questions, one of which gets a fuzzed reply.
var fuzzed = []struct {
	name string
	typ  uint16
}{
	{"mx.nsec.example.", mdns.TypeA},
	{"x.wild.nsec.example.", mdns.TypeTXT},
	{"nope.nsec.example.", mdns.TypeA},
	{"mx.nsec.example.", mdns.TypeTXT},
	{"x.old.nsec.example.", mdns.TypeA},
	{"far.nsec.example.", mdns.TypeA},
	{"mx.nsec3.example.", mdns.TypeA},
	{"x.wild.nsec3.example.", mdns.TypeTXT},
	{"nope.nsec3.example.", mdns.TypeA},
	{"c.nsec3.example.", mdns.TypeTXT},
	{"mx.plain.example.", mdns.TypeA},
	{"nsec.example.", mdns.TypeDS},
	{"nsec3.example.", mdns.TypeDS},
	{"plain.example.", mdns.TypeDS},
	{"nsec.example.", mdns.TypeDNSKEY},
	{"example.", mdns.TypeDNSKEY},
	{".", mdns.TypeDNSKEY},
}

// looked is what a lookup found, to be compared.
func looked(r *resolver.Resolver, ctx context.Context, name string, typ uint16) (text string, authentic bool) {
	var records []string
	var res dns.Result
	var err error
	if typ == mdns.TypeTXT {
		records, res, err = r.LookupTXT(ctx, name)
	} else {
		ips, result, lookupErr := r.LookupIP(ctx, "ip4", name)
		for _, ip := range ips {
			records = append(records, ip.String())
		}
		res, err = result, lookupErr
	}
	slices.Sort(records)
	kind := outcome(res, err)
	if err != nil && !dns.IsNone(err) {
		kind = "failed"
	}
	return fmt.Sprintf("%s %s %q", kind, res.Name, records), res.Authentic
}

// replaced is a connection on which replies to one question are others.
type replaced struct {
	net.Conn
	name  string
	typ   uint16
	by    *mdns.Msg
	asked *mdns.Msg
}

func (c *replaced) Write(b []byte) (int, error) {
	c.asked = &mdns.Msg{}
	if err := c.asked.Unpack(b); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *replaced) Read(b []byte) (int, error) {
	q := c.asked.Question[0]
	if !strings.EqualFold(q.Name, c.name) || q.Qtype != c.typ {
		return c.Conn.Read(b)
	}
	m := c.by.Copy()
	m.Id, m.Response, m.Truncated, m.Question = c.asked.Id, true, false, c.asked.Question
	m.Compress = true
	packet, err := m.Pack()
	if err != nil {
		return c.Conn.Read(b)
	}
	return copy(b, packet), nil
}

// FuzzValidate replaces one reply in a lookup by any other. Whatever it is, what
// is said to be authentic is what was signed.
func FuzzValidate(f *testing.F) {
	tree, err := dnstest.NewTree(time.Now(), damagedZones...)
	if err != nil {
		f.Fatal(err)
	}
	truth := map[string]string{}
	opts := treeOptions(tree)
	r, err := resolver.New(opts)
	if err != nil {
		f.Fatal(err)
	}
	for i, q := range fuzzed {
		truth[fmt.Sprint(q)], _ = looked(r, f.Context(), q.name, q.typ)
		c, err := tree.Dial(f.Context(), "udp", "")
		if err != nil {
			f.Fatal(err)
		}
		m := (&mdns.Msg{}).SetQuestion(q.name, q.typ)
		m.SetEdns0(4096, true)
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		if _, err := c.Write(packet); err != nil {
			f.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		n, err := c.Read(buf)
		if err != nil {
			f.Fatal(err)
		}
		for j := range fuzzed { // The reply to one question for another.
			f.Add(uint8(i), uint8(j), buf[:n:n])
		}
	}
	f.Fuzz(func(t *testing.T, asked, by uint8, packet []byte) {
		q, other := fuzzed[int(asked)%len(fuzzed)], fuzzed[int(by)%len(fuzzed)]
		m := &mdns.Msg{}
		if err := m.Unpack(packet); err != nil || q.typ == mdns.TypeDS || q.typ == mdns.TypeDNSKEY {
			return
		}
		opts := opts
		opts.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := tree.Dial(ctx, network, address)
			if network == "tcp" {
				return c, err
			}
			return &replaced{Conn: c, name: other.name, typ: other.typ, by: m}, err
		}
		var spent costs
		opts.Observe = spent.observe
		r, err := resolver.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // The second time maybe from the cache.
			got, authentic := looked(r, t.Context(), q.name, q.typ)
			if want := truth[fmt.Sprint(q)]; authentic && got != want {
				t.Errorf("%v with another reply to %v: got %s, want %s\n%v", q, other, got, want, m)
			}
			if strings.HasPrefix(got, "insecure") && strings.Contains(q.name, "nsec") && q.name != "far.nsec.example." {
				t.Errorf("%v with another reply to %v: got %s, which is not signed\n%v", q, other, got, m)
			}
			if c := spent.last; c.Queries > resolver.QueriesMax || c.Signatures > resolver.SignaturesMax || c.Hashes > resolver.HashesMax {
				t.Errorf("got cost %+v", c)
			}
		}
	})
}
