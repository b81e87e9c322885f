package receive

import (
	"errors"
	"fmt"

	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/trace"
)

// Bounds on the verdicts of one message that are traced, for aliases with many members:
// of those after the first ones the steps are left out.
const (
	tracedMax      = 1000
	tracedStepsMax = 50
)

// Traced returns what a trace says of a peer. UTF8 says that its message needs
// SMTPUTF8.
func (p *Peer) Traced(utf8 bool) *trace.Peer {
	t := &trace.Peer{Hello: p.Hello.Text, Protocol: protocol(p, utf8)}
	if p.IP.IsValid() {
		t.IP = p.IP.String()
	}
	if p.LocalIP.IsValid() {
		t.LocalIP = p.LocalIP.String()
	}
	if p.TLS != nil {
		t.TLS = tlsText(p.TLS)
	}
	return t
}

// traced adds what was found out about a message, and what was decided, to its
// trace.
func (d *delivery) traced(err error) {
	log := d.r.opts.Trace
	if log == nil {
		return
	}
	e := trace.Event{
		Kind: trace.Received, CID: trace.CID(d.t.Peer.CID), MessageID: trace.Clip(d.analysis.MessageID), From: d.t.MailFrom.String(), Size: d.size,
		Subject: trace.Clip(message.DecodeHeader(d.header.Get("Subject"))), Peer: d.t.Peer.Traced(d.t.SMTPUTF8), Evidence: d.evidence(), Refusal: d.refusal(err),
	}
	for _, rcpt := range d.t.Rcpts {
		e.Rcpts = append(e.Rcpts, trace.Rcpt{Address: rcpt.Path.String()})
	}
	log.Append(e)
	for i, judged := range d.tracedPlaces() {
		if i == tracedMax {
			break
		}
		one := trace.Event{Kind: trace.Judged, CID: e.CID, MessageID: e.MessageID, From: e.From, Account: judged.account}
		one.Rcpts = []trace.Rcpt{{Address: judged.rcpt.Path.String()}}
		one.Verdict = d.verdict(&judged, err)
		if i >= tracedStepsMax {
			one.Verdict.Steps = nil
		}
		log.Append(one)
	}
}

// tracedPlaces returns all places about which was decided, and for recipients that did
// not come so far one without account.
func (d *delivery) tracedPlaces() []target {
	list := d.judged
	for i, v := range d.verdicts {
		rcpt := &d.t.Rcpts[i]
		if len(v.Steps) == 0 && !v.Action.Accepts() && !rcpt.again {
			list = append(list, target{judgement{verdict: v}, rcpt})
		}
	}
	return list
}

// evidence returns what was found out about who sent a message.
func (d *delivery) evidence() *trace.Evidence {
	e := &trace.Evidence{Forged: message.ForgedAuthResults(d.header, d.t.Peer.Hostname)}
	if !d.from.IsZero() {
		e.Header = d.from.String()
	}
	if inv := d.judge.inv; inv != nil && inv.checked {
		e.Authentication = authentication(inv.results(d.t).Methods)
	}
	return e
}

// refusal returns why nobody has the message, nil if somebody does.
func (d *delivery) refusal(err error) *trace.Refusal {
	if err == nil {
		return nil
	}
	return TracedRefusal("data", err)
}

// TracedRefusal returns what a trace says of an error that a peer was told at a stage:
// "mail", "rcpt" or "data".
func TracedRefusal(stage string, err error) *trace.Refusal {
	r := &trace.Refusal{Stage: stage}
	told, ok := errors.AsType[*smtp.Error](err)
	if !ok {
		r.Reason, r.Text = "error", err.Error() // The peer is told no more than that there is trouble.
		return r
	}
	r.Reply = fmt.Sprintf("%d %s %s", told.Code, told.Enhanced, told.Text)
	if verdict, ok := errors.AsType[*RefusedError](err); ok {
		r.Reason, r.Text = string(verdict.Verdict.Reason), verdict.Verdict.Explanation
	} else if told.Err != nil {
		r.Text = told.Err.Error()
	}
	return r
}

// verdict returns what became of the message in one place, if err came of the whole.
func (d *delivery) verdict(to *target, err error) *trace.Verdict {
	v := tracedVerdict(&to.judgement)
	has := func(list []target) bool {
		for _, t := range list {
			if t.account == to.account && t.deliveredTo == to.deliveredTo {
				return true
			}
		}
		return false
	}
	switch {
	case to.account == "":
	case to.verdict.Action.Accepts():
		if v.Delivered = err == nil && has(d.to); v.Delivered {
			v.Mailbox = to.mailbox
		}
	case has(d.rejects):
		v.Mailbox = d.r.opts.Config().Dynamic.Accounts[to.account].RejectsMailbox
	}
	return v
}

// tracedVerdict returns what was decided about a place, without what came of it.
func tracedVerdict(j *judgement) *trace.Verdict {
	v := j.verdict
	t := &trace.Verdict{Action: v.Action.String(), Reason: v.Reason, Explanation: v.Explanation, Steps: v.Steps, Wait: v.Wait}
	if r := j.rule; r != nil {
		t.Rule = fmt.Sprintf("ruleset %d", r.Index+1)
		if r.Comment != "" {
			t.Rule += " (" + r.Comment + ")"
		}
	}
	if !v.Action.Accepts() {
		t.Reply = fmt.Sprintf("%d %s %s", v.Code, v.Enhanced, v.Text)
	}
	return t
}

// traced adds what became of each copy to the traces of queued messages.
func (h *handing) traced() {
	log := h.r.opts.Trace
	if log == nil {
		return
	}
	for i, c := range h.copies {
		if i == tracedMax {
			break
		}
		e := trace.Event{Kind: trace.Judged, CID: trace.CID(h.CID), MessageID: trace.Clip(h.analysis.MessageID), From: h.MailFrom.String(), Account: c.place.account}
		for _, rcpt := range c.rcpts {
			e.Rcpts = append(e.Rcpts, trace.Rcpt{Address: h.To[rcpt].Path.String(), QueueID: h.To[rcpt].ID})
		}
		e.Verdict = tracedVerdict(&c.judgement)
		if e.Verdict.Delivered = c.done; c.done {
			e.Verdict.Mailbox = c.mailbox
		} else if c.err != nil {
			r := TracedRefusal("", c.err)
			e.Verdict.Reply, e.Text = r.Reply, r.Text
		}
		log.Append(e)
	}
}

// tracedQueued adds messages that were queued for other recipients to the trace of the one
// that they are about.
func (d *delivery) tracedQueued(q *queued, list []queue.Message) {
	if len(list) == 0 {
		return
	}
	e := trace.Event{
		Kind: trace.Queued, CID: trace.CID(d.t.Peer.CID), MessageID: trace.Clip(d.analysis.MessageID), From: d.t.MailFrom.String(),
		Text: "recipients that can't take it now: it is tried again for them",
	}
	if q.notice {
		e.Kind, e.Text = trace.Notified, ""
		e.Notice = &trace.Notice{Action: "failed", To: list[0].Rcpt, MessageID: trace.TrimMessageID(list[0].MessageID), QueueID: list[0].ID}
		for i, v := range d.verdicts {
			if v.Action == screen.Refuse || v.Keep {
				e.Rcpts = append(e.Rcpts, trace.Rcpt{Address: d.t.Rcpts[i].Path.String()})
			}
		}
	} else {
		for _, m := range list {
			e.Rcpts = append(e.Rcpts, trace.Rcpt{Address: m.Rcpt, QueueID: m.ID})
		}
	}
	d.r.opts.Trace.Append(e)
}

// traced adds an answer to the trace of the message that it is about.
func (s *answerSource) traced(a queue.Answer, res queue.Answered) {
	if res.Again {
		return
	}
	m := res.Message
	s.r.opts.Trace.Append(trace.Event{
		Kind: trace.Answered, CID: trace.CID(s.cid), MessageID: m.MessageID, From: m.MailFrom, Base: m.BaseFrom, Account: m.Account,
		Rcpts: []trace.Rcpt{{Address: m.Rcpt, QueueID: m.ID}},
		Answer: &trace.Answer{
			Action: string(a.Event), Status: a.Enhanced, Diagnostic: trace.Clip(a.Error), MessageID: trace.Clip(s.letter.analysis.MessageID),
			RemoteMTA: trace.Clip(a.RemoteMTA), Claimed: res.Claimed, Suppressed: res.Suppressing,
		},
	})
}
