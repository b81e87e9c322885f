package imap

import (
	"slices"
	"strings"
)

// ModSeq reads a mod-sequence-value, RFC 7162, section 7: a number above 0.
// Unless Pedantic 0 is let pass, as clients send that have no value yet.
func (d *Decoder) ModSeq() int64 {
	n := d.Number64()
	if n == 0 && d.Pedantic {
		d.Fail("expected a mod-sequence above 0")
	}
	return n
}

// FetchModifiers are those of FETCH, RFC 7162, section 3.1.4.1 and 3.2.6, and RFC 9394,
// section 3.3.
type FetchModifiers struct {
	Changed  bool          // CHANGEDSINCE was given.
	Since    int64         // Only messages with a higher mod-sequence.
	Vanished bool          // And those that were removed since.
	Partial  *PartialRange // Only these of the messages named; then the others count. Nil: all.
}

// FetchModifiers reads optional modifiers:
//
//	fetch-modifiers = SP "(" fetch-modifier *(SP fetch-modifier) ")"
//	fetch-modifier = "CHANGEDSINCE" SP mod-sequence-value / "VANISHED" /
//	                 "PARTIAL" SP partial-range
func (d *Decoder) FetchModifiers() (m FetchModifiers) {
	if !d.TakeSP() {
		return m
	}
	d.List(func() {
		switch word := d.Word(); {
		case word == "CHANGEDSINCE" && !m.Changed:
			d.SP()
			m.Changed, m.Since = true, d.ModSeq()
		case word == "VANISHED" && !m.Vanished:
			m.Vanished = true
		case word == "PARTIAL" && m.Partial == nil:
			d.SP()
			p := d.PartialRange()
			m.Partial = &p
		default:
			d.Fail("unexpected FETCH modifier %+q", word)
		}
	})
	if m.Vanished && !m.Changed {
		d.Fail("VANISHED needs CHANGEDSINCE")
	}
	return m
}

// Unchanged reads the optional modifier of STORE, RFC 7162, section 3.1.3, and the
// space behind it. Given is false if there is none.
//
//	store-modifiers = "(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")" SP
func (d *Decoder) Unchanged() (since int64, given bool) {
	if !d.Peek('(') {
		return 0, false
	}
	d.List(func() {
		word := d.Word()
		if word != "UNCHANGEDSINCE" || given {
			d.Fail("unexpected STORE modifier %+q", word)
		}
		given = true
		d.SP()
		since = d.Number64()
	})
	d.SP()
	return since, given
}

// SelectParams are the parameters of SELECT and EXAMINE.
type SelectParams struct {
	CondStore bool
	Resync    *Resync // Nil if QRESYNC was not given.
}

// Resync is what a client knows of a mailbox, RFC 7162, section 3.2.5.
type Resync struct {
	UIDValidity uint32
	ModSeq      int64
	Known       []NumRange // UIDs, ascending ranges. Nil: all.

	// Numbers and UIDs are of messages that the client knows: as many of one as of the
	// other, ascending. UIDs is nil if that was not given.
	Numbers, UIDs []NumRange
}

// SelectParams reads optional parameters:
//
//	select-params = SP "(" select-param *(SP select-param) ")"
//	select-param = "CONDSTORE" / "QRESYNC" SP "(" uidvalidity SP
//	               mod-sequence-value [SP known-uids] [SP seq-match-data] ")"
func (d *Decoder) SelectParams() (p SelectParams) {
	if !d.TakeSP() {
		return p
	}
	d.List(func() {
		switch word := d.Word(); {
		case word == "CONDSTORE" && !p.CondStore:
			p.CondStore = true
		case word == "QRESYNC" && p.Resync == nil:
			d.SP()
			p.Resync = d.resync()
		default:
			d.Fail("unexpected parameter %+q", word)
		}
	})
	return p
}

func (d *Decoder) resync() *Resync {
	r := &Resync{}
	d.Expect('(')
	r.UIDValidity = d.NonZero()
	d.SP()
	r.ModSeq = d.ModSeq()
	more := d.TakeSP()
	if more && !d.Peek('(') {
		r.Known = d.knownSet()
		more = d.TakeSP()
	}
	if more {
		d.Expect('(')
		r.Numbers = d.knownSet()
		d.SP()
		r.UIDs = d.knownSet()
		d.Expect(')')
		if countOf(r.Numbers) != countOf(r.UIDs) {
			d.Fail("as many sequence numbers as UIDs are needed")
		}
	}
	d.Expect(')')
	return r
}

// knownSet reads a set of numbers in strictly ascending order.
func (d *Decoder) knownSet() []NumRange {
	set := d.NumSet()
	if set.Saved {
		d.Fail("expected a set of numbers")
	}
	last := uint32(0)
	for _, r := range set.Ranges {
		if r.First <= last || r.Last < r.First {
			d.Fail("numbers must be ascending, without *")
			return nil
		}
		last = r.Last
	}
	return set.Ranges
}

// countOf returns how many numbers there are in ascending ranges.
func countOf(ranges []NumRange) (n uint64) {
	for _, r := range ranges {
		n += uint64(r.Last) - uint64(r.First) + 1
	}
	return n
}

// Without returns the numbers in ascending ranges that are not among others, which
// are ascending.
func Without[T ~uint32](ranges []NumRange, others []T) (rest []NumRange) {
	for _, r := range ranges {
		at, _ := slices.BinarySearch(others, T(r.First))
		next := uint64(r.First)
		for ; at < len(others) && uint32(others[at]) <= r.Last; at++ {
			if n := uint64(others[at]); n > next {
				rest = append(rest, NumRange{uint32(next), uint32(n - 1)})
			}
			next = uint64(others[at]) + 1
		}
		if next <= uint64(r.Last) {
			rest = append(rest, NumRange{uint32(next), r.Last})
		}
	}
	return rest
}

// Contains tells whether a number is in ascending ranges.
func Contains(ranges []NumRange, n uint32) bool {
	at, found := slices.BinarySearchFunc(ranges, n, func(r NumRange, n uint32) int {
		switch {
		case r.Last < n:
			return -1
		case r.First > n:
			return 1
		}
		return 0
	})
	return found && at < len(ranges)
}

// searchModSeq reads what follows MODSEQ in SEARCH, RFC 7162, section 3.1.5. Which
// flag it is to be about does not matter: a message has one mod-sequence.
//
//	search-modsequence = "MODSEQ" [search-modseq-ext] SP mod-sequence-valzer
//	search-modseq-ext = SP entry-name SP entry-type-req
func (d *Decoder) searchModSeq() int64 {
	if d.Peek('"') {
		name := d.String()
		if !strings.HasPrefix(strings.ToLower(name), "/flags/") {
			d.Fail("unknown entry %+q", name)
		}
		d.SP()
		if kind := d.Word(); kind != "PRIV" && kind != "SHARED" && kind != "ALL" {
			d.Fail("expected priv, shared or all")
		}
		d.SP()
	}
	return d.Number64()
}

// objectIDMax bounds an object id in bytes, RFC 8474, section 7.
const objectIDMax = 255

// ObjectID reads an object id.
func (d *Decoder) ObjectID() string {
	s := d.takeWhile(func(c byte) bool { return isAtomChar(c) && isObjectChar(c) })
	if s == "" || len(s) > objectIDMax {
		d.Fail("expected an object id")
	}
	return s
}

func isObjectChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '-'
}
