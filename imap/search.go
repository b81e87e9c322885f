package imap

import (
	"slices"
	"strconv"
	"strings"
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
	Text   string      // String to look for, in UTF-8; or the keyword, for KEYWORD and UNKEYWORD; or an object id.
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
)

// searchArgs has every search key of RFC 3501 and RFC 9051, and those of RFC 7162, RFC
// 8474, RFC 5032 and RFC 8514.
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
}

// SearchReturn is the set of result options of SEARCH (RFC 4731, RFC 5182).
type SearchReturn uint8

// The result options.
const (
	ReturnMin SearchReturn = 1 << iota
	ReturnMax
	ReturnAll
	ReturnCount
	ReturnSave
)

var returnNames = []struct {
	name string
	bit  SearchReturn
}{{"MIN", ReturnMin}, {"MAX", ReturnMax}, {"ALL", ReturnAll}, {"COUNT", ReturnCount}, {"SAVE", ReturnSave}}

// Search is what SEARCH takes.
type Search struct {
	Extended bool         // RETURN was given: the answer is an ESEARCH response also in IMAP4rev1.
	Return   SearchReturn // ReturnAll for "RETURN ()", as the RFC says; 0 if not Extended.
	Charset  string       // In upper case; empty if not given. Other than US-ASCII and UTF-8 the decoder refuses.
	Key      SearchKey    // Always SearchAnd.
}

// Search reads the arguments of SEARCH, after the space.
func (d *Decoder) Search() Search {
	var s Search
	if d.TakeWord("RETURN") {
		d.Needs("ESEARCH")
		s.Extended = true
		d.SP()
		s.Return = d.searchReturn()
		d.SP()
	}
	if d.TakeWord("CHARSET") {
		d.SP()
		s.Charset = d.charset()
		d.SP()
	}
	p := searchParser{d: d}
	s.Key = SearchKey{Key: SearchAnd, Keys: p.keys()}
	if d.err != nil {
		return Search{}
	}
	return s
}

func (d *Decoder) searchReturn() SearchReturn {
	var bits SearchReturn
	n := d.ListOrEmpty(func() {
		word := d.Word()
		for _, o := range returnNames {
			if o.name == word {
				bits |= o.bit
				return
			}
		}
		d.Fail("unknown SEARCH result option %+q", word)
	})
	if n == 0 {
		return ReturnAll
	}
	return bits
}

// charset reads the name of a charset that we can search in.
func (d *Decoder) charset() string {
	name := upper(d.AString())
	if d.err == nil && name != "US-ASCII" && name != "UTF-8" {
		d.FailWith(No("BADCHARSET (US-ASCII UTF-8)", "only these charsets are supported"))
	}
	return name
}

// searchParser reads search keys and counts them.
type searchParser struct {
	d            *Decoder
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
		k.Text = d.searchText()
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
	case argSet:
		k.Set = d.NumSet()
	case argHeader:
		k.Header = d.AString()
		d.SP()
		k.Text = d.searchText()
	case argKey:
		k.Keys = []SearchKey{p.key()}
	case argTwoKeys:
		k.Keys = []SearchKey{p.key(), {}}
		d.SP()
		k.Keys[1] = p.key()
	}
}

// searchText reads a string to look for. One that is not UTF-8 can't be in any
// text, so the client must mean another charset.
func (d *Decoder) searchText() string {
	s := d.AString()
	if strings.ToValidUTF8(s, "") != s {
		d.FailWith(No("BADCHARSET (US-ASCII UTF-8)", "search text is not UTF-8"))
	}
	return s
}

// Append appends the arguments as a client writes them, with literals as
// non-synchronizing ones.
func (s Search) Append(b []byte) []byte {
	if s.Extended {
		b = append(b, "RETURN ("...)
		for _, o := range returnNames {
			if s.Return&o.bit == 0 {
				continue
			}
			if b[len(b)-1] != '(' {
				b = append(b, ' ')
			}
			b = append(b, o.name...)
		}
		b = append(b, ") "...)
	}
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
	case argKeyword, argObject:
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
