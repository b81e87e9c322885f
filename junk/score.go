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
	var junk, not []Evidence
	for i, w := range words.List {
		if counts[i] == (Count{}) {
			continue
		}
		e := Evidence{w.Text, counts[i], p.power(counts[i], trained)}
		switch {
		case math.Abs(0.5-e.Junk) < p.IgnoreWords || e.Junk == 0.5: //nolint:staticcheck // Exactly undecided says nothing.
		case e.Junk > 0.5:
			junk = append(junk, e)
		default:
			not = append(not, e)
		}
	}
	slices.SortFunc(junk, compareEvidence)
	slices.SortFunc(not, compareEvidence)
	all := append(junk[:min(len(junk), p.TopWords)], not[:min(len(not), p.TopWords)]...)
	slices.SortFunc(all, compareEvidence)
	return all
}

// compareEvidence sorts what says more before what says less; of the same, longer
// words first: they are less often a coincidence.
func compareEvidence(a, b Evidence) int {
	return cmp.Or(
		cmp.Compare(math.Abs(0.5-b.Junk), math.Abs(0.5-a.Junk)),
		cmp.Compare(utf8.RuneCountInString(b.Text), utf8.RuneCountInString(a.Text)),
		cmp.Compare(a.Text, b.Text),
	)
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
