package interop

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mjl-/mox/dmarc"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/resolver"
)

// dmarcRecords are records by the label below "test", and what opendmarc-check says
// of them if that is not what we say, and why.
var dmarcRecords = []struct{ label, text, says, why string }{
	{"short", `"v=DMARC1; p=none"`, "", ""},
	{"long", `"v=DMARC1; p=reject; sp=quarantine; adkim=s; aspf=s; rua=mailto:a@b.test,mailto:c@d.test; ruf=mailto:e@f.test; pct=30"`, "", ""},
	{"tight", `"v=DMARC1;p=quarantine;sp=none;adkim=r;aspf=r;"`, "", ""},
	{"spaced", `"v=DMARC1 ; p = reject ; aspf = s ;"`, "", ""},
	{"spacedv", `"v = DMARC1; p=reject"`, "error", "RFC 9989, section 4.8: white space may stand around every equals sign"},
	{"parts", `"v=DMARC1; p=rej" "ect; rua=mailto:a@b" ".test"`, "", ""},
	{"case", `"v=DMARC1; P=Reject; ADKIM=S"`, "", ""},
	{"unknown", `"v=DMARC1; x=y; p=reject; z=1"`, "", ""},
	{"version", `"v=DMARC2; p=reject"`, "", ""},
	{"missing", `"v=DMARC1; sp=none"`, "", ""},
	{"bad", `"v=DMARC1; p=discard"`, "", ""},
	{"size", `"v=DMARC1; p=none; rua=mailto:a@b.test!10m"`, "", ""},
	{"address", `"v=DMARC1; rua=mailto:a@b.test"`, "error", "RFC 9989, section 4.10.1: with an address for reports it is a record of the policy none"},
	{"align", `"v=DMARC1; p=reject; adkim=x"`, "error", "RFC 9989, section 4.8: a wrong value is as if it weren't there"},
	{"percent", `"v=DMARC1; p=reject; pct=101"`, "error", "RFC 9989, section 4.8: a wrong value is as if it weren't there"},
}

// TestOpenDMARC has another program read the same records.
func TestOpenDMARC(t *testing.T) {
	inNetwork(t, func(t *testing.T, dir string) {
		var text strings.Builder
		for _, r := range dmarcRecords {
			fmt.Fprintf(&text, "_dmarc.%s TXT %s\n", r.label, r.text)
		}
		startNSD(t, dir, text.String())
		r, err := resolver.New(resolver.Options{CacheSize: -1})
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range dmarcRecords {
			domain := dns.Domain{ASCII: tc.label + ".test"}
			found, err := dmarc.Lookup(t.Context(), r, domain)
			ours := describeRecord(t, found, err)
			out, err := tryCommand(t, nil, sbin(t, "opendmarc-check"), domain.ASCII)
			theirs := "error"
			if err == nil {
				theirs = out
			}
			want := ours
			if tc.says != "" {
				want = tc.says
			}
			if theirs != want || (theirs == ours) != (tc.says == "") {
				t.Errorf("%s: opendmarc says\n%s\nwe say\n%s\nexpected: %q %s", tc.label, theirs, ours, tc.says, tc.why)
			}
		}
	})
}

// describeRecord returns what opendmarc-check prints about a record, "error" if it has
// none that is valid.
func describeRecord(t *testing.T, f dmarc.Found, err error) string {
	t.Helper()
	if errors.Is(err, dmarc.ErrNoRecord) || f.Err != nil {
		return "error"
	} else if err != nil {
		t.Fatal(err)
	}
	modes := map[bool]string{true: "strict", false: "relaxed"}
	r := f.Record
	sub := string(r.SubdomainPolicy)
	if sub == "" {
		sub = "unspecified"
	}
	return fmt.Sprintf("DMARC record for %s:\n\tSample percentage: %d\n\tDKIM alignment: %s\n\tSPF alignment: %s\n\tDomain policy: %s\n\tSubdomain policy: %s\n"+
		"\tAggregate report URIs:%s\tFailure report URIs:%s", f.Domain, r.Percent, modes[r.StrictDKIM], modes[r.StrictSPF], r.Policy, sub,
		listURIs(r.AggregateReports), listURIs(r.FailureReports))
}

func listURIs(uris []dmarc.URI) string {
	if len(uris) == 0 {
		return "\n\t\t(none)\n"
	}
	s := "\n"
	for _, u := range uris {
		s += "\t\t" + u.String() + "\n"
	}
	return s
}
