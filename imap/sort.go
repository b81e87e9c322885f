package imap

// sortKeysMax bounds the criteria of one SORT: more than there are different ones
// in both directions is no sensible order.
const sortKeysMax = 20

// SortKey is one criterion of SORT (RFC 5256, section 3; RFC 5957, section 4).
type SortKey struct {
	Key     string // In upper case, of the grammar: "SUBJECT".
	Reverse bool   // Descending.
}

// SortProgram is how SORT orders messages: by the first criterion, then by the
// second among those that are equal, and so on. What is equal in all of them is in
// the order of the mailbox.
type SortProgram []SortKey

// sortKeys are the criteria that exist.
var sortKeys = map[string]bool{
	"ARRIVAL": true, "CC": true, "DATE": true, "FROM": true, "SIZE": true, "SUBJECT": true, "TO": true,
	"DISPLAYFROM": true, "DISPLAYTO": true,
}

// SortProgram reads the criteria of SORT:
//
//	sort-criteria = "(" sort-criterion *(SP sort-criterion) ")"
//	sort-criterion = ["REVERSE" SP] sort-key
func (d *Decoder) SortProgram() SortProgram {
	var list SortProgram
	d.List(func() {
		k := SortKey{Reverse: d.TakeWord("REVERSE")}
		if k.Reverse {
			d.SP()
		}
		k.Key = d.Word()
		switch {
		case d.err != nil:
		case !sortKeys[k.Key]:
			d.Fail("unknown SORT criterion %+q", k.Key)
		case len(list) == sortKeysMax:
			d.FailWith(No("LIMIT", "too many SORT criteria"))
		}
		list = append(list, k)
	})
	if d.err != nil {
		return nil
	}
	return list
}

// Append appends the criteria as a client writes them.
func (p SortProgram) Append(b []byte) []byte {
	b = append(b, '(')
	for i, k := range p {
		if i > 0 {
			b = append(b, ' ')
		}
		if k.Reverse {
			b = append(b, "REVERSE "...)
		}
		b = append(b, k.Key...)
	}
	return append(b, ')')
}

// Sort is what SORT takes.
type Sort struct {
	By SortProgram
	Search
}

// Sort reads the arguments of SORT, after the space. If it fails it still returns the
// result options, as Search does.
//
//	[search-return-opts SP] sort-criteria SP search-criteria
func (d *Decoder) Sort() (s Sort) {
	opts := d.TakeSearchOptions()
	s.By = d.SortProgram()
	d.SP()
	s.Search = d.SearchCriteria()
	s.SearchOptions = opts
	return s
}

// SearchCriteria reads what SORT and THREAD end with:
//
//	search-criteria = charset 1*(SP search-key)
//
// In contrast to SEARCH there must be a charset.
func (d *Decoder) SearchCriteria() (s Search) {
	s.Charset = d.charset()
	d.SP()
	p := searchParser{d: d}
	s.Key = SearchKey{Key: SearchAnd, Keys: p.keys()}
	if d.err != nil {
		return Search{}
	}
	return s
}

// Thread is what THREAD takes.
type Thread struct {
	Algorithm string // ThreadOrderedSubject or ThreadReferences.
	Search
}

// The algorithms of THREAD (RFC 5256, section 3).
const (
	ThreadOrderedSubject = "ORDEREDSUBJECT"
	ThreadReferences     = "REFERENCES"
)

// Thread reads the arguments of THREAD, after the space:
//
//	thread-alg SP search-criteria
func (d *Decoder) Thread() (t Thread) {
	t.Algorithm = d.Word()
	if d.err == nil && t.Algorithm != ThreadOrderedSubject && t.Algorithm != ThreadReferences {
		d.Fail("unknown THREAD algorithm %+q", t.Algorithm)
	}
	d.SP()
	t.Search = d.SearchCriteria()
	return t
}
