package delivery

import (
	"context"
	"sync"
	"time"
)

const (
	// relayAttempts bounds attempts at a time that hand mail to one server of the
	// configuration, and so the connections with it. The usual servers allow a client
	// some ten, and make so many themselves. If DomainDeliveries is more, that counts.
	relayAttempts = 20

	// loginPause is how long nobody tries to log in at a server that has refused it. A
	// thousand messages that wait are no reason to try a wrong password a thousand
	// times: there are servers that let who does so in no more.
	loginPause = time.Minute
)

// gates are where attempts wait that hand mail to servers of the configuration: one
// for each transport. They are safe for concurrent use.
type gates struct {
	mu     sync.Mutex
	byName map[string]*gate
}

// gate lets in so many at a time.
type gate struct {
	room chan struct{} // Has one element for each who is in.

	mu    sync.Mutex
	until time.Time // Until then all fail in the same way.
	why   *failure
}

// get returns the gate of a transport, with room for so many if it is a new one.
func (g *gates) get(transport string, room int64) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byName == nil {
		g.byName = map[string]*gate{}
	}
	if g.byName[transport] == nil {
		g.byName[transport] = &gate{room: make(chan struct{}, room)}
	}
	return g.byName[transport]
}

// gate returns the one of the attempt's transport.
func (a *attempt) gate() *gate {
	return a.sender.gates.get(a.transport, max(relayAttempts, a.config.Queue().DomainDeliveries))
}

// enter waits until there is room, and returns what is to be called afterwards. It
// returns why nobody is let in, or that ctx is done before.
func (a *attempt) enter(ctx context.Context) (leave func(), f *failure) {
	if a.way.Relay == nil {
		return func() {}, nil
	}
	g := a.gate()
	select {
	case g.room <- struct{}{}:
	case <-ctx.Done():
		return nil, a.conversationFailure(ctx, target{name: a.way.Relay.Host.Domain, ip: a.way.Relay.Host.IP}, context.DeadlineExceeded)
	}
	if f := g.closed(time.Now()); f != nil {
		<-g.room
		return nil, f
	}
	return func() { <-g.room }, nil
}

// shut makes all fail for a while as one has.
func (g *gate) shut(now time.Time, why *failure) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until, g.why = now.Add(loginPause), why
}

// closed returns why nobody is let in now.
func (g *gate) closed(now time.Time) *failure {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.why == nil || !now.Before(g.until) {
		return nil
	}
	f := *g.why
	return &f
}
