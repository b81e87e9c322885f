package dnssec

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// signedZone is a zone, and how it is signed.
type signedZone struct {
	name string // Without example, and without dot at its end.

	// sign signs a zone whose text is in the file "plain" of dir. It returns the text
	// with signatures, and DS records. Nil: it is not signed.
	sign func(t testing.TB, dir, zone string) (text string, ds []string)

	damage func(text string) string         // Of the signed text. Nil: none.
	ds     func(ds []string) (out []string) // What the zone above has of the DS records. Nil: all.
}

// ldns returns a way to sign with ldns-signzone: with a key-signing key and a
// zone-signing key of each algorithm.
func ldns(algorithms string, args ...string) func(testing.TB, string, string) (string, []string) {
	return func(t testing.TB, dir, zone string) (string, []string) {
		t.Helper()
		var keys, ds []string
		for _, algorithm := range strings.Fields(algorithms) {
			keys = append(keys, ldnsKey(t, dir, zone, algorithm, "-k"), ldnsKey(t, dir, zone, algorithm))
			ds = append(ds, strings.TrimSpace(command(t, dir, "ldns-key2ds", "-n", "-2", keys[len(keys)-2]+".key")))
		}
		command(t, dir, "ldns-signzone", slices.Concat(args, []string{"-f", "signed", "plain"}, keys)...)
		return read(t, dir, "signed"), ds
	}
}

// ldnsKey generates a key, and returns the name of its files.
func ldnsKey(t testing.TB, dir, zone, algorithm string, args ...string) string {
	t.Helper()
	args = append(args, "-a", algorithm)
	if strings.HasPrefix(algorithm, "RSA") {
		args = append(args, "-b", "2048")
	}
	return strings.TrimSpace(command(t, dir, "ldns-keygen", append(args, zone)...))
}

// bind returns a way to sign with dnssec-signzone, with keys that dnssec-keygen
// made with these arguments.
func bind(keys []string, args ...string) func(testing.TB, string, string) (string, []string) {
	return func(t testing.TB, dir, zone string) (string, []string) {
		t.Helper()
		var ds []string
		for _, k := range keys {
			name := strings.TrimSpace(command(t, dir, "dnssec-keygen", append(append([]string{"-q"}, strings.Fields(k)...), zone)...))
			if strings.Contains(k, "KSK") {
				ds = append(ds, strings.TrimSpace(command(t, dir, "dnssec-dsfromkey", "-2", name)))
			}
		}
		command(t, dir, "dnssec-signzone", slices.Concat([]string{"-S", "-P", "-O", "full", "-o", zone, "-f", "signed"}, args, []string{"plain"})...)
		return read(t, dir, "signed"), ds
	}
}

// stamp returns a time as the tools take it, some time from now.
func stamp(d time.Duration) string { return time.Now().Add(d).UTC().Format("20060102150405") }

const day = 24 * time.Hour

// without returns a damage that leaves out lines that have all of the words.
func without(words ...string) func(string) string {
	return func(text string) string {
		lines := slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(line string) bool {
			fields := strings.Fields(line)
			return !slices.ContainsFunc(words, func(w string) bool {
				return !slices.ContainsFunc(fields, func(f string) bool { return f == w || strings.HasPrefix(f, w+".") })
			})
		})
		return strings.Join(lines, "")
	}
}

// instead returns a damage that puts a text in the place of another.
func instead(old, new string) func(string) string {
	return func(text string) string { return strings.ReplaceAll(text, old, new) }
}

// none is for zones about whose keys the zone above says nothing.
func none([]string) []string { return nil }

// otherDigest is for zones whose DS record is of no key of theirs.
func otherDigest(ds []string) (out []string) {
	for _, rr := range ds {
		fields := strings.Fields(rr)
		fields[len(fields)-1] = strings.Repeat("5a", 32)
		out = append(out, strings.Join(append(fields[:slices.Index(fields, "DS")+4], fields[len(fields)-1]), " "))
	}
	return out
}

// first is for zones of which only the first key is known above.
func first(ds []string) []string { return ds[:1] }

// unknown is for zones whose DS record has an algorithm nobody knows, or a digest.
func unknown(algorithm, digest string) func([]string) []string {
	return func(ds []string) (out []string) {
		for _, rr := range ds {
			fields := strings.Fields(rr)
			i := slices.Index(fields, "DS")
			if algorithm != "" {
				fields[i+2] = algorithm
			}
			if digest != "" {
				fields[i+3] = digest
			}
			out = append(out, strings.Join(fields, " "))
		}
		return out
	}
}

const (
	p256 = "ECDSAP256SHA256"
	ksk  = "-f KSK -a ECDSAP256SHA256"
	zsk  = "-a ECDSAP256SHA256"
)

// ldnsZones are signed by ldns-signzone, and served by nsd.
func ldnsZones() []signedZone {
	return []signedZone{
		{name: "nsec", sign: ldns(p256)},
		{name: "nsec3", sign: ldns(p256, "-n", "-t", "0")},
		{name: "salted", sign: ldns(p256, "-n", "-t", "5", "-s", "beefcafe")},
		{name: "optout", sign: ldns(p256, "-n", "-t", "0", "-p")},
		{name: "many", sign: ldns(p256, "-n", "-t", "100", "-s", "abcd")},
		{name: "toomany", sign: ldns(p256, "-n", "-t", "101", "-s", "abcd")},
		{name: "fartoomany", sign: ldns(p256, "-n", "-t", "2500")},
		{name: "rsa", sign: ldns("RSASHA256")},
		{name: "rsa512", sign: ldns("RSASHA512")},
		{name: "p384", sign: ldns("ECDSAP384SHA384", "-n", "-t", "0")},
		{name: "ed25519", sign: ldns("ED25519")},
		{name: "expired", sign: ldns(p256, "-i", stamp(-9*day), "-e", stamp(-day))},
		{name: "future", sign: ldns(p256, "-i", stamp(day), "-e", stamp(9*day))},
		{name: "unsigned"},
		{name: "nods", sign: ldns(p256), ds: none},
		{name: "wrongds", sign: ldns(p256), ds: otherDigest},
		{name: "unknownalgorithm", sign: ldns(p256), ds: unknown("200", "")},
		{name: "unknowndigest", sign: ldns(p256), ds: unknown("", "200")},
		{name: "nokeys", sign: ldns(p256), damage: without("DNSKEY")},
		{name: "nosignatures", sign: ldns(p256), damage: without("RRSIG")},
		{name: "halfsigned", sign: ldns(p256), damage: without("RRSIG", "A")},
		{name: "changed", sign: ldns(p256), damage: instead("192.0.2.", "198.51.100.")},
		{name: "dropped", sign: ldns(p256), damage: without("broken", "A")},
		{name: "emptied", sign: ldns(p256), damage: without("_25._tcp.host", "TLSA")},
		{name: "twokeys", sign: ldns(p256 + " " + p256)},
		{name: "twokeysoneds", sign: ldns(p256 + " " + p256), ds: first},
		{name: "twoalgorithms", sign: ldns("RSASHA256 " + p256), ds: first},
		{name: "onlyone", sign: ldns(p256), ds: func(ds []string) []string { return append(ds, otherDigest(ds)...) }},
	}
}

// bindZones are signed by dnssec-signzone, and served by named.
func bindZones() []signedZone {
	return []signedZone{
		{name: "b-nsec", sign: bind([]string{ksk, zsk})},
		{name: "b-nsec3", sign: bind([]string{ksk, zsk}, "-3", "aabb", "-H", "10")},
		{name: "b-optout", sign: bind([]string{ksk, zsk}, "-3", "-", "-H", "0", "-A")},
		{name: "b-rsa", sign: bind([]string{"-f KSK -a RSASHA256 -b 2048", "-a RSASHA256 -b 2048"}, "-3", "-", "-H", "100")},
		{name: "b-prepublished", sign: bind([]string{ksk, zsk, zsk + " -P now -A +7d"})},
		{name: "b-double", sign: bind([]string{ksk, ksk, zsk, zsk})},
		{name: "b-algorithms", sign: bind([]string{ksk, zsk, "-f KSK -a ED25519", "-a ED25519"}), ds: first},
		{name: "b-expired", sign: bind([]string{ksk, zsk}, "-s", stamp(-9*day), "-e", stamp(-day))},
		{name: "b-future", sign: bind([]string{ksk, zsk}, "-s", stamp(day), "-e", stamp(9*day), "-3", "-")},
		{name: "b-changed", sign: bind([]string{ksk, zsk}, "-3", "-"), damage: instead("192.0.2.2", "192.0.2.9")},
	}
}

// knotZones are signed and served by Knot. These are arguments of keymgr's
// generate.
var knotZones = []struct {
	name   string
	policy string
	keys   []string
}{
	{"k-nsec", "", []string{"ksk=yes", "zsk=yes"}},
	{"k-nsec3", "nsec3: on, nsec3-iterations: 7", []string{"ksk=yes", "zsk=yes"}},
	{"k-optout", "nsec3: on, nsec3-opt-out: on", []string{"ksk=yes", "zsk=yes"}},
	{"k-prepublished", "", []string{"ksk=yes", "zsk=yes", "zsk=yes active=+7d"}},
	{"k-double", "nsec3: on", []string{"ksk=yes", "ksk=yes", "zsk=yes", "zsk=yes"}},
	{"k-csk", "algorithm: ED25519", []string{"ksk=yes zsk=yes"}},
}

// zoneText is what each zone has, with delegations to unsigned zones.
func zoneText(zone string) string {
	return fmt.Sprintf(`$ORIGIN %s.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.53
sub NS ns.sub
ns.sub A 192.0.2.53
ANOTHER NS ns.another
ns.another A 192.0.2.53
large TXT "%s" "%[2]s" "%[2]s"
large TXT "x" "%[2]s" "%[2]s" "%[2]s"
`, zone, strings.Repeat("large", 40)) + strings.NewReplacer(
		"host.plain.example.", "host.nsec.example.").Replace(treeText)
}

// zoneQuestions are asked of each zone, and of the unsigned one below it.
func zoneQuestions(zone string) []question {
	return append(treeQuestions(zone),
		question{"large." + zone + ".", "TXT"},
		question{"host.sub." + zone + ".", "A"},
		question{"nope.sub." + zone + ".", "A"},
		question{"sub." + zone + ".", "MX"},
		question{"host.another." + zone + ".", "AAAA"},
		question{zone + ".", "NS"},
	)
}

// world is a DNS whose zones are signed by the tools of others.
type world struct {
	dir       string
	servers   map[string]string // Addresses by zone, as "nsec.example.".
	anchors   []string
	questions []question

	mu    sync.Mutex
	ds    []string          // Of all zones below example.
	texts map[string]string // Of zones that are ready, by name without dot at the end.
}

// sign signs a zone, in a subtest.
func (w *world) sign(t *testing.T, z signedZone) {
	t.Helper()
	zone := z.name + ".example"
	dir := subdir(t, filepath.Join(w.dir, z.name))
	write(t, dir, "plain", zoneText(zone))
	text := zoneText(zone)
	var ds []string
	if z.sign != nil {
		text, ds = z.sign(t, dir, zone)
	}
	if z.damage != nil {
		damaged := z.damage(text)
		if damaged == text {
			t.Error("nothing is damaged")
		}
		text = damaged
	}
	if z.ds != nil {
		ds = z.ds(ds)
	}
	w.add(zone, text, ds)
}

// add adds a zone, with unsigned ones below it.
func (w *world) add(zone, text string, ds []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts[zone] = text
	w.ds = append(w.ds, ds...)
	for _, sub := range []string{"sub.", "another."} {
		w.texts[sub+zone] = strings.NewReplacer("sub NS ns.sub\n", "", "ANOTHER NS ns.another\n", "").Replace(zoneText(sub + zone))
	}
}
