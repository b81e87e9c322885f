package junk

import (
	"cmp"
	"math"
	"slices"
	"unicode/utf8"
)

// complete returns the parameters with defaults for what is zero.
func (p Params) complete() Params {
	if p.MaxPower <= 0 {
		p.MaxPower = DefaultMaxPower
	}
	if p.TopWords <= 0 {
		p.TopWords = DefaultTopWords
	}
	return p
}

// Decide returns the score of a message with these words, of which counts says in
// how many of the trained messages each was.
//
// Each word has a probability of its own. Those that say most, for junk and
// against, are put together as if they were independent, which they are not: that
// makes scores extreme, so thresholds are near 0 and 1.
func Decide(words Words, counts []Count, trained Count, p Params) Score {
	p = p.complete()
	s := Score{Probability: 0.5, Significant: trained.NotJunk >= SignificantNotJunk, Trained: trained, BadType: words.BadType, Cut: words.Cut}
	s.Words = top(words, counts, trained, p)
	eta := 0.0
	for _, w := range s.Words {
		eta += math.Log(1-w.Junk) - math.Log(w.Junk)
	}
	s.Probability = 1 / (1 + math.Exp(eta))
	s.Words = s.Words[:min(len(s.Words), ExplainMax)]
	if words.BadType {
		s.Probability = 1
	}
	return s
}

// top returns the words that say most, for junk and against, first those that say
// most of all.
func top(words Words, counts []Count, trained Count, p Params) []Evidence {
	junk, not := best{most: p.TopWords}, best{most: p.TopWords}
	for i, w := range words.List {
		if counts[i] == (Count{}) {
			continue
		}
		e := Evidence{w.Text, counts[i], p.power(counts[i], trained)}
		switch {
		case math.Abs(0.5-e.Junk) < p.IgnoreWords:
		case e.Junk > 0.5:
			junk.add(e)
		case e.Junk < 0.5:
			not.add(e)
		}
	}
	all := append(junk.list(), not.list()...)
	slices.SortFunc(all, compareEvidence)
	return all
}

// best gathers the words that say most. Most words of a message are not among
// them, and are passed over without sorting.
type best struct {
	most  int
	words []Evidence // Up to twice as many as needed.
	last  Evidence   // What others must say more than, once there are enough.
	full  bool
}

func (b *best) add(e Evidence) {
	if b.full && compareEvidence(e, b.last) >= 0 {
		return
	}
	if b.words = append(b.words, e); len(b.words) >= 2*b.most {
		b.words = b.list()
		b.last, b.full = b.words[len(b.words)-1], true
	}
}

// list returns the words, first those that say most.
func (b *best) list() []Evidence {
	slices.SortFunc(b.words, compareEvidence)
	return b.words[:min(len(b.words), b.most)]
}

// compareEvidence sorts what says more before what says less; of the same, longer
// words first: they are less often a coincidence.
func compareEvidence(a, b Evidence) int {
	if x, y := math.Abs(0.5-a.Junk), math.Abs(0.5-b.Junk); x != y {
		return cmp.Compare(y, x)
	}
	if x, y := utf8.RuneCountInString(a.Text), utf8.RuneCountInString(b.Text); x != y {
		return cmp.Compare(y, x)
	}
	return cmp.Compare(a.Text, b.Text)
}

// power returns the probability that a message with a word is junk.
func (p Params) power(word, trained Count) float64 {
	junk, not := part(word.Junk, trained.Junk), part(word.NotJunk, trained.NotJunk)
	if junk+not == 0 {
		return 0.5
	}
	r := min(max(junk/(junk+not), p.MaxPower), 1-p.MaxPower)
	n := float64(word.Junk) + float64(word.NotJunk)
	if n > float64(p.RareWords) {
		return r
	}
	less := (1 + float64(p.RareWords) - n) / 10
	if r > 0.5 {
		return max(0.5, r-less)
	}
	return min(0.5, r+less)
}

// part returns n of all, 0 of none.
func part(n, all uint32) float64 {
	if all == 0 {
		return 0
	}
	return min(1, float64(n)/float64(all))
}
