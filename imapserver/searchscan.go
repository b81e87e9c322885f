package imapserver

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mjl-/mox/store"
)

// filesBatch is the number of messages whose files a worker of a search looks into before
// it gives its slot to others.
const filesBatch = 20

// scanTick is how often a session looks how far its workers are.
const scanTick = time.Second

// newScans returns the slots in which files are searched, for all sessions of a server
// together: as many as there are processors. A worker takes one for a batch, and those who
// wait for one get it in their order: so a few sessions that search large mailboxes don't
// keep others from searching.
func newScans() chan struct{} { return make(chan struct{}, runtime.GOMAXPROCS(0)) }

// scan is match for what reads files: on several processors, in batches, with the results
// in order.
func (r *searcher) scan(ctx context.Context, m matcher, uids []store.UID) ([]store.UID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sc := &scan{r: r.quiet(), slots: r.s.server.scans, cancel: cancel}
	sc.batches = slices.Collect(slices.Chunk(uids, filesBatch))
	sc.found = make([][]store.UID, len(sc.batches))
	done := make(chan struct{})
	var workers sync.WaitGroup
	for range min(cap(sc.slots), len(sc.batches)) {
		m := m.forked()
		workers.Go(func() { sc.work(ctx, m) })
	}
	go func() {
		workers.Wait()
		close(done)
	}()
	tick := time.NewTicker(scanTick)
	defer tick.Stop()
	for {
		select {
		case <-done:
			if sc.panicked != nil {
				panic(sc.panicked) //nolint:forbidigo // It is raised again in the session, which recovers.
			}
			return slices.Concat(sc.found...), sc.err
		case <-tick.C:
			if r.progress != nil {
				r.progress(int(sc.done.Load()), len(uids)) // It cancels if the client is gone.
			}
		}
	}
}

// scan is a search of files that runs.
type scan struct {
	r       *searcher
	slots   chan struct{}
	cancel  context.CancelFunc
	batches [][]store.UID
	found   [][]store.UID // Of each batch.
	next    atomic.Int64  // The batch that is to be taken next.
	done    atomic.Int64  // Messages.

	mu       sync.Mutex
	err      error // The first.
	panicked any
}

// work searches batches until there are no more, or the search ends.
func (sc *scan) work(ctx context.Context, m matcher) {
	defer func() {
		if v := recover(); v != nil {
			sc.mu.Lock()
			defer sc.mu.Unlock()
			sc.panicked = v
			sc.cancel()
		}
	}()
	var entries []store.Entry
	for {
		at := int(sc.next.Add(1) - 1)
		if at >= len(sc.batches) {
			return
		}
		select {
		case sc.slots <- struct{}{}:
		case <-ctx.Done():
			sc.fail(ctx.Err())
			return
		}
		entries = sc.r.sel.view.Entries(sc.batches[at], entries[:0])
		err := sc.batch(ctx, m, entries, at)
		if err != nil {
			sc.fail(err)
			return
		}
		sc.done.Add(int64(len(sc.batches[at])))
	}
}

// batch searches messages, and gives the slot back.
func (sc *scan) batch(ctx context.Context, m matcher, entries []store.Entry, at int) error {
	defer func() { <-sc.slots }()
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if sc.found[at], err = sc.r.matchBatch(ctx, m, entries[i:i+1], sc.found[at]); err != nil {
			return err
		}
		runtime.Gosched() // Searches are long: others go first.
	}
	return nil
}

// fail ends the search with an error.
func (sc *scan) fail(err error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.err == nil {
		sc.err = err
	}
	sc.cancel()
}
