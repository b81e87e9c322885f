package receive

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mjl-/mox/ratelimit"
)

// Limits on what the networks around one address may send to one account:
// messages, and their bytes, per minute and per day.
var (
	messageWindows = []ratelimit.Window{
		{Period: time.Minute, Limits: [3]int64{500, 1500, 4500}},
		{Period: 24 * time.Hour, Limits: [3]int64{20 * 500, 20 * 1500, 20 * 4500}},
	}
	byteWindows = []ratelimit.Window{
		{Period: time.Minute, Limits: [3]int64{1000e6, 3000e6, 9000e6}},
		{Period: 24 * time.Hour, Limits: [3]int64{3 * 1000e6, 3 * 3000e6, 3 * 9000e6}},
	}
)

// rates counts what came in for each account. It holds what its accounts got in
// the current day, bounded by package ratelimit and the number of accounts.
type rates struct {
	mu       sync.Mutex
	accounts map[string]accountRates
}

type accountRates struct{ messages, bytes *ratelimit.Limiter }

func newRates() *rates { return &rates{accounts: map[string]accountRates{}} }

// over returns whether a message of size bytes is too much for the account, and
// counts it if not. The queue, which has no address, is never over.
func (r *rates) over(now time.Time, account string, ip netip.Addr, size int64) bool {
	if !ip.IsValid() {
		return false
	}
	r.mu.Lock()
	a, ok := r.accounts[account]
	if !ok {
		a = accountRates{ratelimit.New(messageWindows...), ratelimit.New(byteWindows...)}
		r.accounts[account] = a
	}
	r.mu.Unlock()
	return !a.bytes.Check(now, ip, size) || !a.messages.Allow(now, ip, 1) || !a.bytes.Allow(now, ip, size)
}
