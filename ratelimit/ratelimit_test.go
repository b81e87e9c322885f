package ratelimit

import (
	"encoding/binary"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestAllow plays events against one limiter, in order.
func TestAllow(t *testing.T) {
	t.Parallel()
	l := New(
		Window{time.Minute, [classes]int64{2, 4, 6}},
		Window{time.Hour, [classes]int64{0, 0, 10}},
	)
	for _, step := range []struct {
		name string
		at   time.Duration
		ip   string
		n    int64
		want bool
	}{
		{"first", 0, "10.0.0.1", 1, true},
		{"second", 0, "10.0.0.1", 1, true},
		{"third of one address", 0, "10.0.0.1", 1, false},
		{"the same in IPv6 form", 0, "::ffff:10.0.0.1", 1, false},
		{"nothing always passes", 0, "10.0.0.1", 0, true},
		{"a neighbour", 0, "10.0.0.2", 2, true},
		{"another in a full /26", 0, "10.0.0.63", 1, false},
		{"outside of the /26", 0, "10.0.0.64", 2, true},
		{"outside, in a full /21", 0, "10.0.7.255", 1, false},
		{"outside of the /21", 0, "10.0.8.0", 1, true},
		{"last moment", time.Minute - 1, "10.0.0.1", 1, false},
		{"next minute", time.Minute, "10.0.0.1", 2, true},
		{"in both windows more than one fits", time.Minute, "10.0.0.5", 3, false},
		{"up to the hour's limit", time.Minute, "10.0.0.5", 2, true},
		{"over the hour's limit, in a new minute", 2 * time.Minute, "10.0.0.1", 1, false},
		{"next hour", time.Hour, "10.0.0.1", 1, true},
		{"IPv6", time.Hour, "2001:db8::1", 2, true},
		{"the same /64", time.Hour, "2001:db8::ffff:0:0:1", 1, false},
		{"another /64", time.Hour, "2001:db8:0:1::1", 2, true},
		{"a full /48", time.Hour, "2001:db8:0:2::1", 1, false},
		{"another /48", time.Hour, "2001:db8:1::1", 2, true},
		{"a full /32", time.Hour, "2001:db8:2::1", 1, false},
		{"another /32", time.Hour, "2001:db9::1", 1, true},
		{"with a zone", time.Hour, "fe80::1%eth0", 2, true},
		{"with another zone", time.Hour, "fe80::1%eth1", 1, false},
	} {
		if got := l.Allow(start.Add(step.at), netip.MustParseAddr(step.ip), step.n); got != step.want {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}

// TestAdd is the use for failures: checked before, counted after.
func TestAdd(t *testing.T) {
	t.Parallel()
	l := New(Window{time.Minute, [classes]int64{3, 5, 0}})
	ip, near := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for range 3 {
		if !l.Check(start, ip, 1) {
			t.Fatal("refused below the limit")
		}
		l.Add(start, ip, 1)
	}
	if l.Check(start, ip, 1) {
		t.Error("allowed at the limit")
	}
	l.Add(start, ip, 1)
	if got := l.Count(start, 0, Narrow, ip); got != 4 {
		t.Errorf("got count %d, want 4, over the limit", got)
	}
	l.Add(start, near, 1)
	if l.Check(start, near, 1) {
		t.Error("neighbour allowed at the limit of the network")
	}
	l.Reset(ip)
	if got := l.Count(start, 0, Middle, near); got != 1 {
		t.Errorf("after reset: got count %d for the network, want 1", got)
	}
	if got := l.Count(start, 0, Narrow, ip); got != 0 {
		t.Errorf("after reset: got count %d, want 0", got)
	}
	if got := l.Count(start.Add(time.Minute), 0, Middle, near); got != 0 {
		t.Errorf("next minute: got count %d, want 0", got)
	}
}

func TestInvalidAddress(t *testing.T) {
	t.Parallel()
	l := New(Window{time.Minute, [classes]int64{1, 0, 0}})
	if !l.Allow(start, netip.Addr{}, 1) || l.Allow(start, netip.Addr{}, 1) {
		t.Error("invalid addresses are not counted as one")
	}
}

// TestBound fills a limiter from many addresses: memory stays bounded, what was
// known is still limited, and wide networks count what is new.
func TestBound(t *testing.T) {
	t.Parallel()
	l := New(Window{time.Hour, [classes]int64{2, math.MaxInt64, math.MaxInt64}})
	known := netip.MustParseAddr("10.0.0.0")
	for i := range uint32(keysMax) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 10<<24+i)
		l.Allow(start, netip.AddrFrom4(b), 1)
	}
	for class, keys := range l.counts[0].keys {
		if len(keys) > keysMax/classes {
			t.Errorf("class %d holds %d networks, limit %d", class, len(keys), keysMax/classes)
		}
	}
	if !l.Allow(start, known, 1) || l.Allow(start, known, 1) {
		t.Error("an address known before is not limited")
	}
	last := netip.MustParseAddr("10.0.191.255") // keysMax is 192 times 256.
	if got := l.Count(start, 0, Wide, last); got != 2048 {
		t.Errorf("got %d for the widest network, want all of its 2048 addresses", got)
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	l := New(Window{time.Hour, [classes]int64{100, 0, 0}})
	ip := netip.MustParseAddr("10.0.0.1")
	var wg sync.WaitGroup
	var mu sync.Mutex
	allowed := 0
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if l.Allow(start, ip, 1) {
					mu.Lock()
					allowed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if allowed != 100 {
		t.Errorf("allowed %d, want 100", allowed)
	}
}
