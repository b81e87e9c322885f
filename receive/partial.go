package receive

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// DATA has one reply for all recipients. If some of them have the message and
// others don't, the reply is 250, and the queue has the others: a notification for
// the sender about those who refuse for good, and a copy for those who can't take
// theirs now. Who refuses it for what it is, though for now, counts as the former:
// the queue would deliver it.
//
// Both are in the queue, held, before the message is delivered, and released
// after, so that nothing is lost and nothing is told that isn't so. A crash in
// between leaves them held, without harm: the sender got no reply and tries again.

// queueWait is how long the end of a delivery waits for the queue, also if the
// peer is gone by then.
const queueWait = 30 * time.Second

// partial tells whether there are recipients that don't accept the message.
func (d *delivery) partial() bool {
	return slices.ContainsFunc(d.verdicts, func(v screen.Verdict) bool { return !v.Action.Accepts() })
}

// divisible tells whether some recipients can get the message and others not.
//
// If one has a network that sends too much, all are deferred: the queue would hand
// its copy over without limits.
func (d *delivery) divisible() bool {
	limited := slices.ContainsFunc(d.verdicts, func(v screen.Verdict) bool { return v.Reason == screen.HighRate })
	return !limited && len(d.to) > 0 && d.r.opts.Queue != nil
}

// postpone leaves a recipient without room to the queue, and returns whether
// that is possible.
func (d *delivery) postpone(rcpt *Recipient) bool {
	for i := range d.t.Rcpts {
		if &d.t.Rcpts[i] == rcpt {
			d.verdicts[i] = screen.Decide(screen.Evidence{Recipient: rcpt.kind, OverQuota: true})
		}
	}
	d.to = slices.DeleteFunc(d.to, func(t target) bool { return t.rcpt == rcpt })
	return d.divisible()
}

// held is what waits in the queue for the end of a delivery.
type held struct {
	d    *delivery
	ids  []int64
	told []func() // Add to the trace what was queued, once it is certain.
}

// hold queues what there is to be done for recipients that don't get the message
// now.
func (d *delivery) hold(ctx context.Context, content *store.Content) (*held, error) {
	h := &held{d: d}
	if !d.partial() {
		return h, nil
	}
	for _, compose := range []func(*store.Content) (*queued, error){d.notification, d.copies} {
		q, err := compose(content)
		if err == nil && q != nil {
			err = h.add(ctx, q)
		}
		if err != nil {
			h.drop(ctx)
			return h, troubleFor(fmt.Errorf("queueing for other recipients: %w", err))
		}
	}
	return h, nil
}

// queued is a message for the queue, with its content.
type queued struct {
	queue.New
	content io.Reader
	size    int64
	notice  bool // For the sender.
}

// add queues a message, held. If the process dies before it is released, nobody
// was told that the message is taken, and the queue drops it.
func (h *held) add(ctx context.Context, q *queued) error {
	db := h.d.r.opts.Queue
	err := db.CheckRoom(q.size)
	if err == nil {
		q.Content, err = db.NewContent(ctx, q.size, q.content)
	}
	if err != nil {
		return err
	}
	q.Provisional = true
	list, err := db.Add(ctx, q.New)
	if err != nil {
		return errors.Join(err, q.Content.Discard())
	}
	for i := range list {
		h.ids = append(h.ids, list[i].ID)
	}
	h.told = append(h.told, func() { h.d.tracedQueued(q, list) })
	return nil
}

// release lets the queue begin. If that fails, the sender must try again, though
// some have the message then.
func (h *held) release(ctx context.Context) error {
	if len(h.ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queueWait)
	defer cancel()
	if err := h.d.r.opts.Queue.Release(ctx, h.ids); err != nil {
		return fmt.Errorf("releasing messages for other recipients: %w", err)
	}
	h.d.told = h.told
	return nil
}

// drop removes what is held. What can't be stays held, until an administrator
// removes it.
func (h *held) drop(ctx context.Context) {
	if len(h.ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queueWait)
	defer cancel()
	if _, err := h.d.r.opts.Queue.Drop(ctx, queue.Filter{IDs: h.ids}); err != nil {
		h.d.r.log.ErrorContext(ctx, "messages for other recipients of a message that was refused stay held in the queue", "ids", h.ids, "err", err)
	}
	h.ids = nil
}

// copies returns the message for those that can be tried again later.
func (d *delivery) copies(content *store.Content) (*queued, error) {
	utf8 := d.needsUTF8()
	trace := d.r.newTrace(d.t, utf8, d.now, nil)
	q := &queued{
		New: queue.New{
			MailFrom: d.t.MailFrom, SMTPUTF8: utf8, EightBit: true, MessageID: d.messageID(), Subject: message.DecodeHeader(d.header.Get("Subject")),
			RequireTLS: d.requireTLS(),
		},
		content: io.NewSectionReader(content.ReaderAt(), 0, d.size), size: d.size,
	}
	if d.judge.inv != nil {
		trace.results = d.judge.inv.header(d.t)
	}
	for i, v := range d.verdicts {
		if rcpt := &d.t.Rcpts[i]; v.Action == screen.Defer && !v.Keep && !rcpt.again {
			q.To = append(q.To, queue.NewRcpt{Path: rcpt.Path, Prefix: slices.Concat(trace.results, trace.received)})
		}
	}
	if len(q.To) == 0 {
		return nil, nil
	}
	return q, nil
}

// requireTLS returns what applies to messages that are made of this one, or about it
// (RFC 8689, sections 4.1 and 5).
func (d *delivery) requireTLS() *bool {
	if d.t.RequireTLS || message.TLSNotRequired(d.header) {
		return &d.t.RequireTLS
	}
	return nil
}

// messageID returns the Message-ID with its brackets, "" if there is none.
func (d *delivery) messageID() string {
	if d.analysis.MessageID == "" {
		return ""
	}
	return "<" + d.analysis.MessageID + ">"
}

// notification returns a message for the sender about recipients that refuse
// for good. The null sender is told nothing.
func (d *delivery) notification(*store.Content) (*queued, error) {
	to := d.t.MailFrom
	n, err := d.compose()
	if to.IsZero() || n == nil || err != nil {
		return nil, err
	}
	content, err := n.Compose(!to.IsASCII())
	if err != nil {
		return nil, fmt.Errorf("composing notification: %w", err)
	}
	signature, err := d.r.opts.Config().SignNotice(n.From, content, !to.IsASCII(), d.now)
	if err != nil {
		d.r.log.Error("signing notification", "from", n.From.String(), "err", err) // It goes out without.
	}
	return &queued{
		New: queue.New{
			SMTPUTF8: !to.IsASCII(), EightBit: !to.IsASCII(), MessageID: "<" + n.MessageID + ">", Subject: n.Subject, To: []queue.NewRcpt{{Path: to, Prefix: signature}},
			RequireTLS: d.requireTLS(),
		},
		content: bytes.NewReader(content), size: int64(len(content)), notice: true,
	}, nil
}

// compose returns the notification, nil if nobody refuses for good.
func (d *delivery) compose() (*dsn.Message, error) {
	host := d.t.Peer.Hostname
	n := &dsn.Message{
		To: d.t.MailFrom, References: d.messageID(), Subject: "Your message could not be delivered to all recipients", Date: d.now,
		ReportingMTA: host, ReceivedFromMTA: d.t.Peer.Hello.Text, Arrival: d.now, Original: d.header.Raw(),
	}
	var text strings.Builder
	text.WriteString("Your message could not be delivered to these recipients:\n")
	for i, v := range d.verdicts {
		if v.Action != screen.Refuse && !v.Keep {
			continue
		}
		path := d.t.Rcpts[i].Path
		if v.Action == screen.Defer { // There is nobody who could try again for this recipient alone.
			v.Code, v.Enhanced = smtp.CodeTransactionFailed, smtp.Enhanced(smtp.CodeTransactionFailed, smtp.DetailOther)
		}
		if n.From.IsZero() {
			n.From = postmasterOf(path, host)
		}
		reply := fmt.Sprintf("%d %s %s", v.Code, v.Enhanced, v.Text)
		n.Recipients = append(n.Recipients, dsn.Recipient{Final: path, Action: dsn.Failed, Status: v.Enhanced, Diagnostic: reply, LastTry: d.now})
		fmt.Fprintf(&text, "\n    %s\n    %s\n", path, reply)
	}
	if len(n.Recipients) == 0 {
		return nil, nil
	}
	text.WriteString("\nNo further attempt will be made. Other recipients are not concerned.\n")
	n.Text = text.String()
	var id [16]byte
	if _, err := io.ReadFull(d.r.opts.Rand, id[:]); err != nil {
		return nil, fmt.Errorf("making Message-ID: %w", err)
	}
	n.MessageID = base64.RawURLEncoding.EncodeToString(id[:]) + "@" + host.ASCII
	return n, nil
}

// postmasterOf returns who answers for a recipient's domain.
func postmasterOf(path smtp.Path, host dns.Domain) smtp.Path {
	if !path.IPDomain.Domain.IsZero() {
		host = path.IPDomain.Domain
	}
	return smtp.Path{Localpart: "postmaster", IPDomain: dns.IPDomain{Domain: host}}
}
