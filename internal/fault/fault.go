// Package fault lets a test fail, stop or kill a program at a named point: an
// instant between two steps whose order matters when power goes.
//
// A package that has such points declares their names as constants, lists them
// in a function Points, and calls Hit at each of them with the Set it was given
// in its Options. In production that Set is nil and Hit does nothing. The
// package knows no points itself and decides nothing about what happens there:
// tests and internal/crashtest arm them.
package fault

import "sync"

// Set holds what happens at fault points. A nil Set is valid and holds
// nothing. It is safe for concurrent use.
type Set struct {
	parent *Set // Nil, or where the points of this Set are, with prefix in front of their names.
	prefix string

	mu    sync.Mutex
	armed map[string]arming
	hits  map[string]int
	all   func(name string) error // Nil: nothing.
}

// arming is what Arm or ArmNth asked for at one point.
type arming struct {
	at int // The count of hits that runs fn; 0 is every hit.
	fn func() error
}

// New returns a Set in which nothing is armed.
func New() *Set {
	return &Set{armed: map[string]arming{}, hits: map[string]int{}}
}

// Prefixed returns a Set whose points are those of s with prefix in front of their
// names: for a package that another one uses, and a third one too, so that their
// points can be told apart. It is nil if s is. What is armed is armed in s.
func (s *Set) Prefixed(prefix string) *Set {
	if s == nil {
		return nil
	}
	return &Set{parent: s, prefix: prefix}
}

// Arm makes every Hit of name run fn and return its error, in place of what
// was armed there before. fn runs in the goroutine that hits the point and may
// block, or kill the process.
func (s *Set) Arm(name string, fn func() error) {
	s.arm(name, arming{fn: fn})
}

// ArmNth is like Arm for the nth Hit from now only; 1 is the next one.
func (s *Set) ArmNth(name string, n int, fn func() error) {
	s.mu.Lock()
	at := s.hits[name] + n
	s.mu.Unlock()
	s.arm(name, arming{at: at, fn: fn})
}

func (s *Set) arm(name string, a arming) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed[name] = a
}

// ArmAll makes every Hit of any name run fn, which gets the name, and then what is
// armed at that point, unless fn returns an error. Nil ends that. It is for tests
// that count the points of a whole program, whatever their names.
func (s *Set) ArmAll(fn func(name string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = fn
}

// Disarm makes Hit of name do nothing again but count.
func (s *Set) Disarm(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.armed, name)
}

// Hits returns how often name was hit, armed or not.
func (s *Set) Hits(name string) int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[name]
}

// Hit counts the hit and runs what is armed at name. The caller must treat an
// error as it would one of the step that follows.
func (s *Set) Hit(name string) error {
	if s == nil {
		return nil
	}
	if s.parent != nil {
		return s.parent.Hit(s.prefix + name)
	}
	all, one := s.hit(name)
	if all != nil {
		if err := all(name); err != nil {
			return err
		}
	}
	if one != nil {
		return one()
	}
	return nil
}

// hit returns what to run, so that it runs without the lock.
func (s *Set) hit(name string) (all func(name string) error, one func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hits[name]++
	a, ok := s.armed[name]
	if !ok || a.at != 0 && a.at != s.hits[name] {
		return s.all, nil
	}
	return s.all, a.fn
}
