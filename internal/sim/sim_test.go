package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dnstest"
)

var (
	seedFlag   = flag.Uint64("sim.seed", 0, "seed of the first simulation; 0 is one that differs each time")
	roundsFlag = flag.Int("sim.rounds", 3, "simulations, each with the next seed")
	logFlag    = flag.String("sim.log", "", "directory for the logs of the nodes; empty: they are dropped")
)

// logLevel returns that of the nodes: errors are looked at in any case.
func logLevel() string {
	if *logFlag == "" {
		return "info"
	}
	return "debug"
}

// TestMail runs whole simulations.
func TestMail(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1_000_000) + 1
	}
	rounds := *roundsFlag
	if testing.Short() {
		rounds = min(rounds, 1)
	}
	for i := range uint64(rounds) {
		t.Run(fmt.Sprint(seed+i), func(t *testing.T) {
			t.Parallel()
			simulate(t, settings{seed: seed + i, nodes: 2 + int((seed+i)%2), letters: 300})
		})
	}
}

// settings is what differs between simulations.
type settings struct {
	seed    uint64
	nodes   int
	letters int  // Of each node.
	mild    bool // Nothing fails.
}

const (
	// endDays bounds the days until the queues must be empty: those of the load, four
	// for what can't be delivered, and two for the last retries, 12 hours apart.
	endDays = 8

	loadTime = 30 * time.Hour // About: users that find no server come later.
	calmTime = 36 * time.Hour // When faults end.
	lifeMax  = 8 * time.Hour  // Of a process, until it is to be killed.
)

func simulate(t *testing.T, set settings) {
	begin := time.Now()
	base := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, set, base)
		w.run()
		sum := w.ledger.check(t)
		t.Logf("seed %d, %d nodes: %+v, network %v, %s", set.seed, set.nodes, sum, w.net.counts, w.lives())
		if sum.delivered == 0 || sum.returned == 0 {
			t.Errorf("got %+v: nothing of interest happened", sum)
		}
		w.saveLogs()
	})
	t.Logf("seed %d took %v", set.seed, time.Since(begin).Round(time.Millisecond))
}

// world is all there is in one simulation.
type world struct {
	t *testing.T
	settings
	net    *network
	ledger *ledger
	nodes  []*node
	ids    atomic.Int64
	buried atomic.Int64 // Processes that were killed.
}

const zoneText = `
null.example MX 0 .
down.example MX 10 mx.down.example
mx.down.example A 192.0.2.99
`

func newWorld(t *testing.T, set settings, base string) *world {
	l := newLedger()
	w := &world{t: t, settings: set, net: newNetwork(set.seed, l), ledger: l}
	zone := zoneText
	for i := range set.nodes {
		n := &node{
			world: w, name: string(rune('a' + i)), log: &tail{},
			ips: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(10 + i)})},
			rng: rand.New(rand.NewPCG(set.seed, uint64(100+i))), kills: map[string]int{},
		}
		n.base = filepath.Join(base, n.name)
		w.nodes = append(w.nodes, n)
		zone += fmt.Sprintf("%s MX 10 mx.%s\nmx.%s A %s\nmx.%s AAAA %s\n", n.domain(), n.domain(), n.domain(), n.ips[0], n.domain(), n.ips[1])
	}
	for _, n := range w.nodes {
		var err error
		if n.dns, err = dnstest.New(zone); err != nil {
			t.Fatal(err)
		}
	}
	w.net.setWeather(netip.MustParseAddr("192.0.2.99"), weather(1+set.seed%2))
	if !set.mild {
		w.net.setRate(0.3)
	}
	return w
}

// run lets the world go on until all queues are empty.
func (w *world) run() {
	calm, end := make(chan struct{}), make(chan struct{})
	var lives, others sync.WaitGroup
	for i, n := range w.nodes {
		lives.Go(func() { n.live(calm, end) })
		for j := range usersMax {
			u := &user{world: w, node: n, name: fmt.Sprintf("u%d", j), left: w.letters / usersMax, rng: rand.New(rand.NewPCG(w.seed, uint64(1000+100*i+j)))}
			others.Go(u.send)
		}
		if !w.mild {
			others.Go(func() { w.trouble(n, rand.New(rand.NewPCG(w.seed, uint64(500+i))), calm) })
		}
	}
	time.Sleep(calmTime)
	w.net.setRate(0)
	close(calm)
	others.Wait()
	time.Sleep(endDays*24*time.Hour - calmTime)
	close(end)
	lives.Wait()
	for _, n := range w.nodes {
		for _, line := range n.bad {
			w.t.Errorf("%s logged: %s", n.name, line)
		}
	}
}

// trouble makes addresses of a node unreachable, and the names of others unknown to
// it, for some time, again and again.
func (w *world) trouble(n *node, rng *rand.Rand, calm <-chan struct{}) {
	wait := func(most time.Duration) bool {
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(most)))):
			return true
		case <-calm:
			return false
		}
	}
	for wait(4 * time.Hour) {
		if rng.IntN(2) == 0 {
			gone := [][]netip.Addr{n.ips, n.ips[:1], n.ips[1:]}[rng.IntN(3)]
			for _, ip := range gone {
				w.net.setWeather(ip, weather(1+rng.IntN(2)))
			}
			wait(5 * time.Hour)
			for _, ip := range gone {
				w.net.setWeather(ip, fair)
			}
			continue
		}
		domain := w.nodes[rng.IntN(len(w.nodes))].domain()
		n.dns.Fail("", domain, dnstest.Failure(1+rng.IntN(3)))
		n.dns.Fail("", "mx."+domain, dnstest.Failure(rng.IntN(4)))
		wait(5 * time.Hour)
		n.dns.Clear()
	}
}

func (w *world) nextID() string { return fmt.Sprintf("sim-%d-%d", w.seed, w.ids.Add(1)) }

// lives tells how the nodes died.
func (w *world) lives() string {
	total, stops, points := 0, 0, map[string]bool{}
	for _, n := range w.nodes {
		stops += n.stops
		for point, k := range n.kills {
			total += k
			points[point] = true
		}
	}
	return fmt.Sprintf("%d kills at %d points, %d stops", total, len(points), stops)
}

// saveLogs writes the logs where they can be read, if that is wanted.
func (w *world) saveLogs() {
	if *logFlag == "" {
		if w.t.Failed() {
			w.t.Logf("the seed is %d; with -sim.log=DIR the logs are kept", w.seed)
		}
		return
	}
	for _, n := range w.nodes {
		name := filepath.Join(*logFlag, fmt.Sprintf("sim-%d-%s.log", w.seed, n.name))
		if err := os.WriteFile(name, n.log.b, 0o600); err != nil {
			w.t.Error(err)
		}
	}
}

// TestNothingFails shows what the others do without faults: no loss, no double.
func TestNothingFails(t *testing.T) {
	t.Parallel()
	simulate(t, settings{seed: 1, nodes: 2, letters: 120, mild: true})
}
