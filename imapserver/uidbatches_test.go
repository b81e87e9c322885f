package imapserver

import (
	"math"
	"testing"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// TestUIDBatches: all batches together have each message once, and all but the last
// are of the same size.
func TestUIDBatches(t *testing.T) {
	t.Parallel()
	var uids []store.UID
	for i := range 1000 {
		uids = append(uids, store.UID(3*i+1))
	}
	for _, size := range []uint32{1, 2, 7, 999, 1000, 1001, math.MaxUint32} {
		left := uids
		for i, b := range batchUIDs(uids, imap.UIDBatches{Size: size}) {
			n := min(int(size), len(left))
			if b.highest != left[len(left)-1] || b.lowest != left[len(left)-n] {
				t.Errorf("size %d, batch %d: got %+v", size, i+1, b)
			}
			left = left[:len(left)-n]
			if one := batchUIDs(uids, imap.UIDBatches{Size: size, First: uint32(i + 1), Last: uint32(i + 1)}); len(one) != 1 || one[0] != b {
				t.Errorf("size %d, batch %d alone: got %+v", size, i+1, one)
			}
		}
		if len(left) > 0 {
			t.Errorf("size %d: %d messages are in none", size, len(left))
		}
	}
	if got := batchUIDs(uids, imap.UIDBatches{Size: math.MaxUint32, First: 2, Last: math.MaxUint32}); len(got) != 0 {
		t.Errorf("beyond the last: got %v", got)
	}
	many := make([]store.UID, uidBatchesMax+10)
	if got := batchUIDs(many, imap.UIDBatches{Size: 1}); len(got) != uidBatchesMax+1 {
		t.Errorf("too many: got %d", len(got))
	}
}
