package dmarc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
)

// name returns a domain for a test.
func name(t *testing.T, s string) dns.Domain {
	t.Helper()
	if s == "" {
		return dns.Domain{}
	}
	d, err := dns.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// zone returns a resolver for the text of a zone.
func zone(t *testing.T, text string) *dnstest.Resolver {
	t.Helper()
	r, err := dnstest.New(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// identifiers parses results as "pass:example.com fail:example.org".
func identifiers(t *testing.T, text string) (ids []Identifier) {
	t.Helper()
	for word := range strings.FieldsSeq(text) {
		result, domain, _ := strings.Cut(word, ":")
		ids = append(ids, Identifier{name(t, domain), result})
	}
	return ids
}

// describe returns what tests compare of an evaluation: the result, the policy if it
// fails, the alignments, and where the record is.
func describe(e Evaluation) string {
	s := string(e.Result)
	if e.Policy != None || e.Result == ResultFail {
		s += " " + string(e.Policy)
	}
	if e.Published != "" && e.Published != e.Policy && e.Result == ResultFail {
		s += " for " + string(e.Published)
	}
	s += fmt.Sprintf(" spf=%v dkim=%v", e.SPF, e.DKIM)
	if e.Record != nil {
		s += " at " + e.RecordDomain.ASCII
	}
	return s
}

var evaluateTests = []struct {
	name, records   string
	from, spf, dkim string
	want            string
}{
	// RFC 9989, appendix B.1.
	{"B.1.1, example 1", "example.com p=reject", "example.com", "pass:example.com", "", "pass spf=strict dkim=none at example.com"},
	{"B.1.1, example 2", "example.com p=reject", "example.com", "pass:child.example.com", "", "pass spf=relaxed dkim=none at example.com"},
	{"B.1.1, example 3", "example.com p=reject", "child.example.com", "pass:example.net", "", "fail reject spf=none dkim=none at example.com"},
	{"B.1.2, example 1", "example.com p=reject", "example.com", "", "pass:example.com", "pass spf=none dkim=strict at example.com"},
	{"B.1.2, example 2", "example.com p=reject", "child.example.com", "", "pass:example.com", "pass spf=none dkim=relaxed at example.com"},
	{"B.1.2, example 3", "example.com p=reject", "child.example.com", "", "pass:example.net", "fail reject spf=none dkim=none at example.com"},

	// Section 4.4, table 1.
	{"two below one organisation", "example.com p=reject", "news.example.com", "pass:foo.example.com", "", "pass spf=relaxed dkim=none at example.com"},
	{"of two organisations", "example.com p=reject, example.net p=reject", "news.example.com", "pass:foo.example.net", "", "fail reject spf=none dkim=none at example.com"},

	// Appendix B.4.
	{"B.4.1", "example.com p=reject, signing.example.com p=none", "example.com", "pass:example.com", "pass:signing.example.com", "pass spf=strict dkim=relaxed at example.com"},
	{"B.4.2", "example.com p=reject, signing.example.com p=none", "a.b.c.d.e.f.g.h.i.j.k.example.com", "pass:example.com", "pass:signing.example.com", "pass spf=relaxed dkim=relaxed at example.com"},
	{"B.4.3", "bank.example psd=y, giant.bank.example p=reject", "giant.bank.example", "pass:mail.giant.bank.example", "pass:mail.mega.bank.example", "pass spf=relaxed dkim=none at giant.bank.example"},

	{"no record", "", "example.com", "pass:example.com", "pass:a.example.com", "none spf=strict dkim=none"},
	{"no record of the organisation of two", "", "a.example.com", "pass:b.example.com", "", "none spf=none dkim=none"},
	{"nothing verified", "example.com p=quarantine", "example.com", "fail:example.com", "fail:example.com neutral:example.com", "fail quarantine spf=none dkim=none at example.com"},
	{"softfail is no pass", "example.com p=reject", "example.com", "softfail:example.com", "", "fail reject spf=none dkim=none at example.com"},
	{"the policy is none", "example.com p=none", "example.com", "", "", "fail none spf=none dkim=none at example.com"},
	{"the second signature", "example.com p=reject", "example.com", "fail:example.com", "fail:example.com pass:example.net pass:a.example.com", "pass spf=none dkim=relaxed at example.com"},
	{"the closest signature", "example.com p=reject", "example.com", "", "pass:a.example.com pass:example.com", "pass spf=none dkim=strict at example.com"},
	{"a name that only ends so", "example.com p=reject", "example.com", "pass:badexample.com", "", "fail reject spf=none dkim=none at example.com"},
	{"the parent of the organisation", "com p=none; psd=y, example.com p=reject", "example.com", "pass:com", "", "fail reject spf=none dkim=none at example.com"},
	{"a public suffix is related to nobody below it", "com p=none; psd=y", "com", "pass:example.com", "", "fail none spf=none dkim=none at com"},
	{"an organisation within another", "example.com p=reject, dept.example.com p=reject; psd=n", "example.com", "pass:dept.example.com", "pass:a.dept.example.com", "fail reject spf=none dkim=none at example.com"},

	{"strict for SPF", "example.com p=reject; aspf=s", "example.com", "pass:a.example.com", "", "fail reject spf=relaxed dkim=none at example.com"},
	{"strict for SPF, and the same", "example.com p=reject; aspf=s", "example.com", "pass:example.com", "", "pass spf=strict dkim=none at example.com"},
	{"strict for DKIM", "example.com p=reject; adkim=s", "example.com", "", "pass:a.example.com", "fail reject spf=none dkim=relaxed at example.com"},
	{"strict for the other", "example.com p=reject; adkim=s", "example.com", "pass:a.example.com", "", "pass spf=relaxed dkim=none at example.com"},

	{"a policy for subdomains", "example.com p=reject; sp=quarantine", "a.example.com", "", "", "fail quarantine spf=none dkim=none at example.com"},
	{"it is not for the domain", "example.com p=reject; sp=none", "example.com", "", "", "fail reject spf=none dkim=none at example.com"},
	{"it is not of a subdomain", "example.com p=reject, a.example.com p=quarantine; sp=none", "a.example.com", "", "", "fail quarantine spf=none dkim=none at a.example.com"},
	{"nor for one below that", "example.com p=reject; sp=none, a.example.com p=quarantine", "b.a.example.com", "", "", "fail none spf=none dkim=none at example.com"},
	{"a policy for what doesn't exist", "example.com p=none; np=reject", "nope.example.com", "", "", "fail reject spf=none dkim=none at example.com"},
	{"not for what exists", "example.com p=none; np=reject", "mx.example.com", "", "", "fail none spf=none dkim=none at example.com"},
	{"not for what has other records only", "example.com p=none; np=reject", "host.example.com", "", "", "fail none spf=none dkim=none at example.com"},
	{"not for an alias of what doesn't exist", "example.com p=none; np=reject", "alias.example.com", "", "", "fail none spf=none dkim=none at example.com"},
	{"without it, that for subdomains", "example.com p=none; sp=quarantine", "nope.example.com", "", "", "fail quarantine spf=none dkim=none at example.com"},
	{"of a public suffix", "com p=reject; sp=quarantine; psd=y", "host.example.com", "", "", "fail quarantine spf=none dkim=none at com"},
	{"of a public suffix, for what doesn't exist", "com p=none; np=reject; psd=y", "nope.example", "", "", "none spf=none dkim=none"},

	{"testing reject", "example.com p=reject; t=y", "example.com", "", "", "fail quarantine for reject spf=none dkim=none at example.com"},
	{"testing quarantine", "example.com p=quarantine; t=y", "example.com", "", "", "fail none for quarantine spf=none dkim=none at example.com"},
	{"testing none", "example.com p=none; t=y", "example.com", "", "", "fail none spf=none dkim=none at example.com"},
	{"testing for subdomains", "example.com p=none; sp=reject; t=y", "a.example.com", "", "", "fail quarantine for reject spf=none dkim=none at example.com"},
	{"a percentage of 0", "example.com p=quarantine; pct=0", "example.com", "", "", "fail none for quarantine spf=none dkim=none at example.com"},
	{"another percentage", "example.com p=quarantine; pct=1", "example.com", "", "", "fail quarantine spf=none dkim=none at example.com"},
	{"testing a message that passes", "example.com p=reject; t=y", "example.com", "pass:example.com", "", "pass spf=strict dkim=none at example.com"},

	{"a record that says nothing", "example.com p=x", "example.com", "pass:example.com", "", "permerror spf=strict dkim=none at example.com"},
	{"it hides that of the organisation", "example.com p=reject, a.example.com foo=bar", "a.example.com", "", "", "permerror spf=none dkim=none at a.example.com"},
	{"a wrong policy with an address", "example.com p=x; rua=mailto:a@example.com", "example.com", "", "", "fail none spf=none dkim=none at example.com"},

	{"SPF failed for now", "example.com p=reject", "example.com", "temperror:example.com", "", "temperror spf=none dkim=none at example.com"},
	{"DKIM failed for now, below the domain", "example.com p=reject", "example.com", "", "fail:example.com temperror:a.example.com", "temperror spf=none dkim=none at example.com"},
	{"one failed for now, the other passes", "example.com p=reject", "example.com", "temperror:example.com", "pass:example.com", "pass spf=none dkim=strict at example.com"},
	{"a failure that can't matter", "example.com p=reject", "example.com", "temperror:evil.example", "temperror:evil.example", "fail reject spf=none dkim=none at example.com"},
	{"a failure below, but it must be the same", "example.com p=reject; adkim=s", "example.com", "", "temperror:a.example.com", "fail reject spf=none dkim=none at example.com"},
	{"a failure without a record", "", "example.com", "temperror:example.com", "", "none spf=none dkim=none"},
}

// existing are names besides those with records.
const existing = "mx.example.com. MX 1 a.\nhost.example.com. A 10.0.0.1\nalias.example.com. CNAME nope.example.org.\n"

func TestEvaluate(t *testing.T) {
	t.Parallel()
	for _, tc := range evaluateTests {
		r := zone(t, records(tc.records)+existing)
		args := Args{From: name(t, tc.from), DKIM: identifiers(t, tc.dkim)}
		if tc.spf != "" {
			args.SPF = identifiers(t, tc.spf)[0]
		}
		e := Evaluate(t.Context(), r, args)
		if got := describe(e); got != tc.want {
			t.Errorf("%s: got %s (%v)", tc.name, got, e.Err)
		}
		bad := e.Result == ResultTemperror || e.Result == ResultPermerror
		if bad != (e.Err != nil) || e.Rejects() != (e.Policy != None) || e.OrgDomain.IsZero() || e.Authentic {
			t.Errorf("%s: got %+v", tc.name, e)
		}
		if want := e.DKIM != NotAligned; want == e.DKIMDomain.IsZero() {
			t.Errorf("%s: got signing domain %v", tc.name, e.DKIMDomain)
		}
	}
}

func TestEvaluateFailures(t *testing.T) {
	t.Parallel()
	const zoneText = "example.com p=reject; np=none"
	for _, tc := range []struct {
		name, fails string // What lookups fail: type and name.
		from, spf   string
		want        string
	}{
		{"of the record", "TXT _dmarc.example.com.", "example.com", "pass:example.com", "temperror spf=strict dkim=none"},
		{"above the record", "TXT _dmarc.com.", "example.com", "pass:example.com", "pass spf=strict dkim=none at example.com"},
		{"above the record, and the organisation matters", "TXT _dmarc.com.", "example.com", "pass:a.example.com", "temperror spf=none dkim=none at example.com"},
		{"below the record", "TXT _dmarc.a.example.com.", "a.example.com", "pass:example.com", "temperror spf=none dkim=none"},
		{"of the domain that was verified", "TXT _dmarc.b.example.com.", "example.com", "pass:b.example.com", "temperror spf=none dkim=none at example.com"},
		{"of a stranger", "TXT _dmarc.evil.example.", "example.com", "pass:evil.example", "fail reject spf=none dkim=none at example.com"},
		{"of whether the domain exists", "MX a.example.com.", "a.example.com", "", "temperror spf=none dkim=none at example.com"},
		{"of whether it exists, when it passes", "MX a.example.com.", "a.example.com", "pass:example.com", "pass spf=relaxed dkim=none at example.com"},
	} {
		for _, failure := range []dnstest.Failure{dnstest.Temporary, dnstest.Bogus} {
			r := zone(t, records(zoneText))
			typ, fails, _ := strings.Cut(tc.fails, " ")
			r.Fail(typ, fails, failure)
			args := Args{From: name(t, tc.from)}
			if tc.spf != "" {
				args.SPF = identifiers(t, tc.spf)[0]
			}
			e := Evaluate(t.Context(), r, args)
			if got := describe(e); got != tc.want || e.Result == ResultTemperror && !errors.Is(e.Err, dns.ErrTemporary) || e.Policy != None && e.Result != ResultFail {
				t.Errorf("failure %s: got %s (%v), want %s", tc.name, got, e.Err, tc.want)
			}
		}
	}
}

func TestEvaluateNoFrom(t *testing.T) {
	t.Parallel()
	e := Evaluate(t.Context(), zone(t, ""), Args{SPF: Identifier{name(t, "example.com"), "pass"}})
	if describe(e) != "none spf=none dkim=none" || !errors.Is(e.Err, ErrNoFrom) {
		t.Errorf("got %+v", e)
	}
}

// TestEvaluateAuthentic checks that one answer that isn't authentic spoils it, also
// one that there is no record.
func TestEvaluateAuthentic(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, authentic string // The tops of what is.
		spf             string
		want            bool
	}{
		{"all", ".", "pass:a.example.com", true},
		{"all but that of a verified domain", ". -b.example.com.", "pass:a.example.com", true},
		{"all but that of the verified domain", ". -a.example.com.", "pass:a.example.com", false},
		{"all but that of the top", ". -_dmarc.com.", "", false},
		{"none", "", "", false},
	} {
		r := zone(t, records("example.com p=reject"))
		for top := range strings.FieldsSeq(tc.authentic) {
			r.SetAuthentic(strings.TrimPrefix(top, "-"), !strings.HasPrefix(top, "-"))
		}
		args := Args{From: name(t, "example.com"), DKIM: identifiers(t, tc.spf)}
		if e := Evaluate(t.Context(), r, args); e.Authentic != tc.want {
			t.Errorf("%s: got %+v", tc.name, e)
		}
	}
}

// TestLookupsBounded has a sender that wants as many lookups as it can get: with
// signatures by many deep names in its own domain.
func TestLookupsBounded(t *testing.T) {
	t.Parallel()
	r := zone(t, records("example.com p=reject"))
	args := Args{From: name(t, "example.com")}
	var names []string
	for i := range 25 {
		deep := fmt.Sprintf("x%d.a%d.b%d.c%d.d%d.e%d.example.com", i, i, i, i, i, i)
		names = append(names, walkNames(deep)...)
		args.DKIM = append(args.DKIM, Identifier{name(t, deep), "pass"})
	}
	args.DKIM = args.DKIM[1:] // The first is aligned, and would end it.
	if e := Evaluate(t.Context(), r, args); describe(e) != "pass spf=none dkim=relaxed at example.com" {
		t.Errorf("got %s", describe(e))
	}

	// None of these is aligned: each has an organisation of its own.
	text := "example.com p=reject"
	for i := range 25 {
		text += fmt.Sprintf(", x%d.a%d.b%d.c%d.d%d.e%d.example.com p=none, e%d.example.com psd=n", i, i, i, i, i, i, i)
	}
	r = zone(t, records(text))
	e := Evaluate(t.Context(), r, args)
	slices.Sort(names)
	total := 0
	for _, n := range slices.Compact(names) {
		looked := r.Lookups("TXT", "_dmarc."+n+".")
		if looked > 1 {
			t.Errorf("%s was looked up %d times", n, looked)
		}
		total += looked
	}
	if describe(e) != "fail reject spf=none dkim=none at example.com" || total != lookupsMax {
		t.Errorf("got %s after %d lookups", describe(e), total)
	}
}
