package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mjl-/mox/dnstest"
)

const spfZone = `
org             TXT   "v=spf1 a:mail.example -all exp=why.example"
mail            A     192.0.2.1
why             TXT   "%{c} is not ours"
bad             TXT   "v=spf1 \027[31m"
all             TXT   "v=spf1 include:org.example a:%{d}/24//64 mx ptr ip4:192.0.2.0/24 exists:%{l}.example redirect=org.example exp=why.example x=y"
helo            TXT   "v=spf1 exists:%{h}.mail.example ?all"
*.mail          A     127.0.0.2
`

// serveZone returns an address of a server for the zone "example", and a function
// that runs commands with it.
func serveZone(t *testing.T, zone string, command ...string) func(args string) (int, string, string) {
	tree, addr := serveTree(t, dnstest.SignedZone{Name: "example", Text: zone})
	tree.SetFaults(dnstest.Faults{AD: true})
	tree.Fail("", "broken.example", dnstest.Temporary)
	tree.Fail("", "9.2.0.192.bl.example", dnstest.Temporary)
	none := filepath.Join(t.TempDir(), "none.conf")
	return func(args string) (int, string, string) {
		all := append([]string{"-config", none}, command...)
		words := strings.Fields(args)
		all = append(append(append(all, words[0]), "-server", addr, "-mode", "system-ad"), words[1:]...)
		return run(t, all...)
	}
}

func TestSPFCommands(t *testing.T) {
	t.Parallel()
	spf := serveZone(t, spfZone, "spf")
	for _, c := range []struct {
		name, args string
		code       int
		want       string
	}{
		{"a single label", "check example 192.0.2.1", 0, "192.0.2.1 for example: none, with DNSSEC\nproblem: spf: not a domain with a policy: \"example\"\n"},
		{"pass, over IPv6", "check x@helo.example ::1", 0, "::1 for helo.example: pass, with DNSSEC\nmechanism: exists:%{h}.mail.example\n"},
		{"fail", "check org.example 2001:db8::1", 0, "2001:db8::1 for org.example: fail, with DNSSEC\nmechanism: -all\norg.example explains: 2001:db8::1 is not ours\n"},
		{"no policy", "check mail.example 192.0.2.1", 0, "192.0.2.1 for mail.example: none, with DNSSEC\nproblem: looking up TXT of \"mail.example.\": dns: no records of this type\n"},
		{"an error in the policy", "check bad.example 192.0.2.1", 1, "192.0.2.1 for bad.example: permerror, with DNSSEC\nproblem: spf: syntax of record: byte 8: unknown mechanism \"\\x1b[31m\"\n"},
		{"a failure", "check broken.example 192.0.2.1", 1, "192.0.2.1 for broken.example: temperror, without DNSSEC\nproblem: "},
		{"the name of EHLO", "check -hello other.example helo.example 192.0.2.1", 0, "192.0.2.1 for helo.example: pass,"},
		{"as JSON", "check -json mail.example 192.0.2.1", 0, `{"Domain":"mail.example","IP":"192.0.2.1","Result":"none","Mechanism":"","Explanation":"","DNSSEC":true,"Problem":"looking up`},
		{"a policy", "lookup all.example.", 0, "policy of all.example, with DNSSEC:\n" +
			"\"v=spf1 include:org.example a:%{d}/24//64 mx ptr ip4:192.0.2.0/24 exists:%{l}.example redirect=org.example exp=why.example x=y\"\n"},
		{"none", "lookup mail.example", 1, "policy of mail.example, with DNSSEC:\nerror: looking up TXT"},
		{"one with an error", "lookup bad.example", 1, "policy of bad.example, with DNSSEC:\n\"v=spf1 \\x1b[31m\"\nerror: spf: syntax"},
	} {
		code, stdout, stderr := spf(c.args)
		if code != c.code || !strings.HasPrefix(stdout, c.want) || stderr != "" {
			t.Errorf("%s: got %d, %q, %q, want %d, %q", c.name, code, stdout, stderr, c.code, c.want)
		}
	}
	for _, c := range []struct{ name, args, stderr string }{
		{"no address", "check example", "usage: mox spf check "},
		{"not an address", "check example example", "mox: \"example\" is not an IP address\n"},
		{"not a domain", "check x..y 192.0.2.1", "mox: \"postmaster@x..y\" is neither"},
		{"not a name", "check -hello x..y example 192.0.2.1", "mox: -hello: invalid domain"},
		{"no domain", "lookup", "usage: mox spf lookup "},
		{"no domain name", "lookup x..y", "mox: invalid domain"},
	} {
		if code, _, stderr := spf(c.args); code != exitUsage || !strings.HasPrefix(stderr, c.stderr) {
			t.Errorf("%s: got %d, %q", c.name, code, stderr)
		}
	}
}

func TestSPFParse(t *testing.T) {
	t.Parallel()
	code, stdout, _ := run(t, "spf", "parse", "v=spf1 include:a.example a/24 -mx:b.example ?ptr ip6:2001:db8::/32 exists:%{l}.example ~all redirect=c.example exp=e.example x=y")
	want := `	include:a.example	pass for hosts that the policy of a.example lets pass
	a/24	pass for the addresses of the domain, and the networks /24 or /128 around them
	-mx:b.example	fail for the mail exchangers of b.example
	?ptr	neutral for hosts whose names are in the domain
	ip6:2001:db8::/32	pass for 2001:db8::/32
	exists:%{l}.example	pass for all hosts, if %{l}.example has an IPv4 address
	~all	softfail for all hosts
	redirect=c.example	else the policy of c.example
	exp=e.example	a fail is explained at e.example
	x=y	unknown, without effect
`
	if _, terms, _ := strings.Cut(stdout, "\n"); code != 0 || terms != want {
		t.Errorf("got %d, %s", code, stdout)
	}
	code, stdout, _ = run(t, "spf", "parse", "-json", "v=spf1 moo")
	if want := `{"Text":"v=spf1 moo","DNSSEC":false,"Terms":[],"Error":"spf: syntax of record: byte 8: unknown mechanism \"moo\""}` + "\n"; code != exitError || stdout != want {
		t.Errorf("got %d, %s", code, stdout)
	}
	if code, _, stderr := run(t, "spf", "parse"); code != exitUsage || !strings.HasPrefix(stderr, "usage: mox spf parse") {
		t.Errorf("got %d, %s", code, stderr)
	}
}

func TestDNSBLCommands(t *testing.T) {
	t.Parallel()
	dnsbl := serveZone(t, `
2.0.0.127.bl    A     127.0.0.2
1.2.0.192.bl    A     127.0.0.4
1.2.0.192.bl    TXT   "see \027[31m"
*.wild          A     127.0.0.2
`, "dnsbl")
	for _, c := range []struct {
		name, args string
		code       int
		want       string
	}{
		{"listed", "check bl.example 192.0.2.1", 0, "192.0.2.1 in bl.example: listed, with [127.0.0.4]\nbl.example explains: see ?[31m\n"},
		{"not listed", "check bl.example. 2001:db8::1", 0, "2001:db8::1 in bl.example: not listed\n"},
		{"not known", "check bl.example 192.0.2.9", 1, "192.0.2.9 in bl.example: unknown: looking up A"},
		{"as JSON", "check -json bl.example 192.0.2.2", 0, `{"Zone":"bl.example","IP":"192.0.2.2","Listed":false,"Codes":[],"Explanation":"","Error":""}`},
		{"it works", "checkhealth bl.example", 0, "bl.example works\n"},
		{"it does not", "checkhealth wild.example", 1, "wild.example does not work: dnsbl: list does not work: wild.example lists what nobody may list"},
		{"it does not, as JSON", "checkhealth -json none.example", 1, `{"Zone":"none.example","Healthy":false,"Error":"dnsbl:`},
	} {
		code, stdout, stderr := dnsbl(c.args)
		if code != c.code || !strings.HasPrefix(stdout, c.want) || stderr != "" {
			t.Errorf("%s: got %d, %q, %q, want %d, %q", c.name, code, stdout, stderr, c.code, c.want)
		}
	}
	for _, c := range []struct{ name, args, stderr string }{
		{"no address", "check bl.example", "usage: mox dnsbl check "},
		{"not an address", "check bl.example x", "mox: \"x\" is not an IP address\n"},
		{"no zone", "checkhealth", "usage: mox dnsbl checkhealth "},
		{"not a zone", "checkhealth x..y", "mox: invalid domain"},
	} {
		if code, _, stderr := dnsbl(c.args); code != exitUsage || !strings.HasPrefix(stderr, c.stderr) {
			t.Errorf("%s: got %d, %q", c.name, code, stderr)
		}
	}
}
