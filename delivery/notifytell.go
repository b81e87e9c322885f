package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/receive"
)

const (
	// tellMax is how many notices of success are taken from the queue at a time, and
	// tellersMax how many of them are told at a time: each waits for the journal and
	// for an account.
	tellMax    = 50
	tellersMax = 10

	// tellAgainAfter is how long a notice waits that could not be told, and
	// tellGiveUpAfter how long it is tried. Failures are given up after about as long.
	tellAgainAfter  = 5 * time.Minute
	tellGiveUpAfter = 4 * 24 * time.Hour
)

// owe has notices told that are in the queue now.
func (s *Sender) owe() {
	select {
	case s.owing <- struct{}{}:
	default:
	}
}

// teller tells senders of success: what the queue has for them, in its order.
type teller struct {
	sender *Sender
	after  int64           // Id of the last notice that was tried.
	failed map[string]bool // Accounts that could not be told of one since the begin.
}

// serve tells until ctx is done. It begins again after each tellAgainAfter, for what
// could not be told.
func (t *teller) serve(ctx context.Context) {
	begin := time.NewTimer(0)
	defer begin.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-begin.C:
			t.after, t.failed = 0, map[string]bool{}
			begin.Reset(tellAgainAfter)
		case <-t.sender.owing:
		}
		if err := t.tell(ctx); err != nil && ctx.Err() == nil {
			t.sender.log.WarnContext(ctx, "telling senders of success", "err", err)
		}
	}
}

// tell tries each notice behind the last once, but those for accounts that fail.
func (t *teller) tell(ctx context.Context) error {
	for ctx.Err() == nil {
		list, err := t.sender.opts.Queue.Notices(ctx, t.after, tellMax)
		if err != nil || len(list) == 0 {
			return err
		}
		t.tellAll(ctx, list)
		t.after = list[len(list)-1].ID
	}
	return nil
}

// tellAll tells notices, several at a time.
func (t *teller) tellAll(ctx context.Context, list []queue.Notice) {
	slots := make(chan struct{}, tellersMax)
	told := make([]bool, len(list))
	var all sync.WaitGroup
	for i, n := range list {
		if t.failed[n.Account] {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			told[i] = t.sender.tellSuccess(ctx, n)
		})
	}
	all.Wait()
	for i, n := range list {
		if !told[i] {
			t.failed[n.Account] = true
		}
	}
}

// tellSuccess tells one notice and has the queue forget it. It returns whether that
// is done with.
func (s *Sender) tellSuccess(ctx context.Context, n queue.Notice) bool {
	to, err := queue.Path(n.To)
	var keys []queue.Handed
	if err == nil {
		keys, err = s.opts.Receiver.Notify(ctx, receive.Notice{
			CID: s.opts.CIDs.Next(), About: receive.AboutSuccess, Key: n.Key, Account: n.Account, To: to, Content: n.Content, UTF8: n.UTF8,
		})
	}
	if err != nil && ctx.Err() != nil {
		return false
	}
	result := resultOK
	if err != nil {
		result = resultError
		s.log.ErrorContext(ctx, "notifying sender", "account", n.Account, "to", n.To, "action", n.Action, "err", err)
		if s.opts.Queue.Now().Sub(n.Added) < tellGiveUpAfter {
			return false
		}
	} else {
		s.log.InfoContext(ctx, "sender notified", "account", n.Account, "to", n.To, "action", n.Action)
	}
	s.metrics.notices.WithLabelValues(n.Action, result).Inc()
	if err := s.opts.Queue.Told(ctx, n.ID, keys); err != nil {
		// Its account knows the key, so that it is not told again.
		s.log.WarnContext(ctx, "forgetting a notice that was told", "account", n.Account, "err", err)
		return false
	}
	s.handed.Add(int64(len(keys)))
	return true
}
