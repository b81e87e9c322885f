package screen

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	full := Sender{
		IP: netip.MustParseAddr("192.0.2.77"), Hello: "mx.list.example", HelloVerified: true, MailFrom: "bounce@list.example", MailFromVerified: true,
		From: "ann@mail.example.org", FromOrg: "example.org", Validation: ValidationStrict, DKIM: []string{"mail.example.org", "list.example"},
	}
	for _, tc := range []struct {
		name   string
		sender Sender
		want   []string
	}{
		{"nothing known", Sender{}, nil},
		{"all verified", full, []string{
			"1 true ann@mail.example.org", "2 true mail.example.org", "3 true example.org", "4 true mail.example.org", "4 true list.example",
			"5 true bounce@list.example", "6 true list.example", "7 true mx.list.example", "8 false 192.0.2.77/32", "9 false 192.0.2.64/26", "10 false 192.0.0.0/21",
		}},
		{"names that are not verified don't count", Sender{Hello: "mx.example", MailFrom: "a@b.example", From: "x@y.example", FromOrg: "y.example"}, []string{
			"1 false x@y.example", "2 false y.example", "3 false y.example",
		}},
		{"IPv6", Sender{IP: netip.MustParseAddr("2001:db8:1:2:3::4")}, []string{"8 false 2001:db8:1:2::/64", "9 false 2001:db8:1::/48", "10 false 2001:db8::/32"}},
		{"IPv4 in IPv6", Sender{IP: netip.MustParseAddr("::ffff:192.0.2.1")}, []string{"8 false 192.0.2.1/32", "9 false 192.0.2.0/26", "10 false 192.0.0.0/21"}},
		{"a localpart with @", Sender{From: `"a@b"@c.example`}, []string{`1 false "a@b"@c.example`, "2 false c.example"}},
	} {
		var got []string
		for _, k := range tc.sender.Keys() {
			got = append(got, fmt.Sprintf("%d %t %s", k.Kind, k.Validated, k.Value))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}
