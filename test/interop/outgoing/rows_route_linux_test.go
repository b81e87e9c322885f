package outgoing

// softened is for a reply that says that it is final, and is not taken for that: the
// other family of addresses may do.
func softened(reply string) want {
	w := replied(reply, 1)
	w.softened = true
	return w.over(6)
}

// familyRows are about hosts that have addresses of both families.
func familyRows() []*row {
	const (
		spam    = "550 5.7.1 not from there"
		unknown = "550 5.1.1 no such user"
	)
	return []*row{
		{name: "IPv6 first", domain: "dual", hosts: []host{{v4: postfix(), v6: postfix()}}, want: []want{delivered(unverified, 1).over(6)}},
		{name: "IPv6 only", domain: "six", hosts: []host{{v6: postfix()}}, want: []want{delivered(unverified, 1).over(6)}},
		{name: "IPv6 is refused", domain: "six-refused", hosts: []host{{v4: postfix(), v6: refused()}}, want: []want{delivered(unverified, 1).over(4)}},
		{name: "IPv4 is refused", domain: "four-refused", hosts: []host{{v4: refused(), v6: postfix()}}, want: []want{delivered(unverified, 1).over(6)}},
		{name: "IPv6 leads nowhere", domain: "six-silent", hosts: []host{{v4: postfix(), v6: silent()}}, want: []want{delivered(unverified, 1).over(4)}},
		{name: "IPv4 leads nowhere", domain: "four-silent", hosts: []host{{v4: silent(), v6: postfix()}}, want: []want{delivered(unverified, 1).over(6)}},
		{
			name: "both are refused", domain: "both-refused", hosts: []host{{v4: refused(), v6: refused()}},
			want: []want{deferred("4.4.1", "no connection with", 0).by("-")},
		},
		{
			name: "both lead nowhere", domain: "both-silent", hosts: []host{{v4: silent(), v6: silent()}},
			want: []want{deferred("4.4.1", "no connection with", 0).by("-")},
		},
		{
			name: "both lead nowhere, the second host takes it", domain: "both-silent-second", hosts: []host{{v4: silent(), v6: silent()}, {}},
			want: []want{delivered(unverified, 1).by("mx2")},
		},
		{
			name: "mail over IPv6 is refused by policy, and over IPv4 it is not", domain: "six-policy",
			hosts: []host{{v4: postfix(), v6: refusing(atRCPT, spam)}}, want: []want{softened("550 5.7.1"), delivered(unverified, 1).over(4)},
		},
		{
			name: "connecting over IPv6 is refused by policy, and over IPv4 it is not", domain: "six-connect",
			hosts: []host{{v4: postfix(), v6: refusing(atConnect, "554 5.7.1 no")}}, want: []want{softened("554 5.7.1"), delivered(unverified, 1).over(4)},
		},
		{
			name: "mail over IPv6 is refused for now, and over IPv4 it is not", domain: "six-later",
			hosts: []host{{v4: postfix(), v6: refusing(atRCPT, "450 4.7.1 later")}}, want: []want{replied("450 4.7.1", 1).over(6), delivered(unverified, 1).over(4)},
		},
		{
			name: "mail is refused by policy over both", domain: "both-policy", hosts: []host{{v4: refusing(atRCPT, spam), v6: refusing(atRCPT, spam)}},
			want: []want{softened("550 5.7.1"), replied("550 5.7.1", 1).over(4)},
		},
		{name: "mail is refused by policy by a host with IPv4 only", domain: "four-policy", hosts: []host{{v4: refusing(atRCPT, spam)}}, want: []want{replied("550 5.7.1", 1)}},
		{
			name: "a user is unknown at a host with both", domain: "both-unknown", hosts: []host{{v4: postfix(), v6: refusing(atRCPT, unknown)}},
			want: []want{replied("550 5.1.1", 1).over(6)},
		},
	}
}

// routeRows are about which hosts a domain has: RFC 5321, section 5.1, and RFC 7505.
func routeRows() []*row {
	return []*row{
		{
			name: "a null MX (RFC 7505)", domain: "null", ownMX: true, records: "@ MX 0 .",
			want: []want{{status: "5.1.10", code: 556, reason: "takes no mail (null MX)", host: "-"}},
		},
		{
			name: "a domain that does not exist", domain: "missing", ownMX: true,
			want: []want{{status: "5.1.2", code: 550, reason: "doesn't exist", host: "-"}},
		},
		{
			name: "a host that does not exist", domain: "nohost", ownMX: true, records: "@ MX 10 gone.@",
			want: []want{{status: "5.4.4", code: 550, reason: "has no address", host: "-"}},
		},
		{
			name: "neither MX nor address", domain: "empty", ownMX: true, records: "@ TXT \"nothing\"",
			want: []want{{status: "5.4.4", code: 550, reason: "has no address", host: "-"}},
		},
		{
			name: "an address in place of a host", domain: "literal", ownMX: true, records: "@ MX 10 192.0.2.9.",
			want: []want{{status: "5.4.4", code: 550, host: "-"}},
		},
		{name: "an address and no MX", domain: "aonly", hosts: []host{{name: "aonly.test"}}, ownMX: true, want: []want{delivered(unverified, 1).by("=aonly.test")}},
		{name: "an alias", domain: "alias", hosts: []host{{}}, ownMX: true, records: "@ CNAME real.@\nreal.@ MX 10 mx.@", want: []want{delivered(unverified, 1)}},
		{
			name: "the preferred host is down", domain: "down", hosts: []host{{v4: refused()}, {}},
			want: []want{delivered(unverified, 1).by("mx2")},
		},
		{
			name: "the preferred host does not exist", domain: "gonefirst", hosts: []host{{}}, ownMX: true, records: "@ MX 5 gone.@\n@ MX 10 mx.@",
			want: []want{delivered(unverified, 1)},
		},
		{
			name: "one of three that are equal is up", domain: "equal", ownMX: true, hosts: []host{{v4: refused()}, {}, {v4: refused()}},
			records: "@ MX 10 mx.@\n@ MX 10 mx2.@\n@ MX 10 mx3.@", want: []want{delivered(unverified, 1).by("mx2")},
		},
		{
			name: "we are the host", domain: "loop", ownMX: true, records: "@ MX 10 validating.test.",
			want: []want{{status: "5.4.6", code: 554, reason: "is to go to this server", host: "-"}},
		},
		{
			name: "we are a host, and who is preferred to us is down: who is not is not asked", domain: "backup", ownMX: true,
			hosts: []host{{v4: refused()}, {}}, records: "@ MX 10 mx.@\n@ MX 20 validating.test.\n@ MX 30 mx2.@",
			want: []want{deferred("4.4.1", "no connection with", 0).by("-")},
		},
		{
			name: "we are a host, and who is preferred to us takes it", domain: "primary", ownMX: true,
			hosts: []host{{}}, records: "@ MX 10 mx.@\n@ MX 20 validating.test.", want: []want{delivered(unverified, 1)},
		},
	}
}
