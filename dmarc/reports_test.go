package dmarc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
)

func TestCheckReportAddresses(t *testing.T) {
	t.Parallel()
	const report = "example.com._report._dmarc."
	r, err := dnstest.New(records("example.com p=none")+`
`+report+`simple.example.   TXT "v=DMARC1"
`+report+`simple.example.   TXT "other"
`+report+`semicolon.example. TXT "v=DMARC1;"
`+report+`red.example.net.  TXT "v=DMARC1; rua=mailto:other@red.example.net"
`+report+`away.example.     TXT "v=DMARC1; rua=mailto:a@away.example,mailto:b@victim.example"
`+report+`no.example.       TXT "v=spf1"
*._report._dmarc.all.example. TXT "v=DMARC1; p=none"
`, "com", "example")
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("TXT", report+"temporary.example.", dnstest.Temporary)
	r.Fail("TXT", "_dmarc.walk.example.", dnstest.Temporary)
	for _, tc := range []struct {
		name, uri string
		external  bool
		send      string
		err       error
	}{
		{"of the domain", "mailto:a@example.com!1m", false, "mailto:a@example.com!1m", nil},
		{"of the organisation", "mailto:a@reports.example.com", false, "mailto:a@reports.example.com", nil},
		{"a destination that agrees", "mailto:a@simple.example", true, "mailto:a@simple.example", nil},
		{"with a semicolon", "mailto:a@semicolon.example", true, "mailto:a@semicolon.example", nil},
		{"one that agrees for all", "mailto:a@all.example", true, "mailto:a@all.example", nil},
		{"one with another address", "mailto:reports@red.example.net", true, "mailto:other@red.example.net", nil},
		{"one that sends them to others", "mailto:a@away.example", true, "", ErrNotAuthorised},
		{"one with something else", "mailto:a@no.example", true, "", ErrNotAuthorised},
		{"one without a record", "mailto:a@none.example", true, "", ErrNotAuthorised},
		{"one that fails", "mailto:a@temporary.example", true, "", dns.ErrTemporary},
		{"one whose organisation can't be found", "mailto:a@walk.example", false, "", dns.ErrTemporary},
		{"not mail", "https://example.com/", false, "", ErrScheme},
		{"too long a name", "mailto:a@" + strings.Repeat(strings.Repeat("a", 59)+".", 4) + "example", true, "", ErrNotAuthorised},
	} {
		u, err := ParseURI(tc.uri)
		if err != nil {
			t.Fatal(err)
		}
		list := CheckReportAddresses(t.Context(), r, name(t, "example.com"), []URI{u})
		if len(list) != 1 {
			t.Fatalf("%s: got %d", tc.name, len(list))
		}
		a := list[0]
		if a.URI != u || a.External != tc.external || joinURIs(a.Send) != tc.send || !errors.Is(a.Err, tc.err) || (a.Err == nil) != (tc.err == nil) {
			t.Errorf("%s: got %+v", tc.name, a)
		}
		if want := tc.err == nil && !strings.HasSuffix(tc.uri, ".net"); a.Authentic != want {
			t.Errorf("%s: got authentic: %t", tc.name, a.Authentic)
		}
	}
}

func TestCheckReportAddressesMax(t *testing.T) {
	t.Parallel()
	var uris []URI
	for i := range reportAddressesMax + 1 {
		uris = append(uris, mailto("a", fmt.Sprintf("d%d.example", i)))
	}
	list := CheckReportAddresses(t.Context(), zone(t, ""), name(t, "example.com"), uris)
	for i, a := range list {
		want := ErrNotAuthorised
		if i == reportAddressesMax {
			want = ErrReportAddresses
		}
		if a.URI != uris[i] || !errors.Is(a.Err, want) {
			t.Errorf("%d: got %+v", i, a)
		}
	}
}
