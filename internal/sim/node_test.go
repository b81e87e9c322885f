package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/system"
)

// password is that of all accounts.
const password = "in the simulation"

// usersMax is how many users a node has: accounts u0 and so on.
const usersMax = 6

// clockMax bounds how much a clock is set back or forward.
const clockMax = 6 * time.Hour

// node is a server with its own domain, through all its lives.
type node struct {
	world *world
	name  string       // Its domain is that below example.
	ips   []netip.Addr // Of its one host: IPv4 and IPv6.
	dns   *dnstest.Resolver
	log   *tail
	base  string // Directory of its directories.
	rng   *mrand.Rand

	credential store.Credential // Of its accounts, for its first life.
	inspect    func(p *process) // Set for the last life: called when nothing is served any more.

	mu    sync.Mutex
	dirs  int
	kills map[string]int // By fault point.
	seen  []string       // Fault points that were hit, in the order of their first time.
	stops int
	moved time.Duration // By how much its clock was set, back and forward, in all.
	bad   []string      // Lines of the log that should not be.
}

func (n *node) domain() string { return n.name + ".example" }

const staticText = `DataDir: data
LogLevel: %s
Hostname: mx.%s
Listeners:
	public:
		IPs:
			- %s
			- %s
		SMTP:
			Enabled: true
			NoSTARTTLS: true
		Submission:
			Enabled: true
			NoRequireSTARTTLS: true
Postmaster:
	Account: mox
	Mailbox: Postmaster
`

// configTexts returns the configuration. Account full has room for nothing, and
// the address moved is refused.
func (n *node) configTexts() (static, dynamic string) {
	d := n.domain()
	static = fmt.Sprintf(staticText, logLevel(), d, n.ips[0], n.ips[1])
	var b strings.Builder
	fmt.Fprintf(&b, "Domains:\n\t%s:\n\t\tAliases:\n\t\t\tteam:\n\t\t\t\tAddresses:\n\t\t\t\t\t- u4@%s\n\t\t\t\t\t- u5@%s\n\t\t\t\tPostPublic: true\n", d, d, d)
	fmt.Fprintf(&b, "Accounts:\n\tmox:\n\t\tDomain: %s\n", d)
	fmt.Fprintf(&b, "\tfull:\n\t\tDomain: %s\n\t\tQuotaMessageSize: 1\n\t\tDestinations:\n\t\t\tfull@%s: nil\n\t\t\tmoved@%s:\n\t\t\t\tSMTPError: 550 moved away\n", d, d, d)
	for i := range usersMax {
		fmt.Fprintf(&b, "\tu%d:\n\t\tDomain: %s\n\t\tMaxOutgoingMessagesPerDay: 1000000\n\t\tMaxFirstTimeRecipientsPerDay: 1000000\n\t\tDestinations:\n\t\t\tu%d@%s: nil\n", i, d, i, d)
	}
	return static, b.String()
}

// nextDir returns a new directory for the next life.
func (n *node) nextDir() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dirs++
	return filepath.Join(n.base, fmt.Sprint(n.dirs))
}

// install writes the configuration.
func (n *node) install() (dir string, err error) {
	dir = n.nextDir()
	static, dynamic := n.configTexts()
	err = errors.Join(
		os.MkdirAll(dir, 0o750),
		os.WriteFile(filepath.Join(dir, "mox.conf"), []byte(static), 0o600),
		os.WriteFile(filepath.Join(dir, "domains.conf"), []byte(dynamic), 0o600),
	)
	if err != nil {
		return "", err
	}
	n.credential, err = auth.NewCredential(rand.Reader, nil, password, time.Now())
	return dir, err
}

// resume is called when a process has opened its files and serves nothing yet.
func (n *node) resume(ctx context.Context, s *system.System) error {
	for i := range usersMax {
		if err := n.setPassword(ctx, s, fmt.Sprintf("u%d", i)); err != nil {
			return err
		}
	}
	left, err := s.Queue().List(ctx, queue.Filter{}, queue.Sort{})
	for _, m := range left {
		n.world.ledger.forgotten(n, idPattern.FindString(m.Subject), m.Rcpt)
	}
	return err
}

func (n *node) setPassword(ctx context.Context, s *system.System, name string) (err error) {
	a, err := s.Accounts().Account(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if have, err := a.Credentials(ctx); err != nil || len(have) > 0 {
		return err
	}
	return a.SetPassword(ctx, n.credential)
}

// live runs the node until the world ends: life after life. It is killed and
// stopped until calm, and then runs on to the end.
func (n *node) live(calm, end <-chan struct{}) {
	dir, err := n.install()
	if err != nil {
		n.world.t.Errorf("%s: %v", n.name, err)
		return
	}
	for first := true; ; first = false {
		p := n.start(dir, n.early(first, calm))
		next, over := n.oneLife(p, calm, end)
		if over {
			return
		}
		dir = next
		n.setClock(dir, calm)
		select {
		case <-time.After(n.downtime()):
		case <-end:
		}
	}
}

// early returns after how many fault points a process is killed that starts now.
// Sometimes it is while it finds out what the one before has left.
func (n *node) early(first bool, calm <-chan struct{}) int {
	if first || isClosed(calm) || n.world.mild || n.rng.IntN(4) > 0 {
		return 0
	}
	return 1 + n.rng.IntN(20)
}

// complainMax bounds the lines of the log that are shown.
const complainMax = 10

// complain notes a line of the log that should not be there.
func (n *node) complain(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.bad) < complainMax {
		n.bad = append(n.bad, line)
	}
}

// saw notes that a fault point was hit.
func (n *node) saw(point string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.seen, point) {
		n.seen = append(n.seen, point)
	}
}

// when returns when a process is to be killed: after some work, or at a point. Those
// that are seldom hit have their turn that way.
func (n *node) when() (hits int, only string) {
	if n.rng.IntN(2) == 0 {
		return 1 + n.rng.IntN(150), ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return 1 + n.rng.IntN(3), n.seen[n.rng.IntN(len(n.seen))]
}

// setClock sometimes makes the clock of the node be another one when it is started
// again: the rows of its queue are from the future then, or are older than they are.
func (n *node) setClock(dir string, calm <-chan struct{}) {
	if isClosed(calm) || n.rng.IntN(3) > 0 {
		return
	}
	d := time.Duration(n.rng.Int64N(int64(2*clockMax))) - clockMax
	opts := queue.Options{Dir: filepath.Join(dir, "data", "queue"), Log: slog.New(slog.DiscardHandler), Rand: rand.Reader, LogSize: segmentSize}
	if err := queue.Shift(n.world.t.Context(), opts, d); err != nil {
		n.world.t.Errorf("setting the clock of %s: %v", n.name, err)
		return
	}
	n.mu.Lock()
	n.moved += d.Abs()
	n.mu.Unlock()
	n.world.net.count("clocks set")
}

func (n *node) downtime() time.Duration {
	if n.rng.IntN(3) > 0 {
		return time.Duration(n.rng.IntN(120)) * time.Second
	}
	return time.Duration(n.rng.IntN(6*60)) * time.Minute
}

// oneLife lets a process run until it is killed, or stopped in order. It returns the
// directory for the next life.
func (n *node) oneLife(p *process, calm, end <-chan struct{}) (dir string, over bool) {
	lifetime := time.After(time.Hour/4 + time.Duration(n.rng.Int64N(int64(lifeMax))))
	if n.world.mild {
		lifetime = nil
	}
	stop := n.rng.IntN(4) == 0
	for {
		select {
		case <-p.killed:
			n.mu.Lock()
			n.kills[p.at]++
			n.mu.Unlock()
			return p.bury(), false
		case <-lifetime:
			if stop {
				return n.stop(p)
			}
			p.arm(n.when())
			lifetime = time.After(time.Hour) // In which that may not have happened.
		case <-calm:
			p.arm(0, "")
			calm, lifetime = nil, nil
		case <-end:
			n.inspect = (&inspection{world: n.world}).inspect
			_, _ = n.stop(p)
			return "", true
		case <-p.ended:
			if p.at != "" {
				n.world.t.Errorf("%s ended before it was killed at %q", n.name, p.at)
			}
			n.world.t.Errorf("%s ended by itself: %v", n.name, p.err)
			return "", true
		}
	}
}

// stop stops a process in order.
func (n *node) stop(p *process) (dir string, over bool) {
	n.mu.Lock()
	n.stops++
	n.mu.Unlock()
	p.arm(0, "")
	p.cancel()
	select {
	case <-p.killed: // Only just.
		return p.bury(), false
	case <-p.ended:
	}
	p.die()
	if p.err != nil {
		n.world.t.Errorf("stopping %s: %v", n.name, p.err)
	}
	p.checkPanics()
	return p.dir, false
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// tail keeps the end of a log.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// tailMax bounds what is kept of a log, in bytes.
const tailMax = 64 << 20

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.b) > 2*tailMax {
		l.b = bytes.Clone(l.b[len(l.b)-tailMax:])
	}
	l.b = append(l.b, p...)
	return len(p), nil
}
