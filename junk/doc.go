// Package junk tells junk from other mail by its words, from mail that was marked
// as one or the other: which words a message has (ReadWords), in how many messages
// of each kind they were (Filter), and how likely a message with them is junk
// (Decide).
//
// It keeps nothing itself. A Filter works on numbered pages of bytes that its
// owner keeps: package store in an account's junkfilter.db, commands and tests in
// memory. It knows no accounts and no flags; what is done about a Score is decided
// in package screen.
package junk

// Limits of what is looked at in a message. What is beyond them does not count:
// a sender gains nothing by it that leaving it out would not give.
const (
	// textMax bounds the text looked at, in bytes after decoding, of all parts. The
	// words of a person fill less than a tenth; a newsletter with its markup half.
	textMax = 1 << 20

	// rawMax bounds the bytes of all parts that are read for it. Base64 with nothing
	// but line breaks decodes to nothing, however long it is.
	rawMax = 4 << 20

	// headerMax bounds the bytes of header fields looked at, of all header sections.
	headerMax = 128 << 10

	// partsMax bounds the parts that are read.
	partsMax = 1000

	// wordsMax bounds the different words of a message. A book has about 10,000.
	wordsMax = 20_000

	// wordsGuess is about how many words most messages have.
	wordsGuess = 512

	// wordMin and wordMax bound the characters of a word, headerWordMin those of one
	// in a header field. There are longer words than wordMax, but few in mail.
	wordMin       = 3
	wordMax       = 40
	headerWordMin = 4

	// htmlTokenMax bounds a tag with its attributes, or a text between tags, in bytes.
	htmlTokenMax = 256 << 10
)

// SignificantNotJunk is how many messages that are not junk a filter must have been
// trained with before its scores mean something: with fewer, most words of good
// mail are unknown, and those of junk decide alone.
const SignificantNotJunk = 50

// Grams says which words are looked at: single ones, and those that follow each
// other as one. It is a set.
type Grams uint8

// The members of Grams.
const (
	OneGrams Grams = 1 << iota
	TwoGrams
	ThreeGrams
)

// Params is how a score is made from words. Words alone depend on Grams, so a
// filter trained with others has to be trained again.
type Params struct {
	Grams       Grams
	MaxPower    float64 // How little a word can be short of certain, 0 to 0.5. 0: DefaultMaxPower.
	IgnoreWords float64 // Words nearer than this to undecided are left out, 0 to 0.5.
	TopWords    int     // How many words are looked at, of those for junk and of those against. 0: DefaultTopWords.
	RareWords   int     // A word seen in no more messages than this says less.
}

// Defaults of Params.
const (
	DefaultMaxPower = 0.01
	DefaultTopWords = 10
)

// Count is in how many messages something was, of those that a filter was trained
// with.
type Count struct {
	Junk    uint32
	NotJunk uint32
}

// Score is how likely a message is junk.
type Score struct {
	// Probability is between 0 and 1; 0.5 for a filter that knows none of the words.
	Probability float64

	// Significant is whether the filter was trained with enough mail. If not, nothing
	// may be decided by Probability.
	Significant bool

	// Trained is how many messages the filter was trained with.
	Trained Count

	// Words made the probability, first those that say most. At most ExplainMax.
	Words []Evidence

	// BadType says that a Content-Type of the message is none, which alone makes the
	// probability 1: programs that people use don't write such.
	BadType bool

	// Cut says that the message has more words, or more text, than were looked at.
	Cut bool
}

// ExplainMax bounds the words that explain a Score.
const ExplainMax = 100

// Evidence is a word of a message and what it says.
type Evidence struct {
	Text  string  // From outside: shown only quoted.
	Count Count   // In how many messages it was.
	Junk  float64 // Probability that a message with it is junk, after MaxPower and RareWords.
}

// Version counts the changes to what words a message has. A filter trained by
// another version has to be trained again: what it learned could not be undone.
const Version = 1
