package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
)

const (
	// handoverTimeout bounds a hand-over. It waits for the journal and the accounts.
	handoverTimeout = 5 * time.Minute

	// confirmInterval is the time between confirmations of keys, and confirmMax how
	// many of them are confirmed at a time: with so many it is done at once, that is
	// within confirmTick. A key costs little, and each confirmation a commit of each
	// account.
	confirmInterval = time.Minute
	confirmTick     = 5 * time.Second
	confirmMax      = 500

	// confirmTimeout bounds one confirmation.
	confirmTimeout = time.Minute
)

// handOver gives w to accounts of ours. It returns what came of it by message.
func (s *Sender) handOver(ctx context.Context, id int64, w *queue.Work) []try {
	ctx, cancel := context.WithTimeout(ctx, handoverTimeout)
	defer cancel()
	tries := make([]try, len(w.Messages))
	var places []int // In tries, of those handed over.
	for i := range w.Messages {
		if tries[i].failure = s.returned(ctx, &w.Messages[i]); tries[i].failure == nil {
			places = append(places, i)
		}
	}
	h, err := newHandover(id, w, places)
	if err != nil {
		for _, i := range places {
			tries[i].failure = ours(err)
		}
		return tries
	}
	if len(places) == 0 {
		return tries
	}
	for i, res := range s.opts.Receiver.HandOver(ctx, h) {
		t := &tries[places[i]]
		t.failure, t.handed, t.arrival = handoverFailure(ctx, res.Err), res.Keys, arrivedMailbox
		if res.Expanded {
			t.arrival = arrivedList
		}
	}
	return tries
}

// returned returns a failure for a message whose sender has a notification that it
// failed: the process died before that was recorded. Whoever was told that must not
// be wrong about it, though another attempt could succeed now.
func (s *Sender) returned(ctx context.Context, m *queue.Message) *failure {
	account := s.senderAccount(m)
	if account == "" || m.MailFrom == "" || m.Queued.After(s.started) {
		return nil // Nobody to tell, or this process knows.
	}
	told, err := s.opts.Receiver.Notified(ctx, account, noticeKey(m, dsn.Failed))
	if err != nil {
		s.log.WarnContext(ctx, "asking whether a message was returned", "queue_id", m.ID, "account", account, "err", err)
	}
	if !told {
		return nil
	}
	return &failure{code: smtp.CodeTransactionFailed, enhanced: "5.0.0", text: "the message was returned to its sender before", permanent: true, err: errReturned}
}

// errReturned means that the sender was told that a message failed.
var errReturned = errors.New("returned to its sender by a process that ended before it was recorded")

// newHandover returns the hand-over for some messages of w, given by their places.
func newHandover(id int64, w *queue.Work, places []int) (receive.Handover, error) {
	first := w.Messages[0]
	from, err := queue.Path(first.MailFrom)
	if err != nil {
		return receive.Handover{}, err
	}
	h := receive.Handover{CID: id, Account: first.Account, MailFrom: from, SMTPUTF8: first.SMTPUTF8, Data: w.Data, File: w.File, Size: w.Size, Prefix: first.Prefix}
	for _, i := range places {
		m := &w.Messages[i]
		to, err := queue.Path(m.Rcpt)
		if err != nil {
			return receive.Handover{}, err
		}
		h.To = append(h.To, receive.HandoverRcpt{ID: m.ID, Path: to, Key: m.Key})
	}
	return h, nil
}

// handoverFailure returns the failure for a recipient that was handed over, nil
// if it has the message.
func handoverFailure(ctx context.Context, err error) *failure {
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*smtp.Error](err); ok {
		return &failure{code: refusal.Code, enhanced: refusal.Enhanced, text: refusal.Text, permanent: !refusal.Temporary(), err: err}
	}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return classify("", errInterrupted)
	}
	return ours(err)
}

// confirmer makes accounts forget keys of messages that are retired.
type confirmer struct {
	sender *Sender
	last   time.Time
}

// tick confirms keys if it is time.
func (c *confirmer) tick(ctx context.Context) {
	s, now := c.sender, time.Now()
	if s.handed.Load() < confirmMax && now.Sub(c.last) < confirmInterval {
		return
	}
	c.last = now
	if err := s.confirmAll(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "confirming hand-overs", "err", err)
	}
}

// confirmAll confirms what there is.
func (s *Sender) confirmAll(ctx context.Context) error {
	s.handed.Store(0)
	for {
		keys, err := s.opts.Queue.Unconfirmed(ctx, confirmMax)
		if err != nil || len(keys) == 0 {
			return err
		}
		one, cancel := context.WithTimeout(ctx, confirmTimeout)
		err = s.opts.Receiver.Confirm(one, keys)
		cancel()
		if err != nil {
			return err
		}
		if err := s.opts.Queue.Confirmed(ctx, keys); err != nil {
			return err
		}
		if len(keys) < confirmMax {
			return nil
		}
	}
}
