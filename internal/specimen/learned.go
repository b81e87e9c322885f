package specimen

import (
	"context"
	"time"

	"github.com/mjl-/mox/queue"
)

// learn leaves what is known of recipients: addresses that take no mail, and one put on
// the list by hand; one that failed once; ids of senders, one with an answer.
func (s *specimen) learn(ctx context.Context, q *queue.DB) error {
	for _, m := range []struct {
		fromID, to string
		report     queue.Report
	}{
		{"", "gone@remote.example", queue.Report{Replied: "RCPT", Result: queue.Result{Permanent: true, Code: 550, Enhanced: "5.1.1", Error: "no such user"}}},
		{"", "often@remote.example", queue.Report{Replied: "DATA", Result: queue.Result{Permanent: true, Code: 554, Enhanced: "5.7.1", Error: "spam"}}},
		{"retired", "returned@remote.example", queue.Report{Result: queue.Result{OK: true, Code: 250, RemoteMTA: "mx.remote.example"}}},
	} {
		if _, err := s.addFromID(ctx, q, "to "+m.to, m.fromID, queue.New{Account: Main}, m.to); err != nil {
			return err
		}
		err := attempt(ctx, q, func(w *queue.Work) ([]queue.Report, error) {
			m.report.ID, m.report.Result.Start, m.report.Result.Took = w.Messages[0].ID, s.now, time.Second
			return []queue.Report{m.report}, nil
		})
		if err != nil {
			return err
		}
	}
	_, err := q.Answered(ctx, queue.Answer{
		Account: Main, FromID: "retired", Key: "key", Received: s.now, Event: queue.AnswerFailed, Code: 550, Enhanced: "5.2.1", Error: "mailbox is disabled", RemoteMTA: "inner.remote.example",
	})
	if err != nil {
		return err
	}
	never, err := address("never@remote.example")
	if err == nil {
		_, err = q.Suppress(ctx, Main, never, "asked for it")
	}
	return err
}
