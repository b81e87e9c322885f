package admin

import (
	"sync"
	"time"
)

// throttle says when it is time for the next note of progress. It is safe for
// concurrent use.
type throttle struct {
	mu   sync.Mutex
	step string
	last time.Time
}

// due says whether a note is due: at each new step, and then every so often.
func (t *throttle) due(step string, every time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if step == "" || step == t.step && now.Sub(t.last) < every {
		return false
	}
	t.step, t.last = step, now
	return true
}
