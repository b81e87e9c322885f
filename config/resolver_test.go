package config

import (
	"strings"
	"testing"
)

func TestResolver(t *testing.T) {
	t.Parallel()
	const digest = "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
	for _, tc := range []struct {
		name     string
		resolver Resolver
		problem  string // Part of it, empty if all is well.
	}{
		{"nothing set", Resolver{}, ""},
		{"all set", Resolver{"auto", []string{"127.0.0.1", "192.0.2.1:5353", "::1", "[2001:db8::1]:53"}, true, []string{"corp.example"}, []string{". IN DS 20326 8 2 " + digest}}, ""},
		{"an anchor without its name", Resolver{TrustAnchors: []string{"20326 8 2 " + digest}}, ""},
		{"an anchor in pieces, with a TTL", Resolver{TrustAnchors: []string{".\t172800 IN DS 20326 8 2 " + digest[:40] + " " + digest[40:]}}, ""},
		{"an unknown mode", Resolver{Mode: "strict"}, `Resolver.Mode: "strict" is not one of: auto validate system-ad`},
		{"a server by name", Resolver{Servers: []string{"localhost"}}, `Resolver.Servers[0]: "localhost" is not an IP address`},
		{"a server at port zero", Resolver{Servers: []string{"127.0.0.1:0"}}, `Resolver.Servers[0]: `},
		{"a server twice", Resolver{Servers: []string{"::1", "::1"}}, `Resolver.Servers[1]: "::1" is named twice`},
		{"the most servers", Resolver{Servers: strings.Fields("::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8")}, ""},
		{"too many servers", Resolver{Servers: strings.Fields("::1 ::2 ::3 ::4 ::5 ::6 ::7 ::8 ::9")}, "Resolver.Servers: more than 8"},
		{"trust in nobody", Resolver{TrustAD: true}, "Resolver.TrustAD: is for Servers"},
		{"trust that does not count", Resolver{Mode: "validate", Servers: []string{"192.0.2.1"}, TrustAD: true}, "Resolver.TrustAD: is without effect"},
		{"anchors that do not count", Resolver{Mode: "system-ad", TrustAnchors: []string{"20326 8 2 " + digest}}, "Resolver.TrustAnchors: are without effect"},
		{"a private domain that is none", Resolver{Unsigned: []string{"-"}}, "Resolver.Unsigned[0]: "},
		{"a private domain twice", Resolver{Unsigned: []string{"corp.example", "Corp.example"}}, "Resolver.Unsigned[1]: Corp.example is named twice"},
		{"too many private domains", Resolver{Unsigned: make([]string, 101)}, "Resolver.Unsigned: more than 100"},
		{"an anchor of another zone", Resolver{TrustAnchors: []string{"org. IN DS 20326 8 2 " + digest}}, "Resolver.TrustAnchors[0]: a trust anchor is a DS record of the root"},
		{"a key in place of its digest", Resolver{TrustAnchors: []string{". IN DNSKEY 257 3 8 AwEAAa=="}}, `Resolver.TrustAnchors[0]: key tag "." is not`},
		{"half an anchor", Resolver{TrustAnchors: []string{"20326 8 2"}}, "need key tag, algorithm"},
		{"a tag that is too large", Resolver{TrustAnchors: []string{"65536 8 2 " + digest}}, "key tag"},
		{"an algorithm with SHA-1", Resolver{TrustAnchors: []string{"20326 5 2 " + digest}}, `algorithm "5" is not one of`},
		{"an unknown digest", Resolver{TrustAnchors: []string{"20326 8 3 " + digest}}, `digest type "3" is not one of`},
		{"a digest that is cut off", Resolver{TrustAnchors: []string{"20326 8 2 " + digest[2:]}}, "need 64 hexadecimal digits"},
		{"a digest of another kind", Resolver{TrustAnchors: []string{"20326 8 4 " + digest}}, "need 96 hexadecimal digits"},
		{"too many anchors", Resolver{TrustAnchors: strings.Split(strings.Repeat("20326 8 2 "+digest+"\n", 11), "\n")[:11]}, "Resolver.TrustAnchors: more than 10"},
	} {
		c := &checker{config: &Config{Static: Static{Resolver: tc.resolver}}}
		c.resolver()
		got := ""
		if err := c.problems.err(); err != nil {
			got = err.Error()
		}
		if got != "" && tc.problem == "" || !strings.Contains(got, tc.problem) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.problem)
		}
		if names := tc.resolver.UnsignedNames(); tc.problem == "" && len(names) > 0 && names[0] != "corp.example." {
			t.Errorf("%s: got unsigned %q", tc.name, names)
		}
		if tc.problem == "" && strings.Count(tc.resolver.Anchors(), ". IN DS 20326 8 2 "+digest+"\n") != len(tc.resolver.TrustAnchors) {
			t.Errorf("%s: got anchors %q", tc.name, tc.resolver.Anchors())
		}
	}
}
