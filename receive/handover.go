package receive

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

const (
	// applyWait is how long a hand-over waits until accounts have stored what the
	// journal has for them. Usually it takes milliseconds.
	applyWait = time.Minute

	// batchPlacesMax and batchBytesMax bound the places, and the bytes of their
	// prefixes, that one record of the journal has, so that it fits in the smallest
	// segment in use.
	batchPlacesMax = 1000
	batchBytesMax  = 1 << 20
)

// Handover is a message of the queue for recipients that are ours (journal.md,
// rule 18).
type Handover struct {
	CID      int64
	MailFrom smtp.Path
	SMTPUTF8 bool
	File     string // Content, on disk. It is linked, not copied.
	Size     int64  // Of the content.
	Prefix   []byte // Header fields in front of it, the same for all recipients.
	To       []HandoverRcpt
}

// HandoverRcpt is a recipient with its queue row's key.
type HandoverRcpt struct {
	Path smtp.Path
	Key  string
}

// HandedOver is what came of a recipient.
type HandedOver struct {
	// Err is nil if the recipient has the message, for certain and once, however
	// often it is handed over with this key. An *smtp.Error is a refusal; any other
	// error is trouble of our own, and trying again can help.
	Err error

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
	return o.results
}

// handing is one HandOver; its methods are the steps, in their order.
type handing struct {
	r *Receiver
	Handover
	letter
	now      time.Time
	accounts openAccounts
	copies   []*handCopy

	// For each of To; the zero value if it was refused, or nobody knows.
	rcpts    []Recipient
	verdicts []screen.Verdict
	results  []HandedOver
}

// handCopy is one copy of the message.
type handCopy struct {
	place
	rcpts   []int // In To, those that it is for.
	prefix  []byte
	reason  screen.Reason
	account *store.Account
	done    bool // The account has it.
	by      int  // The recipient whose key the account has for it.
	err     error
	full    bool // The error is that the account has no room.
}

// run returns an error only if it is that of all recipients.
func (h *handing) run(ctx context.Context) error {
	f, err := os.Open(h.File)
	if err != nil {
		return fmt.Errorf("opening content of queued message: %w", err)
	}
	h.letter, err = h.r.read(contentFile{f, h.Size})
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	h.resolve()
	h.makeCopies()
	h.askAccounts(ctx)
	for _, batch := range h.batches() {
		h.deliver(ctx, batch)
	}
	h.collect()
	h.failSpecials(ctx)
	return nil
}

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
			if v.Action == screen.Mailbox {
				p.mailbox = v.Mailbox
			}
			if rcpt.kind == screen.Alias && (explicit[p.address] || h.isAuthor(p.address)) {
				continue
			}
			key := takenKey{p.account, p.deliveredTo}
			if taken[key] == nil {
				taken[key] = &handCopy{place: p, reason: v.Reason, prefix: h.prefix(p.deliveredTo)}
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

// askAccounts finds out which accounts have their copy already, and which have
// no room for it.
func (h *handing) askAccounts(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, applyWait)
	defer cancel()
	for _, c := range h.copies {
		if c.account, c.err = h.accounts.get(ctx, c.place.account); c.err != nil {
			continue
		}
		c.by = c.rcpts[0]
		for _, i := range c.rcpts {
			if c.done, c.err = c.account.HandedOver(ctx, h.key(c, i)); c.done || c.err != nil {
				c.by = i
				break
			}
		}
		if c.err != nil {
			c.err = fmt.Errorf("asking account %q for an earlier hand-over: %w", c.place.account, c.err)
		} else if !c.done && c.account.CheckQuota(h.Size+int64(len(c.prefix))) != nil {
			c.setFull()
		}
	}
}

// setFull notes that the account has no room for the copy.
func (c *handCopy) setFull() {
	c.err, c.full = refusal(screen.Decide(screen.Evidence{Recipient: screen.Known, OverQuota: true})), true
}

// prefix returns the header fields in front of a copy.
func (h *handing) prefix(deliveredTo string) []byte {
	var w message.HeaderWriter
	w.ReturnPath(h.MailFrom.XString(h.SMTPUTF8))
	return traceText{returnPath: w.Bytes(), received: h.Prefix, end: h.fence()}.prefix(deliveredTo)
}

// batches divides the copies that are still to be made.
func (h *handing) batches() (list [][]*handCopy) {
	var batch []*handCopy
	size := 0
	for _, c := range h.copies {
		if c.done || c.err != nil {
			continue
		}
		n := len(c.prefix)
		if n > store.PrefixMax {
			c.err = smtp.Errorf(smtp.CodeTooLarge, smtp.DetailMessageTooBig, "header fields added on the way are too large")
			continue
		}
		if len(batch) == batchPlacesMax || size+n > batchBytesMax {
			list = append(list, batch)
			batch, size = nil, 0
		}
		batch, size = append(batch, c), size+n
	}
	if len(batch) > 0 {
		list = append(list, batch)
	}
	return list
}

// deliver makes copies, and waits until they are in the databases. Linking the
// content beats reading it into the journal at any size (BenchmarkHandOver of
// package store).
func (h *handing) deliver(ctx context.Context, batch []*handCopy) {
	content, err := h.r.opts.Store.ContentLink(ctx, h.File)
	if err == nil && content.Size() != h.Size {
		err = errors.Join(fmt.Errorf("content of queued message has %d bytes, not %d", content.Size(), h.Size), content.Discard())
	}
	if err == nil {
		batch, err = h.deliverContent(ctx, batch, content)
	}
	if err != nil {
		err = troubleFor(fmt.Errorf("handing over to %d places: %w", len(batch), err))
		for _, c := range batch {
			c.err = err
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, applyWait)
	defer cancel()
	for _, c := range batch {
		c.done, c.err = c.account.HandedOver(ctx, h.key(c, c.by))
		if c.err == nil && !c.done {
			c.err = fmt.Errorf("account %q could not store the message", c.place.account)
		}
	}
}

// deliverContent hands the content to the store for all of the batch that can
// take it, and returns those.
func (h *handing) deliverContent(ctx context.Context, batch []*handCopy, content *store.Content) ([]*handCopy, error) {
	dl := store.Delivery{
		Content: content, Analysis: h.analysis, Received: h.now,
		Facts: store.Facts{MailFrom: h.MailFrom.String(), SMTPUTF8: h.SMTPUTF8, CID: h.CID},
	}
	for _, c := range batch {
		dl.To = append(dl.To, store.Recipient{
			Account: c.account, Mailbox: c.mailbox, RcptTo: h.To[c.by].Path.String(), Prefix: c.prefix, Key: h.key(c, c.by), Reason: string(c.reason),
		})
	}
	for len(batch) > 0 {
		err := h.r.opts.Store.Deliver(ctx, dl)
		refused, ok := errors.AsType[*store.RecipientError](err)
		if !ok {
			if err != nil {
				err = errors.Join(err, content.Discard())
			}
			return batch, err
		}
		c := batch[refused.Index]
		if c.err = err; errors.Is(err, store.ErrOverQuota) {
			c.setFull()
		}
		batch = slices.Delete(batch, refused.Index, refused.Index+1)
		dl.To = slices.Delete(dl.To, refused.Index, refused.Index+1)
	}
	return nil, content.Discard()
}

// troubleFor makes a refusal of an error for which the sender may be told to
// try again.
func troubleFor(err error) error {
	switch {
	case errors.Is(err, store.ErrDiskFull), errors.Is(err, queue.ErrDiskFull):
		return smtp.Errorf(smtp.CodeNoRoom, smtp.DetailSystemFull, "not enough room now").Because(err)
	case errors.Is(err, store.ErrBusy):
		return smtp.Errorf(smtp.CodeNoRoom, smtp.DetailSystemFull, "too busy now").Because(err)
	}
	return err
}

// collect sets the results of recipients from those of their copies. A member
// of an alias without room is left out if another has the message.
func (h *handing) collect() {
	full, got := make([]error, len(h.To)), make([]bool, len(h.To))
	for _, c := range h.copies {
		if c.done {
			keys := &h.results[c.by].Keys
			*keys = append(*keys, queue.Handed{Account: c.place.account, Key: h.key(c, c.by)})
		}
		for _, i := range c.rcpts {
			switch {
			case c.done:
				got[i] = true
			case c.full:
				full[i] = c.err
			case h.results[i].Err == nil:
				h.results[i].Err = c.err
			}
		}
	}
	for i := range h.results {
		if h.results[i].Err == nil && !got[i] {
			h.results[i].Err = full[i]
		}
	}
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
