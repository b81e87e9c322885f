package resolver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

// modelZone is a zone whose proofs are tested: the types of each name.
var modelZone = map[string]string{
	"example.":             "NS SOA MX DNSKEY",
	"a.example.":           "A",
	"b.a.example.":         "TXT",
	"x.y.z.example.":       "A", // Below two names without records.
	"*.w.example.":         "TXT",
	"c.w.example.":         "A",
	"d.e.w.example.":       "A",
	"*.v.example.":         "CNAME",
	"*.u.example.":         "A",
	"q.*.t.example.":       "A", // Below a wildcard without records.
	"alias.example.":       "CNAME",
	"moved.example.":       "DNAME",
	"signed.example.":      "NS DS",
	"plain.example.":       "NS",
	"plain.deep.example.":  "NS",
	"signed.deep.example.": "NS DS",
	`\000.example.`:        "A",
	`\200.example.`:        "A",
}

const modelTop = "example."

// modelBits returns the types of a name as NSEC records have them.
func modelBits(types string, extra ...uint16) (list []uint16) {
	for _, t := range strings.Fields(types) {
		list = append(list, mdns.StringToType[t])
	}
	list = append(list, extra...)
	slices.Sort(list)
	return list
}

// modelNSEC returns all NSEC records of the zone.
func modelNSEC() (list []*mdns.NSEC) {
	var names []string
	for name := range modelZone {
		names = append(names, name)
	}
	slices.SortFunc(names, compareNames)
	for i, name := range names {
		list = append(list, &mdns.NSEC{
			Hdr: mdns.RR_Header{Name: name, Rrtype: mdns.TypeNSEC}, NextDomain: names[(i+1)%len(names)],
			TypeBitMap: modelBits(modelZone[name], mdns.TypeNSEC, mdns.TypeRRSIG),
		})
	}
	return list
}

// modelNSEC3 returns all NSEC3 records of the zone.
func modelNSEC3(optOut bool) (list []*mdns.NSEC3) {
	names := map[string]string{}
	for name, types := range modelZone {
		if optOut && types == "NS" {
			continue
		}
		names[name] = types
		for n := parent(name); isBelow(n, modelTop); n = parent(n) {
			names[n] = modelZone[n]
		}
	}
	for name, types := range names {
		r := &mdns.NSEC3{
			Hdr:  mdns.RR_Header{Name: strings.ToLower(mdns.HashName(name, 1, 1, "ab")) + "." + modelTop, Rrtype: mdns.TypeNSEC3},
			Hash: 1, Iterations: 1, Salt: "ab", SaltLength: 1, TypeBitMap: modelBits(types),
		}
		if optOut {
			r.Flags = 1
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *mdns.NSEC3) int { return strings.Compare(hashOf(a), hashOf(b)) })
	for i, r := range list {
		r.NextDomain = hashOf(list[(i+1)%len(list)])
	}
	return list
}

// modelExists tells whether there is a name, with records or not.
func modelExists(name string) bool {
	for owner := range modelZone {
		if isWithin(owner, name) {
			return true
		}
	}
	return false
}

// modelTruth returns what there is for a name and a type: "data", "nodata", "noname",
// or "elsewhere" if that is not for the zone to say. The encloser is the longest
// ancestor that exists.
func modelTruth(name string, typ uint16) (truth, encloser string) {
	above := append([]string{modelTop}, pathTo(name, modelTop)...)
	encloser = modelTop
	for _, n := range above {
		types := modelBits(modelZone[n])
		if n != name && (bits(types).hides()) || n == name && typ != mdns.TypeDS && bits(types).delegates() {
			return "elsewhere", encloser
		}
		if n != name && modelExists(n) {
			encloser = n
		}
	}
	owner := name
	if !modelExists(name) {
		if owner = wildcard(encloser); !modelExists(owner) {
			return "noname", encloser
		}
	}
	types := modelBits(modelZone[owner])
	if slices.Contains(types, typ) || slices.Contains(types, mdns.TypeCNAME) {
		return "data", encloser
	}
	return "nodata", encloser
}

// modelNames are names to ask for: those there are, those beside, above and below.
func modelNames() (list []string) {
	for name := range modelZone {
		for n := name; isBelow(n, modelTop); n = parent(n) {
			list = append(list, n, "0."+n, "m."+n, "*."+n, "a.b."+n)
			if label, rest, _ := strings.Cut(n, "."); label != "*" {
				list = append(list, label+"0."+rest)
			}
		}
	}
	list = append(list, modelTop, "nope."+modelTop)
	slices.Sort(list)
	return slices.Compact(list)
}

// randomRounds is how many selections of records are tried of each kind.
const randomRounds = 3000

// TestDenialsAreTrue looks for proofs in any selection of the records of a zone, as
// an attacker could send them: what is proven is so. With all records, all that is
// so is proven.
func TestDenialsAreTrue(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	nsec, nsec3, optOut := modelNSEC(), modelNSEC3(false), modelNSEC3(true)
	names := modelNames()
	types := []uint16{mdns.TypeA, mdns.TypeTXT, mdns.TypeDS, mdns.TypeCNAME, mdns.TypeMX, mdns.TypeNS}
	for _, kind := range []string{"nsec", "nsec3", "opt-out"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			for round := range 4*len(names) + randomRounds {
				full := round < 4*len(names)
				d := &denial{zone: modelTop, budget: &budget{}}
				keep := func() bool { return full || random.IntN(3) == 0 }
				switch kind {
				case "nsec":
					d.nsec = slices.DeleteFunc(slices.Clone(nsec), func(*mdns.NSEC) bool { return !keep() })
				case "nsec3":
					d.nsec3 = slices.DeleteFunc(slices.Clone(nsec3), func(*mdns.NSEC3) bool { return !keep() })
				case "opt-out":
					d.nsec3 = slices.DeleteFunc(slices.Clone(optOut), func(*mdns.NSEC3) bool { return !keep() })
				}
				name, typ := names[random.IntN(len(names))], types[random.IntN(len(types))]
				if full {
					name = names[round%len(names)]
				}
				what := fmt.Sprintf("seed %d, round %d: %s of %s", seed, round, mdns.TypeToString[typ], name)
				checkAbsent(t, d, what, name, typ, full)
				checkExpanded(t, d, what, name, full)
				checkCut(t, d, what, name, full)
				if t.Failed() {
					return
				}
			}
		})
	}
}

func checkAbsent(t *testing.T, d *denial, what, name string, typ uint16, full bool) {
	t.Helper()
	if typ == mdns.TypeDS && name == modelTop {
		return // The zone above is asked.
	}
	truth, _ := modelTruth(name, typ)
	p, err := d.absent(name, typ)
	if err != nil {
		t.Fatal(what, err)
	}
	got := map[absence]string{unproven: "", noName: "noname", noData: "nodata"}[p.what]
	switch {
	case p.optOut && (truth == "data" && modelExists(name) || // That of a wildcard is insecure too.
		truth == "elsewhere" && !modelUnsigned(name)):
		t.Errorf("%s: got %s by opt-out, but it is %s: %q", what, got, truth, p.shows)
	case p.optOut:
	case got != "" && got != truth:
		t.Errorf("%s: got %s, but it is %s: %q", what, got, truth, p.shows)
	case full && got == "" && truth != "data" && truth != "elsewhere":
		t.Errorf("%s: %s is not proven", what, truth)
	}
}

// modelUnsigned tells whether a name is in a zone below that is not signed.
func modelUnsigned(name string) bool {
	for _, n := range pathTo(name, modelTop) {
		if modelZone[n] == "NS" {
			return true
		}
	}
	return false
}

func checkExpanded(t *testing.T, d *denial, what, name string, full bool) {
	t.Helper()
	for e := parent(name); isWithin(e, modelTop); e = parent(e) {
		if modelZone[wildcard(e)] == "" {
			if e == modelTop {
				return
			}
			continue // There are no records to expand.
		}
		p, err := d.notExpanded(name, e)
		if err != nil {
			t.Fatal(what, err)
		}
		truth, encloser := modelTruth(name, mdns.TypeA)
		exists := modelExists(name)
		ok := !exists && truth != "elsewhere" && e == encloser
		switch {
		case p.what == closer && p.optOut && (exists || e != encloser) && !modelUnsigned(name) && isWithin(encloser, e) && encloser != e:
			// The next closer name is there only as what leads to unsigned zones.
			if next := last(name, mdns.CountLabel(e)+1); !modelOnlyUnsigned(next) {
				t.Errorf("%s: got that %s encloses it by opt-out, but %s does", what, e, encloser)
			}
		case p.what == closer && !p.optOut && !ok && !(len(d.nsec3) > 0 && truth == "elsewhere"):
			t.Errorf("%s: got that %s encloses it, but %s does", what, e, encloser)
		case full && ok && p.what != closer && modelExists(wildcard(e)):
			t.Errorf("%s: that %s encloses it is not proven", what, e)
		}
		if e == modelTop {
			return
		}
	}
}

// modelOnlyUnsigned tells whether all at and below a name is delegated unsigned.
func modelOnlyUnsigned(name string) bool {
	for owner, types := range modelZone {
		if isWithin(owner, name) && types != "NS" {
			return false
		}
	}
	return true
}

func checkCut(t *testing.T, d *denial, what, name string, full bool) {
	t.Helper()
	if name == modelTop {
		return
	}
	for n := parent(name); isWithin(n, modelTop) && n != modelTop; n = parent(n) {
		if bits(modelBits(modelZone[n])).delegates() {
			return // It is not asked for: the zone below is.
		}
	}
	p, err := d.cut(name)
	if err != nil {
		t.Fatal(what, err)
	}
	signedBelow := false
	for owner, types := range modelZone {
		signedBelow = signedBelow || types == "NS DS" && isWithin(owner, name)
	}
	types := modelZone[name]
	switch {
	case types == "NS DS" && p.what != unproven:
		t.Errorf("%s: got %d of a signed zone: %q", what, p.what, p.shows)
	case p.what == unsigned && types != "NS" && !p.optOut:
		t.Errorf("%s: got that an unsigned zone begins: %q", what, p.shows)
	case p.what == unsigned && signedBelow:
		t.Errorf("%s: got that all below is unsigned: %q", what, p.shows)
	case p.what == noCuts && signedBelow, p.what == noCut && types == "NS", p.what == noCuts && types == "NS":
		t.Errorf("%s: got that no zone begins: %q", what, p.shows)
	case full && p.what == unproven && types != "NS DS" && !bits(modelBits(types)).has(mdns.TypeSOA):
		if truth, _ := modelTruth(name, mdns.TypeDS); truth != "elsewhere" {
			t.Errorf("%s: nothing is proven of it as the top of a zone", what)
		}
	}
}

// TestNotForOthers holds records back that are about something else, RFC 6840,
// section 4.1, and RFC 5155, section 8.
func TestNotForOthers(t *testing.T) {
	t.Parallel()
	nsec := func(text string) *denial {
		d := &denial{zone: "example.", budget: &budget{}}
		for _, rr := range records(t, text) {
			d.nsec = append(d.nsec, rr.(*mdns.NSEC))
		}
		return d
	}
	hash := func(name string) string { return strings.ToLower(mdns.HashName(name, 1, 0, "")) }
	after := func(h string) string { return h[:len(h)-1] + string(rune(h[len(h)-1]+1)) }
	for _, c := range []struct {
		what, name string
		typ        uint16
		d          *denial
		want       absence
	}{
		{"types of a name", "a.example.", mdns.TypeTXT, nsec("a.example. 60 NSEC b.example. A RRSIG NSEC"), noData},
		{"a type that is there", "a.example.", mdns.TypeA, nsec("a.example. 60 NSEC b.example. A RRSIG NSEC"), unproven},
		{"an alias is there", "a.example.", mdns.TypeA, nsec("a.example. 60 NSEC b.example. CNAME RRSIG NSEC"), unproven},
		{"the alias itself is asked for", "a.example.", mdns.TypeCNAME, nsec("a.example. 60 NSEC b.example. A RRSIG NSEC"), noData},
		{"a delegation, of other types than DS", "a.example.", mdns.TypeA, nsec("a.example. 60 NSEC b.example. NS RRSIG NSEC"), unproven},
		{"a delegation, of DS", "a.example.", mdns.TypeDS, nsec("a.example. 60 NSEC b.example. NS RRSIG NSEC"), noData},
		{"the top of a zone, of DS", "example.", mdns.TypeDS, nsec("example. 60 NSEC b.example. NS SOA RRSIG NSEC"), unproven},
		{"what is below a delegation", "x.a.example.", mdns.TypeA, nsec("a.example. 60 NSEC b.example. NS RRSIG NSEC\nexample. 60 NSEC a.example. SOA NS RRSIG NSEC"), unproven},
		{"what is below a DNAME", "x.a.example.", mdns.TypeA, nsec("a.example. 60 NSEC b.example. DNAME RRSIG NSEC\nexample. 60 NSEC a.example. SOA NS RRSIG NSEC"), unproven},
		{"the last record of a zone", "z.example.", mdns.TypeA, nsec("y.example. 60 NSEC example. A RRSIG NSEC\nexample. 60 NSEC y.example. SOA NS RRSIG NSEC"), noName},
		{"a wildcard that may be there", "b.example.", mdns.TypeA, nsec("a.example. 60 NSEC c.example. A RRSIG NSEC"), unproven},
		{"a wildcard without the type", "b.example.", mdns.TypeA, nsec("*.example. 60 NSEC c.example. TXT RRSIG NSEC"), noData},
		{"a wildcard with it", "b.example.", mdns.TypeTXT, nsec("*.example. 60 NSEC c.example. TXT RRSIG NSEC"), unproven},
		{"a name beyond the next", "d.example.", mdns.TypeA, nsec("*.example. 60 NSEC c.example. TXT RRSIG NSEC"), unproven},
		{"a name of another zone", "d.org.", mdns.TypeA, nsec("a.example. 60 NSEC example. TXT RRSIG NSEC"), unproven},
		{"only names below", "b.example.", mdns.TypeA, nsec("a.example. 60 NSEC x.b.example. A RRSIG NSEC"), noData},
	} {
		p, err := c.d.absent(c.name, c.typ)
		if err != nil || p.what != c.want {
			t.Errorf("%s: got %d, %q, %v, want %d", c.what, p.what, p.shows, err, c.want)
		}
	}
	rr3 := func(text string) (list []*mdns.NSEC3) {
		for _, rr := range records(t, text) {
			list = append(list, rr.(*mdns.NSEC3))
		}
		return list
	}
	a, top := hash("a.example."), hash("example.")
	for what, n := range map[string]int{
		a + ".example. 60 NSEC3 1 0 0 - " + after(a) + " A":                                                                   1,
		a + ".example. 60 NSEC3 2 0 0 - " + after(a) + " A":                                                                   0, // An unknown hash.
		a + ".example. 60 NSEC3 1 2 0 - " + after(a) + " A":                                                                   0, // An unknown flag.
		a + ".x.example. 60 NSEC3 1 0 0 - " + after(a) + " A":                                                                 0, // Of a zone below.
		"abc.example. 60 NSEC3 1 0 0 - " + after(a) + " A":                                                                    0, // No hash.
		a + ".example. 60 NSEC3 1 0 0 - " + after(a) + " A\n" + top + ".example. 60 NSEC3 1 0 5 - " + after(top) + " A":       1, // Others are hashed otherwise.
		a + ".example. 60 NSEC3 1 1 0 AB " + after(a) + " A\n" + top + ".example. 60 NSEC3 1 0 0 AB " + after(top) + " A":     2,
		a + ".example. 60 NSEC3 1 0 0 AABB " + after(a) + " A\n" + top + ".example. 60 NSEC3 1 0 0 AA " + after(top) + " SOA": 1,
	} {
		if got := sameHashing("example.", rr3(what)); len(got) != n {
			t.Errorf("%s: got %d records that count, want %d", what, len(got), n)
		}
	}
	d := &denial{zone: "example.", budget: &budget{spent: Cost{Hashes: hashesMax}}, nsec3: rr3(a + ".example. 60 NSEC3 1 0 0 - " + after(a) + " A")}
	if _, err := d.absent("x.example.", mdns.TypeA); !errors.Is(err, errBudget) {
		t.Errorf("got %v without budget", err)
	}
}
