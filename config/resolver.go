package config

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mjl-/mox/dns"
)

// Resolver says whom DNS is asked, and what is believed.
type Resolver struct {
	Mode         string   `sconf:"optional" sconf-doc:"Who validates answers by DNSSEC: validate, system-ad or auto. With validate it is done here, and nothing is taken from name servers that don't pass DNSSEC records on. With system-ad, name servers are believed that say that an answer is authentic, if they are at a loopback address, or trusted. If absent, auto: validate as long as a name server passes DNSSEC records on, and system-ad if none does, which is logged."`
	Servers      []string `sconf:"optional" sconf-doc:"Addresses of name servers, with a port if it isn't 53. They must look up names for others. If absent, those of the system, in /etc/resolv.conf."`
	TrustAD      bool     `sconf:"optional" sconf-doc:"Believe Servers about what is authentic although they aren't at a loopback address, with system-ad, and with auto if none of them passes DNSSEC records on. The way to them must be safe from others. For the system's name servers, the option trust-ad in /etc/resolv.conf says the same."`
	Unsigned     []string `sconf:"optional" sconf-doc:"Domains in which nothing is validated, with all below them: those of a network of one's own that only its name servers know, for example corp.example. Answers about them would be bogus if the DNS of the internet says that they don't exist, or are signed."`
	TrustAnchors []string `sconf:"optional" sconf-doc:"DS records of the keys of the root, with which validation begins: key tag, algorithm, digest type and digest, as in \"20326 8 2 E06D…\", with or without \". IN DS\" before. If absent, those of the two keys of the root that are in use, 20326 and 38696. Only for a DNS that isn't that of the internet, or when those keys are replaced before the program is."`
}

// ResolverModes are the values of Resolver.Mode.
var ResolverModes = []string{"auto", "validate", "system-ad"}

const (
	// These bound the lists. As many are used.
	resolverServersMax = 8
	trustAnchorsMax    = 10
	unsignedMax        = 100
)

// anchorAlgorithms are the algorithms of keys that validation knows, and
// digestSizes the digests of DS records, with their sizes in bytes.
var (
	anchorAlgorithms = []uint64{8, 10, 13, 14, 15}
	digestSizes      = map[uint64]int{1: 20, 2: 32, 4: 48}
)

// resolver checks Resolver.
func (c *checker) resolver() {
	r := c.config.Static.Resolver
	s := c.static("Resolver")
	if r.Mode != "" && !slices.Contains(ResolverModes, r.Mode) {
		s.in("Mode").bad("%q is not one of: %s", r.Mode, strings.Join(ResolverModes, " "))
	}
	if len(r.Servers) > resolverServersMax {
		s.in("Servers").bad("more than %d", resolverServersMax)
	}
	for i, server := range r.Servers {
		if !isServer(server) {
			s.in("Servers").item(i).bad("%q is not an IP address, with or without port", server)
		}
	}
	s.in("Servers").once(r.Servers)
	if r.TrustAD && len(r.Servers) == 0 {
		s.in("TrustAD").bad("is for Servers, and there are none")
	}
	if r.TrustAD && r.Mode == "validate" {
		s.in("TrustAD").bad("is without effect with mode validate")
	}
	if r.Mode == "system-ad" && len(r.TrustAnchors) > 0 {
		s.in("TrustAnchors").bad("are without effect with mode system-ad")
	}
	if len(r.Unsigned) > unsignedMax {
		s.in("Unsigned").bad("more than %d", unsignedMax)
	}
	s.in("Unsigned").domains(r.Unsigned)
	if len(r.TrustAnchors) > trustAnchorsMax {
		s.in("TrustAnchors").bad("more than %d", trustAnchorsMax)
	}
	for i, text := range r.TrustAnchors {
		if _, problem := parseAnchor(text); problem != "" {
			s.in("TrustAnchors").item(i).bad("%s", problem)
		}
	}
}

// isServer tells whether text is the address of a name server.
func isServer(text string) bool {
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return addr.Port() != 0
	}
	_, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return err == nil
}

// parseAnchor returns a trust anchor as a record of a zone file, or what is wrong.
func parseAnchor(text string) (record, problem string) {
	words := strings.Fields(text)
	if i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, "DS") }); i >= 0 {
		if words[0] != "." {
			return "", "a trust anchor is a DS record of the root, whose name is a dot"
		}
		words = words[i+1:]
	}
	if len(words) < 4 {
		return "", "need key tag, algorithm, digest type and digest"
	}
	digest := strings.Join(words[3:], "")
	words = append(words[:3:3], digest)
	if _, err := strconv.ParseUint(words[0], 10, 16); err != nil {
		return "", "key tag " + strconv.Quote(words[0]) + " is not 0 to 65535"
	}
	algorithm, err := strconv.ParseUint(words[1], 10, 8)
	if err != nil || !slices.Contains(anchorAlgorithms, algorithm) {
		return "", "algorithm " + strconv.Quote(words[1]) + " is not one of: 8 10 13 14 15"
	}
	kind, err := strconv.ParseUint(words[2], 10, 8)
	size := digestSizes[kind]
	if err != nil || size == 0 {
		return "", "digest type " + strconv.Quote(words[2]) + " is not one of: 1 2 4"
	}
	if b, err := hex.DecodeString(digest); err != nil || len(b) != size {
		return "", "need " + strconv.Itoa(2*size) + " hexadecimal digits as digest"
	}
	return ". IN DS " + strings.Join(words, " "), ""
}

// UnsignedNames returns Unsigned as absolute names.
func (r Resolver) UnsignedNames() (names []string) {
	for _, name := range r.Unsigned {
		if d, err := dns.ParseConfigDomain(name); err == nil {
			names = append(names, d.Absolute())
		}
	}
	return names
}

// Anchors returns the trust anchors as records of a zone file. It is empty if there
// are none.
func (r Resolver) Anchors() string {
	var b strings.Builder
	for _, text := range r.TrustAnchors {
		if record, problem := parseAnchor(text); problem == "" {
			b.WriteString(record + "\n")
		}
	}
	return b.String()
}
