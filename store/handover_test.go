package store

import (
	"errors"
	"testing"
	"time"
)

// TestNoQuota: what is taken without asking for room counts all the same.
func TestNoQuota(t *testing.T) {
	t.Parallel()
	msg := testMessage(0, "x")
	w := newWorld(t, func(o *Options) { o.QuotaSize = func(string) int64 { return 1 } }, "a")
	dl := Delivery{Content: w.d.ContentBytes(msg), Analysis: analysis(t, msg), Received: time.Now(), To: []Recipient{{Account: w.account("a")}}}
	if err := w.d.Deliver(t.Context(), dl); !errors.Is(err, ErrOverQuota) {
		t.Errorf("without room: %v", err)
	}
	dl.To[0].NoQuota = true
	if err := w.d.Deliver(t.Context(), dl); err != nil {
		t.Error(err)
	}
	w.wantInbox("a", msg)
	if used := w.account("a").Usage().Size; used != int64(len(msg)) {
		t.Errorf("%d bytes are used, want %d", used, len(msg))
	}
}
