package dnssec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dnstest"
)

// treeText is what each zone of the tree has.
const treeText = `
@          MX    10 host
@          TXT   "v=spf1 -all"
host       A     192.0.2.1
host       AAAA  2001:db8::1
broken     A     192.0.2.2
*.wild     A     192.0.2.3
deep.a.b   TXT   "deep"
alias      CNAME host
chain      CNAME alias
gone       CNAME nope
away       CNAME host.plain.example.
out        CNAME host.unsigned.example.
bad        CNAME broken
dname      DNAME a.b
_25._tcp.host TLSA 3 1 1 00
`

// treeQuestions are asked of each zone of the tree.
func treeQuestions(zone string) (list []question) {
	for _, q := range []question{
		{"", "MX"}, {"", "A"}, {"", "TXT"}, {"host.", "A"}, {"host.", "AAAA"}, {"host.", "MX"}, {"broken.", "A"}, {"broken.", "MX"},
		{"x.wild.", "A"}, {"x.y.wild.", "A"}, {"x.wild.", "MX"}, {"b.", "A"}, {"alias.", "A"}, {"chain.", "AAAA"}, {"alias.", "MX"},
		{"chain.", "CNAME"}, {"host.", "CNAME"}, {"gone.", "A"}, {"away.", "A"}, {"out.", "A"}, {"bad.", "A"}, {"deep.dname.", "TXT"},
		{"deep.dname.", "A"}, {"nope.dname.", "TXT"}, {"nope.", "A"}, {"very.nope.host.", "MX"}, {"_25._tcp.host.", "TLSA"}, {"_26._tcp.host.", "TLSA"},
	} {
		list = append(list, question{q.name + zone + ".", q.typ})
	}
	return list
}

// treeZones are the zones of the tree, each for something.
func treeZones() (zones []dnstest.SignedZone) {
	add := func(name string, z dnstest.SignedZone) {
		z.Name, z.Text = name+".example", treeText
		zones = append(zones, z)
	}
	nsec3 := &dnstest.NSEC3{}
	add("plain", dnstest.SignedZone{})
	add("hashed", dnstest.SignedZone{NSEC3: nsec3})
	add("salted", dnstest.SignedZone{NSEC3: &dnstest.NSEC3{Iterations: 20, Salt: "beefcafe"}})
	add("optout", dnstest.SignedZone{NSEC3: &dnstest.NSEC3{OptOut: true}})
	add("sub.optout", dnstest.SignedZone{Unsigned: true})
	add("many", dnstest.SignedZone{NSEC3: &dnstest.NSEC3{Iterations: nsec3Iterations}})
	add("toomany", dnstest.SignedZone{NSEC3: &dnstest.NSEC3{Iterations: nsec3Iterations + 1}})
	add("unsigned", dnstest.SignedZone{Unsigned: true})
	add("nods", dnstest.SignedZone{NoDS: true})
	add("rsa", dnstest.SignedZone{Keys: []dnstest.Key{{Algorithm: mdns.RSASHA256}}})
	add("ed25519", dnstest.SignedZone{Keys: []dnstest.Key{{Algorithm: mdns.ED25519, Digest: mdns.SHA384}}})
	add("p384", dnstest.SignedZone{Keys: []dnstest.Key{{Algorithm: mdns.ECDSAP384SHA384}}})
	add("unknown", dnstest.SignedZone{Keys: []dnstest.Key{{Algorithm: 200}}})
	add("undigested", dnstest.SignedZone{Keys: []dnstest.Key{{Digest: 200}}})
	add("lost", dnstest.SignedZone{Keys: []dnstest.Key{{Label: "1", Use: dnstest.InParent}, {Label: "2", Use: dnstest.ZSK | dnstest.SignsKeys}}})
	add("prepublished", dnstest.SignedZone{Keys: []dnstest.Key{{Label: "1", Use: dnstest.KSK}, {Label: "2", Use: dnstest.ZSK}, {Label: "3", Use: dnstest.Published}}})
	add("twosigned", dnstest.SignedZone{Keys: []dnstest.Key{{Label: "1"}, {Label: "2"}}})
	for i := range 2 {
		p := []*dnstest.NSEC3{nil, nsec3}[i]
		for d := dnstest.Expired; d <= dnstest.WrongProof; d++ {
			add(fmt.Sprintf("d%d-%d", d, i), dnstest.SignedZone{NSEC3: p})
			add(fmt.Sprintf("z%d-%d", d, i), dnstest.SignedZone{NSEC3: p})
			add(fmt.Sprintf("k%d-%d", d, i), dnstest.SignedZone{NSEC3: p})
		}
	}
	return zones
}

// newTree returns a tree with zones for all that can be wrong.
func newTree(t testing.TB) (*dnstest.Tree, []question) {
	t.Helper()
	zones := treeZones()
	tree, err := dnstest.NewTree(time.Now(), append(zones, dnstest.SignedZone{Name: "example"})...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		for d := dnstest.Expired; d <= dnstest.WrongProof; d++ {
			for _, name := range []string{"broken", "x.wild", "nope", "x.dname", "b"} {
				tree.Damage("", fmt.Sprintf("%s.d%d-%d.example", name, d, i), d)
			}
			tree.DamageZone(fmt.Sprintf("z%d-%d.example", d, i), d)
			tree.Damage("DS", fmt.Sprintf("k%d-%d.example", d, i), d)
		}
	}
	var questions []question
	for _, z := range zones {
		questions = append(questions, treeQuestions(z.Name)...)
	}
	return tree, questions
}

// TestTree holds our resolver against unbound for a DNS that was made here: what is
// wrong in it is more than signing tools would do.
func TestTree(t *testing.T) {
	t.Parallel()
	tree, questions := newTree(t)
	s, err := tree.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	other := unbound{anchors: tree.Anchors(), forward: s.Addr, question: "."}.start(t)
	counts := compare(t, newResolver(t, s.Addr, tree.Anchors()), other, questions, treeExceptions...)
	t.Log(len(questions), counts)
}

// treeExceptions are where we are right, and unbound may be.
var treeExceptions = []exception{
	{
		"the signer is the zone that has the records, RFC 4035, section 5.3.1; unbound takes one above it too",
		func(q question, ours, theirs outcome) bool {
			return strings.Contains(q.name, fmt.Sprintf("%d-", dnstest.OfParent)) && ours.result == "bogus" && strings.HasPrefix(theirs.result, "secure ")
		},
	},
	{
		"the code of a reply is not signed, RFC 4035, section 5.4: what is proven counts, and with NSEC records for unbound too",
		func(q question, ours, theirs outcome) bool {
			return strings.Contains(q.name, fmt.Sprintf(".d%d-1.", dnstest.Denied)) && ours.result == "secure nodata" && theirs.result == "bogus"
		},
	},
}
