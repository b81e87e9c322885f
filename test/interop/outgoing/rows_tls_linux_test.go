package outgoing

// tlsRows are about hosts that promise nothing: STARTTLS is used if it works, RFC
// 7435, and else it is done without.
func tlsRows() []*row {
	return []*row{
		{
			name: "STARTTLS, a certificate signed with itself", domain: "tls", hosts: []host{{}},
			want: []want{delivered(unverified, 1).because("opportunistic")},
		},
		{name: "STARTTLS, a certificate that has expired", domain: "tls-expired", hosts: []host{{cert: expired}}, want: []want{delivered(unverified, 1)}},
		{name: "STARTTLS, a good certificate, which nobody demands", domain: "tls-ca", hosts: []host{{cert: fromCA}}, want: []want{delivered(unverified, 1)}},
		{name: "no STARTTLS", domain: "plain", hosts: []host{{cert: noTLS}}, want: []want{delivered(plain, 1).because("opportunistic")}},
		{name: "TLS 1.2", domain: "tls-12", hosts: []host{{v4: postfix("smtpd_tls_protocols=TLSv1.2")}}, want: []want{delivered(unverified, 1)}},
		{
			name: "mail is taken over TLS only", domain: "tls-encrypt",
			hosts: []host{{v4: postfix("smtpd_tls_security_level=encrypt")}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "a certificate of ours is asked for", domain: "tls-ask",
			hosts: []host{{v4: postfix("smtpd_tls_ask_ccert=yes")}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "a certificate of ours is demanded", domain: "tls-ccert",
			hosts: []host{{v4: postfix("smtpd_tls_security_level=encrypt", "smtpd_tls_req_ccert=yes")}},
			want:  []want{replied("421 4.7.1", 1)},
		},
		{
			name: "TLS of versions that are too old", domain: "tls-old", hosts: []host{{v4: postfix(oldTLS)}},
			want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "STARTTLS is announced and refused", domain: "tls-454", hosts: []host{{v4: says("STARTTLS", "454 4.7.0 no TLS now")}},
			want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "the connection is closed at STARTTLS", domain: "tls-drop", hosts: []host{{v4: says("STARTTLS", "drop")}},
			want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "the connection is closed in the handshake", domain: "tls-hello-drop", hosts: []host{{v4: says("handshake", "drop")}},
			want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "SMTP in place of a handshake", domain: "tls-hello-noise", hosts: []host{{v4: says("handshake", "250 2.0.0 what?")}},
			want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "no answer in the handshake", domain: "tls-hello-stall", hosts: []host{{v4: slowAt("handshake", "stall")}},
			want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "more than the answer before the handshake, which somebody may have put in", domain: "tls-ahead",
			hosts: []host{{v4: says("STARTTLS", "ahead")}}, want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "the same with DANE", domain: "ee-ahead", hosts: []host{{tlsa: "3 1 1", v4: says("STARTTLS", "ahead")}},
			want: []want{deferred(tlsStatus, noTLSWith, 1).because("dane")},
		},
		{
			name: "mail is refused without TLS, which is broken", domain: "tls-must",
			hosts: []host{{v4: peer(&script{answers: answers{"handshake": {"drop"}, "MAIL": {"530 5.7.0 must issue STARTTLS first"}}})}},
			want:  []want{replied("530 5.7.0 must issue STARTTLS first", 2)},
		},
	}
}

// required announces what RFC 8689 wants.
func required() *end { return peer(&script{extensions: []string{"REQUIRETLS"}}) }

const (
	noRequireTLS  = "5.7.30"
	mustBeTLS     = "the message must be sent with verified TLS (REQUIRETLS)"
	requireTLSFor = 550
)

// refusedTLS is for a message that requires what isn't there.
func refusedTLS(connections int) want {
	return want{status: noRequireTLS, code: requireTLSFor, reason: mustBeTLS, connections: connections}
}

// requireTLSRows are about messages that require TLS, RFC 8689, section 4.2.1.
func requireTLSRows() []*row {
	return []*row{
		{
			name: "REQUIRETLS, and the host has DANE and REQUIRETLS", domain: "req-dane", requireTLS: true,
			hosts: []host{{tlsa: "3 1 1", v4: required()}}, want: []want{delivered(protectedDANE, 1)},
		},
		{
			name: "REQUIRETLS, and the host has MTA-STS and REQUIRETLS", domain: "req-sts", requireTLS: true, sts: enforce(),
			hosts: []host{{cert: fromCA, v4: required()}}, want: []want{delivered(protectedPKIX, 1)},
		},
		{
			name: "REQUIRETLS, and the host has DANE only", domain: "req-without", requireTLS: true,
			hosts: []host{{tlsa: "3 1 1"}}, want: []want{refusedTLS(1)},
		},
		{
			name: "REQUIRETLS, and nothing says how to verify the host", domain: "req-none", requireTLS: true,
			hosts: []host{{v4: required()}}, want: []want{refusedTLS(0).by("-")},
		},
		{
			name: "REQUIRETLS, and a policy of MTA-STS that is tested only", domain: "req-testing", requireTLS: true, sts: inTesting(),
			hosts: []host{{cert: fromCA, v4: required()}}, want: []want{refusedTLS(0).by("-")},
		},
		{
			name: "REQUIRETLS, and the second host has what the first lacks", domain: "req-second", requireTLS: true,
			hosts: []host{{tlsa: "3 1 1"}, {tlsa: "3 1 1", v4: required()}}, want: []want{delivered(protectedDANE, 2).by("mx2")},
		},
		{
			name: "REQUIRETLS, and the key is another", domain: "req-wrong", requireTLS: true,
			hosts: []host{{tlsa: "!3 1 1", v4: required()}}, want: []want{deferred(tlsStatus, aboutAnother, 1)},
		},
	}
}

// tlsNotRequiredRows are about messages that say themselves that they need no TLS, RFC
// 8689, section 4.2.2.
func tlsNotRequiredRows() []*row {
	return []*row{
		{
			name: "TLS-Required: No, DANE of another key", domain: "no-wrong", tlsRequiredNo: true,
			hosts: []host{{tlsa: "!3 1 1"}}, want: []want{delivered(unverified, 1).because("tls-not-required")},
		},
		{
			name: "TLS-Required: No, DANE without STARTTLS", domain: "no-plain", tlsRequiredNo: true,
			hosts: []host{{tlsa: "3 1 1", cert: noTLS}}, want: []want{delivered(plain, 1).because("tls-not-required")},
		},
		{
			name: "TLS-Required: No, DANE and TLS that is broken", domain: "no-broken", tlsRequiredNo: true,
			hosts: []host{{tlsa: "3 1 1", v4: postfix(oldTLS)}}, want: []want{delivered(plain, 2).because("tls-failed")},
		},
		{
			name: "TLS-Required: No, TLSA records whose signature is wrong", domain: "no-bogus", tlsRequiredNo: true,
			hosts: []host{{tlsa: "3 1 1"}}, bogus: []string{"TLSA _25._tcp.mx.@"}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "TLS-Required: No, MTA-STS and a certificate with another name", domain: "no-sts", tlsRequiredNo: true, sts: enforce(),
			hosts: []host{{cert: otherName}}, want: []want{delivered(unverified, 1).because("tls-not-required")},
		},
		{
			name: "TLS-Required: No, and the host is not in the policy", domain: "no-sts-mx", tlsRequiredNo: true, sts: enforce("other.example"),
			hosts: []host{{cert: fromCA}}, want: []want{delivered(unverified, 1).because("tls-not-required")},
		},
	}
}
