package fault

import (
	"errors"
	"slices"
	"sync"
	"testing"
)

// TestHit hits one point four times under each arming and tells which hits
// ended in the armed error.
func TestHit(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	fail := func() error { return boom }
	for _, tc := range []struct {
		name string
		arm  func(*Set)
		want []bool
	}{
		{"nothing is armed", func(*Set) {}, []bool{false, false, false, false}},
		{"another point is armed", func(s *Set) { s.Arm("other", fail) }, []bool{false, false, false, false}},
		{"every hit is armed", func(s *Set) { s.Arm("point", fail) }, []bool{true, true, true, true}},
		{"the next hit is armed", func(s *Set) { s.ArmNth("point", 1, fail) }, []bool{true, false, false, false}},
		{"the third hit is armed", func(s *Set) { s.ArmNth("point", 3, fail) }, []bool{false, false, true, false}},
		{"the count of a later arming begins when it is armed", func(s *Set) {
			_ = s.Hit("point")
			_ = s.Hit("point")
			s.ArmNth("point", 2, fail)
		}, []bool{false, true, false, false}},
		{"a second arming replaces the first", func(s *Set) {
			s.Arm("point", fail)
			s.ArmNth("point", 4, fail)
		}, []bool{false, false, false, true}},
		{"armed and disarmed", func(s *Set) {
			s.Arm("point", fail)
			s.Disarm("point")
		}, []bool{false, false, false, false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := New()
			tc.arm(s)
			var got []bool
			for range tc.want {
				got = append(got, errors.Is(s.Hit("point"), boom))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestArmAll shows that one function sees the hits of all points, in front of what
// is armed at one of them.
func TestArmAll(t *testing.T) {
	t.Parallel()
	boom, first := errors.New("boom"), errors.New("first")
	s := New()
	var seen []string
	s.Arm("armed", func() error { return boom })
	s.ArmAll(func(name string) error {
		seen = append(seen, name)
		if len(seen) == 3 {
			return first
		}
		return nil
	})
	for i, step := range []struct {
		name string
		want error
	}{{"other", nil}, {"armed", boom}, {"armed", first}} {
		if err := s.Hit(step.name); !errors.Is(err, step.want) {
			t.Errorf("hit %d: got %v, want %v", i, err, step.want)
		}
	}
	s.ArmAll(nil)
	if err := s.Hit("other"); err != nil || !slices.Equal(seen, []string{"other", "armed", "armed"}) {
		t.Errorf("got %v, seen %q", err, seen)
	}
}

func TestNilSetDoesNothing(t *testing.T) {
	t.Parallel()
	var s *Set
	if err := s.Hit("point"); err != nil {
		t.Errorf("got %v", err)
	}
	if n := s.Hits("point"); n != 0 {
		t.Errorf("got %d hits", n)
	}
}

// TestHitFromWithin shows that what is armed may use the Set, and that each of
// many concurrent hits counts once.
func TestHitFromWithin(t *testing.T) {
	t.Parallel()
	s := New()
	s.Arm("outer", func() error { return s.Hit("inner") })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if err := s.Hit("outer"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if o, i := s.Hits("outer"), s.Hits("inner"); o != 800 || i != 800 {
		t.Errorf("got %d and %d hits, want 800 each", o, i)
	}
}

// TestPrefixed hits a point of a Set with prefix: it is another point than the one
// of the same name without.
func TestPrefixed(t *testing.T) {
	t.Parallel()
	s := New()
	errArmed := errors.New("armed")
	s.Arm("log: point", func() error { return errArmed })
	sub := s.Prefixed("log: ")
	if err := sub.Hit("point"); !errors.Is(err, errArmed) {
		t.Errorf("got %v, want what is armed", err)
	}
	if err := s.Hit("point"); err != nil {
		t.Errorf("without prefix: got %v", err)
	}
	if s.Hits("log: point") != 1 || s.Hits("point") != 1 {
		t.Errorf("got %d and %d hits, want one each", s.Hits("log: point"), s.Hits("point"))
	}
	if none := (*Set)(nil).Prefixed("log: "); none != nil || none.Hit("point") != nil {
		t.Errorf("of nil: got %v, want nil", none)
	}
}
