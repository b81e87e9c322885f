package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/resolver"
)

const dnsCheckHelp = `Check whether the name servers of this machine are good enough for mail.

It asks each name server for the keys of the root, over UDP and TCP, and tells
whether it passes DNSSEC records on and says what is authentic. It validates these
keys as for mail, which also shows whether the clock is right. What is not as it
should be is explained, with what to do about it.

It exits with status 1 if answers can't be authentic: mail to others is then sent
without DANE.

	-anchors  a file with DS records of the root, to be trusted instead of those built in
	-mode     who validates: auto, validate or system-ad
	-server   check this name server, an address with or without port, instead
	-json     print it as JSON
`

// checkReport is what dns check found, as JSON has it.
type checkReport struct {
	Fit        bool // Answers can be authentic.
	Mode       resolver.Mode
	Validating bool   // By ourselves. Otherwise it is for name servers to tell.
	Root       string // Verdict about its keys. Empty: unknown.
	Error      string // Why that is not "secure".
	Clock      int64  `json:",omitempty"` // By how many seconds it is ahead, at least; below zero if behind.
	Servers    []checkedServer
	Problems   []string
	Advice     []string
}

// checkedServer is what dns check found about a name server.
type checkedServer struct {
	Address string
	Error   string // It does not reply.
	Millis  int64  // Until it replied.
	DNSSEC  string // "passes", "strips" or "unknown".
	AD      bool   // It says that the keys of the root are authentic.
	Trusted bool   // That counts.
	TCP     bool
}

func runDNSCheck(ctx context.Context, inv *invocation) error {
	flags := inv.dnsFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	r, err := inv.resolverFor(flags)
	if err != nil {
		return err
	}
	report := newCheckReport(r.Check(ctx))
	if err := inv.print(flags.json, report, func() { inv.printCheck(report) }); err != nil {
		return err
	}
	if !report.Fit {
		return exitStatus(exitError)
	}
	return nil
}

// newCheckReport concludes from what was found.
func newCheckReport(c resolver.Checked) checkReport {
	report := checkReport{
		Mode: c.Status.Mode, Validating: c.Status.Validating, Root: string(c.Root), Clock: int64(c.Clock / time.Second), Problems: c.Problems,
	}
	if c.Err != nil {
		report.Error = c.Err.Error()
	}
	for _, s := range c.Servers {
		checked := checkedServer{Address: s.Addr, Millis: s.Took.Milliseconds(), DNSSEC: s.DNSSEC, AD: s.AD, Trusted: s.Trusted, TCP: s.TCP}
		if s.Err != nil {
			checked.Error = s.Err.Error()
		}
		report.Servers = append(report.Servers, checked)
	}
	// Mode auto decides with the first lookup, as here.
	if c.Status.Mode == resolver.Auto && report.has(func(s checkedServer) bool { return s.DNSSEC == "passes" }) {
		report.Validating = true
	}
	if report.Validating {
		report.Fit = c.Root == resolver.Secure
	} else {
		report.Fit = report.has(func(s checkedServer) bool { return s.Trusted && s.AD })
	}
	report.Advice = report.advice()
	return report
}

// has tells whether there is such a server.
func (c checkReport) has(test func(checkedServer) bool) bool {
	return slices.ContainsFunc(c.Servers, test)
}

// advice returns what to do about problems.
func (c checkReport) advice() (list []string) {
	replies := c.has(func(s checkedServer) bool { return s.Error == "" })
	passes := c.has(func(s checkedServer) bool { return s.DNSSEC == "passes" })
	switch {
	case len(c.Servers) == 0:
		list = append(list, "Name a server in /etc/resolv.conf, or in mox.conf: Resolver, Servers.")
	case !replies:
		list = append(list, "See that this machine may ask its name servers, at port 53 with UDP and TCP, or name others in mox.conf: Resolver, Servers.")
	case c.Clock != 0:
		list = append(list, "Set the clock, and keep it right with NTP.")
	case passes && c.Root == string(resolver.Bogus):
		list = append(list, "If this DNS is not that of the internet, name the keys of its root in mox.conf: Resolver, TrustAnchors. If it is, somebody changes answers on their way: use another name server; or the root has new keys: use a newer version of mox.")
	case !c.Fit:
		list = append(list, "Run a resolver that validates on this machine, for example unbound, and have it as the only name server, 127.0.0.1, in /etc/resolv.conf or in mox.conf: Resolver, Servers.")
	}
	if replies && c.has(func(s checkedServer) bool { return s.Error == "" && !s.TCP }) {
		list = append(list, "Allow TCP to port 53 of the name servers: large answers, with DNSSEC many, need it.")
	}
	return list
}

// printCheck prints what was found, a line for each server, and the conclusion at
// the end.
func (inv *invocation) printCheck(c checkReport) {
	line := func(what, format string, args ...any) {
		inv.printf("%-9s %s\n", what, printable(fmt.Sprintf(format, args...)))
	}
	how := "name servers tell what is authentic"
	if c.Validating {
		how = "answers are validated here"
	}
	line("mode", "%s: %s", c.Mode, how)
	for _, s := range c.Servers {
		line("server", "%s: %s", s.Address, s.describe())
	}
	switch {
	case !c.has(func(s checkedServer) bool { return s.DNSSEC == "passes" }):
		line("root", "its keys can't be validated: no name server passes DNSSEC records on")
	case c.Root == string(resolver.Secure):
		line("root", "its keys are secure, by the trust anchors")
	case c.Root == string(resolver.Bogus):
		line("root", "its keys are bogus: %s", c.Error)
	default:
		line("root", "its keys are not known: %s", c.Error)
	}
	for _, p := range c.Problems {
		line("problem", "%s", p)
	}
	for _, a := range c.Advice {
		line("advice", "%s", a)
	}
	if c.Fit {
		line("result", "fit for mail: answers that are signed are known to be authentic")
	} else {
		line("result", "not fit: no answer can be known to be authentic, and DANE does not protect mail")
	}
}

// describe tells what a server can.
func (s checkedServer) describe() string {
	if s.Error != "" {
		return "does not reply: " + s.Error
	}
	words := []string{fmt.Sprintf("replies in %dms", s.Millis)}
	switch s.DNSSEC {
	case "passes":
		words = append(words, "passes DNSSEC records on")
	case "strips":
		words = append(words, "leaves DNSSEC records out")
	}
	switch {
	case s.AD && s.Trusted:
		words = append(words, "says what is authentic, and is trusted to")
	case s.AD:
		words = append(words, "says what is authentic, but is not trusted to")
	default:
		words = append(words, "does not say what is authentic")
	}
	if !s.TCP {
		words = append(words, "not over TCP")
	}
	return strings.Join(words, ", ")
}
