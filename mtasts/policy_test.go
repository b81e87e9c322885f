package mtasts

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
)

// rfcPolicy is the example of RFC 8461, section 3.2.
const rfcPolicy = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n"

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	const minimal = "version: STSv1\nmode: none\nmax_age: 0\n"
	for _, test := range []struct {
		name, text string
		want       string // Without line ends and what is always there.
		err        string // Begins.
	}{
		{"as in the RFC", rfcPolicy, "enforce mail.example.com *.example.net backupmx.example.com 168h0m0s", ""},
		{"with LF", strings.ReplaceAll(rfcPolicy, "\r\n", "\n"), "enforce mail.example.com *.example.net backupmx.example.com 168h0m0s", ""},
		{"without the last line end", strings.TrimSpace(rfcPolicy), "enforce mail.example.com *.example.net backupmx.example.com 168h0m0s", ""},
		{"no hosts, with mode none", minimal, "none 0s", ""},
		{"hosts, with mode none", minimal + "mx: a.example", "none a.example 0s", ""},
		{"in another order", "max_age:60\nmx:a.example\nmode:testing\nversion:STSv1", "testing a.example 1m0s", ""},
		{"much space", "version: \t STSv1 \t\r\nmode:\tnone \nmax_age:   1\t\r\n", "none 1s", ""},
		{"lines without anything", "\r\n" + minimal + " \n\n\r\n", "none 0s", ""},
		{"fields that are not known", minimal + "a.b-c_D: x: \u00fc y\r\nMode: x\nMX: y", "none 0s", ""},
		{"of the same fields the first counts", minimal + "version: STSv2\nmode: enforce\nmax_age: 100\nmode: x\nmax_age: -", "none 0s", ""},
		{"the longest time", "version: STSv1\nmode: none\nmax_age: 31557600", "none 8766h0m0s", ""},
		{"zeros before a number", "version: STSv1\nmode: none\nmax_age: 0000000001", "none 1s", ""},
		{"upper case in a name", minimal + "mx: *.A.Example", "none *.a.example 0s", ""},
		{"an international name", minimal + "mx: xn--74h.example", "none xn--74h.example 0s", ""},
		{"the largest size", minimal + strings.Repeat("x: "+strings.Repeat("y", 60)+"\n", 1024)[:PolicySizeMax-len(minimal)], "none 0s", ""},

		{"nothing", "", "", "line 1, byte 1: it has no version"},
		{"no mode", "version: STSv1\nmax_age: 0\n", "", "line 3, byte 1: it has no mode"},
		{"no time", "version: STSv1\nmode: none", "", "line 3, byte 1: it has no max_age"},
		{"no hosts", "version: STSv1\nmode: testing\nmax_age: 1\n", "", "line 4, byte 1: it has no mx"},
		{"a later version", "version: STSv2\nmode: none\nmax_age: 0", "", `line 1, byte 10: version "STSv2" is not STSv1`},
		{"names in upper case", "Version: STSv1\nmode: none\nmax_age: 0", "", "line 4, byte 1: it has no version"},
		{"a mode in upper case", "version: STSv1\nmode: None\nmax_age: 0", "", `line 2, byte 7: mode "None" is not one of enforce, testing, none`},
		{"a time that is too long", "version: STSv1\nmax_age: 31557601", "", `line 2, byte 10: max_age "31557601" is not a number up to 31557600`},
		{"a time with too many digits", "version: STSv1\nmax_age: 00000000001", "", "line 2, byte 10: max_age"},
		{"a time below zero", "version: STSv1\nmax_age: -1", "", "line 2, byte 10: max_age"},
		{"no time", "version: STSv1\nmax_age:", "", "line 2, byte 9: max_age \"\""},
		{"HTML", "<!DOCTYPE html>\n", "", "line 1, byte 1: \"<!DOCTYPE html>\" is not a name, a colon and a value"},
		{"space before a colon", "version : STSv1", "", "line 1, byte 1: "},
		{"space before a name", " version: STSv1", "", "line 1, byte 1: "},
		{"CR alone", "version: STSv1\rmode: none\n", "", `line 1, byte 10: version "STSv1\rmode: none" is not`},
		{"a wildcard that isn't a label", minimal + "mx: a*.example", "", `line 4, byte 5: mx "a*.example" is not`},
		{"a wildcard alone", minimal + "mx: *", "", "line 4, byte 5: mx"},
		{"two wildcards", minimal + "mx: *.*.example", "", "line 4, byte 5: mx"},
		{"an address", minimal + "mx: 192.0.2.1", "", "line 4, byte 5: mx"},
		{"a dot at the end", minimal + "mx: a.example.", "", "line 4, byte 5: mx"},
		{"a name that is not ASCII", minimal + "mx: \u263a.example", "", `line 4, byte 5: mx "\u263a.example" is not`},
		{"no name", minimal + "mx:", "", "line 4, byte 4: mx"},
		{"no value", minimal + "x:  ", "", "line 4, byte 3: no value"},
		{"a control character", minimal + "x: a\x1b[m", "", "line 4, byte 5: byte 0x1b in a value"},
		{"a control character in what doesn't count", minimal + "mode: a\x00", "", "line 4, byte 8: byte 0x00 in a value"},
		{"not UTF-8", minimal + "x: \xff", "", "line 4, byte 4: byte 0xff in a value"},
		{"a mark for the order of bytes", "\ufeff" + minimal, "", "line 1, byte 1: "},
		{"too large", minimal + strings.Repeat("\n", PolicySizeMax), "", "line 1, byte 1: it has more than 65536 bytes"},
	} {
		p, err := ParsePolicy(test.text)
		if test.err != "" {
			if !errors.Is(err, ErrPolicy) || !strings.HasPrefix(err.Error(), "invalid MTA-STS policy: "+test.err) {
				t.Errorf("%s: got %v, want %s", test.name, err, test.err)
			}
			continue
		}
		got := string(p.Mode)
		for _, m := range p.MX {
			got += " " + m.String()
		}
		if got += " " + p.MaxAge.String(); err != nil || got != test.want {
			t.Errorf("%s: got %s, %v, want %s", test.name, got, err, test.want)
		}
	}
}

func TestPolicyString(t *testing.T) {
	t.Parallel()
	p, err := ParsePolicy(rfcPolicy)
	if err != nil || p.String() != rfcPolicy {
		t.Errorf("got %q, %v, want %q", p, err, rfcPolicy)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	p, err := ParsePolicy(rfcPolicy + "mx: *.mail.example.org\n")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"mail.example.com": true, "backupmx.example.com": true, "x.example.net": true, "x.mail.example.org": true,
		"example.com": false, "x.mail.example.com": false, "example.net": false, "y.x.example.net": false, "xexample.net": false,
		"mail.example.org": false, "": false, ".example.net": false,
	} {
		if got := p.Matches(dns.Domain{ASCII: host}); got != want {
			t.Errorf("%q: got %v, want %v", host, got, want)
		}
	}
	if (Policy{}).Matches(dns.Domain{ASCII: "a.example"}) {
		t.Error("a policy without hosts allows one")
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{
		rfcPolicy, "version:STSv1\nmode:none \nmax_age:31557600\n\n", "version: STSv1\rmode: x", "mx: *.XN--74H.example\nmx:a\nx: \xc3\xbc\nx:\x00",
		"version: STSv1\nmode: testing\nmx: A.example\nmax_age: 1\nmax_age: 2",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			checkSyntaxError(t, text, err)
			return
		}
		if p.MaxAge < 0 || p.MaxAge > MaxAgeMax || p.MaxAge%time.Second != 0 || len(p.MX) == 0 && p.Mode != None {
			t.Fatalf("%q: got %+v", text, p)
		}
		again, err := ParsePolicy(p.String())
		if len(p.String()) > PolicySizeMax {
			return // Formatted with more space than it had.
		}
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%q: got %+v, again %+v, %v", text, p, again, err)
		}
		for _, m := range p.MX {
			host := m.Domain
			if m.Wildcard {
				host.ASCII = "x." + host.ASCII
			}
			if !p.Matches(host) || m.Matches(dns.Domain{ASCII: fmt.Sprintf("y.%s", host.ASCII)}) {
				t.Fatalf("%q: %s", text, m)
			}
		}
	})
}
