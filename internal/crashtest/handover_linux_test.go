package crashtest

import (
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// crash is where a process ends.
type crash struct{ at, after string } // As task has them.

// TestHandoverSchedules ends a System at each step of a message from the queue to
// where it goes (journal.md, rule 18), by kill -9 and by power cuts: each
// recipient has it once, and accounts keep no key in the end.
//
// There is one message alone, so that each step is known by the point before it.
func TestHandoverSchedules(t *testing.T) {
	needPower(t)
	t.Parallel()
	local := []string{"alice@crash.example", "list@crash.example", refused}
	one := []string{"alice@crash.example"}
	failing, remote := []string{refused}, []string{"one-ok@remote.example"}
	for _, tc := range []struct {
		name    string
		rcpts   []string
		crashes []crash // The first process sends the message, others only start.
	}{
		{"in the log of the queue, not answered", local, []crash{{queue.LogPoint(journal.FaultBatchAfterSync), ""}}},
		{"in the log of the queue, not synced", local, []crash{{queue.LogPoint(journal.FaultBatchBeforeSync), ""}}},
		{"in the journal, not answered", local, []crash{{journal.FaultBatchAfterSync, ""}}},
		{"in the journal, applied in a transaction", local, []crash{{store.FaultApplied, ""}}},
		{"in the journal, applied, not committed", local, []crash{{store.FaultCommitBefore, store.FaultApplied}}},
		{"applied, not published", local, []crash{{store.FaultCommitAfter, store.FaultApplied}}},
		{"applied, not retired", local, []crash{{queue.FaultCommitBefore, store.FaultApplied}}},
		{"applied, not retired, and again", local, []crash{{queue.FaultCommitBefore, store.FaultApplied}, {queue.FaultCommitBefore, ""}}},
		{"retired, not told", local, []crash{{queue.FaultCommitAfter, store.FaultApplied}}},
		{"to one alone: applied, the queue's log not settled", one, []crash{{queue.FaultCommitBefore, store.FaultApplied}}},
		{"to one alone: applied, the queue's log not settled, and again", one, []crash{{queue.FaultCommitBefore, store.FaultApplied}, {queue.FaultCommitBefore, ""}}},
		{"to one alone: applied, the queue's log settled", one, []crash{{queue.FaultCommitAfter, store.FaultApplied}}},
		{"retired, its file not removed", local, []crash{{queue.FaultUnlinkBefore, ""}}},
		{"retired, its file removed, not confirmed", local, []crash{{queue.FaultUnlinkAfter, ""}}},
		{"confirmed, the account has not forgotten", local, []crash{{queue.FaultUnlinkAfter, ""}, {store.FaultCommitBefore, ""}}},
		{"confirmed, the account has forgotten", local, []crash{{queue.FaultUnlinkAfter, ""}, {store.FaultCommitAfter, ""}}},
		{"confirmed, the queue was not told", local, []crash{{queue.FaultUnlinkAfter, ""}, {queue.FaultCommitBefore, ""}}},
		{"confirmed, the queue was told", local, []crash{{queue.FaultUnlinkAfter, ""}, {queue.FaultCommitAfter, ""}}},
		{"the sender is told in the journal, not answered", failing, []crash{{journal.FaultBatchAfterSync, ""}}},
		{"the sender is told, the message is not retired", failing, []crash{{queue.FaultCommitBefore, store.FaultApplied}}},
		{"to others: its file is written, it has no rows", remote, []crash{{queue.FaultFiled, ""}}},
		{"to others: the attempt is not recorded", remote, []crash{{queue.FaultCommitBefore, ""}}},
		{"to others: the attempt is recorded, and not made", remote, []crash{{queue.FaultCommitAfter, ""}}},
	} {
		for _, end := range []string{"kill", "power cut"} {
			t.Run(tc.name+"/"+end, func(t *testing.T) {
				t.Parallel()
				d := newDisk(t, 1)
				l := newSystem(t, d.dir())
				for i, c := range tc.crashes {
					tk := task{
						Dir: d.dir(), Round: "only", Fault: c.at, After: c.after, Hold: end == "power cut", System: &l.mail.server, Load: loadOne, Rcpts: tc.rcpts,
					}
					if i > 0 {
						tk.Load = loadNone
					}
					p := start(t, l, tk)
					if tk.Hold {
						p.until(t, "the fault point", p.reached)
						time.Sleep(20 * time.Millisecond) // For others to go as far as they can.
						d.cut(p)
					} else {
						p.wait(t)
					}
				}
				verify(t, l, d.dir(), "after the crash")
				verifyConfirmed(t, l)
				if l.mail.twice != 0 {
					t.Errorf("%d messages are twice at the other server", l.mail.twice)
				}
			})
		}
	}
}

// TestCutLosesQueueNotSynced shows that power cuts can find what the queue doesn't
// sync: where its syncs do nothing, mail is lost that was acknowledged.
func TestCutLosesQueueNotSynced(t *testing.T) {
	needPower(t)
	t.Parallel()
	const soon, settled = 300 * time.Millisecond, 8 * time.Second // The log forgets a message five seconds after it has rows.
	for _, tc := range []struct {
		name  string
		lies  task
		after time.Duration
	}{
		{"all calls that sync", task{NoSync: []string{"fsync", "fdatasync", "syncfs"}}, soon},
		{"those of the log and the rows", task{NoSync: []string{"fdatasync"}}, soon},
		{"those of contents and directories", task{NoSync: []string{"fsync"}}, settled},
		{"those of the rows", task{LieAt: queue.FaultCommitBefore, Nth: 5}, settled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20) {
				if lost := lostFromQueue(t, tc.lies, tc.after, seed); len(lost) > 0 {
					t.Logf("for example: %s", lost[0])
					return
				}
			}
			t.Error("nothing was lost")
		})
	}
}

// lostFromQueue cuts the power of a System that has mail for a server that takes
// none, and returns what is missing when that server takes it.
func lostFromQueue(t *testing.T, lies task, after time.Duration, seed uint64) []string {
	t.Helper()
	d := newDisk(t, 1)
	l := newSystem(t, d.dir())
	l.mail.sink.setDown(true)
	lies.Dir, lies.Round, lies.Seed, lies.System, lies.Load = d.dir(), "lies", seed, &l.mail.server, loadRemote
	p := start(t, l, lies)
	p.until(t, "the store is open", p.ready)
	time.Sleep(after)
	d.cut(p)
	l.mail.sink.setDown(false)
	problems, err := inspectAll(t, l, d.dir())
	if err != nil {
		return []string{err.Error()}
	}
	for i, problem := range problems {
		if strings.HasPrefix(problem, "child: ") {
			t.Fatalf("problem %d: %s", i, problem)
		}
	}
	return problems
}
