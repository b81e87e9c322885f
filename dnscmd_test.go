package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// serveTree returns the address of a server for a tree of zones.
func serveTree(t *testing.T, zones ...dnstest.SignedZone) (*dnstest.Tree, string) {
	t.Helper()
	tree, err := dnstest.NewTree(time.Now(), zones...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tree.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree, s.Addr
}

const lookupZone = `
@                MX    20 mx2
@                MX    5 mx1
@                TXT   "v=spf1 -all" "\027[31m"
@                NS    ns1
mx1              A     192.0.2.1
mx1              AAAA  2001:db8::1
www              CNAME mx1
_25._tcp.mx1     TLSA  3 1 1 0001fe
_imaps._tcp      SRV   1 2 993 mx1
_dmarc           TXT   "v=DMARC1; p=none"
xn--bcher-kva    A     192.0.2.2
`

// TestDNSLookup looks up each type. Who says that answers are authentic is the
// server here.
func TestDNSLookup(t *testing.T) {
	t.Parallel()
	tree, addr := serveTree(t,
		dnstest.SignedZone{Name: "example", Text: lookupZone},
		dnstest.SignedZone{Name: "in-addr.arpa", Text: "1.2.0.192 PTR mx1.example."})
	tree.SetFaults(dnstest.Faults{AD: true})
	tree.Fail("", "broken.example", dnstest.Temporary)
	tree.Fail("", "bogus.example", dnstest.Bogus)
	none := filepath.Join(t.TempDir(), "none.conf")
	lookup := func(args ...string) (int, string, string) {
		return run(t, append([]string{"-config", none, "dns", "lookup", "-server", addr, "-mode", "system-ad"}, args...)...)
	}
	for _, c := range []struct {
		name, args string
		code       int
		want       string // Begin of what is printed.
	}{
		{"mail exchangers, in order", "mx example", 0, "mx of example., with DNSSEC:\n\t5 mx1.example.\n\t20 mx2.example.\n"},
		{"what a terminal would take amiss", "TXT example.", 0, "txt of example., with DNSSEC:\n\t\"v=spf1 -all\\x1b[31m\"\n"},
		{"name servers", "ns example", 0, "ns of example., with DNSSEC:\n\tns1.example.\n"},
		{"an alias", "cname www.example", 0, "cname of www.example., with DNSSEC:\n\tmx1.example.\n"},
		{"addresses of an alias", "www.example", 0, "ips of www.example., an alias of mx1.example., with DNSSEC:\n\t192.0.2.1\n\t2001:db8::1\n"},
		{"addresses of one kind", "aaaa mx1.example", 0, "aaaa of mx1.example., with DNSSEC:\n\t2001:db8::1\n"},
		{"addresses of the other kind", "a MX1.example", 0, "a of mx1.example., with DNSSEC:\n\t192.0.2.1\n"},
		{"names of an address", "192.0.2.1", 0, "ptr of 1.2.0.192.in-addr.arpa., with DNSSEC:\n\tmx1.example.\n"},
		{"a service", "srv _imaps._tcp.example", 0, "srv of _imaps._tcp.example., with DNSSEC:\n\t1 2 993 mx1.example.\n"},
		{"a certificate", "tlsa _25._tcp.mx1.example", 0, "tlsa of _25._tcp.mx1.example., with DNSSEC:\n\t3 1 1 0001fe\n"},
		{"a name with U-labels", "a bücher.example", 0, "a of xn--bcher-kva.example., with DNSSEC:\n\t192.0.2.2\n"},
		{"such a name below an underscore", "txt _dmarc.bücher.example", 1, "txt of _dmarc.xn--bcher-kva.example., with DNSSEC: no such name\n"},
		{"no records", "mx mx1.example", 1, "mx of mx1.example., with DNSSEC: no such records\n"},
		{"a failure", "mx broken.example", 1, "mx of broken.example.: unknown at present: looking up MX"},
		{"a bogus answer", "mx bogus.example", 1, "mx of bogus.example.: the answer is bogus, nobody may use it: looking up MX"},
	} {
		code, stdout, stderr := lookup(strings.Fields(c.args)...)
		if code != c.code || !strings.HasPrefix(stdout, c.want) || code == 0 && stdout != c.want || stderr != "" {
			t.Errorf("%s: got %d, %q, %q, want %d, %q", c.name, code, stdout, stderr, c.code, c.want)
		}
	}
	tree.SetFaults(dnstest.Faults{})
	if _, stdout, _ := lookup("mx", "example"); !strings.HasPrefix(stdout, "mx of example., without DNSSEC:\n") {
		t.Errorf("without AD bit: got %q", stdout)
	}

	_, stdout, _ := lookup("-json", "mx", "example")
	var report lookupReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if want := (lookupReport{Type: "mx", Name: "example.", Result: "ok", Records: []string{"5 mx1.example.", "20 mx2.example."}}); !reflect.DeepEqual(report, want) {
		t.Errorf("JSON: got %+v, want %+v", report, want)
	}

	for _, c := range []struct{ name, args, stderr string }{
		{"no name", "", "usage: mox dns lookup "},
		{"too many", "mx a b", "usage: mox dns lookup "},
		{"no type", "soa example", "mox: no such type: soa\n"},
		{"not a name", "a x..y", "mox: dns: invalid name"},
		{"not an address", "ptr example", "mox: \"example\" is not an address\n"},
		{"not a mode", "-mode always example", "mox: -mode: \"always\" is none of [auto validate system-ad]\n"},
		{"not a server", "-server ns.example example", "mox: -server: "},
	} {
		if code, _, stderr := lookup(strings.Fields(c.args)...); code != exitUsage || !strings.HasPrefix(stderr, c.stderr) {
			t.Errorf("%s: got %d, %q, want %q", c.name, code, stderr, c.stderr)
		}
	}
}

// writeAnchors writes the trust anchors of a tree to a file.
func writeAnchors(t *testing.T, tree *dnstest.Tree) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "anchors")
	if err := os.WriteFile(path, []byte("; The root of a test.\n"+strings.Join(tree.Anchors(), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDNSTrace explains chains of trust: whole ones, one that ends at a delegation
// without signatures, and a broken one.
func TestDNSTrace(t *testing.T) {
	t.Parallel()
	tree, addr := serveTree(t,
		dnstest.SignedZone{Name: "example", Text: lookupZone},
		dnstest.SignedZone{Name: "unsigned.example", Text: "@ A 192.0.2.3", Unsigned: true})
	tree.Damage("A", "mx1.example", dnstest.Expired)
	args := []string{"-config", filepath.Join(t.TempDir(), "none.conf"), "dns", "lookup", "-anchors", writeAnchors(t, tree), "-mode", "validate", "-server", addr, "-trace"}
	numbers := regexp.MustCompile(`\b\d{1,5}, |key \d+ |, \d{4}-.*?: |in \d+ms`)
	for _, c := range []struct {
		name, args string
		code       int
		want       string // Without numbers of keys, times, and whole records.
	}{
		{"records", "mx example", 0, `mx of example., with DNSSEC:
	5 mx1.example.
	20 mx2.example.

MX of example. is secure: all is signed, from the trust anchor to the answer
	keys of the root, by the trust anchors: secure: signed with key of ., algorithm ECDSAP256SHA256
		trust anchor ECDSAP256SHA256, digest SHA256: is of a key
		key ECDSAP256SHA256, 256 bits: trusted from above
		key ECDSAP256SHA256, 256 bits: trusted by a signature of such a key
		signature over DNSKEY of . by key of .: valid
	delegation of example.: secure: signed with key of ., algorithm ECDSAP256SHA256
		DS record ECDSAP256SHA256, digest SHA256: leads to a key
		signature over DS of example. by key of .: valid
	keys of example.: secure: signed with key of example., algorithm ECDSAP256SHA256
		DS record ECDSAP256SHA256, digest SHA256: is of a key
		key ECDSAP256SHA256, 256 bits: trusted from above
		key ECDSAP256SHA256, 256 bits: trusted by a signature of such a key
		signature over DNSKEY of example. by key of example.: valid
	MX of example.: secure: signed with key of example., algorithm ECDSAP256SHA256
		example. 300 IN MX 20 mx2.example.
		example. 300 IN MX 5 mx1.example.
		signature over MX of example. by key of example.: valid
	4 questions to servers, 4 signatures verified, 0 names hashed, took
`},
		{"no such name", "mx nope.example", 1, "\tproof about MX of nope.example.: secure: there is nothing between _25._tcp.mx1.example. and unsigned.example., "},
		{"not signed", "a unsigned.example", 0, "A of unsigned.example. is insecure: unsigned.example. is delegated without DS records, by its types\n"},
		{"expired", "a mx1.example", 1, "A of mx1.example. is bogus: signature of A of mx1.example. by key of example. was valid until "},
		{"two types", "www.example", 1, "\nAAAA of www.example. is secure: all is signed, from the trust anchor to the answer\n"},
	} {
		code, stdout, stderr := run(t, slices.Concat(args, strings.Fields(c.args))...)
		got := numbers.ReplaceAllStringFunc(stdout, func(s string) string {
			switch {
			case strings.HasPrefix(s, "key "):
				return "key "
			case strings.HasPrefix(s, ", "):
				return ": "
			case strings.HasPrefix(s, "in "):
				return "took"
			}
			return ""
		})
		if code != c.code || stderr != "" || !strings.Contains(got, c.want) || strings.HasPrefix(c.want, "mx of") && got != c.want {
			t.Errorf("%s: got %d, %q\n%s\nwant\n%s", c.name, code, stderr, got, c.want)
		}
	}

	_, stdout, _ := run(t, slices.Concat(args, []string{"-json", "a", "mx1.example"})...)
	var report lookupReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if tr := report.Trace; len(tr) != 1 || tr[0].Verdict != resolver.Bogus || !strings.HasPrefix(tr[0].Err, "looking up A of ") || report.Result != "bogus" {
		t.Errorf("JSON: got %s", stdout)
	}
	tree.SetFaults(dnstest.Faults{Strip: true})
	if _, stdout, _ := run(t, slices.Concat(args, []string{"-mode", "system-ad", "mx", "example"})...); !strings.Contains(stdout, "\tnothing was validated here: ") {
		t.Errorf("not validated: got %s", stdout)
	}
	if code, _, stderr := run(t, "dns", "lookup", "-anchors", filepath.Join(t.TempDir(), "none"), "example"); code != exitError || !strings.HasPrefix(stderr, "mox: reading trust anchors: ") {
		t.Errorf("no anchors: got %d, %q", code, stderr)
	}
}
