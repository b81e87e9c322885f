package receive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// Deliver delivers a message to the transaction's recipients. When it returns
// nil each of them has it for certain, or will be tried again by the queue, or the
// queue has a notification for the sender that it was refused (partial.go). With
// an error none has it.
func (r *Receiver) Deliver(ctx context.Context, t *Transaction, s *Spool) error {
	d := &delivery{r: r, t: t, spool: s, now: time.Now(), size: s.Size(), accounts: openAccounts{r: r}}
	defer d.accounts.close(ctx)
	err := d.run(ctx)
	d.note(ctx, err)
	d.traced(err)
	for _, tell := range d.told {
		tell()
	}
	return err
}

// delivery is one Deliver; its methods are the steps, in their order.
type delivery struct {
	r     *Receiver
	t     *Transaction
	spool *Spool
	now   time.Time
	size  int64

	letter
	judge    judge
	to       []target // Each place once.
	rejects  []target // Places that keep a message they refuse.
	wait     time.Duration
	taken    map[takenKey]bool
	explicit map[smtp.Address]bool // What is a recipient by itself, and not as a member.
	verdicts []screen.Verdict      // Of the transaction's recipients.
	judged   []target              // All places, for the trace.
	told     []func()              // Add to the trace what was queued.
	accounts openAccounts
}

// takenKey is what makes two places the same.
type takenKey struct{ account, deliveredTo string }

// target is a place with the recipient it comes from.
type target struct {
	judgement
	rcpt *Recipient
}

func (d *delivery) run(ctx context.Context) error {
	var err error
	if d.letter, err = d.r.read(d.spool); err != nil {
		return err
	}
	for _, rcpt := range d.t.Rcpts {
		if rcpt.special.stage == stageData {
			return rcpt.special.fail(ctx)
		}
	}
	if err := d.decide(ctx); err != nil {
		return err
	}
	if len(d.to) > 0 {
		if err := sleep(ctx, d.wait); err != nil {
			return err
		}
	}
	return d.deliver(ctx)
}

// decide asks screen about each recipient. An error is the answer for all.
func (d *delivery) decide(ctx context.Context) error {
	d.taken, d.explicit = map[takenKey]bool{}, map[smtp.Address]bool{}
	for _, rcpt := range d.t.Rcpts {
		if rcpt.kind != screen.Alias {
			d.explicit[rcpt.canonical] = true
		}
	}
	for i := range d.t.Rcpts {
		v, err := d.decideRcpt(ctx, i)
		if err != nil {
			return err
		}
		d.verdicts = append(d.verdicts, v)
	}
	if d.partial() && !d.divisible() {
		d.keepRejects(ctx)
		return d.combine()
	}
	return nil
}

// decideRcpt decides about a recipient: first by what needs no look at the sender.
func (d *delivery) decideRcpt(ctx context.Context, i int) (screen.Verdict, error) {
	rcpt := &d.t.Rcpts[i]
	if rcpt.again {
		for j, other := range d.t.Rcpts[:i] {
			if other.canonical == rcpt.canonical {
				return d.verdicts[j], nil
			}
		}
	}
	e := screen.Evidence{Recipient: rcpt.kind, NullSender: d.t.MailFrom.IsZero(), Received: message.CountReceived(d.header)}
	e.NotMember = rcpt.kind == screen.Alias && !rcpt.public && !d.fromMember(rcpt)
	e.RateOver = d.rateOver(rcpt)
	v := screen.Decide(e)
	if !v.Action.Accepts() {
		return v, nil
	}
	if err := sleep(ctx, v.Wait); err != nil {
		return v, err
	}
	return d.decidePlaces(ctx, rcpt, v)
}

// decidePlaces decides about the places of a recipient, without those that get
// the message already. An alias takes it if any member does, and makes no copy for
// its author, nor for a member that is a recipient itself.
func (d *delivery) decidePlaces(ctx context.Context, rcpt *Recipient, v screen.Verdict) (screen.Verdict, error) {
	var accepted, refused *screen.Verdict
	for _, p := range rcpt.places {
		key := takenKey{p.account, p.deliveredTo}
		if d.taken[key] || rcpt.kind == screen.Alias && (d.explicit[p.address] || d.isAuthor(p.address)) {
			continue
		}
		d.taken[key] = true
		j, err := d.decidePlace(ctx, rcpt, p)
		if err != nil {
			return v, err
		}
		t := target{j, rcpt}
		d.judged = append(d.judged, t)
		switch j.verdict.Action.Accepts() {
		case true:
			d.to, d.wait = append(d.to, t), max(d.wait, j.verdict.Wait)
			accepted = cmp.Or(accepted, &j.verdict)
		default:
			refused = cmp.Or(refused, &j.verdict)
			if box := d.r.opts.Config().Dynamic.Accounts[p.account].RejectsMailbox; box != "" && j.verdict.Keep {
				t.mailbox, t.verdict.Destined, t.verdict.Reject = box, j.mailbox, true
				d.rejects = append(d.rejects, t)
			}
		}
	}
	if v := cmp.Or(accepted, refused); v != nil {
		return *v, nil
	}
	return v, nil
}

// decidePlace decides about one place.
func (d *delivery) decidePlace(ctx context.Context, rcpt *Recipient, p place) (judgement, error) {
	if d.judge.inv == nil {
		inv, err := d.r.investigate(ctx, d.t, &d.letter, d.spool.ReaderAt(), d.size)
		if err != nil {
			return judgement{}, err
		}
		d.judge = judge{r: d.r, t: d.t, inv: inv, letter: &d.letter, content: d.spool.ReaderAt(), size: d.size, now: d.now}
	}
	a, err := d.accounts.get(ctx, p.account)
	if err != nil {
		return judgement{}, err
	}
	j, err := d.judge.decide(ctx, a, rcpt, p)
	if err == nil {
		d.evaluated(rcpt, j.verdict)
	}
	return j, err
}

func (d *delivery) rateOver(rcpt *Recipient) bool {
	if d.t.Peer.Exempt || rcpt.again {
		return false
	}
	return slices.ContainsFunc(rcpt.places, func(p place) bool {
		return d.r.rates.over(d.now, p.account, d.t.Peer.IP, d.size)
	})
}

// combine returns one error for the recipients that are refused. If they differ
// it is a temporary one if any is, and names them.
func (d *delivery) combine() *smtp.Error {
	var first *smtp.Error
	temporary, same := false, true
	for _, v := range d.verdicts {
		if v.Action.Accepts() {
			continue
		}
		e := refusal(v)
		if first == nil {
			first = e
		}
		temporary = temporary || e.Temporary()
		same = same && e.Code == first.Code && e.Enhanced == first.Enhanced && e.Text == first.Text
	}
	if same {
		return first
	}
	code := smtp.CodeTransactionFailed
	if temporary {
		code = smtp.CodeLocalError
	}
	var lines []string
	for i, v := range d.verdicts {
		if !v.Action.Accepts() {
			lines = append(lines, fmt.Sprintf("<%s>: %d %s %s", d.t.Rcpts[i].Path.XString(d.t.SMTPUTF8), v.Code, v.Enhanced, v.Text))
		}
	}
	return &smtp.Error{Code: code, Enhanced: smtp.Enhanced(code, smtp.DetailOther), Text: strings.Join(lines, "\n")}
}

// deliver hands the message to the store. What the queue has to do for the other
// recipients is queued before, and begins after.
func (d *delivery) deliver(ctx context.Context) error {
	if len(d.to)+len(d.rejects) == 0 { // To an alias of the author alone: nobody else is waiting for it.
		return nil
	}
	if err := d.answers(ctx); err != nil {
		return err
	}
	content, err := d.spool.content(ctx, d.r.opts.Store)
	if err != nil {
		return err
	}
	defer func() {
		if err := content.Discard(); err != nil { // Nothing to do if it was delivered.
			d.r.log.WarnContext(ctx, "dropping content", "err", err)
		}
	}()
	for {
		held, err := d.hold(ctx, content)
		if err == nil {
			err = d.give(ctx, content)
		}
		if err == nil {
			return held.release(ctx)
		}
		held.drop(ctx)
		full, ok := errors.AsType[*store.RecipientError](err)
		if !ok || !errors.Is(err, store.ErrOverQuota) {
			return fmt.Errorf("delivering to %d places: %w", len(d.to), err)
		}
		if full.Index >= len(d.to) || !d.postpone(d.to[full.Index].rcpt) {
			return d.combine()
		}
	}
}

// give hands the content to the store, for all places or none. A member of an
// alias without room is left out if another gets it, and so is a place that would
// only have kept what it refused.
func (d *delivery) give(ctx context.Context, content *store.Content) error {
	dl, err := d.prepare(ctx, content)
	for err == nil && len(d.to)+len(d.rejects) > 0 {
		err = d.r.opts.Store.Deliver(ctx, dl)
		re, ok := errors.AsType[*store.RecipientError](err)
		if !ok || !d.leaveOut(re) {
			return err
		}
		dl.To = slices.Delete(dl.To, re.Index, re.Index+1)
		err = nil
	}
	return err
}

// leaveOut leaves out a place that can't take the message, and returns whether the
// others may have it nevertheless. In the store's list the places of rejects come
// behind the others.
func (d *delivery) leaveOut(re *store.RecipientError) bool {
	if i := re.Index - len(d.to); i >= 0 {
		d.r.log.Warn("refused message is not kept", "cid", cid.Format(d.t.Peer.CID), "account", d.rejects[i].account, "err", re.Err)
		d.rejects = slices.Delete(d.rejects, i, i+1)
		return true
	}
	if !errors.Is(re, store.ErrOverQuota) || !d.spare(re.Index) {
		return false
	}
	d.to = slices.Delete(d.to, re.Index, re.Index+1)
	return true
}

// spare returns whether the place at index i may be left out: another member of
// the same alias gets the message.
func (d *delivery) spare(i int) bool {
	t := d.to[i]
	for j, other := range d.to {
		if j != i && t.rcpt.kind == screen.Alias && other.rcpt == t.rcpt {
			return true
		}
	}
	return false
}

// prepare returns the delivery for the store.
func (d *delivery) prepare(ctx context.Context, content *store.Content) (store.Delivery, error) {
	t, utf8 := d.t, d.needsUTF8()
	dl := store.Delivery{Content: content, Analysis: d.analysis, Received: d.now, Facts: d.judge.inv.facts}
	dl.Facts.SMTPUTF8 = utf8
	trace := d.r.newTrace(t, utf8, d.now, d.fence())
	trace.results = d.judge.inv.header(d.t)
	for _, list := range [][]target{d.to, d.rejects} {
		for _, to := range list {
			a, err := d.accounts.get(ctx, to.account)
			if err != nil {
				return store.Delivery{}, err
			}
			rcpt := to.recipient(a, trace.prefix(&to.judgement))
			d.r.announce(&rcpt, to.account, to.answer)
			dl.To = append(dl.To, rcpt)
		}
	}
	return dl, nil
}

// recipient returns the place for the store.
func (to target) recipient(a *store.Account, prefix []byte) store.Recipient {
	v := to.verdict
	r := store.Recipient{
		Account: a, Mailbox: to.mailbox, RcptTo: to.rcpt.Path.String(), Prefix: prefix,
		Reason: string(v.Reason), Verdict: v.Record(), Forwarded: to.forwarded, ForwardDKIM: to.forwardDKIM, List: v.List, Destined: v.Destined,
	}
	// What a rule takes though it was refused was accepted from its sender: it must
	// neither go by itself nor be left out because it came before.
	r.Reject = v.Reject && !v.Action.Accepts()
	if v.Seen {
		r.Flags |= store.FlagSeen
	}
	return r
}

// keepRejects keeps a message for those that refuse it, if nobody takes it. The
// sender was not told that it arrived, so that a failure is only noted.
func (d *delivery) keepRejects(ctx context.Context) {
	if d.to = nil; len(d.rejects) == 0 {
		return
	}
	content, err := d.spool.content(ctx, d.r.opts.Store)
	if err == nil {
		err = d.give(ctx, content)
		err = errors.Join(err, content.Discard())
	}
	if err != nil {
		d.r.log.WarnContext(ctx, "refused message is not kept", "cid", cid.Format(d.t.Peer.CID), "err", err)
	}
}

// needsUTF8 tells whether SMTPUTF8 was not only announced but is needed: if not,
// others need not know of it.
func (d *delivery) needsUTF8() bool {
	t := d.t
	return t.SMTPUTF8 && (message.NeedsSMTPUTF8(d.header) || !t.MailFrom.IsASCII() || slices.ContainsFunc(t.Rcpts, func(r Recipient) bool { return !r.Path.IsASCII() }))
}

// note counts and logs what came of it.
func (d *delivery) note(ctx context.Context, err error) {
	attrs := []any{
		"cid", cid.Format(d.t.Peer.CID), "mailfrom", d.t.MailFrom.String(), "rcptto", rcptText(len(d.t.Rcpts), func(i int) smtp.Path { return d.t.Rcpts[i].Path }),
		"size", d.size, "took", time.Since(d.now),
	}
	refused := (*smtp.Error)(nil)
	switch {
	case err == nil:
		for i, v := range d.verdicts {
			d.r.metrics.decided(v)
			if !v.Action.Accepts() {
				d.r.log.InfoContext(ctx, "message not delivered to one of its recipients", "cid", cid.Format(d.t.Peer.CID), "rcptto", d.t.Rcpts[i].Path.String(),
					"reply", v.Code, "reason", string(v.Reason), "explanation", v.Explanation, "told", !d.t.MailFrom.IsZero(), "postponed", v.Action == screen.Defer)
			}
		}
		d.r.log.InfoContext(ctx, "message delivered", append(attrs, "messageid", d.analysis.MessageID, "reason", d.reason())...)
	case errors.As(err, &refused):
		if re, ok := errors.AsType[*RefusedError](err); ok && len(d.verdicts) == 0 {
			d.verdicts = append(d.verdicts, re.Verdict) // Before there was anything to decide.
		}
		for _, v := range d.verdicts {
			if !v.Action.Accepts() {
				d.r.metrics.decided(v)
			}
		}
		d.r.log.InfoContext(ctx, "message refused", append(attrs, "reply", refused.Code, "reason", d.reason(), "err", err)...)
	default:
		d.r.metrics.failed() // Logged by who answers the peer.
	}
}

// reason returns the reason of the first refusal, or else of the first verdict.
func (d *delivery) reason() string {
	for _, v := range d.verdicts {
		if !v.Action.Accepts() {
			return string(v.Reason)
		}
	}
	if len(d.verdicts) > 0 {
		return string(d.verdicts[0].Reason)
	}
	return ""
}

// rcptText names n recipients for the log, not more than ten.
func rcptText(n int, path func(i int) smtp.Path) string {
	var b strings.Builder
	for i := range n {
		if i == 10 {
			fmt.Fprintf(&b, " and %d more", n-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(path(i).String())
	}
	return b.String()
}
