// Package ratelimit counts events by the address they come from, and tells when
// there are too many: for one address, and for the networks around it, so that
// who has many addresses gains little.
//
// It has no clock, and doesn't know what is counted or what happens to those
// over the limit. Servers use it for connections, logins and unknown recipients.
package ratelimit

import (
	"net/netip"
	"sync"
	"time"
)

// Class is one of the sizes of network that are counted.
type Class int

// The classes, each with the prefix length for IPv4 and IPv6. An IPv6 customer
// usually has a /64 at least, so single addresses mean nothing there.
const (
	Narrow Class = iota // /32, /64.
	Middle              // /26, /48.
	Wide                // /21, /32.

	classes = 3
)

var prefixBits = [classes]struct{ v4, v6 int }{{32, 64}, {26, 48}, {21, 32}}

// keysMax bounds the networks held for one window, of all classes. At about 50
// bytes each this is some megabytes. When there are more, new ones of a class
// that is full go uncounted, but their wider networks are still counted.
const keysMax = 3 * 16384

// Window limits events in a period. The periods of all addresses begin and end
// together: the limit can be reached twice around an end.
type Window struct {
	Period time.Duration
	Limits [classes]int64 // By class; zero is no limit.
}

// Limiter counts in one or several windows. It is safe for concurrent use.
type Limiter struct {
	windows []Window

	mu     sync.Mutex
	counts []counts // As windows.
}

// counts holds what was counted in the current period of a window.
type counts struct {
	period int64 // Number of the period, from the zero Unix time.
	keys   [classes]map[netip.Prefix]int64
}

// New returns a limiter. An event has to pass all windows. Their periods must be
// more than zero.
func New(windows ...Window) *Limiter {
	return &Limiter{windows: windows, counts: make([]counts, len(windows))}
}

// Allow tells whether n events from ip pass all limits, and counts them if so.
// What is refused is not counted, so that a peer that goes on trying is let in
// when the period ends.
func (l *Limiter) Allow(now time.Time, ip netip.Addr, n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	nets := networks(ip)
	if !l.check(now, nets, n) {
		return false
	}
	l.add(nets, n)
	return true
}

// Check tells whether n more events would pass, without counting them.
func (l *Limiter) Check(now time.Time, ip netip.Addr, n int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.check(now, networks(ip), n)
}

// Add counts n events even if they are over a limit: for what is known only
// after it happened, like a failed login.
func (l *Limiter) Add(now time.Time, ip netip.Addr, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	l.add(networks(ip), n)
}

// Count returns how many events were counted in the current period of a window,
// for the network of a class that ip is in.
func (l *Limiter) Count(now time.Time, window int, class Class, ip netip.Addr) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	return l.counts[window].keys[class][networks(ip)[class]]
}

// Reset forgets what was counted for the narrow network of ip, and takes it off
// the wider ones: for a peer that has shown it is in order.
func (l *Limiter) Reset(ip netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	nets := networks(ip)
	for i := range l.counts {
		keys := &l.counts[i].keys
		n := keys[Narrow][nets[Narrow]]
		for class, net := range nets {
			if keys[class][net] -= n; keys[class][net] <= 0 {
				delete(keys[class], net)
			}
		}
	}
}

// check turns to the periods of now, then compares.
func (l *Limiter) check(now time.Time, nets [classes]netip.Prefix, n int64) bool {
	l.turn(now)
	for i, w := range l.windows {
		for class, net := range nets {
			if limit := w.Limits[class]; limit > 0 && l.counts[i].keys[class][net]+n > limit {
				return false
			}
		}
	}
	return true
}

func (l *Limiter) add(nets [classes]netip.Prefix, n int64) {
	for i := range l.counts {
		for class, net := range nets {
			keys := l.counts[i].keys[class]
			if _, ok := keys[net]; ok || len(keys) < keysMax/classes {
				keys[net] += n
			}
		}
	}
}

// turn drops the counts of windows whose period has ended.
func (l *Limiter) turn(now time.Time) {
	for i, w := range l.windows {
		c := &l.counts[i]
		period := now.UnixNano() / int64(w.Period)
		if c.keys[0] != nil && period == c.period {
			continue
		}
		c.period = period
		for class := range c.keys {
			c.keys[class] = map[netip.Prefix]int64{}
		}
	}
}

// networks returns the network of each class around ip. IPv4 addresses in IPv6
// form count as IPv4. The invalid address has the invalid network, one for all.
func networks(ip netip.Addr) (nets [classes]netip.Prefix) {
	ip = ip.Unmap().WithZone("")
	for class, bits := range prefixBits {
		if ip.Is4() {
			nets[class], _ = ip.Prefix(bits.v4)
		} else {
			nets[class], _ = ip.Prefix(bits.v6)
		}
	}
	return nets
}
