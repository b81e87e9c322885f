package backup

import (
	"flag"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// largeMessages is how many messages the account of TestLarge has. With a million
// it takes a quarter of an hour, most of that to fill the account.
var largeMessages = flag.Int64("backup.messages", 500, "messages of the account that TestLarge makes a backup of")

// anonymousMax bounds the memory of the process, in KiB: 300 MB, whatever the
// number of messages.
const anonymousMax = 300_000_000 / 1024

// TestLarge makes a backup of a large account, verifies it and the server, and
// restores it, and looks at how much memory that takes.
func TestLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var given atomic.Int64
	var filling sync.WaitGroup
	for range 20 {
		filling.Go(func() {
			for {
				n := given.Add(1)
				if n > *largeMessages {
					return
				}
				if err := w.deliver(message(int(n)), "a"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	filling.Wait()
	a, err := w.store.Account(t.Context(), "a")
	must(t, err)
	for range 100 { // A wait is at most a second.
		a.WaitDurable(t.Context())
	}
	must(t, a.Close())
	debug.FreeOSMemory() // What filling took.
	most, stop := watchMemory()
	start := time.Now()
	dest, res := w.complete()
	made, mostMade := time.Now(), most.Load()
	if list := w.live(); len(list) > 0 {
		t.Errorf("the server: found %q", list)
	}
	live, mostLive := time.Now(), most.Load()
	if got, sum := problems(t, verifyOptions(t, dest)); got != "" || sum.Files < *largeMessages {
		t.Errorf("the backup: %+v: %s", sum, got)
	}
	verified, mostVerified := time.Now(), most.Load()
	if res.Messages != *largeMessages {
		t.Errorf("got %d messages", res.Messages)
	}
	restored, err := Restore(t.Context(), restoreOptions(t, dest, t.TempDir()))
	must(t, err)
	stop()
	t.Logf("%d messages: backup took %v, verifying the server %v, verifying the backup %v, restoring, which verifies, %v; at most %d KiB of anonymous memory (until the end of each: %d, %d, %d)",
		res.Messages, made.Sub(start), live.Sub(made), verified.Sub(live), time.Since(verified), most.Load(), mostMade, mostLive, mostVerified)
	if restored.Files != res.Files-3 { // Two files are configuration, and one has the version.
		t.Errorf("%d files were restored, of %d", restored.Files, res.Files)
	}
	if most.Load() > anonymousMax {
		t.Errorf("took %d KiB of anonymous memory", most.Load())
	}
}

// anonymous finds the memory of a process that is in no file.
var anonymous = regexp.MustCompile(`(?m)^RssAnon:\s+(\d+) kB$`)

// watchMemory notes the most anonymous memory of the process until stop is called.
// Where the system doesn't tell it stays zero.
func watchMemory() (most *atomic.Int64, stop func()) {
	most = new(atomic.Int64)
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			status, err := os.ReadFile("/proc/self/status")
			if m := anonymous.FindSubmatch(status); err == nil && m != nil {
				n, _ := strconv.ParseInt(string(m[1]), 10, 64)
				most.Store(max(most.Load(), n))
			}
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	})
	return most, func() {
		close(ended)
		watching.Wait()
	}
}
