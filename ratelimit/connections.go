package ratelimit

import (
	"net/netip"
	"sync"
	"time"
)

// Connections limits connections by the address they come from: how many begin
// in a period, and how many are open. It is safe for concurrent use.
type Connections struct {
	rate   *Limiter
	limits [classes]int64
	exempt func(ip netip.Addr) bool

	mu   sync.Mutex
	open [classes]map[netip.Prefix]int64 // Bounded by the connections there are.
}

// NewConnections returns a limit. Open is by class; zero is no limit. Exempt, if
// not nil, tells addresses without limits.
func NewConnections(rate Window, open [classes]int64, exempt func(ip netip.Addr) bool) *Connections {
	c := &Connections{rate: New(rate), limits: open, exempt: exempt}
	for class := range c.open {
		c.open[class] = map[netip.Prefix]int64{}
	}
	return c
}

// Open reports whether one more connection from ip is fine, and counts it then.
func (c *Connections) Open(now time.Time, ip netip.Addr) bool {
	if c.exempt != nil && c.exempt(ip) {
		return true
	}
	if !c.rate.Allow(now, ip, 1) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	nets := networks(ip)
	for class, net := range nets {
		if c.limits[class] > 0 && c.open[class][net] >= c.limits[class] {
			return false
		}
	}
	for class, net := range nets {
		c.open[class][net]++
	}
	return true
}

// Close is to be called at the end of each connection that Open was true for.
func (c *Connections) Close(ip netip.Addr) {
	if c.exempt != nil && c.exempt(ip) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for class, net := range networks(ip) {
		if c.open[class][net]--; c.open[class][net] <= 0 {
			delete(c.open[class], net)
		}
	}
}
