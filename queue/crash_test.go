package queue

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/journal"
)

// crashOp is something that a crash can interrupt.
type crashOp struct {
	name    string
	prepare func(w *world) *Work
	run     func(w *world, work *Work) error
	before  string // What describe says of the queue if nothing was done.
	after   string
	points  []string // That it comes by.
}

// Points that operations come by.
var (
	commitPoints = []string{FaultCommitBefore, FaultCommitAfter}
	logPoints    = []string{LogPoint(journal.FaultBatchBeforeWrite), LogPoint(journal.FaultBatchBeforeSync), LogPoint(journal.FaultBatchAfterSync)}
	addPoints    = append([]string{FaultContentWritten}, logPoints...)
	endPoints    = append([]string{FaultUnlinkBefore, FaultUnlinkAfter}, commitPoints...)
)

// crashOps are the operations. Each begins with a message to a, that waits.
var crashOps = []crashOp{
	{
		name: "add", points: addPoints,
		run: func(w *world, _ *Work) error {
			_, err := w.tryAdd("content", message(w.t, "mjl@example.org", "b@remote.example", "x@local.example"))
			return err
		},
		before: "a waiting 0", after: "a waiting 0, b waiting 0, x waiting 0",
	},
	{
		name: "begin a remote delivery", points: commitPoints,
		run: func(w *world, _ *Work) error {
			_, err := w.db.Next(w.t.Context())
			return err
		},
		before: "a waiting 0", after: "a waiting 1",
	},
	{
		name: "deliver", points: endPoints,
		prepare: (*world).next,
		run:     func(w *world, work *Work) error { return w.db.Finish(w.t.Context(), work, reports(work, ok())) },
		before:  "a waiting 1", after: "",
	},
	{
		name: "deliver, with a notice to be told", points: endPoints,
		prepare: (*world).next,
		run: func(w *world, work *Work) error {
			return w.db.Finish(w.t.Context(), work, noticeReports(work))
		},
		before: "a waiting 1", after: "1 notices",
	},
	{
		name: "hand over a message of the log, with a notice to be told", points: append([]string{FaultFiled}, endPoints...),
		prepare: func(w *world) *Work {
			w.next()
			w.add("content", "mjl@example.org", "x@local.example")
			return w.next()
		},
		run: func(w *world, work *Work) error {
			return w.db.Finish(w.t.Context(), work, noticeReports(work))
		},
		before: "a waiting 1, x waiting 0", after: "1 notices, a waiting 1",
	},
	{
		name: "tell a notice", points: commitPoints,
		prepare: func(w *world) *Work {
			work := w.next()
			errorless(w.t, w.db.Finish(w.t.Context(), work, noticeReports(work)))
			return nil
		},
		run: func(w *world, _ *Work) error {
			list, err := w.db.Notices(w.t.Context(), 0, 10)
			errorless(w.t, err)
			return w.db.Told(w.t.Context(), list[0].ID, []Handed{{"mjl", list[0].Key}})
		},
		before: "1 notices", after: "",
	},
	{
		name: "delay", points: commitPoints,
		prepare: (*world).next,
		run: func(w *world, work *Work) error {
			return w.db.Finish(w.t.Context(), work, reports(work, Report{Retry: true, DialedIP: "192.0.2.1"}))
		},
		before: "a waiting 1", after: "a waiting 1 192.0.2.1",
	},
	{
		name: "drop", points: endPoints,
		run: func(w *world, _ *Work) error {
			_, err := w.db.Drop(w.t.Context(), Filter{})
			return err
		},
		before: "a waiting 0", after: "",
	},
	{
		name: "fail", points: commitPoints,
		run: func(w *world, _ *Work) error {
			_, err := w.db.FailNow(w.t.Context(), Filter{}, "reason")
			return err
		},
		before: "a waiting 0", after: "a waiting 0 to fail",
	},
	{
		name: "make rows of a message in the log", points: append([]string{FaultFiled, FaultFileSynced}, commitPoints...),
		prepare: func(w *world) *Work {
			w.add("content", "mjl@example.org", "b@remote.example", "x@local.example")
			return nil
		},
		run:    func(w *world, _ *Work) error { return w.db.flush() },
		before: "a waiting 0, b waiting 0, x waiting 0", after: "a waiting 0, b waiting 0, x waiting 0",
	},
	{
		name: "begin a remote delivery of a message in the log", points: append([]string{FaultFiled}, commitPoints...),
		prepare: func(w *world) *Work {
			w.next()
			w.add("content", "mjl@example.org", "b@remote.example")
			return nil
		},
		run: func(w *world, _ *Work) error {
			_, err := w.db.Next(w.t.Context())
			return err
		},
		before: "a waiting 1, b waiting 0", after: "a waiting 1, b waiting 1",
	},
	{
		name: "forget a message that was handed over", points: commitPoints,
		prepare: func(w *world) *Work {
			w.next()
			w.add("content", "mjl@example.org", "x@local.example")
			work := w.next()
			r := ok()
			r.Handed = []Handed{{"x", work.Messages[0].Key}}
			w.finish(work, r)
			return nil
		},
		run:    func(w *world, _ *Work) error { return w.db.flush() },
		before: "a waiting 1, x waiting 0", after: "a waiting 1",
	},
	{
		name: "delay a message of the log", points: append([]string{FaultFiled}, commitPoints...),
		prepare: func(w *world) *Work {
			w.next()
			w.add("content", "mjl@example.org", "x@local.example")
			return w.next()
		},
		run: func(w *world, work *Work) error {
			return w.db.Finish(w.t.Context(), work, reports(work, Report{Retry: true}))
		},
		before: "a waiting 1, x waiting 0", after: "a waiting 1, x waiting 1",
	},
}

// describe returns what is in the queue. Contents must be whole.
func (w *world) describe() string {
	w.t.Helper()
	var all []string
	for _, m := range w.list(Filter{}) {
		s := fmt.Sprintf("%s %s %d", strings.Split(m.Rcpt, "@")[0], m.State, m.Attempts)
		if m.DialedIP != "" {
			s += " " + m.DialedIP
		}
		w.db.mu.Lock()
		if w.db.schedule.entries[m.ID].fail {
			s += " to fail"
		}
		w.db.mu.Unlock()
		all = append(all, s)
		r, err := w.db.OpenContent(w.t.Context(), m.ID)
		if err != nil {
			w.t.Errorf("opening content: %v", err)
			continue
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil || b.String() != "Received: from test\r\ncontent" {
			w.t.Errorf("got content %q, %v", b.String(), err)
		}
		if err := r.Close(); err != nil {
			w.t.Error(err)
		}
	}
	notices, err := w.db.Notices(w.t.Context(), 0, 10)
	errorless(w.t, err)
	if n := len(notices); n > 0 {
		all = append(all, fmt.Sprintf("%d notices", n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// verify checks that an operation was done as a whole or not at all; done says
// which if that is known.
func (op crashOp) verify(w *world, when string, done *bool) {
	w.t.Helper()
	w.check()
	got := w.describe()
	if got != op.before && got != op.after || done != nil && op.before != op.after && *done != (got == op.after) {
		w.t.Errorf("%s: got %q, was %q, to be %q", when, got, op.before, op.after)
	}
	want := 0
	if strings.Contains(got, "a ") {
		want++
	}
	if strings.Contains(got, "b ") || strings.Contains(got, "x ") {
		want++
	}
	if n := w.files(); n != want {
		w.t.Errorf("%s: got %q and %d files", when, got, n)
	}
}

// start makes a queue with a message and prepares the operation.
func (op crashOp) start(t *testing.T) (*world, *Work) {
	w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	w.start()
	w.add("content", "mjl@example.org", "a@remote.example")
	w.flush()
	if op.prepare == nil {
		return w, nil
	}
	return w, op.prepare(w)
}

// hold makes points wait. reached waits until all are; release lets them go on.
func (w *world) hold(points ...string) (reached, release func()) {
	var at sync.WaitGroup
	free := make(chan struct{})
	for _, p := range points {
		at.Add(1)
		w.faults.ArmNth(p, 1, func() error {
			at.Done()
			<-free
			return nil
		})
	}
	return at.Wait, func() { close(free) }
}

// TestCrash kills the process at each point of each operation.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, op := range crashOps {
		for _, point := range op.points {
			t.Run(op.name+"/"+point, func(t *testing.T) {
				t.Parallel()
				w, work := op.start(t)
				reached, release := w.hold(point)
				result := make(chan error)
				go func() { result <- op.run(w, work) }()
				reached()
				crashed := w.crashed()
				release()
				if err := <-result; err != nil {
					t.Errorf("got %v", err)
				}
				w.check()
				w.stop()
				crashed.start()
				done := !slices.Contains([]string{FaultContentWritten, FaultFiled, FaultCommitBefore, LogPoint(journal.FaultBatchBeforeWrite)}, point)
				op.verify(crashed, "after the crash", &done)
				crashed.restart()
				op.verify(crashed, "after a restart", &done)
			})
		}
	}
}

// TestFaults makes each point of each operation fail.
func TestFaults(t *testing.T) {
	t.Parallel()
	errFault := errors.New("fault")
	for _, op := range crashOps {
		for _, point := range op.points {
			t.Run(op.name+"/"+point, func(t *testing.T) {
				t.Parallel()
				w, work := op.start(t)
				w.faults.ArmNth(point, 1, func() error { return errFault })
				err := op.run(w, work)
				var done *bool
				switch point {
				case FaultContentWritten:
					no := false
					if done = &no; !errors.Is(err, errFault) || w.db.Err() != nil {
						t.Errorf("got %v, failed %v", err, w.db.Err())
					}
				case FaultUnlinkBefore, FaultUnlinkAfter:
					yes := true
					if done = &yes; err != nil || w.db.Err() != nil || !strings.Contains(w.log.String(), "removing content") {
						t.Errorf("got %v, failed %v, logged %q", err, w.db.Err(), w.log)
					}
				default:
					w.failed(err, errFault)
				}
				w.stop()
				w.start()
				op.verify(w, "after a restart", done)
				w.stop()
			})
		}
	}
}

// failed checks that an operation failed and that the queue takes no more.
func (w *world) failed(err, cause error) {
	w.t.Helper()
	select {
	case <-w.db.Failed():
	default:
		w.t.Error("Failed is not closed")
	}
	if !errors.Is(err, ErrFailed) || !errors.Is(err, cause) || !errors.Is(w.db.Err(), cause) {
		w.t.Errorf("got %v, want %v; failed for %v", err, cause, w.db.Err())
	}
	if _, err := w.tryAdd("content", message(w.t, "mjl@example.org", "z@remote.example")); !errors.Is(err, ErrFailed) {
		w.t.Errorf("adding then: got %v", err)
	}
	if _, err := w.db.Next(w.t.Context()); !errors.Is(err, ErrFailed) {
		w.t.Errorf("next then: got %v", err)
	}
}

// TestFailedWakes has somebody wait in Next, and others in Add, when writing fails.
func TestFailedWakes(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	w.start()
	results := make(chan error, 11)
	go func() {
		_, err := w.db.Next(t.Context())
		results <- err
	}()
	errFault := errors.New("fault")
	w.faults.Arm(LogPoint(journal.FaultBatchBeforeWrite), func() error { return errFault })
	for range 10 {
		go func() {
			_, err := w.tryAdd("content", message(t, "mjl@example.org", "a@remote.example"))
			results <- err
		}()
	}
	for range 11 {
		if err := <-results; !errors.Is(err, ErrFailed) || !errors.Is(err, errFault) {
			t.Errorf("got %v", err)
		}
	}
	w.stop()
	w.start()
	w.check()
	if n := len(w.list(Filter{})); n != 0 || w.files() != 0 {
		t.Errorf("got %d messages, %d files", n, w.files())
	}
	w.stop()
}

// TestGroup has changes share a commit, some of which fail: before they write,
// after, or again and again.
func TestGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	reached, release := w.hold(FaultCommitBefore)
	first := make(chan error)
	w.add("content", "mjl@example.org", "a@remote.example")
	go func() { first <- w.db.flush() }()
	reached()
	errBad := errors.New("bad")
	runs := make([]int, 5)
	applied, undone := make([]bool, 5), make([]bool, 5)
	fns := []func(tx *tx) error{
		func(tx *tx) error { return tx.insert(&handedRow{"a 1"}) },
		func(tx *tx) error { return errBad },
		func(tx *tx) error { return errors.Join(tx.insert(&handedRow{"a 2"}), errBad) },
		func(tx *tx) error { return tx.insert(&handedRow{"a 3"}) },
		func(tx *tx) error { return tx.insert(&handedRow{"a 3"}) }, // There already.
	}
	var changes []*change
	for i, fn := range fns {
		c := &change{rows: 1, apply: func() { applied[i] = true }, undo: func() { undone[i] = true }}
		c.run = func(tx *tx) error {
			runs[i]++
			return fn(tx)
		}
		changes = append(changes, c)
		w.db.submit(c)
	}
	release()
	if err := <-first; err != nil {
		t.Error(err)
	}
	for i, c := range changes {
		<-c.done
		bad := i == 1 || i == 2 || i == 4
		if (c.err != nil) != bad || applied[i] == bad || undone[i] != bad || runs[i] < 1 || runs[i] > 4 {
			t.Errorf("change %d: %v, applied %v, undone %v, run %d times", i, c.err, applied[i], undone[i], runs[i])
		}
	}
	keys, err := w.db.Unconfirmed(t.Context(), 10)
	if err != nil || fmt.Sprint(keys) != "[{a 1} {a 3}]" {
		t.Errorf("got %v, %v", keys, err)
	}
}

// TestNeverFiled hands over messages while the log alone has them: they get neither
// rows nor files, and all of them cost one commit.
func TestNeverFiled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.db.mu.Lock()
	w.db.settling = true // As if settleLoop would look soon: it does not before flush, however slow this is.
	w.db.mu.Unlock()
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() { w.add("content", "mjl@example.org", "x@local.example", "y@local.example") })
	}
	callers.Wait()
	var keys []Handed
	for range 50 {
		work := w.next()
		if string(work.Data) != "content" || len(work.Messages) != 2 || string(work.Messages[1].Prefix) != "Received: from test\r\n" {
			t.Errorf("got %+v", work)
		}
		r := ok()
		r.Handed = []Handed{{"x", work.Messages[0].Key}}
		keys = append(keys, r.Handed...)
		w.finish(work, r)
	}
	if s := w.db.Stats(); s.Messages[Waiting]+s.Messages[Delivering] != 0 || s.Bytes != 0 || !s.Oldest.IsZero() {
		t.Errorf("got %+v, want nothing", s)
	}
	w.flush()
	if n := w.faults.Hits(FaultCommitAfter); n != 1 || w.faults.Hits(FaultFiled) != 0 {
		t.Errorf("got %d commits, and %d files, want 1 and none", n, w.faults.Hits(FaultFiled))
	}
	got, err := w.db.Unconfirmed(t.Context(), 1000)
	if err != nil || len(got) != len(keys) {
		t.Errorf("got %d keys to confirm, %v, want %d", len(got), err, len(keys))
	}
	w.restart()
	if n := len(w.list(Filter{})); n != 0 || w.db.memory != 0 {
		t.Errorf("got %d messages after a restart, %d bytes in memory", n, w.db.memory)
	}
}

// TestPartlyHandedOver hands a message over to one recipient while the log alone
// has it, and then sends it to another: the key is kept, also over a crash.
func TestPartlyHandedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.KeepRetired = func(string) time.Duration { return time.Hour } })
	w.add("content", "mjl@example.org", "x@local.example", "a@remote.example")
	first := w.next()
	second := w.next()
	if second.Local {
		first, second = second, first
		t.Log("the remote one came first")
	}
	r := ok()
	r.Handed = []Handed{{"x", first.Messages[0].Key}}
	w.finish(first, r)
	crashed := w.crashed()
	w.finish(second, ok())
	crashed.start()
	for _, each := range []*world{w, crashed} {
		keys, err := each.db.Unconfirmed(t.Context(), 10)
		if err != nil || len(keys) != 1 || keys[0] != r.Handed[0] {
			t.Errorf("got keys %v, %v", keys, err)
		}
		if got := rcpts(each.list(Filter{State: Retired})); !strings.HasPrefix(got, "x@local.example") {
			t.Errorf("retired is %q", got)
		}
	}
}

// TestHandedOverOnDisk hands over a message whose rows were made before: its file is
// synced first, since it is linked as one that is on disk.
func TestHandedOverOnDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "a@remote.example", "x@local.example")
	for range 2 {
		work := w.next()
		n := w.faults.Hits(FaultFileSynced)
		if work.Local && work.File != "" && n == 0 {
			t.Error("the file of a hand-over is not synced")
		}
		if !work.Local {
			w.finish(work, Report{Retry: true})
			continue
		}
		if work.File == "" { // It came first: another attempt has the file.
			w.finish(work, Report{Retry: true, Next: time.Now()})
			w.flush()
		}
	}
	for _, m := range w.list(Filter{}) {
		if m.Domain == "local.example" && m.State == Delivering {
			return
		}
	}
	work := w.next()
	if !work.Local || work.File == "" || w.faults.Hits(FaultFileSynced) == 0 {
		t.Errorf("got %+v, %d files synced", work, w.faults.Hits(FaultFileSynced))
	}
	w.finish(work, ok())
}

// TestReportForAnother finishes a hand-over of two messages with a report for one of
// them and one for a message that is not in it: the other stays.
func TestReportForAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.add("content", "mjl@example.org", "x@local.example", "y@local.example")
	work := w.next()
	all := reports(work, ok())
	all[1].ID = 1000
	errorless(t, w.db.Finish(t.Context(), work, all))
	if got := rcpts(w.list(Filter{})); got != "y@local.example" {
		t.Errorf("left is %q", got)
	}
}
