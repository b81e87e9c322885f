package imap

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestNumSet(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		largest    uint32
		want       string // Ranges, as resolved.
		ok         bool
	}{
		{"one number", "5", 9, "[{5 5}]", true},
		{"the RFC's first example", "2,4:7,9,12:*", 15, "[{2 2} {4 7} {9 9} {12 15}]", true},
		{"the RFC's second example", "*:4,5:7", 10, "[{4 10}]", true},
		{"a range backwards", "4:2", 9, "[{2 4}]", true},
		{"neighbours are joined", "1,2,3:4,6", 9, "[{1 4} {6 6}]", true},
		{"star below the number", "500:*", 9, "[{9 500}]", true},
		{"the largest numbers", "4294967294,4294967295", 9, "[{4294967294 4294967295}]", true},
		{"zero", "0", 9, "", false},
		{"zero in a range", "1:0", 9, "", false},
		{"too large", "4294967296", 9, "", false},
		{"empty", "", 9, "", false},
		{"a comma too many", "1,", 9, "", false},
		{"a space", "1, 2", 9, "", false},
		{"a saved search in a list", "1,$", 9, "", false},
		{"as many ranges as allowed", strings.Repeat("1,", numSetRangesMax-1) + "1", 9, "[{1 1}]", true},
		{"one more", strings.Repeat("1,", numSetRangesMax) + "1", 9, "", false},
	} {
		set, err := ParseNumSet(tc.text)
		if (err == nil) != tc.ok {
			t.Errorf("%s: got error %v", tc.name, err)
		}
		if got := fmt.Sprint(set.Resolve(tc.largest)); tc.ok && got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
	set, err := ParseNumSet("$")
	if err != nil || !set.Saved || set.String() != "$" {
		t.Errorf("got %v, %v", set, err)
	}
	if n, star := (NumSet{Ranges: []NumRange{{3, 7}, {Star, 2}}}).Largest(); n != 7 || !star {
		t.Errorf("got %d, %v", n, star)
	}
}

func TestAppendNums(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		nums []uint32
		want string
	}{
		{nil, ""},
		{[]uint32{7}, "7"},
		{[]uint32{1, 2, 3, 7}, "1:3,7"},
		{[]uint32{1, 3, 4}, "1,3:4"},
		{[]uint32{3, 2, 1}, "3,2,1"},
		{[]uint32{4294967294, 4294967295}, "4294967294:4294967295"},
	} {
		if got := string(AppendNums(nil, tc.nums)); got != tc.want {
			t.Errorf("%d: got %q, want %q", tc.nums, got, tc.want)
		}
	}
}

// FuzzNumSet checks that a set reads back as it is written, and that resolved
// ranges ascend with gaps and have the same members.
func FuzzNumSet(f *testing.F) {
	f.Add("4:2,*", uint32(9))
	f.Add("1:4294967295,7", uint32(1))
	f.Add("$", uint32(0))
	f.Fuzz(func(t *testing.T, text string, largest uint32) {
		set, err := ParseNumSet(text)
		if err != nil {
			return
		}
		again, err := ParseNumSet(set.String())
		if err != nil || again.Saved != set.Saved || !slices.Equal(again.Ranges, set.Ranges) {
			t.Fatalf("%v written as %q: %v, %v", set, set.String(), again, err)
		}
		ranges := set.Resolve(largest)
		for i, r := range ranges {
			if r.First > r.Last || i > 0 && uint64(ranges[i-1].Last)+1 >= uint64(r.First) {
				t.Fatalf("%q resolved to %v", text, ranges)
			}
		}
		for _, r := range set.Ranges {
			for _, n := range []uint32{r.First, r.Last} {
				if n == Star {
					n = largest
				}
				if !slices.ContainsFunc(ranges, func(r NumRange) bool { return r.First <= n && n <= r.Last }) {
					t.Fatalf("%q resolved to %v, without %d", text, ranges, n)
				}
			}
		}
	})
}
