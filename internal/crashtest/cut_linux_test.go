package crashtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/store"
)

// imageSize is that of a disk in bytes. Most of it stays a hole.
const imageSize = 192 << 20

// disk is an ext4 file system in an image in memory, on a loop device. The image
// is what the disk has; what the kernel has not written back is not in it, and
// lost when power goes.
type disk struct {
	t     *testing.T
	root  string // On a tmpfs: the images, and the mount point.
	opts  string // To mount with.
	image string
	mount string
}

// needPower skips the test where power can't be cut.
func needPower(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: power cuts need root, to mount file systems of their own")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("skipped: power cuts need loop devices, and this kernel or container has none")
	}
}

// run runs a program of the system.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// newDisk makes and mounts an empty file system, and unmounts it at the end.
//
// Odd seeds get one that promises even less than others: data of files that were
// renamed can come later than their names.
func newDisk(t *testing.T, seed int) *disk {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "mox-crashtest-")
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{t: t, root: root, image: filepath.Join(root, "image"), mount: filepath.Join(root, "mnt"), opts: "loop"}
	if seed%2 == 1 {
		d.opts = "loop,noauto_da_alloc,data=writeback,commit=300"
	}
	t.Cleanup(func() {
		if exec.Command("umount", d.mount).Run() != nil {
			_ = exec.Command("umount", "-l", d.mount).Run() // Or it was not mounted after a failure.
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(d.mount, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(imageSize); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	d.attach()
	return d
}

func (d *disk) attach() {
	d.t.Helper()
	run(d.t, "mount", "-o", d.opts, d.image, d.mount)
}

// dir is the data directory on the disk.
func (d *disk) dir() string { return filepath.Join(d.mount, "data") }

// cut cuts the power under a running child: the disk is then what it was at that
// instant, and the file system what its own recovery makes of it.
func (d *disk) cut(p *process) {
	d.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	waitStopped(d.t, p.cmd.Process.Pid)
	next := d.copyImage()
	p.kill(d.t)
	run(d.t, "umount", d.mount)
	if err := os.Rename(next, d.image); err != nil {
		d.t.Fatal(err)
	}
	d.attach()
}

// waitStopped waits until every thread of a process is stopped: one that is in a
// system call finishes that first.
func waitStopped(t *testing.T, pid int) {
	t.Helper()
	for range 2000 {
		stopped := true
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range stats {
			b, err := os.ReadFile(path)
			if err != nil {
				continue // The thread has ended.
			}
			_, state, _ := bytes.Cut(b, []byte(") "))
			stopped = stopped && len(state) > 0 && state[0] == 'T'
		}
		if stopped && len(stats) > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("child does not stop")
}

// copyImage copies the image until two copies agree, since the kernel may be
// writing to it by itself.
func (d *disk) copyImage() string {
	d.t.Helper()
	a, b := filepath.Join(d.root, "copy-a"), filepath.Join(d.root, "copy-b")
	run(d.t, "cp", "--sparse=always", d.image, a)
	for range 20 {
		run(d.t, "cp", "--sparse=always", d.image, b)
		if exec.Command("cmp", "-s", a, b).Run() == nil {
			if err := os.Remove(b); err != nil {
				d.t.Fatal(err)
			}
			return a
		}
		a, b = b, a
	}
	d.t.Fatal("the image does not come to rest")
	return ""
}

// TestCutAtRandom cuts the power of a store under load again and again, each
// time with all that was before.
func TestCutAtRandom(t *testing.T) {
	needPower(t)
	t.Parallel()
	seed := seedOf(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	var d *disk
	var l *ledger
	for i := range *rounds {
		if i%10 == 0 { // The disk is small.
			d = newDisk(t, i/10)
			l = newSystem(t, d.dir())
		}
		p := start(t, l, task{Dir: d.dir(), Round: fmt.Sprint(i), Seed: rng.Uint64(), Retry: l.retries(), System: &l.mail.server})
		p.until(t, "the store is open", p.ready)
		time.Sleep(time.Duration(20+rng.IntN(300)) * time.Millisecond)
		d.cut(p)
		verify(t, l, d.dir(), fmt.Sprintf("round %d", i))
		if i%10 == 9 || i == *rounds-1 {
			verifyConfirmed(t, l)
		}
	}
	t.Logf("%d contents since the last new disk", len(l.contents))
}

// TestCutAtFaultPoints cuts the power while the store is held at each of the
// named points.
func TestCutAtFaultPoints(t *testing.T) {
	needPower(t)
	t.Parallel()
	seed := seedOf(t)
	for i, point := range faultPoints() {
		t.Run(strings.ReplaceAll(point, ":", ""), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, uint64(100+i)))
			d := newDisk(t, i)
			l := newFor(t, point, d.dir())
			p := start(t, l, l.task(task{Dir: d.dir(), Round: "before", Seed: rng.Uint64()}))
			p.until(t, "the store is open", p.ready)
			time.Sleep(50 * time.Millisecond)
			d.cut(p)
			p = start(t, l, l.task(task{Dir: d.dir(), Round: "held", Seed: rng.Uint64(), Fault: point, Nth: nthOf(point, rng), Hold: true}))
			p.until(t, "the fault point", p.reached)
			time.Sleep(20 * time.Millisecond) // For the others to go as far as they can.
			d.cut(p)
			verify(t, l, d.dir(), "after a power cut at "+point)
			// The queue tries again what it was not told of.
			p = start(t, l, l.task(task{Dir: d.dir(), Round: "after", Seed: rng.Uint64(), Quiet: true}))
			p.until(t, "the store is open", p.ready)
			time.Sleep(50 * time.Millisecond)
			d.cut(p)
			verify(t, l, d.dir(), "after trying again")
		})
	}
}

// TestCutSchedules plays the orders of events that the journal's rules are about:
// a kill that leaves something in the page cache alone, and a power cut after the
// next start has acted upon it.
func TestCutSchedules(t *testing.T) {
	needPower(t)
	t.Parallel()
	for _, tc := range []struct {
		name  string
		kill  string // Where the first process is killed.
		then  string // Where the second is held when power goes; "" some time after it has opened.
		quiet bool   // The second only looks, and hands over what the queue has.
	}{
		{"rule 7: a record that was only in the page cache was applied and shown", journal.FaultBatchBeforeSync, "", true},
		{"rule 7: the same, and more was appended", journal.FaultBatchBeforeSync, "", false},
		{"rule 7: the same, and power goes before the start has settled it", journal.FaultBatchBeforeSync, journal.FaultOpenBeforeRewrite, false},
		{"rule 7: the same, and power goes before the rest is zeroed", journal.FaultBatchBeforeSync, journal.FaultOpenBeforeZero, false},
		{"rule 7: the same, and power goes once it is durable", journal.FaultBatchBeforeSync, journal.FaultOpenAfterSync, false},
		{"rule 7: the commit outlives the files", store.FaultFilesSynced, store.FaultCommitAfter, false},
		{"rule 7: segments go after the files were synced", store.FaultCleanSynced, journal.FaultRemoveBetween, false},
		{"rule 18: a hand-over is durable and its queue was not told", journal.FaultBatchAfterSync, "", true},
		{"rule 18: a hand-over is applied, not committed", store.FaultApplied, "", true},
		{"rule 18: a hand-over is committed, not published", store.FaultCommitAfter, "", true},
		{"rule 19: what a commit shows before it is published", store.FaultCommitBefore, store.FaultCommitAfter, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, 1)
			l := newStore(t, d.dir())
			p := start(t, l, task{Dir: d.dir(), Round: "1", Seed: 1, Fault: tc.kill, Nth: 3})
			p.wait(t)
			second := task{Dir: d.dir(), Round: "2", Seed: 2, Fault: tc.then, Nth: 1, Hold: true, Quiet: tc.quiet}
			if tc.kill != journal.FaultBatchBeforeSync {
				second.Retry = l.retries()
			}
			p = start(t, l, second)
			if tc.then != "" {
				p.until(t, "the fault point", p.reached)
			} else {
				p.until(t, "the store is open", p.ready)
				time.Sleep(100 * time.Millisecond)
			}
			d.cut(p)
			verify(t, l, d.dir(), "after the power cut")
		})
	}
}

// TestCutRule19 cuts the power when commits are in the databases, where bolt shows
// them to new readers, and not on disk: nothing of them was shown.
func TestCutRule19(t *testing.T) {
	needPower(t)
	t.Parallel()
	for i, nth := range []int{3, 10, 30} {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, i)
			l := newStore(t, d.dir())
			p := start(t, l, task{Dir: d.dir(), Round: "1", Seed: uint64(nth), Nth: nth, HoldAt: store.FaultCommitBefore})
			p.until(t, "a commit that is shown and not on disk", p.reached)
			time.Sleep(50 * time.Millisecond) // For others to look.
			d.cut(p)
			verify(t, l, d.dir(), "after the power cut")
		})
	}
}

// TestCutLosesWhatWasNotSynced shows that the tests above can fail: where syncs
// do nothing, a power cut loses what was acknowledged or shown.
func TestCutLosesWhatWasNotSynced(t *testing.T) {
	needPower(t)
	t.Parallel()
	for _, tc := range []struct {
		name string
		lies task
	}{
		{"all calls that sync", task{NoSync: []string{"fsync", "fdatasync", "syncfs"}}},
		{"those of the journal and databases", task{NoSync: []string{"fdatasync", "syncfs"}}},
		{"those of files that users append, and of directories", task{NoSync: []string{"fsync"}}},
		{"those before segments are removed", task{NoSync: []string{"syncfs"}, Fault: journal.FaultRemoveAfter, Nth: 4, Hold: true}},
		{"those of databases, whose commits are shown", task{LieAt: store.FaultCommitBefore, Nth: 10}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20) { // The kernel may have written all by itself, or for another call.
				if lost := lostAfterLies(t, tc.lies, seed); lost != "" {
					t.Logf("for example: %s", lost)
					return
				}
			}
			t.Error("nothing was lost")
		})
	}
}

// lostAfterLies cuts the power of a store whose syncs do nothing, and returns
// something that is missing then, if there is.
func lostAfterLies(t *testing.T, lies task, seed uint64) string {
	t.Helper()
	d := newDisk(t, 1)
	l := newStore(t, d.dir())
	lies.Dir, lies.Round, lies.Seed = d.dir(), "lies", seed
	p := start(t, l, lies)
	if lies.Hold {
		p.until(t, "the fault point", p.reached)
	} else {
		p.until(t, "the store is open", p.ready)
		time.Sleep(300 * time.Millisecond)
	}
	d.cut(p)
	found, err := inspect(t.Context(), d.dir(), testLog(t))
	if err != nil {
		return err.Error()
	}
	for _, problem := range l.compare(found) {
		return problem
	}
	return ""
}
