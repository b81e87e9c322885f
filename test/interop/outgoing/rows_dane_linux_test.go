package outgoing

// What is read of certificates that are not good.
const (
	aboutAnother  = "its TLSA records (DANE) are about another"
	hasExpired    = "it has expired, or is not valid yet"
	hasOtherName  = "it has another name"
	signedByNone  = "nobody who is trusted has signed it"
	notForNow     = "can't be looked up for now"
	notAuthentic  = "gave answers that are not authentic (DNSSEC)"
	noTLSWith     = "no TLS with"
	tlsStatus     = "4.7.5"
	dnsStatus     = "4.4.3"
	protectedDANE = "dane"
	unverified    = "unverified"
	plain         = "none"
)

// oldTLS are settings of a Postfix with which no handshake succeeds.
const oldTLS = "smtpd_tls_protocols=TLSv1"

// daneRows are about RFC 7672.
func daneRows() []*row {
	return []*row{
		{name: "DANE-EE, a key", domain: "ee", hosts: []host{{tlsa: "3 1 1"}}, want: []want{delivered(protectedDANE, 1)}},
		{name: "DANE-EE, a certificate by SHA-512", domain: "ee-cert", hosts: []host{{tlsa: "3 0 2"}}, want: []want{delivered(protectedDANE, 1)}},
		{name: "DANE-EE, a whole key", domain: "ee-full", hosts: []host{{tlsa: "3 1 0"}}, want: []want{delivered(protectedDANE, 1)}},
		{
			name: "DANE-EE, neither the name nor the end of a certificate matters (7672, 3.1.1)", domain: "ee-expired",
			hosts: []host{{cert: selfExpired, tlsa: "3 1 1"}}, want: []want{delivered(protectedDANE, 1)},
		},
		{
			name: "DANE-EE of another key", domain: "ee-wrong", hosts: []host{{tlsa: "!3 1 1"}},
			want: []want{deferred(tlsStatus, aboutAnother, 1), deferred(tlsStatus, aboutAnother, 1)},
		},
		{
			name: "DANE-EE of another key, though a CA that all know has signed the certificate", domain: "ee-wrong-ca",
			hosts: []host{{cert: fromCA, tlsa: "!3 1 1"}}, want: []want{deferred(tlsStatus, aboutAnother, 1)},
		},
		{
			name: "while keys change there are records of both (7671, 8.1)", domain: "ee-both",
			hosts: []host{{tlsa: "!3 1 1, 3 1 1"}}, want: []want{delivered(protectedDANE, 1)},
		},
		{
			name: "DANE-EE of the first host is of another key, that of the second is good", domain: "ee-second",
			hosts: []host{{tlsa: "!3 1 1"}, {tlsa: "3 1 1"}}, want: []want{delivered(protectedDANE, 2).by("mx2")},
		},
		{name: "DANE-TA, the certificate of the CA", domain: "ta", hosts: []host{{cert: fromCA, tlsa: "2 0 1"}}, want: []want{delivered(protectedDANE, 1)}},
		{name: "DANE-TA, the key of the CA", domain: "ta-key", hosts: []host{{cert: fromCA, tlsa: "2 1 2"}}, want: []want{delivered(protectedDANE, 1)}},
		{
			name: "DANE-TA, the name of the domain is as good as the host's (7672, 3.2.2)", domain: "ta-domain",
			hosts: []host{{cert: nameOfDomain, tlsa: "2 0 1"}}, want: []want{delivered(protectedDANE, 1)},
		},
		{
			name: "DANE-TA, a certificate with another name", domain: "ta-name",
			hosts: []host{{cert: otherName, tlsa: "2 0 1"}}, want: []want{deferred(tlsStatus, hasOtherName, 1)},
		},
		{
			name: "DANE-TA, a certificate that has expired", domain: "ta-expired",
			hosts: []host{{cert: expired, tlsa: "2 0 1"}}, want: []want{deferred(tlsStatus, hasExpired, 1)},
		},
		{
			name: "DANE-TA of another CA", domain: "ta-wrong", hosts: []host{{cert: fromCA, tlsa: "!2 0 1"}},
			want: []want{deferred(tlsStatus, aboutAnother, 1)},
		},
		{
			name: "DANE-TA by a digest, and the server does not show the CA (7672, 3.1.2)", domain: "ta-alone",
			hosts: []host{{cert: alone, tlsa: "2 0 1"}}, want: []want{deferred(tlsStatus, aboutAnother, 1)},
		},
		{
			name: "DANE-TA with the whole CA in the record, and the server does not show it", domain: "ta-full",
			hosts: []host{{cert: alone, tlsa: "2 0 0"}}, want: []want{delivered(protectedDANE, 1)},
		},
		{
			name: "records that can't be used promise TLS and no more (7672, 2.2)", domain: "pkix-usage",
			hosts: []host{{tlsa: "!1 1 1"}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "records that can't be used, and a server without STARTTLS", domain: "pkix-usage-plain",
			hosts: []host{{cert: noTLS, tlsa: "!1 1 1"}}, want: []want{deferred(tlsStatus, noTLSWith, 1)},
		},
		{
			name: "DANE, and a server without STARTTLS", domain: "ee-plain",
			hosts: []host{{cert: noTLS, tlsa: "3 1 1"}}, want: []want{deferred(tlsStatus, noTLSWith, 1)},
		},
		{
			name: "DANE, and a server with broken TLS", domain: "ee-broken",
			hosts: []host{{tlsa: "3 1 1", v4: postfix(oldTLS)}}, want: []want{deferred(tlsStatus, noTLSWith, 1)},
		},
		{
			name: "DANE, and a server that refuses to begin TLS now", domain: "ee-454",
			hosts: []host{{tlsa: "3 1 1", v4: says("STARTTLS", "454 4.7.0 no TLS now")}}, want: []want{replied("454 4.7.0 no TLS now", 1)},
		},
		{
			name: "DANE, and a server that says never to do TLS, or somebody on the way", domain: "ee-554",
			hosts: []host{{tlsa: "3 1 1", v4: says("STARTTLS", "554 5.7.3 never")}}, want: []want{{status: "4.7.3", code: 554, reason: noTLSWith, connections: 1}},
		},
		{
			name: "DANE, the first server says never to do TLS, the second does", domain: "ee-554-second",
			hosts: []host{{tlsa: "3 1 1", v4: says("STARTTLS", "554 5.7.3 never")}, {tlsa: "3 1 1"}}, want: []want{delivered(protectedDANE, 2).by("mx2")},
		},
		{
			name: "records in a zone that is not signed don't count", domain: "ee.unsigned",
			hosts: []host{{tlsa: "!3 1 1"}}, want: []want{delivered(unverified, 1)},
		},
		{
			name: "records of a host don't count when nothing says that it is the host (7672, 2.2.1)", domain: "elsewhere.unsigned",
			hosts: []host{{name: "mx.elsewhere.test", tlsa: "!3 1 1"}}, want: []want{delivered(unverified, 1).by("=mx.elsewhere.test")},
		},
		{
			name: "records of a host in a zone that is not signed don't count", domain: "ee-host-unsigned",
			hosts: []host{{name: "mx.host.unsigned.test", tlsa: "!3 1 1"}}, want: []want{delivered(unverified, 1).by("=mx.host.unsigned.test")},
		},
		{
			name: "a host that is an alias has the records of where it leads (7672, 2.2.2)", domain: "ee-alias",
			hosts: []host{{label: "real", tlsa: "3 1 1"}}, ownMX: true, records: "@ MX 10 mx.@\nmx.@ CNAME real.@\n_25._tcp.mx.@ TLSA 3 1 1 00",
			want: []want{delivered(protectedDANE, 1)},
		},
		{
			name: "a record that is an alias (7671, 7)", domain: "ee-tlsa-alias", hosts: []host{{tlsa: "3 1 1", tlsaAt: "key.@"}},
			records: "_25._tcp.mx.@ CNAME key.@", want: []want{delivered(protectedDANE, 1)},
		},
		{
			name: "a domain without MX records has its own (7672, 2.2.2)", domain: "ee-nomx", hosts: []host{{name: "ee-nomx.test", tlsa: "3 1 1"}}, ownMX: true,
			want: []want{delivered(protectedDANE, 1).by("=ee-nomx.test")},
		},
		{
			name: "the name that the server hears is the one with the records (7672, 8.1)", domain: "ee-sni",
			hosts: []host{{tlsa: "3 1 1", v4: peer(&script{sni: "mx.ee-sni.test"})}}, want: []want{delivered(protectedDANE, 1)},
		},
		{
			name: "TLSA records whose signature is wrong", domain: "bogus-tlsa", hosts: []host{{tlsa: "3 1 1"}},
			bogus: []string{"TLSA _25._tcp.mx.@"}, want: []want{deferred(dnsStatus, notForNow, 0).by("-")},
		},
		{
			name: "MX records whose signature is wrong", domain: "bogus-mx", hosts: []host{{}},
			bogus: []string{"MX @"}, want: []want{deferred(dnsStatus, notAuthentic, 0).by("-")},
		},
		{
			name: "an address whose signature is wrong", domain: "bogus-a", hosts: []host{{}},
			bogus: []string{"A mx.@"}, want: []want{deferred(dnsStatus, notAuthentic, 0).by("-")},
		},
		{
			name: "the first host has an address whose signature is wrong, the second is good", domain: "bogus-a-first",
			hosts: []host{{}, {}}, bogus: []string{"A mx.@"}, want: []want{delivered(unverified, 1).by("mx2")},
		},
		{
			name: "the first host has TLSA records whose signature is wrong, the second is good", domain: "bogus-first",
			hosts: []host{{tlsa: "3 1 1"}, {tlsa: "3 1 1"}}, bogus: []string{"TLSA _25._tcp.mx.@"},
			want: []want{delivered(protectedDANE, 1).by("mx2")},
		},
		{
			name: "the name server for TLSA records does not answer (7672, 2.1.2)", domain: "dead-tlsa", hosts: []host{{}},
			records: "_tcp.mx.@ NS ns.dead.test.", want: []want{deferred(dnsStatus, notForNow, 0).by("-")},
		},
	}
}
