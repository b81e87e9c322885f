package store

import (
	"fmt"
	"testing"
	"time"
)

// TestBacklog shows what waits: nothing, what can't be applied, what was put aside,
// and what nobody can apply.
func TestBacklog(t *testing.T) {
	t.Parallel()
	free := int64(1 << 30)
	w := newWorld(t, func(o *Options) { o.DiskFree = func() (int64, error) { return free, nil } }, "a", "b")
	backlog := func() Backlog {
		t.Helper()
		b, err := w.d.Backlog()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if b := backlog(); b.Records != 0 || b.Bytes != 0 || !b.Oldest.IsZero() || b.Failing != nil || b.Aside != 0 || b.Failed != 0 {
		t.Errorf("at the start: got %+v", b)
	}
	before := time.Now()
	mend := w.stick("a")
	msg := testMessage(0, "x")
	w.deliver(msg, "a", "b")
	a := w.account("a")
	eventually(t, "applying fails", a.isFailing)
	w.wantInbox("b", msg)
	if b := backlog(); b.Records != 1 || b.Bytes != int64(len(msg)) || b.Oldest.Before(before) || fmt.Sprint(b.Failing) != "[a]" {
		t.Errorf("one account fails: got %+v", b)
	}
	if n, err := w.d.DiskFree(); err != nil || n != free-diskSpare-2*int64(len(msg)) {
		t.Errorf("free: got %d, %v", n, err)
	}
	if err := w.d.putAside(a); err != nil {
		t.Fatal(err)
	}
	if b := backlog(); b.Records != 1 || b.Bytes != 0 || b.Aside != 1 {
		t.Errorf("put aside: got %+v", b)
	}
	mend()
	eventually(t, "applying goes on", func() bool { return !a.isFailing() })
	w.wantInbox("a", msg)
	eventually(t, "nothing is aside", func() bool { return backlog().Aside == 0 })
	free = 1
	if n, err := w.d.DiskFree(); err != nil || n != 0 {
		t.Errorf("free on a full disk: got %d, %v", n, err)
	}
	free = 1 << 30
}
