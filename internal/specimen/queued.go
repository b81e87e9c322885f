package specimen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/webhook"
)

// queueLocal is the subject of the message that goes from the queue to Main.
const queueLocal = "through the queue"

// attemptLimit bounds the wait for a message that is due.
const attemptLimit = 10 * time.Second

// errKilled is why the queue stops with messages in its log.
var errKilled = errors.New("as if killed")

// makeQueue fills the queue with messages in all states. Their subjects say which.
func (s *specimen) makeQueue(ctx context.Context) error {
	err := s.withQueue(ctx, nil, func(q *queue.DB) error {
		// One at a time: what is due is that which was just added.
		for _, step := range []func(context.Context, *queue.DB) error{s.queueLocal, s.queueRetired, s.queueWaiting, s.queueRule, s.callHooks, s.learn} {
			if err := step(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	faults := fault.New()
	err = s.withQueue(ctx, faults, func(q *queue.DB) error {
		err := errors.Join(s.queueLogged(ctx, q), s.queueDelivering(ctx, q))
		faults.Arm(queue.FaultFiled, func() error { return errKilled })
		return err
	})
	if err != nil {
		return fmt.Errorf("log of the queue: %w", err)
	}
	return nil
}

// add queues a message from Main.
func (s *specimen) add(ctx context.Context, q *queue.DB, subject string, n queue.New, to ...string) ([]queue.Message, error) {
	return s.addFromID(ctx, q, subject, "", n, to...)
}

// addFromID queues a message from Main with an id in the sender's address, unless that
// is empty.
func (s *specimen) addFromID(ctx context.Context, q *queue.DB, subject, fromID string, n queue.New, to ...string) ([]queue.Message, error) {
	msg := text(50, subject)
	var err error
	if n.Content, err = q.NewContent(ctx, int64(len(msg)), bytes.NewReader(msg)); err != nil {
		return nil, err
	}
	n.MessageID, n.Subject = "<50@remote.example>", subject
	if n.MailFrom.IsZero() && n.Account != "" {
		if n.MailFrom, err = address(n.Account + "@" + Domain); err != nil {
			return nil, err
		}
	}
	for _, rcpt := range to {
		path, err := address(rcpt)
		if err != nil {
			return nil, err
		}
		r := queue.NewRcpt{Path: path, Prefix: []byte("Return-Path: <" + n.MailFrom.String() + ">\r\n")}
		if r.FromID = fromID; fromID != "" {
			r.MailFrom = n.MailFrom
			r.MailFrom.Localpart += smtp.Localpart("+" + fromID)
		}
		n.To = append(n.To, r)
	}
	return q.Add(ctx, n)
}

// address parses an address.
func address(text string) (smtp.Path, error) {
	a, err := smtp.ParseAddress(text)
	return a.Path(), err
}

// attempt takes what is due and says what came of it: retired if ok, else tried
// again a moment later.
func attempt(ctx context.Context, q *queue.DB, report func(w *queue.Work) ([]queue.Report, error)) error {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	w, err := q.Next(ctx)
	if err != nil {
		return err
	}
	reports, err := report(w)
	if err != nil {
		return err
	}
	return q.Finish(ctx, w, reports)
}

// queueLocal hands a message over to Main. The queue does not know yet that the
// account has forgotten its key.
func (s *specimen) queueLocal(ctx context.Context, q *queue.DB) error {
	if _, err := s.add(ctx, q, queueLocal, queue.New{Account: Waiting}, Main+"@"+Domain); err != nil {
		return err
	}
	return attempt(ctx, q, func(w *queue.Work) ([]queue.Report, error) {
		m := w.Messages[0]
		err := s.withStore(ctx, nil, func(d *store.Dir) error { return s.handOver(ctx, d, w) })
		return []queue.Report{{
			ID: m.ID, Result: queue.Result{Start: s.now, Took: time.Second, OK: true}, Handed: []queue.Handed{{Account: Main, Key: m.Key}},
		}}, err
	})
}

// handOver delivers a message of the queue to Main.
func (s *specimen) handOver(ctx context.Context, d *store.Dir, w *queue.Work) error {
	return withAccount(ctx, d, Main, func(a *store.Account) error {
		content := d.ContentBytes(w.Data)
		if w.Data == nil {
			var err error
			if content, err = d.ContentLink(ctx, w.File); err != nil {
				return err
			}
		}
		analysis, err := store.Analyze(content.ReaderAt(), content.Size())
		if err != nil {
			return errors.Join(err, content.Discard())
		}
		err = d.Deliver(ctx, store.Delivery{Content: content, Analysis: analysis, Received: at(50), To: []store.Recipient{
			{Account: a, RcptTo: Main + "@" + Domain, Key: w.Messages[0].Key, Prefix: w.Messages[0].Prefix, Mailbox: archive},
		}})
		a.WaitDurable(ctx)
		return err
	})
}

// queueRetired leaves messages that were delivered, with a notice of it that is to
// be told, that failed, and that were dropped. The notice is for an account that is
// gone, so that it makes no mail of the day on which somebody looks.
func (s *specimen) queueRetired(ctx context.Context, q *queue.DB) error {
	for _, r := range []queue.Result{
		{OK: true, Code: 250, RemoteMTA: "mx.remote.example", RemoteIP: "192.0.2.9"},
		{Permanent: true, Code: 550, Enhanced: "5.1.1", Error: "no such user", RemoteMTA: "mx.remote.example", RemoteIP: "192.0.2.9"},
	} {
		subject := "failed"
		event := webhook.EventFailed
		if r.OK {
			subject, event = "delivered", webhook.EventDelivered
		}
		if _, err := s.add(ctx, q, subject, queue.New{Account: Main, EightBit: true, Extra: map[string]string{"order": "17"}}, "bob@remote.example"); err != nil {
			return err
		}
		err := attempt(ctx, q, func(w *queue.Work) ([]queue.Report, error) {
			r.Start, r.Took = s.now, time.Second
			m := w.Messages[0]
			rep := queue.Report{ID: m.ID, Result: r, DialedIP: r.RemoteIP, Event: event}
			if r.OK {
				rep.Notice = &queue.Notice{Key: m.Key + ":success", Account: "gone", To: Main + "@" + Domain, Action: "relayed", Content: []byte("Subject: relayed\r\n\r\n")}
			}
			return []queue.Report{rep}, nil
		})
		if err != nil {
			return err
		}
	}
	dropped, err := s.add(ctx, q, "dropped", queue.New{Account: Main, Hold: true}, "bob@remote.example")
	if err != nil {
		return err
	}
	_, err = q.Drop(ctx, queue.Filter{IDs: []int64{dropped[0].ID}})
	return err
}

// queueWaiting leaves messages that wait: for their time, after an attempt, on
// hold, and a notification without sender.
func (s *specimen) queueWaiting(ctx context.Context, q *queue.DB) error {
	if _, err := s.add(ctx, q, "waiting after an attempt", queue.New{Account: Main}, "bob@remote.example"); err != nil {
		return err
	}
	later := s.now.Add(farAhead)
	err := attempt(ctx, q, func(w *queue.Work) ([]queue.Report, error) {
		return []queue.Report{{ID: w.Messages[0].ID, Retry: true, Next: later, DelayTold: true, Result: queue.Result{
			Start: s.now, Took: time.Second, Code: 451, Enhanced: "4.3.0", Error: "try later", RemoteMTA: "mx.remote.example",
		}}}, nil
	})
	if err != nil {
		return err
	}
	tls := true
	for _, m := range []struct {
		subject string
		n       queue.New
	}{
		{"waiting for its time", queue.New{Account: Main, NotBefore: later}},
		{"held", queue.New{Account: Main, Hold: true, SMTPUTF8: true, RequireTLS: &tls, DSN: smtp.MailDSN{Return: "HDRS", EnvelopeID: "an id"}}},
		{"notification", queue.New{Account: "", NotBefore: later}},
	} {
		if _, err := s.add(ctx, q, m.subject, m.n, "bob@remote.example", "carol@other.example"); err != nil {
			return fmt.Errorf("%s: %w", m.subject, err)
		}
	}
	return nil
}

// queueRule leaves a rule that holds messages, and one that it holds.
func (s *specimen) queueRule(ctx context.Context, q *queue.DB) error {
	if _, _, err := q.AddHoldRule(ctx, queue.HoldRule{Account: Main, SenderDomain: Domain, RecipientDomain: "held.example"}); err != nil {
		return err
	}
	_, err := s.add(ctx, q, "held by a rule", queue.New{Account: Main}, "bob@held.example")
	return err
}

// queueLogged leaves messages that are in the log alone, one of which goes when the
// queue is opened: its sender was not answered.
func (s *specimen) queueLogged(ctx context.Context, q *queue.DB) error {
	_, err := s.addFromID(ctx, q, "waiting in the log", "inthelog", queue.New{Account: Main, NotBefore: s.now.Add(farAhead)}, "bob@remote.example")
	if err != nil {
		return err
	}
	_, err = s.add(ctx, q, "not answered", queue.New{Account: Main, Provisional: true}, "bob@remote.example")
	return err
}

// queueDelivering leaves a message in the middle of an attempt. It has rows, though
// it is in the log.
func (s *specimen) queueDelivering(ctx context.Context, q *queue.DB) error {
	if _, err := s.add(ctx, q, "was being delivered", queue.New{Account: Main}, "bob@remote.example"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	_, err := q.Next(ctx)
	return err
}
