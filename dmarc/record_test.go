package dmarc

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// mailto returns the URI of an address at a domain in ASCII.
func mailto(local, domain string) URI {
	return URI{"mailto:" + local + "@" + domain, smtp.Address{Localpart: smtp.Localpart(local), Domain: dns.Domain{ASCII: domain}}, 0}
}

func TestParseRecord(t *testing.T) {
	t.Parallel()
	// base is a record with the policy none.
	base := func(change func(*Record)) Record {
		r := Record{Policy: None, PSD: Unknown, Percent: 100}
		change(&r)
		return r
	}
	for _, tc := range []struct {
		name, text string
		want       Record // Without Problems.
		problems   string // Their texts, in lines.
		canonical  string // What String returns.
	}{
		// RFC 9989, appendix B.2, in its order.
		{
			"monitoring", "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com",
			base(func(r *Record) { r.AggregateReports = []URI{mailto("dmarc-feedback", "example.com")} }), "",
			"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com",
		},
		{
			"with failure reports to others",
			"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@thirdparty.example.net",
			base(func(r *Record) {
				r.AggregateReports = []URI{mailto("dmarc-feedback", "example.com")}
				r.FailureReports = []URI{mailto("auth-reports", "thirdparty.example.net")}
			}), "",
			"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@thirdparty.example.net",
		},
		{
			"testing, with two addresses",
			"v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net; t=y",
			base(func(r *Record) {
				r.Policy, r.Testing = Quarantine, true
				r.AggregateReports = []URI{mailto("dmarc-feedback", "example.com"), mailto("tld-test", "thirdparty.example.net")}
			}), "",
			"v=DMARC1; p=quarantine; t=y; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net",
		},

		{
			"everything", "v=DMARC1;p=reject;sp=quarantine;np=none;psd=n;t=n;adkim=s;aspf=s;fo=1:d:s;",
			base(func(r *Record) {
				r.Policy, r.SubdomainPolicy, r.NonexistentPolicy, r.PSD = Reject, Quarantine, None, Organisation
				r.StrictDKIM, r.StrictSPF, r.FailureOptions = true, true, []string{"1", "d", "s"}
			}), "",
			"v=DMARC1; p=reject; sp=quarantine; np=none; psd=n; adkim=s; aspf=s; fo=1:d:s",
		},
		{
			"other case and white space", "V \t= DMARC1 ; P = Reject;Psd=\tY;ADKIM=R ; ",
			base(func(r *Record) { r.Policy, r.PSD = Reject, PublicSuffix }), "", "v=DMARC1; p=reject; psd=y",
		},
		{"unknown tags", "v=DMARC1; x=y; p=none; x=z; new_tag2=a=b", base(func(*Record) {}), "", "v=DMARC1; p=none"},
		{
			"of RFC 7489", "v=DMARC1; p=reject; pct=50; ri=3600; rf=afrf; rua=mailto:a@b.example!10m",
			base(func(r *Record) {
				u := mailto("a", "b.example")
				u.SizeMax = 10 << 20
				r.Policy, r.Percent, r.Interval, r.AggregateReports = Reject, 50, 3600, []URI{u}
			}), "", "v=DMARC1; p=reject; rua=mailto:a@b.example!10m",
		},
		{"a percentage of 0 is testing", "v=DMARC1; p=reject; pct=0", base(func(r *Record) { r.Policy, r.Percent, r.Testing = Reject, 0, true }), "", "v=DMARC1; p=reject; t=y"},
		{"a percentage of 0 that was overruled", "v=DMARC1; pct=0; t=n; p=reject", base(func(r *Record) { r.Policy, r.Percent = Reject, 0 }), "", "v=DMARC1; p=reject"},

		// What is wrong is as if it weren't there (section 4.8).
		{
			"wrong values", "v=DMARC1; p=none; psd=x; t=yes; adkim=; aspf=strict; fo=0:1; pct=101; ri=-1",
			base(func(*Record) {}),
			"at offset 22: tag psd: \"x\" is not one of u, y, n\nat offset 27: tag t: \"yes\" is not one of n, y\nat offset 38: tag adkim: \"\" is not one of r, s\n" +
				"at offset 45: tag aspf: \"strict\" is not one of r, s\nat offset 56: tag fo: \"1\" doesn't go with those before it\n" +
				"at offset 65: tag pct: \"101\" is not a number up to 100\nat offset 73: tag ri: \"-1\" is not a number up to 4294967295",
			"v=DMARC1; p=none",
		},
		{
			"not tags", "v=DMARC1; p=none;; reject; =a; a b=c; v=DMARC1", base(func(*Record) {}),
			"at offset 19: \"reject\" is not a tag with a value\nat offset 27: \"=a\" is not a tag with a value\nat offset 31: \"a b=c\" is not a tag with a value\n" +
				"at offset 40: tag v: given again; the first counts",
			"v=DMARC1; p=none",
		},
		{"a tag twice", "v=DMARC1; p=none; P=reject", base(func(*Record) {}), "at offset 20: tag P: given again; the first counts", "v=DMARC1; p=none"},
		{
			"wrong addresses among others", "v=DMARC1; p=none; rua= mailto:a@b.example , a@b.example,mailto:x,https://a.example/?b!5k,mailto:c@d.example!5x,",
			base(func(r *Record) {
				r.AggregateReports = []URI{mailto("a", "b.example"), {Text: "https://a.example/?b", SizeMax: 5 << 10}}
			}),
			"at offset 44: tag rua: invalid URI: \"a@b.example\"\nat offset 56: tag rua: invalid URI: invalid address: expected '@' at \"\"\n" +
				"at offset 89: tag rua: invalid URI: size \"5x\"\nat offset 111: tag rua: invalid URI: \"\"",
			"v=DMARC1; p=none; rua=mailto:a@b.example,https://a.example/?b!5k",
		},

		// Without a valid policy an address for reports makes it one of "none".
		{
			"no policy, but an address", "v=DMARC1; rua=mailto:a@b.example",
			base(func(r *Record) { r.AggregateReports = []URI{mailto("a", "b.example")} }), "at offset 0: tag p: missing, taken as none",
			"v=DMARC1; p=none; rua=mailto:a@b.example",
		},
		{
			"a wrong policy for subdomains, and an address", "v=DMARC1; p=reject; sp=x; np=reject; rua=mailto:a@b.example",
			base(func(r *Record) { r.AggregateReports = []URI{mailto("a", "b.example")} }), "at offset 23: tag sp: \"x\" is not one of none, quarantine, reject",
			"v=DMARC1; p=none; rua=mailto:a@b.example",
		},
	} {
		got, err := ParseRecord(tc.text)
		var problems []string
		for _, p := range got.Problems {
			problems = append(problems, p.Error())
		}
		got.Problems = nil
		if err != nil || !reflect.DeepEqual(got, tc.want) || strings.Join(problems, "\n") != tc.problems {
			t.Errorf("%s: got %+v, %v, with the problems\n%s", tc.name, got, err, strings.Join(problems, "\n"))
		}
		if got.String() != tc.canonical {
			t.Errorf("%s: got %q, want %q", tc.name, got.String(), tc.canonical)
		}
	}
}

func TestParseRecordErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       error
	}{
		{"nothing", "", ErrNoRecord},
		{"SPF", "v=spf1 -all", ErrNoRecord},
		{"another version", "v=DMARC2; p=none", ErrNoRecord},
		{"the version in lower case", "v=dmarc1; p=none", ErrNoRecord},
		{"the version not at the start", "p=none; v=DMARC1", ErrNoRecord},
		{"space before the version", " v=DMARC1; p=none", ErrNoRecord},
		{"no semicolon after the version", "v=DMARC1 p=none", ErrNoRecord},
		{"only a name", "DMARC1; p=none", ErrNoRecord},
		{"far too long", "v=DMARC1; p=none;" + strings.Repeat(" ", recordSizeMax), ErrNoRecord},
		{"the version only", "v=DMARC1", ErrPolicy},
		{"no policy", "v=DMARC1; psd=n", ErrPolicy},
		{"a wrong policy", "v=DMARC1; p=discard", ErrPolicy},
		{"a wrong policy for subdomains", "v=DMARC1; p=none; np=x", ErrPolicy},
		{"a wrong policy, and a wrong address", "v=DMARC1; p=x; rua=a@b.example", ErrPolicy},
	} {
		r, err := ParseRecord(tc.text)
		if !errors.Is(err, tc.want) || errors.Is(tc.want, ErrPolicy) && r.Policy != None {
			t.Errorf("%s: got %+v, %v, want %v", tc.name, r, err, tc.want)
		}
	}
	if r, err := ParseRecord("v=DMARC1; psd=n"); r.PSD != Organisation || !strings.Contains(err.Error(), "tag p: missing") {
		t.Errorf("got %+v, %v", r, err)
	}
	many := "v=DMARC1; p=none; rua=" + strings.Repeat("mailto:a@b.c,", urisMax) + "mailto:d@b.c"
	if r, err := ParseRecord(many); err != nil || len(r.AggregateReports) != urisMax || len(r.Problems) != 1 {
		t.Errorf("got %d addresses, %v, %v", len(r.AggregateReports), r.Problems, err)
	}
}

func TestParseURI(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in      string
		address string
		size    int64
		ok      bool
	}{
		{"mailto:a@b.example", "a@b.example", 0, true},
		{"MAILTO:a%2Bc@B.example?subject=x", "a+c@b.example", 0, true},
		{"mailto:a@b.example!1024", "a@b.example", 1024, true},
		{"mailto:a@b.example!3T", "a@b.example", 3 << 40, true},
		{"https://example.org/report", "", 0, true},
		{"mailto:a%21c@b.example", "a!c@b.example", 0, true},
		{"mailto:a@b.example!", "", 0, false},
		{"mailto:a@b.example!0", "", 0, false},
		{"mailto:a@b.example!9999999t", "", 0, false},
		{"mailto:a@b.example!99999999999999999999", "", 0, false},
		{"mailto:a@b.example%2Cc@d.example", "", 0, false},
		{"mailto://a@b.example", "", 0, false},
		{"mailto:%zz@b.example", "", 0, false},
		{"mailto:a b@c.example", "", 0, false},
		{"mailto:", "", 0, false},
		{"a@b.example", "", 0, false},
		{"é:x", "", 0, false},
		{"", "", 0, false},
	} {
		u, err := ParseURI(tc.in)
		got := ""
		if !u.Address.IsZero() {
			got = u.Address.String()
		}
		if (err == nil) != tc.ok || got != tc.address || u.SizeMax != tc.size {
			t.Errorf("%q: got %+v, %v", tc.in, u, err)
		}
	}
}

// FuzzParseRecord checks that what is written of a record is read as the same, that
// problems are within the text, and that a policy is always one of the three.
func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{
		"v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", "v=DMARC1;p=reject;sp=quarantine;np=none;psd=n;t=y;adkim=s;aspf=s;fo=1:d:s;",
		"V =DMARC1 ;p= none ; pct=0; ri=1; rua=mailto:a%20b@c.example!10k , https://x", "v=DMARC1; sp=x; rua=mailto:\"a\"@b.example", "v=DMARC1;=;;;",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecord(text)
		if errors.Is(err, ErrNoRecord) {
			return
		}
		for _, p := range r.Problems {
			if p.Offset < 0 || p.Offset > len(text) {
				t.Fatalf("%q: %v is outside", text, p)
			}
		}
		if r.Policy != None && r.Policy != Quarantine && r.Policy != Reject {
			t.Fatalf("%q: policy %q", text, r.Policy)
		}
		r.Percent, r.Interval, r.Problems = 100, 0, nil
		again, err := ParseRecord(r.String())
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%q\nparsed as %+v\nwritten as %q\nparsed as %+v, %v", text, r, r.String(), again, err)
		}
	})
}
