package imap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestSelectParams(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"none", "", "{CondStore:false Resync:<nil>}"},
		{"CONDSTORE", " (condstore)", "{CondStore:true Resync:<nil>}"},
		{"QRESYNC", " (QRESYNC (67890007 20050715194045000))", "{67890007 20050715194045000 [] [] []}"},
		{"QRESYNC with UIDs", " (QRESYNC (67890007 20050715194045000 41,43:211))", "{67890007 20050715194045000 [{41 41} {43 211}] [] []}"},
		{"QRESYNC with pairs", " (QRESYNC (1 2 (3,5:6 10:11,20)))", "{1 2 [] [{3 3} {5 6}] [{10 11} {20 20}]}"},
		{"QRESYNC with all", " (QRESYNC (1 2 1:9 (1 1)) CONDSTORE)", "{1 2 [{1 9}] [{1 1}] [{1 1}]}"},
		{"twice the same", " (CONDSTORE CONDSTORE)", "!unexpected parameter"},
		{"an empty list", " ()", "!expected a list"},
		{"something else", " (ANNOTATE)", "!unexpected parameter"},
		{"no space", "(CONDSTORE)", "!unexpected"},
		{"no UIDVALIDITY", " (QRESYNC (0 1))", "!above 0"},
		{"UIDs that go down", " (QRESYNC (1 1 4,3))", "!ascending"},
		{"a UID twice", " (QRESYNC (1 1 3,3))", "!ascending"},
		{"a range backwards", " (QRESYNC (1 1 4:3))", "!ascending"},
		{"a star", " (QRESYNC (1 1 4:*))", "!ascending"},
		{"a saved search", " (QRESYNC (1 1 $))", "!a set of numbers"},
		{"fewer UIDs than numbers", " (QRESYNC (1 1 (1:3 1:2)))", "!as many"},
		{"pairs of which one is missing", " (QRESYNC (1 1 (1)))", "!expected space"},
		{"a number that is too large", " (QRESYNC (1 9223372036854775808))", "!too large"},
	} {
		d := NewDecoder(tc.text)
		p := d.SelectParams()
		got := fmt.Sprintf("%+v", p)
		if r := p.Resync; r != nil {
			got = fmt.Sprint(*r)
		}
		if err := d.End(); err != nil {
			got = "!" + err.Error()
		}
		if got != tc.want && !(tc.want[0] == '!' && got[0] == '!' && strings.Contains(got, tc.want[1:])) {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestModifiers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"none", "", "{false 0 false <nil>}"},
		{"CHANGEDSINCE", " (changedsince 12)", "{true 12 false <nil>}"},
		{"CHANGEDSINCE 0, as some send", " (CHANGEDSINCE 0)", "{true 0 false <nil>}"},
		{"both", " (CHANGEDSINCE 12 VANISHED)", "{true 12 true <nil>}"},
		{"both, in the other order", " (VANISHED CHANGEDSINCE 12)", "{true 12 true <nil>}"},
		{"PARTIAL", " (PARTIAL -1:-3)", "false 0 false -1:-3"},
		{"PARTIAL and others", " (partial 5:1 CHANGEDSINCE 3)", "true 3 false 5:1"},
		{"PARTIAL twice", " (PARTIAL 1:2 PARTIAL 1:2)", "!unexpected"},
		{"VANISHED alone", " (VANISHED)", "!needs CHANGEDSINCE"},
		{"twice", " (CHANGEDSINCE 1 CHANGEDSINCE 1)", "!unexpected"},
		{"an empty list", " ()", "!expected a list"},
	} {
		d := NewDecoder(tc.text)
		m := d.FetchModifiers()
		got := fmt.Sprint(m)
		if m.Partial != nil {
			got = fmt.Sprint(m.Changed, m.Since, m.Vanished, " ", string(m.Partial.Append(nil)))
		}
		if err := d.End(); err != nil {
			got = "!" + err.Error()
		}
		if got != tc.want && !(tc.want[0] == '!' && got[0] == '!' && strings.Contains(got, tc.want[1:])) {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
	d := NewDecoder(" (CHANGEDSINCE 0)")
	d.Pedantic = true
	if d.FetchModifiers(); d.End() == nil {
		t.Error("a pedantic decoder takes CHANGEDSINCE 0")
	}
}

// TestRanges compares Without and Contains with what they mean.
func TestRanges(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var ranges []NumRange
		next := uint32(1)
		for range rng.IntN(5) {
			r := NumRange{First: next + rng.Uint32N(4)}
			r.Last = r.First + rng.Uint32N(5)
			next = r.Last + 1
			ranges = append(ranges, r)
		}
		var others []uint32
		for n := uint32(1); n < 40; n++ {
			if rng.IntN(3) == 0 {
				others = append(others, n)
			}
		}
		rest := Without(ranges, others)
		for n := uint32(1); n < 50; n++ {
			in := slices.ContainsFunc(ranges, func(r NumRange) bool { return r.First <= n && n <= r.Last })
			if Contains(ranges, n) != in {
				t.Fatalf("%d in %v: got %v", n, ranges, !in)
			}
			if want := in && !slices.Contains(others, n); Contains(rest, n) != want {
				t.Fatalf("%v without %v is %v: %d", ranges, others, rest, n)
			}
		}
	}
	whole := []NumRange{{1, 1<<32 - 1}}
	if got := fmt.Sprint(Without(whole, []uint32{1, 1<<32 - 1})); got != "[{2 4294967294}]" {
		t.Errorf("all without the ends: %s", got)
	}
	if got := fmt.Sprint(Without(whole, []uint32{1<<32 - 2})); got != "[{1 4294967293} {4294967295 4294967295}]" {
		t.Errorf("all without one: %s", got)
	}
}
