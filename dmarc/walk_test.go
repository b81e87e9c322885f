package dmarc

import (
	"errors"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
)

func TestWalkNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"RFC 9989, section 4.10", "a.b.c.d.e.f.g.h.i.j.mail.example.com",
			"a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com"},
		{"section 5.1.8", "mail.a.b.c.d.e.f.g.example.com",
			"mail.a.b.c.d.e.f.g.example.com c.d.e.f.g.example.com d.e.f.g.example.com e.f.g.example.com f.g.example.com g.example.com example.com com"},
		{"appendix B.4.2", "a.b.c.d.e.f.g.h.i.j.k.example.com",
			"a.b.c.d.e.f.g.h.i.j.k.example.com g.h.i.j.k.example.com h.i.j.k.example.com i.j.k.example.com j.k.example.com k.example.com example.com com"},
		{"section 4.10.2", "a.mail.example.com", "a.mail.example.com mail.example.com example.com com"},
		{"eight labels", "1.2.3.4.5.6.7.com", "1.2.3.4.5.6.7.com 2.3.4.5.6.7.com 3.4.5.6.7.com 4.5.6.7.com 5.6.7.com 6.7.com 7.com com"},
		{"nine labels", "0.1.2.3.4.5.6.7.com", "0.1.2.3.4.5.6.7.com 2.3.4.5.6.7.com 3.4.5.6.7.com 4.5.6.7.com 5.6.7.com 6.7.com 7.com com"},
		{"one label", "com", "com"},
	} {
		names := walkNames(tc.in)
		if got := strings.Join(names, " "); got != tc.want || len(names) > walkMax {
			t.Errorf("%s: got %s", tc.name, got)
		}
	}
}

// records returns the text of a zone with records: "domain tags, domain tags".
func records(text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(text, ",") {
		if domain, tags, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			b.WriteString("_dmarc." + domain + ". TXT \"v=DMARC1; " + tags + "\"\n")
		}
	}
	return b.String()
}

func TestOrgDomain(t *testing.T) {
	t.Parallel()
	const bank = "giant.bank.example p=reject, bank.example psd=y"
	for _, tc := range []struct{ name, records, domain, org, policy string }{
		// RFC 9989, section 4.10.2.
		{"the shortest of two", "mail.example.com p=none, example.com p=none", "a.mail.example.com", "example.com", "example.com"},
		{"one that says it is the organisation", "mail.example.com p=none; psd=n, example.com p=none", "a.mail.example.com", "mail.example.com", "mail.example.com"},
		{"below a public suffix", "com p=none; psd=y", "a.mail.example.com", "example.com", "com"},
		{"one label below a public suffix", "mail.example.com p=none, example.com psd=y", "mail.example.com", "mail.example.com", "mail.example.com"},

		// Appendix B.4.
		{"B.4.1, author and MAIL FROM", "example.com p=none, signing.example.com p=none", "example.com", "example.com", "example.com"},
		{"B.4.1, signature", "example.com p=none, signing.example.com p=none", "signing.example.com", "example.com", "signing.example.com"},
		{"B.4.2, author", "example.com p=none, signing.example.com p=none", "a.b.c.d.e.f.g.h.i.j.k.example.com", "example.com", "example.com"},
		{"B.4.3, author", bank, "giant.bank.example", "giant.bank.example", "giant.bank.example"},
		{"B.4.3, MAIL FROM", bank, "mail.giant.bank.example", "giant.bank.example", "giant.bank.example"},
		{"B.4.3, signature", bank, "mail.mega.bank.example", "mega.bank.example", "bank.example"},

		// Section 5.1.8: the record between is never found.
		{"too deep for the walk", "example.com p=none, b.c.d.e.f.g.example.com psd=n", "mail.a.b.c.d.e.f.g.example.com", "example.com", "example.com"},

		{"no record at all", "", "a.mail.example.com", "a.mail.example.com", ""},
		{"only one's own", "a.mail.example.com p=none", "a.mail.example.com", "a.mail.example.com", "a.mail.example.com"},
		{"a public suffix itself", "co.example p=none; psd=y, example p=none; psd=y", "co.example", "co.example", "co.example"},
		{"a suffix below a suffix", "co.example psd=y, example psd=y", "a.b.co.example", "b.co.example", "co.example"},
		{"an organisation that is the start", "mail.example.com p=none; psd=n, example.com p=none", "mail.example.com", "mail.example.com", "mail.example.com"},
		{"psd=u is as if it weren't there", "mail.example.com p=none; psd=u, example.com p=none", "mail.example.com", "example.com", "mail.example.com"},
		{"a top domain with a record that doesn't say what it is", "com p=none", "a.example.com", "com", "com"},
		{"a record between the domain and its organisation doesn't count", "mail.example.com p=reject, com psd=y", "a.mail.example.com", "example.com", "com"},
		{"a record without valid policy has a place in the tree", "example.com psd=n", "a.mail.example.com", "example.com", "example.com"},
		{"two at one name are none", "mail.example.com psd=n, mail.example.com p=none, example.com p=none", "mail.example.com", "example.com", "example.com"},
		{"what comes above a public suffix doesn't matter", "b.example psd=y, example p=none; psd=n", "c.a.b.example", "a.b.example", "b.example"},
	} {
		r := zone(t, records(tc.records))
		org, _, err := OrgDomain(t.Context(), r, name(t, tc.domain))
		if err != nil || org.ASCII != tc.org {
			t.Errorf("%s: got %v, %v, want %s", tc.name, org, err, tc.org)
		}
		tree, err := newWalker(r).walk(t.Context(), tc.domain)
		policy := ""
		if f := tree.policy(tc.domain); f != nil {
			policy = f.Domain.ASCII
		}
		if err != nil || policy != tc.policy {
			t.Errorf("%s: got the policy of %q, %v, want that of %q", tc.name, policy, err, tc.policy)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	r, err := dnstest.New(`
_dmarc.one.example.    TXT "v=DMARC1; p=" "reject"
_dmarc.one.example.    TXT "some other text"
_dmarc.two.example.    TXT "v=DMARC1; p=reject"
_dmarc.two.example.    TXT "v=DMARC1; p=none"
_dmarc.bad.example.    TXT "v=DMARC1"
_dmarc.other.example.  TXT "v=spf1"
_dmarc.alias.example.  CNAME _dmarc.one.example.
_dmarc.no.example.     A 10.0.0.1
_dmarc.xn--bcher-kva.example. TXT "v=DMARC1; p=none"
`, "one.example")
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("TXT", "_dmarc.temporary.example.", dnstest.Temporary)
	r.Fail("TXT", "_dmarc.bogus.example.", dnstest.Bogus)
	label := strings.Repeat("a", 62)
	long := strings.Join([]string{label, label, label, label}, ".")
	for _, tc := range []struct {
		name, domain string
		policy       Policy // Empty for none.
		err          error
		authentic    bool
	}{
		{"in two parts, with another text", "one.example", Reject, nil, true},
		{"an alias", "alias.example", Reject, nil, false},
		{"beyond ASCII", "bücher.example", None, nil, false},
		{"without valid policy", "bad.example", None, nil, false},
		{"several", "two.example", "", ErrNoRecord, false},
		{"another text", "other.example", "", ErrNoRecord, false},
		{"a name without such records", "no.example", "", ErrNoRecord, false},
		{"no name", "none.example", "", ErrNoRecord, false},
		{"a name that gets too long", long, "", ErrNoRecord, false},
		{"a failure", "temporary.example", "", dns.ErrTemporary, false},
		{"a bogus answer", "bogus.example", "", dns.ErrBogus, false},
	} {
		found, err := Lookup(t.Context(), r, name(t, tc.domain))
		if found.Record.Policy != tc.policy || !errors.Is(err, tc.err) || found.Authentic != tc.authentic || (found.Err != nil) != (tc.domain == "bad.example") {
			t.Errorf("%s: got %+v, %v", tc.name, found, err)
		}
	}
}

// TestOrgDomainFails checks that a walk ends with the first failure, and not with
// what was found until then.
func TestOrgDomainFails(t *testing.T) {
	t.Parallel()
	r := zone(t, records("a.example.com p=none"))
	r.Fail("TXT", "_dmarc.example.com.", dnstest.Temporary)
	if org, authentic, err := OrgDomain(t.Context(), r, name(t, "a.example.com")); !errors.Is(err, dns.ErrTemporary) || authentic || !org.IsZero() {
		t.Errorf("got %v, %t, %v", org, authentic, err)
	}
	if n := r.Lookups("TXT", "_dmarc.com."); n != 0 {
		t.Errorf("%d lookups after the failure", n)
	}
}
