package dnstest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// SignedZone is one zone of a Tree.
type SignedZone struct {
	Name string // With or without the dot at its end; "." is the root.

	// Text is its records, as in a zone file whose origin is Name. SOA and NS of the
	// zone, and what delegates the zones below it, are added.
	Text string

	Unsigned bool  // It has no keys, and no signatures.
	NoDS     bool  // The zone above says that it is unsigned, whether or not it is.
	Keys     []Key // Empty: a key-signing and a zone-signing key of the usual algorithm.
	NSEC3    *NSEC3
	Trap     Trap
}

// NSEC3 is how a zone denies names (RFC 5155); without it by NSEC.
type NSEC3 struct {
	Iterations uint16
	Salt       string // In hexadecimal.
	OptOut     bool   // Unsigned delegations are left out.
}

// Trap makes signatures expensive to check, as CVE-2023-50387 does: what is good
// comes after much that isn't.
type Trap struct {
	Keys       int // So many keys that sign nothing have the tag of each that does.
	Signatures int // So many wrong signatures come before each right one.
	DS         int // So many DS records with the tag of the key come before each right one.
}

// Tree is the DNS from the root down, in signed zones, and a server that looks up
// names in it for others. It does not validate: signatures are for who asks for them
// (the DO bit), to be checked by them. It may be changed at any time, and is safe
// for concurrent use.
//
// Its failures, faults and counts are those of a Zone.
type Tree struct {
	front

	// Guarded by the front's mutex.
	now     time.Time
	zones   map[string]*treeZone // By name, in lower case.
	damaged map[key]Damage
	spoiled map[string]Damage // By zone.
	sigs    map[sigKey][]mdns.RR
	secrets map[secretKey]secret
	total   int // Queries answered.
}

// treeZone is a zone with what is made from it.
type treeZone struct {
	SignedZone
	name    string    // In lower case, with the dot at its end.
	parent  *treeZone // Nil for the root.
	keys    []zoneKey
	records map[string]map[uint16][]mdns.RR // By owner, in lower case.
	exists  map[string]bool                 // Names with records, and those above them in the zone.
	chain   []denial                        // In its order. Empty if unsigned.
}

// NewTree returns a tree of zones whose signatures are made an hour before now, and
// hold for two weeks. There is always a root, signed if it isn't among zones.
// Each zone is delegated from the lowest one above it.
func NewTree(now time.Time, zones ...SignedZone) (*Tree, error) {
	t := &Tree{
		front:   newFront(),
		now:     now,
		zones:   map[string]*treeZone{},
		damaged: map[key]Damage{},
		spoiled: map[string]Damage{},
		secrets: map[secretKey]secret{},
	}
	return t, t.Replace(append([]SignedZone{{Name: "."}}, zones...)...)
}

// Replace puts zones in the place of those of the same names, or beside the others.
// Keys with the labels of keys before stay the same.
func (t *Tree) Replace(zones ...SignedZone) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, spec := range zones {
		name := canonical(mdns.Fqdn(spec.Name))
		t.zones[name] = &treeZone{SignedZone: spec, name: name}
	}
	t.sigs = map[sigKey][]mdns.RR{}
	for _, z := range t.zones {
		if err := t.parse(z); err != nil {
			return fmt.Errorf("zone %s: %w", z.name, err)
		}
	}
	for _, z := range t.zones {
		t.delegate(z)
	}
	for _, z := range t.zones {
		z.finish()
	}
	return nil
}

// parse reads the records of a zone, and makes its keys.
func (t *Tree) parse(z *treeZone) error {
	z.records = map[string]map[uint16][]mdns.RR{}
	parser := mdns.NewZoneParser(strings.NewReader(z.Text), z.name, "")
	parser.SetDefaultTTL(ttlDefault)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		z.add(rr)
	}
	if err := parser.Err(); err != nil {
		return fmt.Errorf("parsing: %w", err)
	}
	header := func(typ uint16) mdns.RR_Header {
		return mdns.RR_Header{Name: z.name, Rrtype: typ, Class: mdns.ClassINET, Ttl: ttlDefault}
	}
	if z.records[z.name][mdns.TypeSOA] == nil {
		z.add(&mdns.SOA{Hdr: header(mdns.TypeSOA), Ns: "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: 60})
	}
	if z.records[z.name][mdns.TypeNS] == nil {
		z.add(&mdns.NS{Hdr: header(mdns.TypeNS), Ns: "ns.invalid."})
	}
	if z.Unsigned {
		z.keys = nil
		return nil
	}
	return t.makeKeys(z)
}

// add adds a record.
func (z *treeZone) add(rr mdns.RR) {
	h := rr.Header()
	name := canonical(h.Name)
	if z.records[name] == nil {
		z.records[name] = map[uint16][]mdns.RR{}
	}
	z.records[name][h.Rrtype] = append(z.records[name][h.Rrtype], rr)
}

// delegate has the zone above a zone say where it is, and what its keys are.
func (t *Tree) delegate(z *treeZone) {
	if z.name == "." {
		return
	}
	z.parent = t.zoneOf(z.name, mdns.TypeDS)
	for _, rr := range z.records[z.name][mdns.TypeNS] {
		z.parent.add(mdns.Copy(rr))
	}
	if !z.NoDS {
		for _, ds := range z.delegationSigners() {
			z.parent.add(ds)
		}
	}
}

// finish makes what needs all records.
func (z *treeZone) finish() {
	z.exists = map[string]bool{}
	for owner := range z.records {
		for _, n := range ancestors(owner) {
			z.exists[n] = true
			if n == z.name {
				break
			}
		}
	}
	if !z.Unsigned {
		z.chain = z.denials()
	}
}

// zoneOf returns the zone that has the records of a type of a name: DS records of
// the top of a zone are in the one above it (RFC 4035, section 3.1.4.1).
func (t *Tree) zoneOf(name string, typ uint16) *treeZone {
	names := ancestors(name)
	if typ == mdns.TypeDS && len(names) > 1 && t.zones[name] != nil {
		names = names[1:]
	}
	for _, n := range names {
		if z := t.zones[n]; z != nil {
			return z
		}
	}
	return nil // There is always a root.
}

// Anchors returns DS records of the root, as text: the trust anchors of the tree.
func (t *Tree) Anchors() (list []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ds := range t.zones["."].delegationSigners() {
		list = append(list, ds.String())
	}
	return list
}

// Damage damages all records of a name, of a type as "MX" or of all types if it is
// empty, or mends them with Whole.
func (t *Tree) Damage(typ, name string, d Damage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.damaged[newKey(typ, name)] = d
}

// DamageZone damages all records that a zone answers with, or mends them with
// Whole.
func (t *Tree) DamageZone(name string, d Damage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spoiled[canonical(mdns.Fqdn(name))] = d
}

// damage returns what is wrong with records of a zone.
func (t *Tree) damage(z *treeZone, k key) Damage {
	if d := t.damaged[k]; d != Whole {
		return d
	}
	if d := t.damaged[key{name: k.name}]; d != Whole {
		return d
	}
	return t.spoiled[z.name]
}

// Total returns how many queries were answered, of all names and types.
func (t *Tree) Total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// Dial connects to the server, see Zone.Dial.
func (t *Tree) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return dial(ctx, network, t)
}

// Serve starts a server on a free port of 127.0.0.1.
func (t *Tree) Serve(ctx context.Context) (*Server, error) { return serve(ctx, t) }

// handle implements backend.
func (t *Tree) handle(packet []byte, network string) (replies [][]byte, delay time.Duration) {
	return t.front.handle(packet, network, t.reply)
}
