package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/mox/trace"
)

// policyTexts say in words what decided about TLS.
var policyTexts = map[string]string{
	"opportunistic":      "nothing promises TLS: it is used if it works",
	"tls-not-required":   "the message says that it needs none",
	"dane":               "DANE: the server must be verified by its TLSA records",
	"dane-unusable":      "DANE: none of the TLSA records can be used, so TLS must be, without verification",
	"dane-unknown":       "DANE: what the server promises can't be looked up",
	"mta-sts":            "MTA-STS: the domain's policy is enforced",
	"dane-and-mta-sts":   "DANE and MTA-STS: the server must be verified by both",
	"mta-sts-mismatch":   "MTA-STS: the server is not in the domain's policy, which is enforced",
	"mta-sts-unknown":    "MTA-STS: whether the domain has a policy can't be found out",
	"requiretls-nothing": "the message requires verified TLS, and nothing tells how to verify the server",
	"tls-failed":         "TLS failed, and nothing forbids to go on without",
	"transport":          "as configured for the transport",
}

// policyText returns what decided about TLS for people.
func policyText(word string) string {
	if text, ok := policyTexts[word]; ok {
		return text
	}
	return word
}

// tlsText says how a connection was protected.
func tlsText(mode, version string) string {
	if version == "" {
		version = "TLS"
	}
	switch mode {
	case "none":
		return "no TLS"
	case "unverified":
		return version + ", the server was not verified"
	case "pkix":
		return version + ", the server's certificate was verified"
	case "dane":
		return version + ", the server was verified by its TLSA records"
	case "pkix+dane":
		return version + ", the server was verified by its certificate and its TLSA records"
	}
	return strings.TrimSpace(mode + " " + version)
}

// placeText names a host with its address.
func placeText(host, ip string) string {
	switch {
	case ip == "":
		return host
	case host == "" || strings.Contains(host, ip):
		return "[" + ip + "]"
	}
	return host + " [" + ip + "]"
}

func attemptLines(e *trace.Event) []string {
	a := e.Attempt
	line := fmt.Sprintf("attempt %d for %s", a.Number, rcptTexts(e.Rcpts))
	if a.Transport != "" {
		line += ", by " + said(a.Transport)
	}
	l := lines{line + ": " + said(a.Result) + " after " + a.Took.Round(time.Millisecond).String()}
	for _, t := range a.Tried {
		at := placeText(t.Host, t.IP)
		if at != "" {
			at = " at " + at
		}
		l.add("tried before%s: %s", at, t.Error)
		l.add("  policy: %s", policyText(t.Policy))
		l.add("  cause: %s", t.Cause)
	}
	place := placeText(a.Host, a.IP)
	if place != "" && a.LocalIP != "" {
		place += ", from " + a.LocalIP
	}
	l.add("at %s", place)
	l.add("policy: %s", policyText(a.Policy))
	l.add("MTA-STS: %s", stsText(a))
	l.add("DANE: %s", daneText(a))
	if a.TLS != "" && a.IP != "" {
		l.add("connection: %s", tlsText(a.TLS, a.Version))
	}
	l.add("certificate: not good by common authorities: %s", a.PKIXError)
	l.add("TLSA records: %s", a.DANEError)
	l.add("TLS: %s", a.TLSError)
	l.add("reply: %s", a.Reply)
	l.add("error: %s", a.Error)
	if a.Error != "" {
		l.add("status: %s", statusText(a))
	}
	l.add("cause: %s", a.Cause)
	if !a.Next.IsZero() {
		l = append(l, "next attempt planned for "+tableTime(a.Next))
	}
	return l
}

// stsText says what the policy of the domain says, if one was looked at.
func stsText(a *trace.Attempt) string {
	switch {
	case a.STS == "" || a.STS == "none":
		return ""
	case a.STS == "unknown":
		return "it is not known whether there is a policy"
	case a.STSMatch:
		return "policy in mode " + a.STS + ", which has the server"
	}
	return "policy in mode " + a.STS + ", which does not have the server"
}

// daneText says what TLSA records say, if they were looked up.
func daneText(a *trace.Attempt) string {
	switch a.DANE {
	case "none":
		return "the server has no TLSA records, or DNSSEC does not protect them"
	case "unknown":
		return "its TLSA records could not be looked up"
	case "unusable":
		return "it has TLSA records, and none can be used"
	case "usable":
		return "it has TLSA records to verify it by"
	}
	return a.DANE
}

// statusText returns the codes of a failure.
func statusText(a *trace.Attempt) string {
	text := a.Enhanced
	if a.Code != 0 {
		text = strings.TrimSpace(fmt.Sprint(a.Code) + " " + text)
	}
	if text == "" {
		return ""
	}
	if a.Permanent {
		return text + " (for good)"
	}
	return text + " (for now)"
}
