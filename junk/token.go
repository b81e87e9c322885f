package junk

import (
	"io"
	"unicode"
	"unicode/utf8"
)

// tokens gathers the different words of a message from its characters.
//
// A word is of letters and digits, with apostrophes inside, in lower case. Those
// that are numbers, or look as if made at random, are left out: hardly any comes
// again. Scripts without spaces between words are looked at in pairs of characters.
type tokens struct {
	grams Grams
	seen  map[string]struct{}
	full  bool // There are wordsMax.

	prefix string // Of words in a header field.
	min    int    // Characters of a word.

	word       []byte // Being read.
	chars      int
	apostrophe bool // One came last.
	long       bool // The word passes wordMax.
	previous   rune // The last character, if of a script without spaces.

	// The last two words, for pairs and triples.
	last, before []byte
	gram         []byte // Reused.
}

// begin begins a field or a text, whose words have nothing to do with those before.
func (t *tokens) begin(prefix string, least int) {
	t.end()
	t.prefix, t.min = prefix, least
	t.last, t.before = t.last[:0], t.before[:0]
}

// char takes the next character.
func (t *tokens) char(r rune) {
	switch {
	case r < utf8.RuneSelf:
		t.ascii(byte(r))
	case unspaced(r):
		t.pair(r)
	case unicode.IsLetter(r) || unicode.IsDigit(r):
		t.letter(unicode.ToLower(r))
	case r == '\u2019': // Typographers' apostrophe.
		t.ascii('\'')
	case r == '\u00AD' || unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Cf, r):
		// Not seen, or an accent to the character before: mail that wants not to be
		// understood has words full of them.
	default:
		t.end()
	}
}

// ascii takes a character that most are.
func (t *tokens) ascii(c byte) {
	switch {
	case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		t.letter(rune(c))
	case 'A' <= c && c <= 'Z':
		t.letter(rune(c) + 'a' - 'A')
	case c == '\'' && t.chars > 0 && !t.apostrophe:
		t.apostrophe = true
	default:
		t.end()
	}
}

// letter adds a letter or digit to the word.
func (t *tokens) letter(r rune) {
	t.previous = 0
	if t.apostrophe {
		t.word = append(t.word, '\'')
		t.chars++
		t.apostrophe = false
	}
	if t.chars >= wordMax {
		t.long = true
		return
	}
	t.word = utf8.AppendRune(t.word, r)
	t.chars++
}

// unspaced tells whether a character is of a script that is written without spaces
// between words.
func unspaced(r rune) bool {
	return r >= 0x0E00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// pair makes a word of the character and the one before it.
func (t *tokens) pair(r rune) {
	previous := t.previous
	t.end()
	if previous != 0 {
		t.word = utf8.AppendRune(utf8.AppendRune(t.word[:0], previous), r)
		t.add(t.word)
		t.word = t.word[:0]
	}
	t.previous = r
}

// end ends the word being read.
func (t *tokens) end() {
	if t.chars >= t.min && !t.long && telling(t.word) {
		t.take()
	}
	t.word, t.chars, t.apostrophe, t.long, t.previous = t.word[:0], 0, false, false, 0
}

// take adds the word, and those that it makes with the words before.
func (t *tokens) take() {
	if t.prefix != "" {
		t.add(t.word)
		return
	}
	if t.grams&OneGrams != 0 {
		t.add(t.word)
	}
	if t.grams&TwoGrams != 0 && len(t.last) > 0 {
		t.gram = append(append(append(t.gram[:0], t.last...), ' '), t.word...)
		t.add(t.gram)
	}
	if t.grams&ThreeGrams != 0 && len(t.before) > 0 {
		t.gram = append(append(append(t.gram[:0], t.before...), ' '), t.last...)
		t.gram = append(append(t.gram, ' '), t.word...)
		t.add(t.gram)
	}
	t.before, t.last = append(t.before[:0], t.last...), append(t.last[:0], t.word...)
}

// add adds a word, unless there are enough.
func (t *tokens) add(word []byte) {
	if t.prefix != "" {
		t.gram = append(append(t.gram[:0], t.prefix...), word...)
		word = t.gram
	}
	if _, ok := t.seen[string(word)]; ok {
		return
	}
	if len(t.seen) >= wordsMax {
		t.full = true
		return
	}
	t.seen[string(word)] = struct{}{}
}

// Runs of characters from which on a word is not one.
const (
	runMax      = 5 // Consonants and digits in a row.
	digitRunMax = 3 // Digits in a row.
	hexDigitMax = 2 // Digits of a word that can be a hexadecimal number.
)

// telling tells whether a word can come again: it is no number, and not random.
func telling(word []byte) bool {
	digits, run, digitRun, hex := 0, 0, 0, true
	for _, c := range word {
		isDigit := '0' <= c && c <= '9'
		hex = hex && (isDigit || 'a' <= c && c <= 'f')
		switch {
		case isDigit:
			digits++
			digitRun++
			run++
		case isConsonant(c):
			digitRun = 0
			run++
		default:
			digitRun, run = 0, 0
		}
		if run > runMax || digitRun > digitRunMax {
			return false
		}
	}
	return digits < len(word) && (!hex || digits <= hexDigitMax)
}

// isConsonant tells whether an ASCII letter is one; "y" is a vowel here.
func isConsonant(c byte) bool {
	switch c {
	case 'a', 'e', 'i', 'o', 'u', 'y':
		return false
	}
	return 'a' <= c && c <= 'z'
}

// plain reads the words of a text.
func (w *reader) plain(r io.Reader) {
	buf := make([]byte, 4096)
	left := 0 // Bytes of a character that is not whole.
	for !w.tokens.full {
		n, err := r.Read(buf[left:])
		text := buf[:left+n]
		for len(text) > 0 && (err != nil || utf8.FullRune(text)) {
			c, size := rune(text[0]), 1
			if c >= utf8.RuneSelf {
				c, size = utf8.DecodeRune(text)
			}
			w.tokens.char(c)
			text = text[size:]
		}
		if err != nil { // Of the content, or the end; see errorTracker.
			return
		}
		left = copy(buf, text)
	}
}
