package ratelimit

import (
	"net/netip"
	"testing"
	"time"
)

// TestConnections opens and closes connections, in order.
func TestConnections(t *testing.T) {
	t.Parallel()
	c := NewConnections(Window{time.Minute, [classes]int64{5, 0, 0}}, [classes]int64{2, 3, 0}, netip.Addr.IsLoopback)
	for _, step := range []struct {
		name  string
		at    time.Duration
		ip    string
		close bool
		want  bool
	}{
		{"first", 0, "10.0.0.1", false, true},
		{"second", 0, "10.0.0.1", false, true},
		{"too many open", 0, "10.0.0.1", false, false},
		{"a neighbour", 0, "10.0.0.2", false, true},
		{"too many in the network", 0, "10.0.0.3", false, false},
		{"one closes", 0, "10.0.0.1", true, true},
		{"another comes", 0, "10.0.0.1", false, true},
		{"it closes", 0, "10.0.0.1", true, true},
		{"and the last in this minute", 0, "10.0.0.1", false, true},
		{"it closes too", 0, "10.0.0.1", true, true},
		{"too many begun", 0, "10.0.0.1", false, false},
		{"a minute later", time.Minute, "10.0.0.1", false, true},
		{"loopback", 0, "127.0.0.1", false, true},
		{"loopback again", 0, "127.0.0.1", false, true},
		{"loopback has no limit", 0, "127.0.0.1", false, true},
		{"nor a count", 0, "127.0.0.1", true, true},
	} {
		ip := netip.MustParseAddr(step.ip)
		if step.close {
			c.Close(ip)
		} else if got := c.Open(start.Add(step.at), ip); got != step.want {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
	for _, ip := range []string{"10.0.0.1", "10.0.0.1", "10.0.0.2"} {
		c.Close(netip.MustParseAddr(ip))
	}
	for class, open := range c.open {
		if len(open) > 0 {
			t.Errorf("all closed: got %v in class %d", open, class)
		}
	}
}
