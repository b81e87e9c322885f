package imap

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

// Names of search keys that are not words of the grammar.
const (
	SearchAnd = "AND" // A list in parentheses, and the program itself.
	SearchSeq = "SEQ" // A set of sequence numbers.
)

const (
	// searchKeysMax bounds the keys of one SEARCH, in all lists together.
	searchKeysMax = 1000

	// searchDepthMax bounds how deep lists, NOT and OR may be nested.
	searchDepthMax = 50
)

// SearchKey is a node of a search program (RFC 9051, section 6.4.4). Which of
// its fields are used depends on Key.
type SearchKey struct {
	Key    string      // In upper case: a word of the grammar, SearchAnd or SearchSeq.
	Keys   []SearchKey // Operands: of AND any number, of NOT one, of OR two.
	Header string      // Name of the field, for HEADER.
	Text   string      // String to look for, in UTF-8; or the keyword, for KEYWORD and UNKEYWORD; or an object id; or the name of a FILTER.
	Date   Date        // For BEFORE, ON, SINCE and those with SENT.
	Size   int64       // In bytes, for LARGER and SMALLER; the mod-sequence for MODSEQ; seconds for YOUNGER and OLDER.
	Set    NumSet      // For UID and SearchSeq.
}

// searchArg tells what follows a search key.
type searchArg uint8

const (
	argNone searchArg = iota + 1
	argText
	argKeyword
	argDate
	argSize
	argSet
	argHeader
	argKey
	argTwoKeys
	argModSeq
	argObject
	argSeconds
	argFilter
)

// searchArgs has every search key of RFC 3501 and RFC 9051, and those of RFC 7162, RFC
// 8474, RFC 5032, RFC 8514 and RFC 5466.
var searchArgs = map[string]searchArg{
	"ALL": argNone, "ANSWERED": argNone, "DELETED": argNone, "DRAFT": argNone, "FLAGGED": argNone, "SEEN": argNone,
	"UNANSWERED": argNone, "UNDELETED": argNone, "UNDRAFT": argNone, "UNFLAGGED": argNone, "UNSEEN": argNone,
	"NEW": argNone, "OLD": argNone, "RECENT": argNone,
	"BCC": argText, "BODY": argText, "CC": argText, "FROM": argText, "SUBJECT": argText, "TEXT": argText, "TO": argText,
	"KEYWORD": argKeyword, "UNKEYWORD": argKeyword,
	"BEFORE": argDate, "ON": argDate, "SINCE": argDate, "SENTBEFORE": argDate, "SENTON": argDate, "SENTSINCE": argDate,
	"LARGER": argSize, "SMALLER": argSize,
	"UID": argSet, "HEADER": argHeader, "NOT": argKey, "OR": argTwoKeys, "MODSEQ": argModSeq,
	"EMAILID": argObject, "THREADID": argObject,
	"YOUNGER": argSeconds, "OLDER": argSeconds,
	"SAVEDBEFORE": argDate, "SAVEDON": argDate, "SAVEDSINCE": argDate, "SAVEDATESUPPORTED": argNone,
	"FILTER": argFilter,
}

// Search is what SEARCH takes.
type Search struct {
	SearchOptions
	Charset string    // In upper case; empty if not given. Other than US-ASCII and UTF-8 the decoder refuses.
	Key     SearchKey // Always SearchAnd.
}

// Search reads the arguments of SEARCH, after the space. If it fails it still
// returns the options, which were before what is wrong: a search that is refused may
// have to empty the saved result.
//
//	search = "SEARCH" [search-return-opts] SP search-program
//	search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)
func (d *Decoder) Search() Search {
	s := Search{SearchOptions: d.TakeSearchOptions()}
	if d.TakeWord("CHARSET") {
		if d.NoCharset {
			d.Fail("text is UTF-8 after ENABLE UTF8=ACCEPT, and no charset is named")
		}
		d.SP()
		s.Charset = upper(d.AString())
		d.SP()
	}
	p := searchParser{d: d, foreign: !knownCharset(s.Charset)}
	s.Key = SearchKey{Key: SearchAnd, Keys: p.keys()}
	if p.foreign && d.err == nil {
		err := No(badCharset, charsetText)
		if s.Key.Has("FILTER") {
			err.Type = "BAD" // RFC 5466, section 3.1.
		}
		d.FailWith(err)
	}
	if d.err != nil {
		return Search{SearchOptions: s.SearchOptions}
	}
	return s
}

// What a client gets for a charset that we can't search in.
const (
	badCharset  = "BADCHARSET (US-ASCII UTF-8)"
	charsetText = "only these charsets are supported"
)

// knownCharset tells whether we can search in a charset; empty is the default.
func knownCharset(name string) bool { return name == "" || name == "US-ASCII" || name == "UTF-8" }

// charset reads the name of a charset that we can search in.
func (d *Decoder) charset() string {
	name := upper(d.AString())
	if d.err == nil && !knownCharset(name) {
		d.FailWith(No(badCharset, charsetText))
	}
	return name
}

// searchParser reads search keys and counts them.
type searchParser struct {
	d            *Decoder
	foreign      bool // The texts are in a charset that we don't know.
	count, depth int
}

// keys reads key *(SP key).
func (p *searchParser) keys() []SearchKey {
	list := []SearchKey{p.key()}
	for p.d.TakeSP() {
		list = append(list, p.key())
	}
	return list
}

func (p *searchParser) key() SearchKey {
	d := p.d
	p.count++
	p.depth++
	defer func() { p.depth-- }()
	if p.count > searchKeysMax || p.depth > searchDepthMax {
		d.FailWith(No("LIMIT", "search program has too many keys"))
		return SearchKey{}
	}
	switch c := d.peek(); {
	case c == '(':
		return p.list()
	case isDigit(c) || c == '*' || c == '$':
		return SearchKey{Key: SearchSeq, Set: d.NumSet()}
	}
	word := d.Word()
	arg := searchArgs[word]
	if arg == 0 {
		d.Fail("unknown search key %+q", word)
		return SearchKey{}
	}
	k := SearchKey{Key: word}
	if arg != argNone {
		d.SP()
	}
	p.argument(&k, arg)
	return k
}

// list reads keys in parentheses.
func (p *searchParser) list() SearchKey {
	k := SearchKey{Key: SearchAnd}
	p.d.List(func() { k.Keys = append(k.Keys, p.key()) })
	return k
}

func (p *searchParser) argument(k *SearchKey, arg searchArg) {
	d := p.d
	switch arg {
	case argText:
		k.Text = p.text()
	case argKeyword:
		k.Text = d.Keyword()
	case argDate:
		k.Date = d.Date()
	case argSize:
		k.Size = d.Number64()
	case argModSeq:
		k.Size = d.searchModSeq()
	case argObject:
		k.Text = d.ObjectID()
	case argSeconds:
		k.Size = int64(d.NonZero())
	case argFilter:
		k.Text = d.FilterName()
	case argSet:
		k.Set = d.NumSet()
	case argHeader:
		k.Header = d.AString()
		d.SP()
		k.Text = p.text()
	case argKey:
		k.Keys = []SearchKey{p.key()}
	case argTwoKeys:
		k.Keys = []SearchKey{p.key(), {}}
		d.SP()
		k.Keys[1] = p.key()
	}
}

// text reads a string to look for. One that is not UTF-8 can't be in any
// text, so the client must mean another charset.
func (p *searchParser) text() string {
	s := p.d.AString()
	if !p.foreign && !utf8.ValidString(s) {
		p.d.FailWith(No(badCharset, "search text is not UTF-8"))
	}
	return s
}

// Append appends the arguments as a client writes them, with literals as
// non-synchronizing ones.
func (s Search) Append(b []byte) []byte {
	b = s.SearchOptions.Append(b)
	if s.Charset != "" {
		b = append(append(append(b, "CHARSET "...), s.Charset...), ' ')
	}
	return appendKeys(b, s.Key.Keys)
}

// Has tells whether a key is the one of this name, or has it within.
func (k SearchKey) Has(name string) bool {
	return k.Key == name || slices.ContainsFunc(k.Keys, func(k SearchKey) bool { return k.Has(name) })
}

// Append appends the key as a client writes it.
func (k SearchKey) Append(b []byte) []byte {
	switch k.Key {
	case SearchAnd:
		return append(appendKeys(append(b, '('), k.Keys), ')')
	case SearchSeq:
		return k.Set.Append(b)
	}
	b = append(b, k.Key...)
	arg := searchArgs[k.Key]
	if arg != argNone {
		b = append(b, ' ')
	}
	switch arg {
	case argText:
		b = AppendString(b, k.Text, true)
	case argKeyword, argObject, argFilter:
		b = append(b, k.Text...)
	case argDate:
		b = k.Date.Append(b)
	case argSize, argModSeq, argSeconds:
		b = strconv.AppendInt(b, k.Size, 10)
	case argSet:
		b = k.Set.Append(b)
	case argHeader:
		b = append(AppendAString(b, k.Header, true), ' ')
		b = AppendString(b, k.Text, true)
	case argKey, argTwoKeys:
		b = appendKeys(b, k.Keys)
	}
	return b
}

func appendKeys(b []byte, keys []SearchKey) []byte {
	for i, k := range keys {
		if i > 0 {
			b = append(b, ' ')
		}
		b = k.Append(b)
	}
	return b
}
