package imap

import (
	"cmp"
	"slices"
	"strconv"
)

// Star is "*" in a NumRange: the largest number in use. No message has it as
// number, since they begin with 1.
const Star uint32 = 0

// numSetRangesMax bounds the ranges of a set. A line of 8 KiB has room for
// 4,096; a set that was put together by a program may have more.
const numSetRangesMax = 10_000

// NumRange is a range of sequence numbers or UIDs, both ends included. The ends
// may be in any order, as a client may write "5:2" or "*:4".
type NumRange struct {
	First, Last uint32 // Star for "*".
}

// NumSet is a sequence-set (RFC 9051, section 9): numbers in any order, which
// may overlap. Whether they are sequence numbers or UIDs depends on the command.
type NumSet struct {
	Saved  bool // "$": the result of the last SEARCH with SAVE (RFC 5182). Ranges is empty then.
	Ranges []NumRange
}

// NumSet reads a sequence-set.
func (d *Decoder) NumSet() NumSet {
	if d.Take('$') {
		d.Needs("SEARCHRES")
		return NumSet{Saved: true}
	}
	var set NumSet
	for d.err == nil {
		r := NumRange{First: d.seqNumber()}
		r.Last = r.First
		if d.Take(':') {
			r.Last = d.seqNumber()
		}
		set.Ranges = append(set.Ranges, r)
		if len(set.Ranges) > numSetRangesMax {
			d.Fail("too many ranges in set")
		}
		if !d.Take(',') {
			break
		}
	}
	if d.err != nil {
		return NumSet{}
	}
	return set
}

func (d *Decoder) seqNumber() uint32 {
	if d.Take('*') {
		return Star
	}
	return d.NonZero()
}

// ParseNumSet parses all of s as a sequence-set.
func ParseNumSet(s string) (NumSet, error) {
	d := NewDecoder(s)
	d.Pedantic = true
	set := d.NumSet()
	return set, d.End()
}

// Resolve returns the ranges with "*" replaced by largest, sorted and joined:
// each range ascending, none touching the next. "*" of a larger number, as in
// "500:*" for a mailbox that ends at 9, includes the last message, as the RFC
// says. The result is nil for a Saved set.
func (s NumSet) Resolve(largest uint32) []NumRange {
	out := make([]NumRange, 0, len(s.Ranges))
	for _, r := range s.Ranges {
		if r.First == Star {
			r.First = largest
		}
		if r.Last == Star {
			r.Last = largest
		}
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First
		}
		out = append(out, r)
	}
	return joinRanges(out)
}

// joinRanges sorts ascending ranges and joins those that overlap or touch.
func joinRanges(list []NumRange) []NumRange {
	slices.SortFunc(list, func(a, b NumRange) int { return cmp.Compare(a.First, b.First) })
	out := list[:0]
	for _, r := range list {
		if n := len(out); n > 0 && uint64(r.First) <= uint64(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Largest returns the largest number that is named explicitly, and whether "*"
// occurs.
func (s NumSet) Largest() (n uint32, star bool) {
	for _, r := range s.Ranges {
		n = max(n, r.First, r.Last)
		star = star || r.First == Star || r.Last == Star
	}
	return n, star
}

// Append appends the set as it is written on the wire.
func (s NumSet) Append(b []byte) []byte {
	if s.Saved {
		return append(b, '$')
	}
	for i, r := range s.Ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.append(b)
	}
	return b
}

func (s NumSet) String() string { return string(s.Append(nil)) }

func (r NumRange) append(b []byte) []byte {
	b = appendSeqNumber(b, r.First)
	if r.First != r.Last {
		b = append(b, ':')
		b = appendSeqNumber(b, r.Last)
	}
	return b
}

func appendSeqNumber(b []byte, n uint32) []byte {
	if n == Star {
		return append(b, '*')
	}
	return strconv.AppendUint(b, uint64(n), 10)
}

// AppendNums appends numbers as a set, in the order given, with runs of
// ascending neighbours as ranges: 1, 2, 3, 7 become "1:3,7". It keeps the order
// since that of COPYUID's two sets must agree.
func AppendNums[T ~uint32 | ~int64](b []byte, nums []T) []byte {
	for i := 0; i < len(nums); {
		j := i + 1
		for j < len(nums) && nums[j] == nums[j-1]+1 {
			j++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(nums[i]), 10)
		if j > i+1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(nums[j-1]), 10)
		}
		i = j
	}
	return b
}
