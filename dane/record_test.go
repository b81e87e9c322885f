package dane

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
)

// TestParseRecord has records of RFC 6698, section 2.3, and some that are none.
func TestParseRecord(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text, want string // Want is empty for an error.
	}{
		{"a digest of a certificate", "0 0 1 d2abde240d7cd3ee6b4b28c54df034b9 7983a1d16e8a410e4561cb106618e971", "0 0 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971"},
		{"a digest of a key", "1 1 2 92003ba34942dc74152e2f2c408d29ec a5a520e7f2e06bb944f4dca346baf63c 1b177615d466f6c4b71c216a50292bd5 8c9ebdd2f74e38fe51ffd48c43326cbc", "1 1 2 92003ba34942dc74152e2f2c408d29eca5a520e7f2e06bb944f4dca346baf63c1b177615d466f6c4b71c216a50292bd58c9ebdd2f74e38fe51ffd48c43326cbc"},
		{"unknown numbers", "255 254 253 00", "255 254 253 00"},
		{"in upper case", "3 1 1 AB", "3 1 1 ab"},
		{"too large a number", "256 1 1 00", ""},
		{"a negative number", "3 -1 1 00", ""},
		{"no data", "3 1 1", ""},
		{"half a byte", "3 1 1 abc", ""},
		{"data that is not hexadecimal", "3 1 1 xy", ""},
		{"as much data as DNS carries", "3 1 0 " + strings.Repeat("00", dataMax), "3 1 0 " + strings.Repeat("00", dataMax)},
		{"more data than that", "3 1 0 " + strings.Repeat("00", dataMax+1), ""},
		{"nothing", "", ""},
	} {
		r, err := ParseRecord(test.text)
		if err != nil && test.want != "" || err == nil && r.String() != test.want {
			t.Errorf("%s: got %v, %v", test.name, r, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if u, err := ParseUsage("dane-ta"); err != nil || u != DANETA {
		t.Errorf("got usage %v, %v", u, err)
	}
	if s, err := ParseSelector("1"); err != nil || s != SPKI {
		t.Errorf("got selector %v, %v", s, err)
	}
	if m, err := ParseMatching("SHA2-512"); err != nil || m != SHA512 {
		t.Errorf("got matching type %v, %v", m, err)
	}
	for _, s := range []string{"", "4", "-1", "dane", "01"} {
		if u, err := ParseUsage(s); err == nil {
			t.Errorf("%q is usage %v", s, u)
		}
	}
	if got := fmt.Sprint(PKIXTA, DANEEE, Usage(9), Cert, Selector(2), SHA256, Matching(7)); got != "PKIX-TA DANE-EE 9 Cert 2 SHA2-256 7" {
		t.Errorf("got names %s", got)
	}
}

func TestMakeRecord(t *testing.T) {
	t.Parallel()
	cert := issue(t, "leaf", nil)
	if r := mustMake(t, DANEEE, Cert, Full, cert); !bytes.Equal(r.Data, cert.Raw) {
		t.Errorf("whole certificate: got %v", r)
	}
	if r := mustMake(t, DANEEE, SPKI, Full, cert); !bytes.Equal(r.Data, cert.RawSubjectPublicKeyInfo) {
		t.Errorf("whole key: got %v", r)
	}
	r, err := MakeKeyRecord(DANEEE, SHA256, cert.RawSubjectPublicKeyInfo)
	if want := mustMake(t, DANEEE, SPKI, SHA256, cert); err != nil || r.String() != want.String() || len(r.Data) != 32 {
		t.Errorf("digest of a key: got %v, %v, want %v", r, err, want)
	}
	for _, r := range []Record{{Usage: 4}, {Selector: 2}, {Matching: 3}} {
		if _, err := MakeRecord(r.Usage, r.Selector, r.Matching, cert.Certificate); err == nil {
			t.Errorf("%d %d %d was made", r.Usage, r.Selector, r.Matching)
		}
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	cert := issue(t, "leaf", nil)
	text := func(usage Usage, selector Selector, matching Matching) string {
		return mustMake(t, usage, selector, matching, cert).String()
	}
	sha256, sha512, full := text(DANEEE, SPKI, SHA256), text(DANEEE, SPKI, SHA512), text(DANEEE, SPKI, Full)
	for _, test := range []struct {
		name       string
		have, want []string
	}{
		{"a digest", []string{sha256}, []string{sha256}},
		{"an authority", []string{text(DANETA, Cert, SHA256)}, []string{text(DANETA, Cert, SHA256)}},
		{"common authorities are not for mail", []string{text(PKIXTA, Cert, SHA256), text(PKIXEE, SPKI, SHA256)}, nil},
		{"the strongest digest counts, and whole keys", []string{sha256, sha512, full}, []string{full, sha512}},
		{"a digest of another usage is not weaker", []string{sha512, text(DANETA, SPKI, SHA256)}, []string{sha512, text(DANETA, SPKI, SHA256)}},
		{"a digest of another part is not weaker", []string{sha512, text(DANEEE, Cert, SHA256)}, []string{text(DANEEE, Cert, SHA256), sha512}},
		{"a strong digest that is malformed is none", []string{sha256, "3 1 2 00"}, []string{sha256}},
		{"unknown usage, selector, matching type", []string{"4 1 1 " + strings.Repeat("00", 32), "3 2 0 00", "3 1 3 00"}, nil},
		{"digests of the wrong size", []string{"3 1 1 " + strings.Repeat("00", 31), "3 1 2 " + strings.Repeat("00", 32)}, nil},
		{"a certificate that is none", []string{"3 0 0 3000", "2 0 0 00"}, nil},
		{"a key that is none", []string{"3 1 0 3000", text(DANEEE, Cert, Full)}, []string{text(DANEEE, Cert, Full)}},
		{"none", nil, nil},
	} {
		var got []string
		for _, r := range Usable(wire(t, test.have...), SMTPUsages()...) {
			got = append(got, r.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	if got := Usable(wire(t, text(PKIXTA, Cert, SHA256), text(PKIXEE, SPKI, SHA256)), AllUsages()...); len(got) != 2 {
		t.Errorf("other protocols: got %v", got)
	}
}

// wire returns records as they come from DNS.
func wire(t testing.TB, list ...string) (records []dns.TLSA) {
	t.Helper()
	for _, text := range list {
		r, err := ParseRecord(text)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, dns.TLSA{Usage: uint8(r.Usage), Selector: uint8(r.Selector), Matching: uint8(r.Matching), Data: r.Data})
	}
	return records
}

func TestUsableBound(t *testing.T) {
	t.Parallel()
	var records []dns.TLSA
	for i := range recordsMax + 10 {
		data := make([]byte, 32)
		data[0] = byte(255 - i)
		records = append(records, dns.TLSA{Usage: 2, Selector: 1, Matching: 1, Data: data})
	}
	records = append(records, dns.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: make([]byte, 32)})
	got := Usable(records, SMTPUsages()...)
	if len(got) != recordsMax || got[0].Usage != DANEEE {
		t.Errorf("got %d records, the first %v", len(got), got[0])
	}
}

// TestDigestAgility is the example of RFC 7671, section 9.
func TestDigestAgility(t *testing.T) {
	t.Parallel()
	const key = "3059301306072A8648CE3D020106082A8648CE3D0301070342000471CB1F504F9E4B33971376C005445DACD33CD79A2881C3DED1981F18E7AAA76609DD0E4EF28265C82703030AD60C5DBA6FB8A9397AC0FCF06D424C885D484887"
	records := wire(t,
		"3 1 1 3FE246A848798236DD2AB78D39F0651D6B6E7CA8E2984012EB0A2E1AC8A87B72",
		"3 1 2 D4F5AF015B46C5057B841C7E7BAB759CBF029526D29520C5BE6A32C67475439E54AB3A945D80C743347C9BD4DADC9D8D57FAB78EAA835362F3CA07CCC19A3214",
		"3 1 0 "+key)
	got := Usable(records, SMTPUsages()...)
	if len(got) != 2 || got[0].Matching != Full || got[1].Matching != SHA512 {
		t.Fatalf("got %v", got)
	}
	spki, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range []Matching{SHA256, SHA512, Full} {
		if r, err := MakeKeyRecord(DANEEE, m, spki); err != nil || !bytes.Equal(r.Data, records[i].Data) {
			t.Errorf("%v: got %v, %v, want %x", m, r, err, records[i].Data)
		}
	}
}

// FuzzRecord has records from outside taken in, printed, and used for verifying.
func FuzzRecord(f *testing.F) {
	tree := newTree(f)
	presented := chain(tree.leaf, tree.middle)
	for usage := range Usage(5) {
		for _, c := range []*issued{tree.root, tree.middle, tree.leaf} {
			f.Add(uint8(usage), uint8(Cert), uint8(Full), c.Raw)
			f.Add(uint8(usage), uint8(SPKI), uint8(Full), c.RawSubjectPublicKeyInfo)
			f.Add(uint8(usage), uint8(SPKI), uint8(SHA256), associate(SHA256, c.RawSubjectPublicKeyInfo))
		}
	}
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		if len(data) == 0 || len(data) > dataMax {
			return
		}
		made := Record{Usage(usage), Selector(selector), Matching(matching), data}
		parsed, err := ParseRecord(made.String())
		if err != nil || parsed.String() != made.String() {
			t.Fatalf("%v was parsed as %v, %v", made, parsed, err)
		}
		usable := Usable([]dns.TLSA{{Usage: usage, Selector: selector, Matching: matching, Data: data}}, SMTPUsages()...)
		r, err := Verifier{Records: usable, Names: []string{"mx.example.org"}, Now: testNow}.Verify(presented)
		if err != nil {
			return
		}
		// A certificate is good only by a record about it or one above it.
		for _, c := range []*issued{tree.root, tree.middle, tree.leaf} {
			if r.matches(c.Certificate) {
				return
			}
		}
		t.Fatalf("good by %v", r)
	})
}
