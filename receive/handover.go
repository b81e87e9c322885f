package receive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
)

// Handover is a message of the queue for recipients that are ours (journal.md,
// rule 18).
type Handover struct {
	CID      int64
	Account  string // That sent it, "" if it is from elsewhere and was judged before it was queued.
	MailFrom smtp.Path
	SMTPUTF8 bool
	Data     []byte // Content, in memory. It must not change. Or
	File     string // its path. It is linked, not copied.
	Size     int64  // Of the content.
	Prefix   []byte // Header fields in front of it, the same for all recipients.
	To       []HandoverRcpt
}

// HandoverRcpt is a recipient with its queue row's key.
type HandoverRcpt struct {
	Path smtp.Path
	Key  string
	ID   int64 // Of the row, for the trace.
}

// HandedOver is what came of a recipient.
type HandedOver struct {
	// Err is nil if the recipient has the message, for certain and once, however
	// often it is handed over with this key. An *smtp.Error is a refusal; any other
	// error is trouble of our own, and trying again can help.
	Err error

	// Expanded says that the recipient is an alias with several members.
	Expanded bool

	// Keys are to be confirmed once the queue has retired its row. They can be set
	// together with Err: some members of an alias can have the message.
	Keys []queue.Handed
}

// HandOver delivers a message of the queue. It returns when what was delivered is
// in the accounts' databases.
//
// The recipients of one call share copies as those of an incoming message do: a
// member of an alias that is a recipient itself gets one. Members of an alias
// that is handed over again have what they have, since each has a key.
func (r *Receiver) HandOver(ctx context.Context, h Handover) []HandedOver {
	n := len(h.To)
	o := &handing{
		r: r, Handover: h, now: time.Now(), accounts: openAccounts{r: r},
		rcpts: make([]Recipient, n), verdicts: make([]screen.Verdict, n), results: make([]HandedOver, n),
	}
	defer o.accounts.close(ctx)
	if err := o.run(ctx); err != nil {
		for i := range o.results {
			o.results[i].Err = err
		}
	}
	o.note(ctx)
	o.traced()
	return o.results
}

// handing is one HandOver; its methods are the steps, in their order.
type handing struct {
	r *Receiver
	Handover
	letter
	now      time.Time
	accounts openAccounts
	judge    judge
	copies   []*handCopy

	// For each of To; the zero value if it was refused, or nobody knows.
	rcpts    []Recipient
	verdicts []screen.Verdict
	results  []HandedOver
}

// run returns an error only if it is that of all recipients.
func (h *handing) run(ctx context.Context) error {
	if err := h.readContent(); err != nil {
		return err
	}
	h.judge = h.newJudge()
	h.resolve()
	h.makeCopies()
	h.askAccounts(ctx)
	if err := h.answers(ctx); err != nil {
		return err
	}
	for _, batch := range h.batches() {
		h.deliver(ctx, batch)
	}
	h.collect()
	h.failSpecials(ctx)
	return nil
}

// readContent reads what is to be known of the content.
func (h *handing) readContent() (err error) {
	s, closer, err := h.open()
	if err != nil {
		return err
	}
	h.letter, err = h.r.read(s)
	if cerr := closer.Close(); err == nil {
		err = cerr
	}
	return err
}

// open opens the content.
func (h *handing) open() (source, io.Closer, error) {
	if h.Data != nil {
		return contentBytes(h.Data), io.NopCloser(nil), nil
	}
	f, err := os.Open(h.File)
	if err != nil {
		return nil, nil, fmt.Errorf("opening content of queued message: %w", err)
	}
	return contentFile{f, h.Size}, f, nil
}

// contentBytes is a content in memory as a source.
type contentBytes []byte

func (c contentBytes) Size() int64           { return int64(len(c)) }
func (c contentBytes) readerAt() io.ReaderAt { return bytes.NewReader(c) }

func (c contentBytes) head(n int64) ([]byte, error) { return c[:min(n, c.Size()):c.Size()], nil }

// contentFile is the content of a queued message as a source.
type contentFile struct {
	f    *os.File
	size int64
}

func (c contentFile) Size() int64           { return c.size }
func (c contentFile) readerAt() io.ReaderAt { return c.f }

func (c contentFile) head(n int64) ([]byte, error) {
	b := make([]byte, min(n, c.size))
	if _, err := c.f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("reading content of queued message: %w", err)
	}
	return b, nil
}

// resolve finds out where the message goes and decides about each recipient.
// Whether there is room is asked later: a full account can have it already.
func (h *handing) resolve() {
	t := &Transaction{Peer: &Peer{CID: h.CID, Exempt: true}, MailFrom: h.MailFrom, SMTPUTF8: h.SMTPUTF8}
	received := message.CountReceived(h.header) + message.CountReceived(message.NewHeader(h.Prefix))
	for i, to := range h.To {
		rcpt, e, err := h.r.lookup(t, to.Path)
		if err == nil && e.Recipient == screen.Foreign {
			err = fmt.Errorf("handing over to %q: not a domain of ours any more", to.Path)
		}
		if err != nil {
			h.results[i].Err = err
			continue
		}
		e.NullSender, e.Received = h.MailFrom.IsZero(), received
		e.NotMember = rcpt.kind == screen.Alias && !rcpt.public && !h.fromMember(&rcpt)
		v := screen.Decide(e)
		if !v.Action.Accepts() {
			h.results[i].Err = refusal(v)
			continue
		}
		h.rcpts[i], h.verdicts[i] = rcpt, v
		h.results[i].Expanded = rcpt.kind == screen.Alias && len(rcpt.places) > 1
		t.Rcpts = append(t.Rcpts, rcpt)
	}
}

// makeCopies makes a copy for each place, whoever it is for. An alias makes none
// for its author, nor for a member that is a recipient itself.
func (h *handing) makeCopies() {
	explicit := map[smtp.Address]bool{}
	for i := range h.rcpts {
		if h.rcpts[i].kind != screen.Alias {
			explicit[h.rcpts[i].canonical] = true
		}
	}
	taken := map[takenKey]*handCopy{}
	for i := range h.rcpts {
		rcpt, v := &h.rcpts[i], h.verdicts[i]
		if rcpt.special.stage == stageQueue {
			continue
		}
		for _, p := range rcpt.places {
			if rcpt.kind == screen.Alias && (explicit[p.address] || h.isAuthor(p.address)) {
				continue
			}
			key := takenKey{p.account, p.deliveredTo}
			if taken[key] == nil {
				j := h.judge.handOver(rcpt, p, v)
				taken[key] = &handCopy{judgement: j, prefix: h.prefix(&j)}
				h.copies = append(h.copies, taken[key])
			}
			taken[key].rcpts = append(taken[key].rcpts, i)
		}
	}
}

// key returns the key of a copy that is made for a recipient. It depends on
// nothing but the two, so that it is the same when the message is handed over
// again, whatever is in the configuration then.
func (h *handing) key(c *handCopy, rcpt int) string {
	sum := sha256.Sum256([]byte(c.deliveredTo))
	return h.To[rcpt].Key + ":" + base64.RawURLEncoding.EncodeToString(sum[:12])
}

// prefix returns the header fields in front of a copy.
func (h *handing) prefix(j *judgement) []byte {
	var w message.HeaderWriter
	w.ReturnPath(h.MailFrom.XString(h.SMTPUTF8))
	return traceText{returnPath: w.Bytes(), received: h.Prefix, end: h.fence()}.prefix(j)
}

// newJudge returns what decides where the message goes. Whether it is taken is not
// asked again: that of users is not judged, and the rest was when it came.
func (h *handing) newJudge() judge {
	t := &Transaction{Peer: &Peer{CID: h.CID, Exempt: true}, MailFrom: h.MailFrom, SMTPUTF8: h.SMTPUTF8}
	inv := &investigation{from: h.from}
	inv.facts = inv.newFacts(t)
	inv.facts.SMTPUTF8 = h.SMTPUTF8
	if h.Account != "" && !h.from.IsZero() {
		inv.facts.Validation, inv.facts.MailFromVerified = int(screen.ValidationStrict), !h.MailFrom.IsZero()
		inv.own = []dns.Domain{h.from.Domain}
	}
	return judge{r: h.r, t: t, inv: inv, letter: &h.letter, size: h.Size, now: h.now, ours: h.Account != ""}
}

// handOver decides about a place for a message of the queue, which is taken.
func (j *judge) handOver(rcpt *Recipient, p place, v screen.Verdict) judgement {
	out := judgement{place: p, verdict: v}
	m := &screen.Message{Now: j.now, Sender: j.inv.facts.Sender(), Ours: j.ours}
	j.rules(m, &out)
	if j.ours {
		m.Mailbox = out.mailbox
		out.verdict = screen.Decide(screen.Evidence{Recipient: rcpt.kind, Message: m, Thresholds: j.r.thresholds})
	}
	return out
}

// failSpecials lets special recipients fail as their names say, after the
// others. All wait as long as the one that waits the longest.
func (h *handing) failSpecials(ctx context.Context) {
	var wait time.Duration
	for i := range h.rcpts {
		if s := h.rcpts[i].special; s.stage == stageQueue {
			wait = max(wait, s.wait)
		}
	}
	err := sleep(ctx, wait)
	for i := range h.rcpts {
		s := h.rcpts[i].special
		if s.stage != stageQueue {
			continue
		}
		s.wait = 0
		if h.results[i].Err = err; err == nil {
			h.results[i].Err = s.fail(ctx)
		}
	}
}

// note logs what came of it.
func (h *handing) note(ctx context.Context) {
	places, failed := 0, 0
	for _, c := range h.copies {
		if c.done {
			places++
		}
	}
	for i, res := range h.results {
		if res.Err != nil {
			failed++
			h.r.log.InfoContext(ctx, "message not handed over", "cid", cid.Format(h.CID), "mailfrom", h.MailFrom.String(), "rcptto", h.To[i].Path.String(), "err", res.Err)
		}
	}
	if failed == len(h.To) {
		return
	}
	h.r.log.InfoContext(ctx, "message handed over", "cid", cid.Format(h.CID), "mailfrom", h.MailFrom.String(),
		"rcptto", rcptText(len(h.To), func(i int) smtp.Path { return h.To[i].Path }), "failed", failed, "places", places,
		"size", h.Size, "messageid", h.analysis.MessageID, "took", time.Since(h.now))
}
