package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/system"
)

// segmentSize is that of the journals: small, so that they have several, and larger
// than any message here.
const segmentSize = 768 << 10

// errKilled is what a process gets at each fault point once it is killed. Nothing
// that it does then counts.
var errKilled = errors.New("process was killed")

// process is one life of a node: a System from its start to its end.
type process struct {
	node   *node
	dir    string // Of mox.conf.
	faults *fault.Set

	killed   chan struct{} // Closed when a kill begins.
	released chan struct{} // Closed when the image is taken.
	ended    chan struct{} // Closed when nothing of it runs.
	cancel   context.CancelFunc

	// Set before ended is closed.
	sys *system.System
	err error

	mu   sync.Mutex
	dead bool   // Cut off from the network.
	left int    // Hits of fault points until it is killed, 0 for never.
	only string // The point whose hits count, empty for all.
	at   string // Where it was killed.
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *process) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
}

// arm has the process killed at the nth hit of a fault point from now, of a certain
// one unless only is empty. Zero is never.
func (p *process) arm(n int, only string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.only = n, only
}

// Write takes a line of the log. Errors are for what an operator must know, and here
// there is no operator: nothing that fails here is a reason for one, unless the
// process is dying.
func (p *process) Write(line []byte) (int, error) {
	p.mu.Lock()
	bad := p.at == "" && bytes.Contains(line, []byte(" l=error "))
	p.mu.Unlock()
	if bad {
		p.node.complain(string(line))
	}
	return p.node.log.Write(line)
}

// hit is called at each fault point. Once the process is killed, who comes to one
// stays there until there is an image of what is on disk.
func (p *process) hit(name string) error {
	p.node.saw(name)
	p.mu.Lock()
	begins := false
	if p.left > 0 && p.at == "" && (p.only == "" || p.only == name) {
		if p.left--; p.left == 0 {
			p.at, begins = name, true
		}
	}
	frozen := p.at != ""
	p.mu.Unlock()
	if !frozen {
		return nil
	}
	if begins {
		p.node.world.net.kill(p)
		close(p.killed)
	}
	<-p.released
	return errKilled
}

// start starts a System on what is in dir.
func (n *node) start(dir string, kill int) *process {
	p := &process{
		node: n, dir: dir, faults: fault.New(), left: kill,
		killed: make(chan struct{}), released: make(chan struct{}), ended: make(chan struct{}),
	}
	p.faults.ArmAll(p.hit)
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(n.world.t.Context())
	go func() {
		defer close(p.ended)
		p.err = p.run(ctx)
	}()
	return p
}

// run makes a System and serves until ctx is done.
func (p *process) run(ctx context.Context) error {
	c, err := live.Open(filepath.Join(p.dir, "mox.conf"), live.Options{WatchEvery: time.Hour}) // Nobody edits the files.
	if err != nil {
		return err
	}
	w := p.node.world
	p.sys, err = system.New(ctx, system.Options{
		Config: c, Log: p, Faults: p.faults, Resolver: p.node.dns,
		Listen: func(_ context.Context, _, address string) (net.Listener, error) { return w.net.listen(p, address) },
		Dial: func(ctx context.Context, _, address string, local netip.Addr) (net.Conn, error) {
			return w.net.dial(ctx, p, address, local)
		},
		Store: func(o *store.Options) { o.SegmentSize, o.CleanBytes = segmentSize, 4*segmentSize },
		Queue: func(o *queue.Options) {
			o.LogSize = segmentSize
			if p.node.name != "a" {
				o.Cautious = time.Nanosecond // As after a while.
			}
		},
	})
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	if !p.isDead() {
		if err := p.node.resume(ctx, p.sys); err != nil && !p.isDead() {
			return errors.Join(err, p.sys.Close())
		}
	}
	err = p.sys.Serve(ctx)
	if p.node.inspect != nil && err == nil && !p.isDead() {
		p.node.inspect(p)
		if err := p.sys.Close(); err != nil {
			return err
		}
		verify(ctx, w.t, p.node.name+", stopped", p.dir)
		return nil
	}
	return errors.Join(err, p.sys.Close())
}

// bury waits until nothing of a killed process runs, after taking an image of what
// it has left on disk. It returns the directory of the image.
func (p *process) bury() string {
	image := p.node.nextDir()
	err := takeImage(p.dir, image)
	close(p.released)
	p.cancel()
	<-p.ended
	if err != nil {
		p.node.world.t.Errorf("image of %s: %v", p.node.name, err)
	}
	p.checkPanics()
	if err == nil && p.node.world.buried.Add(1)%verifyEvery == 1 {
		verify(context.Background(), p.node.world.t, p.node.name+", killed", image)
	}
	if err := os.RemoveAll(p.dir); err != nil {
		p.node.world.t.Errorf("removing %s: %v", p.dir, err)
	}
	return image
}

// checkPanics fails the test if a session or a delivery died of a panic.
func (p *process) checkPanics() {
	if p.sys == nil {
		return
	}
	families, err := p.sys.Registry().Gather()
	if err != nil && !p.isDead() {
		p.node.world.t.Errorf("metrics of %s: %v", p.node.name, err)
	}
	for _, f := range families {
		if f.GetName() != "mox_panic_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue(); v != 0 {
				p.node.world.t.Errorf("%s: %v panics %v", p.node.name, v, m.GetLabel())
			}
		}
	}
}
