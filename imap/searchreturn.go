package imap

import (
	"strconv"
	"strings"
)

// SearchReturn is the set of result options of SEARCH (RFC 4731, RFC 5182, RFC 5267,
// RFC 9394).
type SearchReturn uint16

// The result options.
const (
	ReturnMin SearchReturn = 1 << iota
	ReturnMax
	ReturnAll
	ReturnCount
	ReturnSave
	ReturnPartial // See SearchOptions.Partial.
	ReturnUpdate  // See SearchOptions.Update.
	ReturnContext // A hint that more of the same will be asked for.
)

var returnNames = []struct {
	name string
	bit  SearchReturn
}{
	{"MIN", ReturnMin},
	{"MAX", ReturnMax},
	{"ALL", ReturnAll},
	{"COUNT", ReturnCount},
	{"SAVE", ReturnSave},
	{"PARTIAL", ReturnPartial},
	{"UPDATE", ReturnUpdate},
	{"CONTEXT", ReturnContext},
}

// SearchOptions is what comes after RETURN.
type SearchOptions struct {
	Extended bool         // RETURN was given: the answer is an ESEARCH response also in IMAP4rev1.
	Return   SearchReturn // ReturnAll for "RETURN ()", as the RFC says; 0 if not Extended.
	Partial  PartialRange // With ReturnPartial.

	// Update has what is to be fetched of messages that are delivered and fulfil the
	// search, with ReturnUpdate (RFC 5465, section 7).
	Update []FetchItem
}

// Saves tells whether what is found is to be saved, as "$" (RFC 5182).
func (o SearchOptions) Saves() bool { return o.Return&ReturnSave != 0 }

// TakeSearchOptions reads result options and the space behind them, if there are
// any:
//
//	search-return-opts = "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"
func (d *Decoder) TakeSearchOptions() (o SearchOptions) {
	if !d.TakeWord("RETURN") {
		return o
	}
	d.Needs("ESEARCH")
	o.Extended = true
	d.SP()
	if d.ListOrEmpty(func() { d.searchOption(&o) }) == 0 {
		o.Return = ReturnAll
	}
	d.SP()
	return o
}

func (d *Decoder) searchOption(o *SearchOptions) {
	word := d.Word()
	bit := SearchReturn(0)
	for _, n := range returnNames {
		if n.name == word {
			bit = n.bit
		}
	}
	const onlyOne = ReturnAll | ReturnPartial // RFC 9394, section 3.1.
	switch {
	case bit == 0:
		d.Fail("unknown SEARCH result option %+q", word)
	case bit&onlyOne != 0 && o.Return&onlyOne != 0:
		d.Fail("only one of ALL and PARTIAL is possible")
	}
	o.Return |= bit
	switch bit {
	case ReturnPartial:
		d.SP()
		o.Partial = d.PartialRange()
	case ReturnUpdate:
		d.Needs("CONTEXT")
		if rest := d.text[d.pos:]; strings.HasPrefix(rest, "(") || strings.HasPrefix(rest, " (") {
			d.Take(' ')
			o.Update = d.FetchItems()
		}
	}
}

// PartialRange is a range of results, RFC 9394, section 4. The first result is 1.
type PartialRange struct {
	First, Last uint32 // In any order, as the client wrote them.
	FromEnd     bool   // Counted from the last: it is written as -1.
}

// PartialRange reads a range:
//
//	partial-range = nz-number ":" nz-number / "-" nz-number ":-" nz-number
func (d *Decoder) PartialRange() (p PartialRange) {
	p.FromEnd = d.Take('-')
	p.First = d.NonZero()
	d.Expect(':')
	if p.FromEnd {
		d.Expect('-')
	}
	p.Last = d.NonZero()
	if d.err != nil {
		return PartialRange{}
	}
	return p
}

// Append appends the range as the client wrote it.
func (p PartialRange) Append(b []byte) []byte {
	sign := ""
	if p.FromEnd {
		sign = "-"
	}
	b = strconv.AppendUint(append(b, sign...), uint64(p.First), 10)
	return strconv.AppendUint(append(append(b, ':'), sign...), uint64(p.Last), 10)
}

// Within returns the range of n results as places in a list of them: from is
// included, to is not. For a range with none of them both are the same.
func (p PartialRange) Within(n int) (from, to int) {
	first, last := int64(min(p.First, p.Last)), int64(max(p.First, p.Last))
	first, last = min(first-1, int64(n)), min(last, int64(n))
	if p.FromEnd {
		return n - int(last), n - int(first)
	}
	return int(first), int(last)
}

// Append appends the options as a client writes them, with the space behind them;
// nothing if there are none.
func (o SearchOptions) Append(b []byte) []byte {
	if !o.Extended {
		return b
	}
	b = append(b, "RETURN ("...)
	for _, n := range returnNames {
		if o.Return&n.bit == 0 {
			continue
		}
		if b[len(b)-1] != '(' {
			b = append(b, ' ')
		}
		b = append(b, n.name...)
		switch n.bit {
		case ReturnPartial:
			b = o.Partial.Append(append(b, ' '))
		case ReturnUpdate:
			b = appendItems(b, o.Update)
		}
	}
	return append(b, ") "...)
}

// appendItems appends the names of items in parentheses, if there are any.
func appendItems(b []byte, items []FetchItem) []byte {
	if len(items) == 0 {
		return b
	}
	sep := " ("
	for _, item := range items {
		b = item.Append(append(b, sep...))
		sep = " "
	}
	return append(b, ')')
}
