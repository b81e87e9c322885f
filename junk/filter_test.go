package junk

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// wordsOf returns words with texts.
func wordsOf(texts ...string) Words {
	var w Words
	for _, s := range texts {
		w.List = append(w.List, NewWord(s))
	}
	w.dedup()
	return w
}

// checkFilter flushes and checks a filter.
func checkFilter(t *testing.T, f *Filter) {
	t.Helper()
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := Check(f.pages, f.state); err != nil {
		t.Fatal(err)
	}
}

// TestFilterModel trains and untrains at random, and compares with a map. Words
// that were seen once are in no page.
func TestFilterModel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	f := NewFilter(Memory{}, State{})
	type lesson struct {
		words Words
		junk  bool
	}
	var learned []lesson
	want, trained := map[string]*Count{}, Count{}
	apply := func(l lesson, more bool) {
		for _, w := range l.words.List {
			if want[w.Text] == nil {
				want[w.Text] = &Count{}
			}
			step(want[w.Text].of(l.junk), more)
		}
		step(trained.of(l.junk), more)
	}
	for range 2000 {
		var l lesson
		more := len(learned) == 0 || rng.IntN(3) > 0
		if more {
			l.junk = rng.IntN(2) == 0
			for range 1 + rng.IntN(60) {
				l.words.List = append(l.words.List, NewWord(fmt.Sprint("w", int(math.Exp(rng.Float64()*9)))))
			}
			l.words.dedup()
			learned = append(learned, l)
		} else {
			i := rng.IntN(len(learned))
			l = learned[i]
			learned = append(learned[:i], learned[i+1:]...)
		}
		apply(l, more)
		if err := f.change(l.words, l.junk, more); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(20) == 0 {
			checkFilter(t, f)
		}
	}
	checkFilter(t, f)
	if f.State().Bits < 2 || f.State().Trained != trained {
		t.Errorf("state %+v, want %+v trained and pages that were split", f.State(), trained)
	}
	wrong := 0
	for text, count := range want {
		got, err := Counts(f.pages, f.State(), wordsOf(text))
		if err != nil {
			t.Fatal(err)
		}
		if got[0] != *count && (count.Junk+count.NotJunk > 1 || got[0] != Count{}) {
			wrong++
		}
	}
	if wrong > len(want)/1000 { // What a Bloom filter takes for seen.
		t.Errorf("%d of %d words have wrong counts", wrong, len(want))
	}
}

// TestFilterBounds: a filter does not grow for ever.
func TestFilterBounds(t *testing.T) {
	t.Parallel()
	f := NewFilter(Memory{}, State{})
	var words Words
	for i := range 30_000 {
		words.List = append(words.List, NewWord(benchWord(i)+fmt.Sprint(i)))
	}
	words.dedup()
	for n := range 3 {
		if err := f.Train(words, true); err != nil {
			t.Fatal(err)
		}
		if s := f.State(); s.Words > 30_000 || n == 0 && (s.Words > 10 || s.OnceJunk < 29_900) {
			t.Errorf("after %d: %+v", n+1, s)
		}
	}
	checkFilter(t, f)
	if err := f.forget(20_000); err != nil || f.State().Words > 20_000 {
		t.Errorf("after forgetting: %+v, %v", f.State(), err)
	}
	checkFilter(t, f)
	f.state.OnceJunk = bloomFull
	if err := f.Train(wordsOf("one"), true); err != nil || f.State().OnceJunk != 1 {
		t.Errorf("full Bloom filter: %+v, %v", f.State(), err)
	}
	checkFilter(t, f)
	h := wordsOf("one").List[0].bloom()
	for number, page := range f.pages.(Memory) {
		if len(page) > 64<<10 || number >= firstBloomJunk && number != firstBloomJunk+h.page() {
			t.Errorf("page %d has %d bytes", number, len(page))
		}
	}
}

// TestBloom measures how often a word is taken for seen that was not.
func TestBloom(t *testing.T) {
	t.Parallel()
	pages := make([][]byte, bloomPages)
	for i := range pages {
		pages[i] = make([]byte, bloomPageSize)
	}
	for i := range bloomFull {
		w := NewWord(fmt.Sprint("a", i))
		h := w.bloom()
		h.add(pages[h.page()])
		if !h.in(pages[h.page()]) {
			t.Fatalf("word %d is not there", i)
		}
	}
	wrong := 0
	for i := range 100_000 {
		w := NewWord(fmt.Sprint("b", i))
		if h := w.bloom(); h.in(pages[h.page()]) {
			wrong++
		}
	}
	if wrong > 100 {
		t.Errorf("%d of 100000 words are taken for seen", wrong)
	}
}

// TestFilterDamaged: pages and states that can't be are refused.
func TestFilterDamaged(t *testing.T) {
	t.Parallel()
	good := func() (Memory, State) {
		f := trainedFilter(t, 3000, 100)
		return f.pages.(Memory), f.State()
	}
	for name, spoil := range map[string]func(m Memory, s *State){
		"cut page":          func(m Memory, s *State) { m[0] = m[0][:len(m[0])-1] },
		"order":             func(m Memory, s *State) { copy(m[0], m[0][entrySize:2*entrySize]) },
		"place":             func(m Memory, s *State) { m[0], m[1] = m[1], m[0] },
		"number of words":   func(m Memory, s *State) { s.Words++ },
		"missing page":      func(m Memory, s *State) { delete(m, 1) },
		"too many pages":    func(m Memory, s *State) { s.Bits = bitsMax + 1 },
		"negative":          func(m Memory, s *State) { s.Bits = -1 },
		"a negative number": func(m Memory, s *State) { s.OnceNot = -1 },
	} {
		m, s := good()
		spoil(m, &s)
		if err := Check(m, s); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	m, s := good()
	for number := range m {
		if number >= firstBloomJunk {
			m[number] = m[number][:100]
		}
	}
	if err := NewFilter(m, s).Train(wordsOf("new", "words", "that", "were", "never", "seen"), true); !errors.Is(err, ErrDamaged) {
		t.Errorf("cut Bloom filter: got error %v", err)
	}
}

// TestDecide computes scores by hand.
func TestDecide(t *testing.T) {
	t.Parallel()
	trained := Count{Junk: 100, NotJunk: 200}
	p := Params{MaxPower: 0.01, TopWords: 2, IgnoreWords: 0.1, RareWords: 2}
	for _, test := range []struct {
		name   string
		counts map[string]Count
		want   string // Words with what they say.
		prob   float64
	}{
		{"nothing is known", map[string]Count{"aaa": {}, "bbb": {}}, "", 0.5},
		{"only in junk", map[string]Count{"aaa": {Junk: 50}}, "aaa 0.99", 0.99},
		{"only in others", map[string]Count{"aaa": {NotJunk: 50}}, "aaa 0.01", 0.01},
		{"as often in both", map[string]Count{"aaa": {Junk: 10, NotJunk: 20}}, "", 0.5},
		{"nearly as often", map[string]Count{"aaa": {Junk: 14, NotJunk: 20}}, "", 0.5},
		{"more often in junk", map[string]Count{"aaa": {Junk: 30, NotJunk: 20}}, "aaa 0.75", 0.75},
		{"seen once", map[string]Count{"aaa": {Junk: 1}}, "aaa 0.79", 0.79},
		{"seen twice", map[string]Count{"aaa": {NotJunk: 2}}, "aaa 0.11", 0.11},
		{"seen three times", map[string]Count{"aaa": {Junk: 3}}, "aaa 0.99", 0.99},
		{"against each other", map[string]Count{"aaa": {Junk: 50}, "bbb": {NotJunk: 50}}, "aaa 0.99|bbb 0.01", 0.5},
		{"only the top of each count", map[string]Count{"aaa": {Junk: 50}, "bbb": {Junk: 50}, "ccc": {Junk: 50}, "ddd": {NotJunk: 9}}, "aaa 0.99|bbb 0.99|ddd 0.01", 0.99},
		{"longer words first", map[string]Count{"aaa": {Junk: 50}, "bbbb": {Junk: 50}, "ccccc": {Junk: 50}}, "ccccc 0.99|bbbb 0.99", 0.9999},
		{"more than there are messages", map[string]Count{"aaa": {Junk: 500, NotJunk: 100}}, "aaa 0.67", 2.0 / 3},
	} {
		words, counts := Words{}, []Count{}
		for text := range test.counts {
			words.List = append(words.List, NewWord(text))
		}
		words.dedup()
		for _, w := range words.List {
			counts = append(counts, test.counts[w.Text])
		}
		s := Decide(words, counts, trained, p)
		var list []string
		for _, e := range s.Words {
			list = append(list, fmt.Sprintf("%s %.2f", e.Text, e.Junk))
		}
		if got := strings.Join(list, "|"); got != test.want || math.Abs(s.Probability-test.prob) > 1e-4 || !s.Significant || s.Trained != trained {
			t.Errorf("%s: got %q, %+v; want %q, %v", test.name, got, s, test.want, test.prob)
		}
	}
}

func TestDecideLimits(t *testing.T) {
	t.Parallel()
	var words Words
	var counts []Count
	for i := range 1000 {
		words.List = append(words.List, NewWord(fmt.Sprint("w", i)))
		counts = append(counts, Count{Junk: 10})
	}
	s := Decide(words, counts, Count{Junk: 10, NotJunk: SignificantNotJunk - 1}, Params{TopWords: 10_000})
	if s.Significant || len(s.Words) != ExplainMax || s.Probability < 0.999 || s.Probability > 1 {
		t.Errorf("got %d words, %+v", len(s.Words), s.Probability)
	}
	if s := Decide(words, counts, Count{}, Params{}); s.Probability != 0.5 {
		t.Errorf("without any message: got %v", s.Probability)
	}
	words.BadType = true
	if s := Decide(words, make([]Count, 1000), Count{NotJunk: SignificantNotJunk}, Params{}); s.Probability != 1 || !s.Significant || !s.BadType {
		t.Errorf("bad Content-Type: got %+v", s)
	}
}
