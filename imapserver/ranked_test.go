package imapserver

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRanked puts items in and takes them out at random, and compares with a slice.
func TestRanked(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var want []int
	for i := range rankedPart * 3 {
		want = append(want, 2*i)
	}
	l := newRanked(cmp.Compare[int], slices.Clone(want))
	for step := range 8000 {
		item := rnd.IntN(rankedPart * 8)
		at, found := slices.BinarySearch(want, item)
		if got := l.has(item); got != found {
			t.Fatalf("has %d: got %v", item, got)
		}
		insert := rnd.IntN(2) == 0
		if step > 6000 {
			insert = false // Until little is left.
			if len(want) > 0 && !found {
				at = rnd.IntN(len(want))
				item, found = want[at], true
			}
		}
		if insert {
			if place, ok := l.insert(item); ok == found || ok && place != at {
				t.Fatalf("inserting %d: got %d, %v, want %d", item, place, ok, at)
			}
			if !found {
				want = slices.Insert(want, at, item)
			}
			continue
		}
		if place, ok := l.remove(item); ok != found || ok && place != at {
			t.Fatalf("removing %d: got %d, %v, want %d, %v", item, place, ok, at, found)
		}
		if found {
			want = slices.Delete(want, at, at+1)
		}
	}
	if got := slices.Collect(l.all()); !slices.Equal(got, want) || l.size != len(want) {
		t.Fatalf("got %d items, size %d, want %d", len(got), l.size, len(want))
	}
	for range l.all() { // Stops when told to.
		break
	}
	empty := newRanked(cmp.Compare[int], nil)
	if place, ok := empty.insert(5); place != 0 || !ok || empty.size != 1 {
		t.Errorf("into an empty list: got %d, %v", place, ok)
	}
}
