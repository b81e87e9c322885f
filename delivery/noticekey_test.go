package delivery

import (
	"testing"
	"time"

	"github.com/mjl-/mox/queue"
)

// TestEarlierNotices has messages that are retired. A process that died between a
// notification of delay and its record left a key in the sender's account for ever,
// when the next attempt delivered the message.
func TestEarlierNotices(t *testing.T) {
	t.Parallel()
	queued := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name    string
		message queue.Message
		after   time.Duration
		want    int
	}{
		{"the first attempt", queue.Message{Account: "alice", MailFrom: "alice@example.org", Attempts: 1}, time.Second, 0},
		{"the second attempt, at once", queue.Message{Account: "alice", MailFrom: "alice@example.org", Attempts: 2}, time.Second, 2},
		{"a hand-over that took long before it was recorded", queue.Message{Account: "alice", MailFrom: "alice@example.org", Attempts: 1}, time.Hour, 2},
		{"the null sender", queue.Message{Account: "alice", Attempts: 5}, time.Hour, 0},
		{"a sender elsewhere", queue.Message{MailFrom: "alice@other.example", Attempts: 5}, time.Hour, 0},
	} {
		tc.message.Key, tc.message.Queued = "key", queued
		got := earlierNotices(&tc.message, tc.message.Account, queued.Add(tc.after))
		if len(got) != tc.want {
			t.Errorf("%s: got %v, want %d", tc.name, got, tc.want)
		}
		for i, key := range []string{"key:delayed", "key:failed"}[:len(got)] {
			if got[i] != (queue.Handed{Account: "alice", Key: key}) {
				t.Errorf("%s: got %v, want %s", tc.name, got[i], key)
			}
		}
	}
}
