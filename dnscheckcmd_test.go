package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
)

// TestDNSCheck checks a name server as it gets worse.
func TestDNSCheck(t *testing.T) {
	t.Parallel()
	tree, addr := serveTree(t, dnstest.SignedZone{Name: "example", Text: lookupZone})
	anchors := writeAnchors(t, tree)
	other, _ := serveTree(t)
	none := filepath.Join(t.TempDir(), "none.conf")
	times := regexp.MustCompile(`replies in \d+ms|127\.0\.0\.1:\d+`)
	for _, c := range []struct {
		name    string
		faults  dnstest.Faults
		damage  dnstest.Damage // Of the root's keys.
		mode    string
		anchors string
		code    int
		want    []string // Lines, or begins of them.
	}{
		{"all is well", dnstest.Faults{}, dnstest.Whole, "auto", anchors, 0, []string{
			"mode      auto: answers are validated here",
			"server    S: R, passes DNSSEC records on, does not say what is authentic",
			"root      its keys are secure, by the trust anchors",
			"result    fit for mail: ",
		}},
		{"it validates, too", dnstest.Faults{AD: true}, dnstest.Whole, "validate", anchors, 0, []string{
			"mode      validate: answers are validated here",
			"server    S: R, passes DNSSEC records on, says what is authentic, and is trusted to",
			"root      its keys are secure, by the trust anchors",
			"result    fit for mail: ",
		}},
		{"it leaves out DNSSEC records, and says what is authentic", dnstest.Faults{AD: true, Strip: true}, dnstest.Whole, "auto", anchors, 0, []string{
			"mode      auto: name servers tell what is authentic",
			"server    S: R, leaves DNSSEC records out, says what is authentic, and is trusted to",
			"root      its keys can't be validated: no name server passes DNSSEC records on",
			"problem   Name server S does not pass DNSSEC records on.",
			"problem   Answers are not validated here, but authentic if a trusted name server says so.",
			"result    fit for mail: ",
		}},
		{"it knows nothing of DNSSEC", dnstest.Faults{Strip: true}, dnstest.Whole, "auto", anchors, 1, []string{
			"mode      auto: name servers tell what is authentic",
			"server    S: R, leaves DNSSEC records out, does not say what is authentic",
			"root      its keys can't be validated: no name server passes DNSSEC records on",
			"problem   Name server S does not pass DNSSEC records on.",
			"problem   No answer is taken as authentic, so that DANE can't protect mail: run a validating resolver on this machine, ",
			"advice    Run a resolver that validates on this machine, ",
			"result    not fit: ",
		}},
		{"no TCP", dnstest.Faults{RefuseTCP: true}, dnstest.Whole, "auto", anchors, 0, []string{
			"mode      auto: answers are validated here",
			"server    S: R, passes DNSSEC records on, does not say what is authentic, not over TCP",
			"root      its keys are secure, by the trust anchors",
			"problem   Name server S does not reply over TCP: ",
			"advice    Allow TCP to port 53 of the name servers: ",
			"result    fit for mail: ",
		}},
		{"another root", dnstest.Faults{}, dnstest.Whole, "auto", writeAnchors(t, other), 1, []string{
			"mode      auto: answers are validated here",
			"server    S: R, passes DNSSEC records on, does not say what is authentic",
			"root      its keys are bogus: ",
			"problem   The keys of the root do not validate, so that all answers are bogus: ",
			"advice    If this DNS is not that of the internet, ",
			"result    not fit: ",
		}},
		{"a clock that is ahead", dnstest.Faults{}, dnstest.Expired, "auto", anchors, 1, []string{
			"mode      auto: answers are validated here",
			"server    S: R, passes DNSSEC records on, does not say what is authentic",
			"root      its keys are bogus: ",
			"problem   The clock is likely wrong, by at least 1h0m0s: ",
			"advice    Set the clock, and keep it right with NTP.",
			"result    not fit: ",
		}},
	} {
		tree.SetFaults(c.faults)
		tree.Damage("DNSKEY", ".", c.damage)
		code, stdout, stderr := run(t, "-config", none, "dns", "check", "-server", addr, "-mode", c.mode, "-anchors", c.anchors)
		got := strings.Split(strings.TrimSuffix(times.ReplaceAllStringFunc(stdout, func(s string) string {
			if strings.HasPrefix(s, "replies") {
				return "R"
			}
			return "S"
		}), "\n"), "\n")
		ok := code == c.code && stderr == "" && len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			ok = ok && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: got %d, %q\n%s\nwant %d\n%s", c.name, code, stderr, strings.Join(got, "\n"), c.code, strings.Join(c.want, "\n"))
		}
	}

	code, stdout, _ := run(t, "-config", none, "dns", "check", "-json", "-server", addr, "-anchors", anchors)
	var report checkReport
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if code != exitError || report.Fit || report.Clock < 3600 || report.Root != "bogus" || len(report.Servers) != 1 || report.Servers[0].DNSSEC != "passes" {
		t.Errorf("JSON: got %d, %s", code, stdout)
	}
	if code, _, stderr := run(t, "dns", "check", "x"); code != exitUsage || !strings.HasPrefix(stderr, "usage: mox dns check ") {
		t.Errorf("an argument: got %d, %q", code, stderr)
	}
}

// TestDNSCheckAdvice concludes from what a network would be needed for.
func TestDNSCheckAdvice(t *testing.T) {
	t.Parallel()
	status := func(addr string) resolver.ServerStatus { return resolver.ServerStatus{Addr: addr, DNSSEC: "unknown"} }
	for _, c := range []struct {
		name    string
		checked resolver.Checked
		want    string // Begin of the advice.
	}{
		{"no servers", resolver.Checked{}, "Name a server in /etc/resolv.conf"},
		{"no replies", resolver.Checked{Servers: []resolver.CheckedServer{{ServerStatus: status("192.0.2.1:53"), Err: errors.New("timeout")}}}, "See that this machine may ask its name servers"},
		{"a clock that is behind", resolver.Checked{Clock: -time.Hour, Root: resolver.Bogus, Servers: []resolver.CheckedServer{{ServerStatus: status("192.0.2.1:53"), TCP: true}}}, "Set the clock"},
		{"not trusted", resolver.Checked{Servers: []resolver.CheckedServer{{ServerStatus: status("192.0.2.1:53"), TCP: true, AD: true}}}, "Run a resolver that validates on this machine"},
	} {
		report := newCheckReport(c.checked)
		if report.Fit || len(report.Advice) != 1 || !strings.HasPrefix(report.Advice[0], c.want) {
			t.Errorf("%s: got %t, %q, want %q", c.name, report.Fit, report.Advice, c.want)
		}
	}
}

// TestDNSConfig looks up names as the configuration has it.
func TestDNSConfig(t *testing.T) {
	t.Parallel()
	tree, addr := serveTree(t, dnstest.SignedZone{Name: "example", Text: lookupZone})
	dir := filepath.Join(t.TempDir(), "local")
	if code, _, stderr := run(t, "localserve", "-dir", dir, "-initonly"); code != exitOK {
		t.Fatalf("localserve: %s", stderr)
	}
	path := filepath.Join(dir, "mox.conf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	anchors := ""
	for _, a := range tree.Anchors() {
		anchors += "\t\t- " + strings.Join(strings.Fields(a), " ") + "\n"
	}
	settings := "Resolver:\n\tMode: validate\n\tServers:\n\t\t- " + addr + "\n\tTrustAnchors:\n" + anchors
	if err := os.WriteFile(path, append(text, settings...), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := run(t, "-config", path, "dns", "lookup", "mx", "example"); code != exitOK || !strings.HasPrefix(stdout, "mx of example., with DNSSEC:\n") {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
	if code, stdout, stderr := run(t, "-config", path, "dns", "check"); code != exitOK || !strings.Contains(stdout, "server    "+addr+": ") {
		t.Errorf("got %d, %q, %q", code, stdout, stderr)
	}
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := run(t, "-config", path, "dns", "lookup", "mx", "example"); code != exitError || !strings.HasPrefix(stderr, "mox: checking configuration ") {
		t.Errorf("a configuration with mistakes: got %d, %q", code, stderr)
	}
}
