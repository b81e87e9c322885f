package spf

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mjl-/mox/dns"
)

// suiteCases is the number of cases in the published suite.
const suiteCases = 203

// scenario is a document of the suite.
type scenario struct {
	Description string
	Tests       map[string]suiteCase
	Zonedata    map[string][]any
}

type suiteCase struct {
	Helo, Host, Mailfrom string
	Result               oneOrMore
	Explanation          *string
}

// oneOrMore is a text, or several.
type oneOrMore []string

func (o *oneOrMore) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*o = oneOrMore{n.Value}
		return nil
	}
	return n.Decode((*[]string)(o))
}

// TestSuite runs the published suite for RFC 7208, of release 2014.04. Where it
// allows several results, ours is one of them. Hexadecimal digits in explanations
// are compared in either case: the suite has upper case, the RFC's examples lower.
func TestSuite(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../shared/testdata/spf-rfc7208/rfc7208-tests.yml")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("skipped: no ../shared/testdata")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // Only read.
	cases := 0
	for d := yaml.NewDecoder(f); ; {
		var s scenario
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		zone := newSuiteZone(s.Zonedata)
		for name, c := range s.Tests {
			cases++
			t.Run(strings.ReplaceAll(s.Description+"/"+name, " ", "-"), func(t *testing.T) { c.run(t, zone) })
		}
	}
	if cases != suiteCases {
		t.Errorf("got %d cases, want %d", cases, suiteCases)
	}
}

// run evaluates as Verify does, but with texts that may be no addresses.
func (sc suiteCase) run(t *testing.T, zone suiteZone) {
	c := check{resolver: zone, ip: netip.MustParseAddr(sc.Host), hello: sc.Helo, now: time.Unix(1, 0)}
	c.localpart, c.senderDomain = "", sc.Helo
	if i := strings.LastIndexByte(sc.Mailfrom, '@'); i >= 0 {
		c.localpart, c.senderDomain = sc.Mailfrom[:i], sc.Mailfrom[i+1:]
	}
	var e Evaluation
	c.run(t.Context(), c.senderDomain, &e)
	if !slices.Contains(sc.Result, string(e.Result)) {
		t.Errorf("got %s, %s, problem %v, want %s", e.Result, e.Mechanism, e.Problem, sc.Result)
	}
	want := ""
	if sc.Explanation != nil && *sc.Explanation != "DEFAULT" {
		want = *sc.Explanation
	}
	if (sc.Explanation != nil || e.Result != Fail) && !strings.EqualFold(e.Explanation, want) {
		t.Errorf("got explanation %q, want %q", e.Explanation, want)
	}
}

// suiteZone is the zone data of a scenario, by name in lower case and by type.
type suiteZone map[string]*suiteName

type suiteName struct {
	records map[string][]any
	timeout bool
}

func newSuiteZone(data map[string][]any) suiteZone {
	z := suiteZone{}
	for name, entries := range data {
		n := &suiteName{records: map[string][]any{}}
		z[strings.ToLower(strings.TrimSuffix(name, "."))+"."] = n
		for _, entry := range entries {
			if typed, ok := entry.(map[string]any); ok {
				for typ, value := range typed {
					n.records[typ] = append(n.records[typ], value)
				}
			} else {
				n.timeout = entry == "TIMEOUT"
			}
		}
		// Records of the old type SPF stand for TXT where there are none of that.
		if n.records["TXT"] == nil {
			n.records["TXT"] = n.records["SPF"]
		}
	}
	return z
}

// lookup returns the values of a type.
func (z suiteZone) lookup(typ, name string) ([]any, error) {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	if len(name) > 254 || slices.ContainsFunc(labels, func(l string) bool { return l == "" || len(l) > 63 }) {
		return nil, dns.ErrName
	}
	n := z[strings.ToLower(name)]
	if n == nil {
		return nil, dns.ErrNotFound
	}
	if len(n.records["CNAME"]) > 0 {
		return z.lookup(typ, n.records["CNAME"][0].(string)+".")
	}
	values := slices.DeleteFunc(slices.Clone(n.records[typ]), func(v any) bool { return v == "NONE" })
	switch {
	case len(values) > 0:
		return values, nil
	case n.timeout:
		return nil, dns.ErrTemporary
	}
	return nil, dns.ErrNoData
}

func (z suiteZone) LookupTXT(_ context.Context, name string) (texts []string, _ dns.Result, _ error) {
	values, err := z.lookup("TXT", name)
	for _, v := range values {
		text, ok := v.(string)
		if !ok {
			for _, p := range v.([]any) {
				text += p.(string)
			}
		}
		// The suite has bytes as characters.
		b := []byte{}
		for _, r := range text {
			b = append(b, byte(r))
		}
		texts = append(texts, string(b))
	}
	return texts, dns.Result{Authentic: true}, err
}

func (z suiteZone) LookupIP(_ context.Context, network, host string) (ips []netip.Addr, _ dns.Result, _ error) {
	values, err := z.lookup(map[string]string{"ip4": "A", "ip6": "AAAA"}[network], host)
	for _, v := range values {
		ips = append(ips, netip.MustParseAddr(v.(string)))
	}
	return ips, dns.Result{Authentic: true}, err
}

func (z suiteZone) LookupMX(_ context.Context, name string) (mxs []dns.MX, _ dns.Result, _ error) {
	values, err := z.lookup("MX", name)
	for _, v := range values {
		host := v.([]any)[1].(string)
		mxs = append(mxs, dns.MX{Preference: uint16(v.([]any)[0].(int)), Host: host + "."})
	}
	return mxs, dns.Result{Authentic: true}, err
}

func (z suiteZone) LookupAddr(_ context.Context, ip netip.Addr) (names []string, _ dns.Result, _ error) {
	values, err := z.lookup("PTR", dns.ReverseName(ip))
	for _, v := range values {
		names = append(names, strings.ToLower(strings.TrimSuffix(v.(string), "."))+".")
	}
	return names, dns.Result{Authentic: true}, err
}

func (suiteZone) LookupSRV(context.Context, string) ([]dns.SRV, dns.Result, error) {
	return nil, dns.Result{}, dns.ErrNoData
}

func (suiteZone) LookupTLSA(context.Context, string) ([]dns.TLSA, dns.Result, error) {
	return nil, dns.Result{}, dns.ErrNoData
}

func (suiteZone) LookupNS(context.Context, string) ([]string, dns.Result, error) {
	return nil, dns.Result{}, dns.ErrNoData
}

func (suiteZone) LookupCNAME(context.Context, string) (string, dns.Result, error) {
	return "", dns.Result{}, dns.ErrNoData
}
