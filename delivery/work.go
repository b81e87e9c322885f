package delivery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/trace"
)

const (
	// tellTimeout bounds the time to tell the senders of one Work. Those that had no
	// turn are told after the next attempt.
	tellTimeout = 5 * time.Minute

	// finishTimeout bounds the time to record what came of a delivery. Both run also
	// when deliveries are cancelled.
	finishTimeout = time.Minute
)

// delivery is one Work on its way: made, decided about, told and recorded.
type delivery struct {
	sender   *Sender
	work     *queue.Work
	id       int64 // As the log has it.
	log      *slog.Logger
	finished bool // The queue was told what came of it, or can't be.

	notices []trace.Event // For the trace, after the attempts that they are about.
}

// deliver does w and records what came of it.
func (s *Sender) deliver(ctx context.Context, w *queue.Work) {
	id := s.opts.CIDs.Next()
	d := &delivery{sender: s, work: w, id: id, log: s.log.With("cid", cid.Format(id))}
	defer func() {
		if v := recover(); v != nil {
			d.log.ErrorContext(ctx, "panic in delivery", "panic", v, "stack", string(debug.Stack()))
			s.opts.Panicked()
			d.putBack(ctx)
		}
	}()
	start, began := s.opts.Queue.Now(), time.Now() // Both, as a clock may jump meanwhile.
	tries := d.attempt(ctx)
	for i := range tries {
		tries[i].transport = cmp.Or(tries[i].transport, transportOf(w))
		if tries[i].end.IsZero() {
			tries[i].start, tries[i].end = start, start.Add(time.Since(began))
		}
	}
	d.conclude(ctx, tries)
}

// attempt makes the attempt. It returns what came of it by message.
func (d *delivery) attempt(ctx context.Context) []try {
	switch {
	case d.work.Fail != "":
		tries := make([]try, len(d.work.Messages))
		for i := range tries {
			tries[i].failure = withoutAttempt(&d.work.Messages[i], d.sender.opts.Schedule, d.work.Fail)
		}
		return tries
	case d.work.Local:
		return d.sender.handOver(ctx, d.id, d.work)
	}
	return d.sender.send(ctx, d.work, d.log)
}

// conclude decides what is made of an attempt, tells senders, and only then
// records it: who dies in between tells again, and does not forget. It is done in
// full also when ctx is done.
func (d *delivery) conclude(ctx context.Context, tries []try) {
	ctx = context.WithoutCancel(ctx)
	telling, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	random := d.sender.random()
	reports := make([]queue.Report, len(tries))
	var succeeded []success
	for i, t := range tries {
		m := &d.work.Messages[i]
		v := decide(m, t, d.sender.opts.Schedule, 2*random.Float64()-1)
		switch {
		case v.notice == "":
		case v.failure == nil:
			succeeded = append(succeeded, success{i, m, t, v.notice})
		default:
			d.tell(telling, m, &v)
		}
		if !v.report.Retry {
			v.report.Handed = append(v.report.Handed, earlierNotices(m, d.sender.senderAccount(m), t.end)...)
		}
		v.report.Event = v.event()
		d.note(ctx, m, t, v)
		d.traced(m, &t, &v)
		reports[i] = v.report
	}
	d.succeed(ctx, reports, succeeded)
	d.finish(ctx, reports)
}

// tell tells the sender of m what v says. If that fails v becomes one for another
// attempt, unless telling can never work.
func (d *delivery) tell(ctx context.Context, m *queue.Message, v *verdict) {
	s, action := d.sender, string(v.notice)
	told := trace.Notice{Action: action, To: m.MailFrom}
	keys, err := s.notify(ctx, d.work, m, *v, &told)
	d.tracedNotice(m, told, err)
	v.report.Handed = append(v.report.Handed, keys...)
	if err == nil {
		s.metrics.notices.WithLabelValues(action, resultOK).Inc()
		d.log.InfoContext(ctx, "sender notified", "queue_id", m.ID, "account", m.Account, "to", m.MailFrom, "action", action)
		return
	}
	s.metrics.notices.WithLabelValues(action, resultError).Inc()
	d.log.ErrorContext(ctx, "notifying sender", "queue_id", m.ID, "account", m.Account, "to", m.MailFrom, "action", action, "err", err)
	if !errors.Is(err, errUntellable) {
		v.postpone(s.opts.Queue.Now().Add(s.opts.Schedule.Wait(m.Attempts)))
	}
}

// finish records reports.
func (d *delivery) finish(ctx context.Context, reports []queue.Report) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	d.finished = true
	var handed int64
	for _, r := range reports {
		handed += int64(len(r.Handed))
	}
	if err := d.sender.opts.Queue.Finish(ctx, d.work, reports); err != nil {
		// The lease ends by itself, or with the process, and there is another attempt.
		d.log.ErrorContext(ctx, "recording delivery", "err", err)
		return
	}
	d.sender.handed.Add(handed)
	if slices.ContainsFunc(reports, func(r queue.Report) bool { return r.Notice != nil }) {
		d.sender.owe()
	}
}

// putBack makes all messages wait for another attempt, after a panic.
func (d *delivery) putBack(ctx context.Context) {
	if d.finished {
		return
	}
	now := d.sender.opts.Queue.Now()
	reports := make([]queue.Report, len(d.work.Messages))
	for i, m := range d.work.Messages {
		result := resultOf(try{start: now, end: now, failure: ours(nil)})
		reports[i] = queue.Report{ID: m.ID, Result: result, Retry: true, Next: now.Add(d.sender.opts.Schedule.Wait(m.Attempts)), DialedIP: m.DialedIP}
	}
	d.finish(context.WithoutCancel(ctx), reports)
}

// note logs and counts what came of an attempt for a message.
func (d *delivery) note(ctx context.Context, m *queue.Message, t try, v verdict) {
	result, mode := v.result(), t.tls
	if mode == "" {
		mode = tlsNone
	}
	took := t.end.Sub(t.start)
	d.sender.metrics.delivery(m.Attempts, t.transport, mode, result, took)
	if m.Report == queue.DMARCReport && result == "failed" {
		d.sender.metrics.reports.Inc()
	}
	attrs := []any{
		"result", result, "queue_id", m.ID, "account", m.Account, "mailfrom", m.MailFrom, "rcptto", m.Rcpt, "domain", m.Domain,
		"attempt", m.Attempts, "transport", t.transport, "took", took,
	}
	if t.ip.IsValid() {
		attrs = append(attrs, "host", t.host.String(), "ip", t.ip.String(), "tls", mode)
	}
	attrs = append(attrs, t.security.attrs()...)
	r := v.report.Result
	attrs = append(attrs, "code", r.Code, "enhanced", r.Enhanced)
	if t.reply != "" {
		attrs = append(attrs, "reply", t.reply)
	}
	if v.report.Retry {
		attrs = append(attrs, "next", v.report.Next)
	}
	level := slog.LevelInfo
	if f := t.failure; f != nil {
		attrs = append(attrs, "reason", f.String())
		if f.err != nil {
			attrs = append(attrs, "err", f.err)
		}
		switch {
		case f.ours:
			level = slog.LevelError
		case result == "failed" && m.MailFrom == "":
			level = slog.LevelWarn // Nobody is told but here.
		}
	}
	d.log.Log(ctx, level, "delivery", attrs...)
}
