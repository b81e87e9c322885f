package dnssec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/resolver"
)

// question is a name and a type that is looked up.
type question struct {
	name string // Absolute.
	typ  string
}

// outcome is what came of one: "secure", "insecure" or "bogus", and "records",
// "nodata" or "nxdomain"; or "failure".
type outcome struct {
	result string
	detail string // Records, or why. Only records count in comparisons.
}

// theirs asks another validating resolver. As with ours, the end of a chain of
// aliases is what there is of CNAME.
func theirs(ctx context.Context, addr string, q question) outcome {
	got := ask(ctx, addr, q)
	for q.typ == "CNAME" && strings.HasSuffix(got.result, " records") {
		next := ask(ctx, addr, question{got.detail, q.typ})
		security := got.result
		if !strings.HasPrefix(next.result, "secure ") {
			security = "insecure records"
		}
		switch {
		case strings.HasSuffix(next.result, " records"):
			got = outcome{security, next.detail}
		case strings.HasSuffix(next.result, " nodata"), strings.HasSuffix(next.result, " nxdomain"):
			return outcome{security, got.detail}
		default:
			return next
		}
	}
	return got
}

// ask asks a question of a validating resolver.
func ask(ctx context.Context, addr string, q question) outcome {
	typ := mdns.StringToType[q.typ]
	m, err := exchange(ctx, addr, q.name, typ, false)
	if err != nil {
		return outcome{"failure", err.Error()}
	}
	if m.Rcode == mdns.RcodeServerFailure {
		why := "no reason"
		if opt := m.IsEdns0(); opt != nil {
			for _, o := range opt.Option {
				why = o.String()
			}
		}
		unchecked, err := exchange(ctx, addr, q.name, typ, true)
		if err != nil || unchecked.Rcode == mdns.RcodeServerFailure {
			return outcome{"failure", why}
		}
		return outcome{"bogus", why}
	}
	security := "insecure"
	if m.AuthenticatedData {
		security = "secure"
	}
	var records []string
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == typ && (typ != mdns.TypeCNAME || len(records) == 0) {
			records = append(records, data(rr))
		}
	}
	switch {
	case len(records) > 0:
		slices.Sort(records)
		return outcome{security + " records", strings.Join(records, ", ")}
	case m.Rcode == mdns.RcodeNameError:
		return outcome{security + " nxdomain", ""}
	case m.Rcode == mdns.RcodeSuccess:
		return outcome{security + " nodata", ""}
	}
	return outcome{"failure", mdns.RcodeToString[m.Rcode]}
}

// data returns a record as ours come.
func data(rr mdns.RR) string {
	switch rr := rr.(type) {
	case *mdns.TXT:
		return strings.Join(rr.Txt, "")
	case *mdns.MX:
		return fmt.Sprintf("%d %s", rr.Preference, rr.Mx)
	case *mdns.TLSA:
		return fmt.Sprintf("%d %d %d %s", rr.Usage, rr.Selector, rr.MatchingType, strings.ToLower(rr.Certificate))
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// ours asks our resolver.
func ours(ctx context.Context, r *resolver.Resolver, q question) outcome {
	var records []string
	var result dns.Result
	var err error
	switch q.typ {
	case "A", "AAAA":
		records, result, err = found(r.LookupIP(ctx, map[string]string{"A": "ip4", "AAAA": "ip6"}[q.typ], q.name))
	case "MX":
		records, result, err = found(r.LookupMX(ctx, q.name))
		for i, s := range records {
			records[i] = strings.Trim(s, "{}")
		}
	case "TXT":
		records, result, err = found(r.LookupTXT(ctx, q.name))
	case "NS":
		records, result, err = found(r.LookupNS(ctx, q.name))
	case "CNAME":
		var target string
		if target, result, err = r.LookupCNAME(ctx, q.name); err == nil {
			records = []string{target}
		}
	case "TLSA":
		var list []dns.TLSA
		list, result, err = r.LookupTLSA(ctx, q.name)
		for _, l := range list {
			records = append(records, fmt.Sprintf("%d %d %d %x", l.Usage, l.Selector, l.Matching, l.Data))
		}
	default:
		return outcome{"failure", "no such type"}
	}
	security := "insecure"
	if result.Authentic {
		security = "secure"
	}
	switch {
	case err == nil:
		slices.Sort(records)
		return outcome{security + " records", strings.Join(records, ", ")}
	case errors.Is(err, dns.ErrNotFound):
		return outcome{security + " nxdomain", ""}
	case errors.Is(err, dns.ErrNoData):
		return outcome{security + " nodata", ""}
	case errors.Is(err, dns.ErrBogus):
		return outcome{"bogus", err.Error()}
	}
	return outcome{"failure", err.Error()}
}

func found[T any](list []T, result dns.Result, err error) (texts []string, _ dns.Result, _ error) {
	for _, v := range list {
		texts = append(texts, fmt.Sprint(v))
	}
	return texts, result, err
}

// same tells whether two outcomes agree.
func same(a, b outcome) bool {
	return a.result == b.result && (!strings.HasSuffix(a.result, " records") || a.detail == b.detail)
}

// exception is where our resolver and another differ on purpose.
type exception struct {
	reason string
	about  func(q question, ours, theirs outcome) bool
}

// compare holds our resolver against another, for each question, and returns how
// often each result came. Each exception must be needed.
func compare(t *testing.T, r *resolver.Resolver, other string, questions []question, exceptions ...exception) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, q := range questions {
		want, got := theirs(t.Context(), other, q), ours(t.Context(), r, q)
		counts[want.result]++
		i := slices.IndexFunc(exceptions, func(e exception) bool { return e.about(q, got, want) })
		switch {
		case want.result == "failure":
			t.Errorf("%s of %s: unbound can't tell (%s)\n\twe have %s (%s)", q.typ, q.name, want.detail, got.result, got.detail)
		case same(got, want):
		case i >= 0:
			counts[exceptions[i].reason]++
		default:
			t.Errorf("%s of %s: we have %s (%s)\n\tunbound has %s (%s)", q.typ, q.name, got.result, got.detail, want.result, want.detail)
		}
	}
	for _, e := range exceptions {
		if counts[e.reason] == 0 {
			t.Errorf("there is no difference any more: %s", e.reason)
		}
	}
	return counts
}

// newResolver returns a resolver of ours that validates what a server says.
func newResolver(t testing.TB, addr string, anchors []string) *resolver.Resolver {
	t.Helper()
	r, err := resolver.New(resolver.Options{Mode: resolver.Validate, Anchors: strings.Join(anchors, "\n"), Servers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
