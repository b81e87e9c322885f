package outgoing

import (
	"io"
	"net/http"
	"strings"
)

const (
	protectedPKIX = "pkix"
	protectedBoth = "pkix+dane"
	notInPolicy   = "is not one of those in the MTA-STS policy of the domain"
)

// with changes a policy.
func (p *policy) with(change func(*policy)) *policy {
	change(p)
	return p
}

// text answers with this.
func text(contentType, body string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(rw, body)
	}
}

// elsewhere answers that the policy is at another host, which would have it.
func elsewhere(rw http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/there" {
		text("text/plain", "version: STSv1\nmode: enforce\nmx: other.example\nmax_age: 86400\n")(rw, req)
		return
	}
	http.Redirect(rw, req, "/there", http.StatusMovedPermanently)
}

// stsRows are about RFC 8461.
func stsRows() []*row {
	const enforced, opportunistic = "mta-sts", "opportunistic"
	return []*row{
		{name: "MTA-STS, enforced", domain: "sts", sts: enforce(), hosts: []host{{cert: fromCA}}, want: []want{delivered(protectedPKIX, 1).because(enforced)}},
		{
			name: "MTA-STS, enforced, a certificate with another name", domain: "sts-name", sts: enforce(),
			hosts: []host{{cert: otherName}}, want: []want{deferred(tlsStatus, hasOtherName, 1).because(enforced)},
		},
		{
			name: "MTA-STS, enforced, a certificate with the name of the domain is not enough", domain: "sts-domain", sts: enforce(),
			hosts: []host{{cert: nameOfDomain}}, want: []want{deferred(tlsStatus, hasOtherName, 1)},
		},
		{
			name: "MTA-STS, enforced, a certificate that has expired", domain: "sts-expired", sts: enforce(),
			hosts: []host{{cert: expired}}, want: []want{deferred(tlsStatus, hasExpired, 1)},
		},
		{
			name: "MTA-STS, enforced, a certificate signed with itself", domain: "sts-self", sts: enforce(),
			hosts: []host{{}}, want: []want{deferred(tlsStatus, signedByNone, 1), deferred(tlsStatus, signedByNone, 1)},
		},
		{
			name: "MTA-STS, enforced, no STARTTLS", domain: "sts-plain", sts: enforce(),
			hosts: []host{{cert: noTLS}}, want: []want{deferred(tlsStatus, noTLSWith, 1)},
		},
		{
			name: "MTA-STS, enforced, TLS is broken", domain: "sts-broken", sts: enforce(),
			hosts: []host{{cert: fromCA, v4: postfix(oldTLS)}}, want: []want{deferred(tlsStatus, noTLSWith, 1)},
		},
		{
			name: "MTA-STS, enforced, the host is not in the policy", domain: "sts-mx", sts: enforce("other.example"),
			hosts: []host{{cert: fromCA}}, want: []want{deferred(tlsStatus, notInPolicy, 0).by("-").because("mta-sts-mismatch")},
		},
		{
			name: "MTA-STS, enforced, only the second host is in the policy", domain: "sts-second", sts: enforce("mx2"),
			hosts: []host{{cert: fromCA}, {cert: fromCA}}, want: []want{delivered(protectedPKIX, 1).by("mx2")},
		},
		{
			name: "MTA-STS, enforced, the first host has no good certificate, the second has", domain: "sts-first-bad", sts: enforce("mx", "mx2"),
			hosts: []host{{cert: expired}, {cert: fromCA}}, want: []want{delivered(protectedPKIX, 2).by("mx2")},
		},
		{
			name: "MTA-STS, a pattern for hosts", domain: "sts-wild", sts: enforce("*.@"),
			hosts: []host{{cert: fromCA}}, want: []want{delivered(protectedPKIX, 1)},
		},
		{
			name: "MTA-STS, a pattern stands for one label", domain: "sts-deep", sts: enforce("*.@"), hosts: []host{{label: "a.b", cert: fromCA}},
			want: []want{deferred(tlsStatus, notInPolicy, 0).by("-")},
		},
		{name: "MTA-STS, testing", domain: "sts-test", sts: inTesting(), hosts: []host{{}}, want: []want{delivered(unverified, 1)}},
		{name: "MTA-STS, testing, the host is not in the policy", domain: "sts-test-mx", sts: inTesting("other.example"), hosts: []host{{}}, want: []want{delivered(unverified, 1)}},
		{name: "MTA-STS, testing, no STARTTLS", domain: "sts-test-plain", sts: inTesting(), hosts: []host{{cert: noTLS}}, want: []want{delivered(plain, 1)}},
		{
			name: "MTA-STS, testing, TLS is broken", domain: "sts-test-broken", sts: inTesting(),
			hosts: []host{{v4: postfix(oldTLS)}}, want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "MTA-STS, none", domain: "sts-none", sts: &policy{mode: "none"},
			hosts: []host{{}}, want: []want{delivered(unverified, 1).because(opportunistic)},
		},
		{
			name: "MTA-STS, nobody is at the policy host", domain: "sts-refused", sts: &policy{refused: true},
			hosts: []host{{}}, want: []want{delivered(unverified, 1).because(opportunistic)},
		},
		{
			name: "MTA-STS, the policy host can't be reached", domain: "sts-silent", sts: &policy{silent: true},
			hosts: []host{{}}, want: []want{delivered(unverified, 1).because(opportunistic)},
		},
		{
			name: "MTA-STS, the policy host has a certificate with another name", domain: "sts-host-name",
			sts: enforce("other.example").with(func(p *policy) { p.cert = otherName }), hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, the policy host has a certificate that has expired", domain: "sts-host-expired",
			sts: enforce("other.example").with(func(p *policy) { p.cert = expired }), hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, the policy host has a certificate signed with itself", domain: "sts-host-self",
			sts: enforce("other.example").with(func(p *policy) { p.cert = "self" }), hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, no redirect of the policy host is followed (8461, 3.3)", domain: "sts-redirect",
			sts: &policy{answer: elsewhere}, hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, the policy host has no policy", domain: "sts-404",
			sts: &policy{answer: http.NotFound}, hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, a policy that is no plain text", domain: "sts-html",
			sts: &policy{answer: text("text/html", "version: STSv1\nmode: enforce\nmx: other.example\nmax_age: 86400\n")}, hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, a policy that is none", domain: "sts-noise",
			sts: &policy{answer: text("text/plain", "mode: enforce\n")}, hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, a policy without end", domain: "sts-large",
			sts:   &policy{answer: text("text/plain", "version: STSv1\nmode: enforce\nmax_age: 86400\n"+strings.Repeat("mx: other.example\n", 10_000))},
			hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, two records are none (8461, 3.1)", domain: "sts-twice", sts: enforce("other.example"),
			records: "_mta-sts.@ TXT \"v=STSv1; id=2;\"", hosts: []host{{}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "MTA-STS, the record is an alias", domain: "sts-alias", sts: enforce().with(func(p *policy) { p.recordAt = "record.@" }),
			records: "_mta-sts.@ CNAME record.@", hosts: []host{{cert: fromCA}}, want: []want{delivered(protectedPKIX, 1)},
		},
		{
			name: "MTA-STS, a policy that is known counts when its host is gone", domain: "sts-gone", sts: enforce().with(func(p *policy) { p.times = 1 }),
			hosts: []host{{cert: fromCA, v4: peer(&script{answers: answers{"RCPT": {"450 4.2.1 later", ""}}})}},
			want:  []want{replied("450 4.2.1 later", 1).because(enforced), delivered(protectedPKIX, 1).because(enforced)},
		},
		{
			name: "MTA-STS, the signature of the record is wrong", domain: "sts-bogus", sts: enforce(), bogus: []string{"TXT _mta-sts.@"},
			hosts: []host{{cert: fromCA}}, want: []want{deferred(dnsStatus, "has an MTA-STS policy can't be found out for now", 0).by("-")},
		},
		{
			name: "MTA-STS and DANE, both good", domain: "sts-dane", sts: enforce(),
			hosts: []host{{cert: fromCA, tlsa: "3 1 1"}}, want: []want{delivered(protectedBoth, 1).because("dane-and-mta-sts")},
		},
		{
			name: "MTA-STS does not make up for DANE (8461, 2)", domain: "sts-dane-wrong", sts: enforce(),
			hosts: []host{{cert: fromCA, tlsa: "!3 1 1"}}, want: []want{deferred(tlsStatus, aboutAnother, 1).because("dane-and-mta-sts")},
		},
		{
			name: "DANE does not make up for MTA-STS", domain: "sts-wrong-dane", sts: enforce(),
			hosts: []host{{cert: expired, tlsa: "3 1 1"}}, want: []want{deferred(tlsStatus, hasExpired, 1).because("dane-and-mta-sts")},
		},
	}
}
