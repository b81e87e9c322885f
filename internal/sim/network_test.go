package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// backlogMax bounds the connections that wait to be accepted by a listener.
const backlogMax = 100

// latencyMax bounds the time to connect to a host that answers, and the time
// between what is written and what is read.
const latencyMax = 80 * time.Millisecond

// weather is how a host can be reached at present.
type weather int

const (
	fair    weather = iota
	refused         // Nothing listens there.
	dark            // Nothing comes back.
)

// mishap is what happens to one connection.
type mishap int

const (
	noMishap  mishap = iota
	breaks           // After some bytes, for both sides.
	fallsMute        // After some bytes nothing arrives any more, and nobody is told.
	losesOK          // The reply to the end of a message doesn't arrive, and it breaks.
)

// network is the Internet: hosts by their addresses.
type network struct {
	ledger *ledger

	mu        sync.Mutex
	rng       *rand.Rand
	listeners map[string]*listener
	links     map[*link]bool
	weather   map[netip.Addr]weather
	rate      float64        // Part of the connections between servers that has a mishap.
	counts    map[string]int // Of what happened, for the report.
}

func newNetwork(seed uint64, l *ledger) *network {
	return &network{
		ledger: l, rng: rand.New(rand.NewPCG(seed, 1)), listeners: map[string]*listener{}, links: map[*link]bool{},
		weather: map[netip.Addr]weather{}, counts: map[string]int{},
	}
}

// setWeather makes a host hard to reach. It also breaks what is connected to it.
func (n *network) setWeather(ip netip.Addr, w weather) {
	n.mu.Lock()
	n.weather[ip] = w
	var broken []*link
	for l := range n.links {
		if w != fair && l.mail && l.address.Addr() == ip {
			broken = append(broken, l)
			n.counts["connections cut when a host went"]++
		}
	}
	n.mu.Unlock()
	for _, l := range broken {
		l.reset()
	}
}

// setRate says which part of the connections between servers has a mishap.
func (n *network) setRate(rate float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rate = rate
}

func (n *network) count(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[what]++
}

// listener is what a process listens on.
type listener struct {
	net     *network
	process *process
	address netip.AddrPort
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// listen is for system.Options.
func (n *network) listen(p *process, address string) (net.Listener, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	l := &listener{net: n, process: p, address: addr, conns: make(chan net.Conn, backlogMax), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, fmt.Errorf("listening on %s: %w", address, syscall.EADDRINUSE)
	}
	n.listeners[address] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close frees the address, and breaks what was not accepted.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		if l.net.listeners[l.address.String()] == l {
			delete(l.net.listeners, l.address.String())
		}
		l.net.mu.Unlock()
		for {
			select {
			case c := <-l.conns:
				c.(*end).link.reset()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.address) }

// dial connects to an address, for a process or, if that is nil, for a user.
func (n *network) dial(ctx context.Context, p *process, address string, local netip.Addr) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	latency, w := time.Duration(n.rng.Int64N(int64(latencyMax))), n.weather[addr.Addr()]
	n.mu.Unlock()
	if p == nil {
		w = fair // Users are near.
	}
	if w == dark {
		latency = time.Hour
		n.count("connections without answer")
	}
	select {
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	case <-time.After(latency):
	}
	if w == refused {
		n.count("connections refused")
		return nil, errRefused
	}
	return n.connect(p, addr, local)
}

var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// connect makes a connection with what listens at an address.
func (n *network) connect(p *process, addr netip.AddrPort, local netip.Addr) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ln := n.listeners[addr.String()]
	if ln == nil || ln.process.isDead() || p != nil && p.isDead() {
		return nil, errRefused
	}
	l := &link{net: n, address: addr, mail: addr.Port() == 25, processes: [2]*process{p, ln.process}, up: newPipe(), down: newPipe()}
	if p != nil {
		l.talk.from = p.node
	}
	if l.mail && n.rng.Float64() < n.rate || !l.mail && n.rng.Float64() < n.rate/2 {
		l.plan(n.rng)
	}
	if !local.IsValid() {
		local = netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + n.rng.IntN(200))})
	}
	here, there := net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, uint16(1024+n.rng.IntN(60000)))), net.TCPAddrFromAddrPort(addr)
	c := &end{link: l, client: true, in: l.down, out: l.up, local: here, remote: there, read: newDeadline(), write: newDeadline()}
	s := &end{link: l, in: l.up, out: l.down, local: there, remote: here, read: newDeadline(), write: newDeadline()}
	select {
	case ln.conns <- s:
	default:
		return nil, errRefused
	}
	n.links[l] = true
	n.counts["connections"]++
	return c, nil
}

// kill cuts a process off at once: nothing of it reaches anybody any more.
func (n *network) kill(p *process) {
	n.mu.Lock()
	p.die()
	var links []*link
	for l := range n.links {
		if l.processes[0] == p || l.processes[1] == p {
			links = append(links, l)
		}
	}
	for address, ln := range n.listeners {
		if ln.process == p {
			delete(n.listeners, address)
		}
	}
	n.mu.Unlock()
	for _, l := range links {
		l.reset()
	}
}

// link is a connection.
type link struct {
	net       *network
	address   netip.AddrPort
	mail      bool        // Between servers.
	processes [2]*process // Of client and server; nil is a user.
	up, down  *pipe

	mu      sync.Mutex
	mishap  mishap
	after   int // Bytes carried before it.
	carried int
	sent    int64 // Bytes written by the server.
	over    bool
	muted   bool
	ends    [2]bool // Closed by client, by server.
	talk    talk
}

// plan decides what happens to a connection. The time is mostly that of the
// envelope and of a message, of about 1000 bytes.
func (l *link) plan(rng *rand.Rand) {
	l.mishap, l.after = mishap(1+rng.IntN(3)), rng.IntN(2000)
	if rng.IntN(4) == 0 {
		l.after = rng.IntN(20000)
	}
	if !l.mail && l.mishap == losesOK && rng.IntN(2) == 0 {
		l.mishap = breaks
	}
}

// carry takes what one side writes to the other, or lets the mishap happen.
func (l *link) carry(e *end, b []byte) (int, error) {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return 0, errReset
	}
	what := noMishap
	if (l.mishap == breaks || l.mishap == fallsMute) && l.carried+len(b) > l.after {
		what = l.mishap
		b = b[:max(0, l.after-l.carried)]
	}
	l.carried += len(b)
	switch {
	case l.muted:
	case e.client:
		l.talk.fromClient(b)
	default:
		l.sent += int64(len(b))
		if l.talk.fromServer(b, l.sent) && l.mishap == losesOK {
			what = losesOK
		}
	}
	l.mu.Unlock()
	switch what {
	case losesOK:
		l.net.count("replies to the end of a message lost")
		l.reset()
		return len(b), nil
	case breaks:
		_, _ = e.out.write(b, e.write) // What is written before.
		l.net.count("connections broken")
		l.reset()
		return 0, errReset
	case fallsMute:
		l.net.count("connections fallen silent")
		l.mute()
		return len(b), nil
	case noMishap:
	}
	return e.out.write(b, e.write)
}

// wasRead notes that the client has read something.
func (l *link) wasRead() {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken, _ := l.down.progress()
	if l.talk.readUpTo(taken) {
		l.net.ledger.answered(l.talk.last)
	}
}

// reset breaks the connection.
func (l *link) reset() {
	l.up.fail(errReset)
	l.down.fail(errReset)
	l.mu.Lock()
	l.over = true
	l.lose()
	l.mu.Unlock()
	l.forget()
}

// mute makes all that is written vanish.
func (l *link) mute() {
	l.mu.Lock()
	l.mishap, l.muted = noMishap, true
	l.lose()
	l.mu.Unlock()
	l.up.silence()
	l.down.silence()
}

// lose notes that a reply that is not there yet won't come. l.mu is held.
func (l *link) lose() {
	if tx := l.talk.unanswered(); tx != nil && l.mail {
		l.net.ledger.lost(tx)
	}
}

// close ends the connection from one side.
func (l *link) close(e *end) {
	e.in.fail(errReset)
	e.out.close()
	l.mu.Lock()
	l.ends[btoi(e.client)] = true
	both := l.ends[0] && l.ends[1]
	if e.client {
		l.lose()
	}
	l.mu.Unlock()
	if both {
		l.forget()
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (l *link) forget() {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	delete(l.net.links, l)
}
