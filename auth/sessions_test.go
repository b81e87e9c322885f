package auth

import (
	"testing"
	"testing/synctest"
	"time"
)

// fakeSession leaves some time after it was told to end, and at once when it is
// aborted, unless it is stuck.
type fakeSession struct {
	after   time.Duration // Negative: only when aborted.
	stuck   bool
	leave   func()
	aborted bool
}

func (f *fakeSession) End() {
	if f.after >= 0 {
		time.AfterFunc(f.after, f.leave)
	}
}

func (f *fakeSession) Abort() {
	f.aborted = true
	if !f.stuck {
		f.leave()
	}
}

// TestSessionsEnd ends sessions that take their time in different ways.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Second
	for _, test := range []struct {
		name     string
		sessions []*fakeSession
		aborted  int
		left     int
		took     time.Duration
	}{
		{"none", nil, 0, 0, 0},
		{"at once", []*fakeSession{{}, {}}, 0, 0, 0},
		{"just in time", []*fakeSession{{after: time.Second}, {after: grace - 1}}, 0, 0, grace - 1},
		{"only when it is aborted", []*fakeSession{{}, {after: -1}, {after: -1}}, 2, 0, grace},
		{"not even then", []*fakeSession{{}, {after: -1, stuck: true}, {after: -1}}, 2, 1, grace + abortWait},
	} {
		synctest.Test(t, func(t *testing.T) {
			var s Sessions
			for _, f := range test.sessions {
				var ok bool
				if f.leave, ok = s.Enter("anna", s.Now(), f); !ok {
					t.Errorf("%s: was not let in", test.name)
				}
			}
			other := &fakeSession{after: -1}
			if _, ok := s.Enter("bert", s.Now(), other); !ok {
				t.Errorf("%s: other account: was not let in", test.name)
			}
			start := time.Now()
			ended, left := s.End("anna", grace)
			if took := time.Since(start); ended != len(test.sessions) || left != test.left || took != test.took {
				t.Errorf("%s: got %d ended and %d left after %v, want %d and %d after %v", test.name, ended, left, took, len(test.sessions), test.left, test.took)
			}
			aborted := 0
			for _, f := range test.sessions {
				if f.aborted {
					aborted++
				}
			}
			if aborted != test.aborted || other.aborted {
				t.Errorf("%s: %d were aborted, want %d; other account: %v", test.name, aborted, test.aborted, other.aborted)
			}
		})
	}
}

// TestSessionsEnter shows logins that were under way when sessions were ended.
func TestSessionsEnter(t *testing.T) {
	t.Parallel()
	var s Sessions
	before := s.Now()
	s.End("anna", time.Second)
	for _, test := range []struct {
		name, account string
		since         int64
		want          bool
	}{
		{"begun before the end", "anna", before, false},
		{"begun after it", "anna", s.Now(), true},
		{"of another account", "bert", before, true},
	} {
		leave, ok := s.Enter(test.account, test.since, &fakeSession{})
		if ok != test.want {
			t.Errorf("%s: got %v, want %v", test.name, ok, test.want)
		}
		if ok {
			leave()
		}
	}
	if len(s.byAccount) != 0 {
		t.Errorf("after all have left: got %v", s.byAccount)
	}
}
