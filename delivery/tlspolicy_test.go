package delivery

import (
	"fmt"
	"testing"

	"github.com/mjl-/mox/smtpclient"
)

// allEvidence returns every combination of evidence.
func allEvidence() (list []tlsEvidence) {
	yes, no := true, false
	for via := range tlsVia(tlsViaCount) {
		for records := range daneEvidence(daneEvidenceCount) {
			for mode := range stsMode(stsModeCount) {
				for bits := range 8 {
					for _, require := range []*bool{nil, &yes, &no} {
						list = append(list, tlsEvidence{
							via: via, dane: records, sts: stsEvidence{mode, bits&1 != 0}, report: bits&2 != 0, failed: bits&4 != 0, requireTLS: require,
						})
					}
				}
			}
		}
	}
	return list
}

// describe tells evidence for people.
func (e tlsEvidence) describe() string {
	require := "unset"
	if e.requireTLS != nil {
		require = fmt.Sprint(*e.requireTLS)
	}
	return fmt.Sprintf("via %d, DANE %d, MTA-STS %d matching %v, required %s, report %v, failed %v", e.via, e.dane, e.sts.mode, e.sts.matches, require, e.report, e.failed)
}

// tlsRules are what must hold for all evidence, each written without regard to the
// others, from the RFCs and from what operators are told.
var tlsRules = []struct {
	name string
	when func(e tlsEvidence) bool
	then func(p tlsPolicy) bool
}{
	{"where TLSA records promise it, there is TLS (RFC 7672, 2.2)",
		func(e tlsEvidence) bool {
			return e.via == viaMX && (e.dane == daneUsable || e.dane == daneUnusable) && !is(e.requireTLS, false)
		},
		func(p tlsPolicy) bool {
			return p.refuse != nil || p.mode == smtpclient.TLSRequired && !p.fallback && p.hostPolicy == policyTLSA
		}},
	{"usable records are what the host is verified by (RFC 7672, 3.2)",
		func(e tlsEvidence) bool { return e.via == viaMX && e.dane == daneUsable && !is(e.requireTLS, false) },
		func(p tlsPolicy) bool { return p.refuse != nil || p.dane == smtpclient.CheckRequired }},
	{"without usable records nothing is verified by them",
		func(e tlsEvidence) bool { return e.dane != daneUsable },
		func(p tlsPolicy) bool { return p.dane == smtpclient.CheckNot }},
	{"unusable records alone verify nothing",
		func(e tlsEvidence) bool { return e.via == viaMX && e.dane == daneUnusable && e.sts.mode != stsEnforce },
		func(p tlsPolicy) bool { return p.pkix != smtpclient.CheckRequired }},
	{"records that can't be looked up make a host unreachable for now (RFC 7672, 2.1.2)",
		func(e tlsEvidence) bool { return e.via == viaMX && e.dane == daneUnknown && !is(e.requireTLS, false) },
		func(p tlsPolicy) bool {
			return p.refuse != nil && !p.refuse.permanent && p.refuse.elsewhere && p.refuse.enhanced == "4.4.3"
		}},
	{"an enforced policy keeps from other hosts, for now (RFC 8461, 5)",
		func(e tlsEvidence) bool {
			return e.via == viaMX && e.sts == stsEvidence{stsEnforce, false} && !is(e.requireTLS, false)
		},
		func(p tlsPolicy) bool { return p.refuse != nil && !p.refuse.permanent && p.refuse.elsewhere }},
	{"an enforced policy demands a good certificate, whatever DANE says",
		func(e tlsEvidence) bool {
			return e.via == viaMX && e.sts == stsEvidence{stsEnforce, true} && !is(e.requireTLS, false)
		},
		func(p tlsPolicy) bool {
			return p.refuse != nil || p.mode == smtpclient.TLSRequired && p.pkix == smtpclient.CheckRequired && !p.fallback
		}},
	{"a policy that is tested changes nothing but reports (RFC 8461, 5)",
		func(e tlsEvidence) bool { return e.via == viaMX && e.sts.mode == stsTesting },
		func(p tlsPolicy) bool {
			return p.pkix != smtpclient.CheckRequired && p.domainPolicy == policySTS && p.why != whySTS && p.why != whyNotInPolicy
		}},
	{"a message that needs no TLS always gets through (RFC 8689, 4.1)",
		func(e tlsEvidence) bool { return e.via == viaMX && is(e.requireTLS, false) },
		func(p tlsPolicy) bool {
			return p.refuse == nil && p.pkix != smtpclient.CheckRequired && p.dane != smtpclient.CheckRequired &&
				(p.mode == smtpclient.TLSSkip || p.mode == smtpclient.TLSOpportunistic && p.fallback)
		}},
	{"a message that requires TLS is sent with verified TLS, or not (RFC 8689, 4.2.1)",
		func(e tlsEvidence) bool { return is(e.requireTLS, true) },
		func(p tlsPolicy) bool {
			verified := p.pkix == smtpclient.CheckRequired || p.dane == smtpclient.CheckRequired
			return p.refuse != nil || verified && !p.fallback && (p.mode == smtpclient.TLSRequired || p.mode == smtpclient.TLSImmediate)
		}},
	{"where nothing tells how to verify, that is refused for good",
		func(e tlsEvidence) bool {
			return e.via == viaMX && is(e.requireTLS, true) && (e.dane == daneNone || e.dane == daneUnusable) && e.sts.mode != stsEnforce
		},
		func(p tlsPolicy) bool {
			return p.refuse != nil && p.refuse.permanent && p.refuse.elsewhere && p.refuse.enhanced == "5.7.30" && p.why == whyNoPolicy
		}},
	{"a message that does not require TLS is never refused for that",
		func(e tlsEvidence) bool { return !is(e.requireTLS, true) },
		func(p tlsPolicy) bool { return p.refuse == nil || !p.refuse.permanent }},
	{"where nothing promises TLS it is opportunistic (RFC 7435)",
		func(e tlsEvidence) bool {
			return e.via == viaMX && e.dane == daneNone && e.sts.mode != stsEnforce && e.requireTLS == nil && !e.failed
		},
		func(p tlsPolicy) bool {
			return p.refuse == nil && p.mode == smtpclient.TLSOpportunistic && p.pkix == smtpclient.CheckOnly && p.why == whyOpportunistic
		}},
	{"where it is opportunistic and has failed, plain text will do",
		func(e tlsEvidence) bool {
			return e.via == viaMX && e.dane == daneNone && e.sts.mode != stsEnforce && e.requireTLS == nil && e.failed && !e.report
		},
		func(p tlsPolicy) bool { return p.mode == smtpclient.TLSSkip && p.why == whyFailed }},
	{"a report is not sent in plain text where TLS is broken",
		func(e tlsEvidence) bool { return e.via == viaMX && e.report && !is(e.requireTLS, false) },
		func(p tlsPolicy) bool { return p.refuse != nil || !p.fallback && p.mode != smtpclient.TLSSkip }},
	{"a server that is configured has its own demands only",
		func(e tlsEvidence) bool { return e.via != viaMX },
		func(p tlsPolicy) bool {
			return !p.fallback && p.dane == smtpclient.CheckNot && p.why == whyTransport && p.domainPolicy == "" && p.hostPolicy == ""
		}},
	{"over TLS from the beginning, and verified",
		func(e tlsEvidence) bool { return e.via == viaImmediate },
		func(p tlsPolicy) bool {
			return p.refuse == nil && p.mode == smtpclient.TLSImmediate && p.pkix == smtpclient.CheckRequired
		}},
	{"with STARTTLS, and verified",
		func(e tlsEvidence) bool { return e.via == viaSTARTTLS },
		func(p tlsPolicy) bool {
			return p.refuse == nil && p.mode == smtpclient.TLSRequired && p.pkix == smtpclient.CheckRequired
		}},
	{"with STARTTLS, not verified",
		func(e tlsEvidence) bool { return e.via == viaUnverified && !is(e.requireTLS, true) },
		func(p tlsPolicy) bool {
			return p.refuse == nil && p.mode == smtpclient.TLSRequired && p.pkix == smtpclient.CheckOnly
		}},
	{"without TLS",
		func(e tlsEvidence) bool { return e.via == viaPlain && !is(e.requireTLS, true) },
		func(p tlsPolicy) bool { return p.refuse == nil && p.mode == smtpclient.TLSSkip }},
	{"a server that is not verified gets nothing that requires TLS",
		func(e tlsEvidence) bool {
			return (e.via == viaUnverified || e.via == viaPlain) && is(e.requireTLS, true)
		},
		func(p tlsPolicy) bool {
			return p.refuse != nil && p.refuse.permanent && p.refuse.enhanced == "5.7.30"
		}},
	{"plain text from the beginning is only for a configured server, or after a failure that allows it",
		func(e tlsEvidence) bool { return e.via != viaPlain && !e.failed },
		func(p tlsPolicy) bool { return p.refuse != nil || p.mode != smtpclient.TLSSkip }},
	{"what is told to domains has a type",
		func(e tlsEvidence) bool { return e.via == viaMX },
		func(p tlsPolicy) bool {
			return (p.domainPolicy == policySTS || p.domainPolicy == policyNone) && (p.hostPolicy == policyTLSA || p.hostPolicy == policyNone)
		}},
	{"every decision has a reason",
		func(tlsEvidence) bool { return true },
		func(p tlsPolicy) bool { return p.why != "" && (p.refuse == nil || p.refuse.text != "") }},
}

func is(b *bool, value bool) bool { return b != nil && *b == value }

// TestDecideTLS checks every combination of evidence against all rules. At least
// one besides the last two must be about each.
func TestDecideTLS(t *testing.T) {
	t.Parallel()
	used := make([]int, len(tlsRules))
	for _, e := range allEvidence() {
		p := decideTLS(e)
		applied := 0
		for i, rule := range tlsRules {
			if !rule.when(e) {
				continue
			}
			used[i]++
			if i < len(tlsRules)-2 {
				applied++
			}
			if !rule.then(p) {
				t.Errorf("%s: %s: got %+v, refusal %+v", e.describe(), rule.name, p, p.refuse)
			}
		}
		if applied == 0 {
			t.Errorf("%s: no rule", e.describe())
		}
	}
	for i, n := range used {
		if n == 0 {
			t.Errorf("rule is about nothing: %s", tlsRules[i].name)
		}
	}
}

// TestDecideTLSReasons has what is said of why, for what operators meet most.
func TestDecideTLSReasons(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	enforced := stsEvidence{stsEnforce, true}
	for _, test := range []struct {
		name, want string
		evidence   tlsEvidence
	}{
		{"nothing known", whyOpportunistic, tlsEvidence{}},
		{"TLS has failed", whyFailed, tlsEvidence{failed: true}},
		{"a policy in testing", whyOpportunistic, tlsEvidence{sts: stsEvidence{stsTesting, false}}},
		{"TLSA records", whyDANE, tlsEvidence{dane: daneUsable}},
		{"TLSA records after a failure", whyDANE, tlsEvidence{dane: daneUsable, failed: true}},
		{"TLSA records that can't be used", whyUnusable, tlsEvidence{dane: daneUnusable}},
		{"TLSA records unknown", whyUnknown, tlsEvidence{dane: daneUnknown}},
		{"a policy", whySTS, tlsEvidence{sts: enforced}},
		{"a policy, and unusable TLSA records", whySTS, tlsEvidence{sts: enforced, dane: daneUnusable}},
		{"a policy, and TLSA records", whyBoth, tlsEvidence{sts: enforced, dane: daneUsable}},
		{"a policy without the host", whyNotInPolicy, tlsEvidence{sts: stsEvidence{stsEnforce, false}}},
		{"TLS is required, and nothing known", whyNoPolicy, tlsEvidence{requireTLS: &yes}},
		{"TLS is required, and there is a policy", whySTS, tlsEvidence{requireTLS: &yes, sts: enforced}},
		{"TLS is not required", whyNotRequired, tlsEvidence{requireTLS: &no, dane: daneUnknown}},
		{"TLS is not required, and has failed", whyFailed, tlsEvidence{requireTLS: &no, dane: daneUsable, failed: true}},
	} {
		if got := decideTLS(test.evidence).why; got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
