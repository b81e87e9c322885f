package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/mox/journal"
)

// Delivery is a message to be delivered, all that could refuse it asked before.
type Delivery struct {
	Content  *Content
	Analysis Analysis
	Facts    Facts
	Received time.Time
	To       []Recipient
}

// Recipient is one place a message is delivered to.
type Recipient struct {
	Account  *Account // Open until Deliver returns.
	Mailbox  string   // "" is Inbox. Made when missing.
	RcptTo   string
	Prefix   []byte // Header lines for this recipient, at most PrefixMax bytes.
	Flags    Flags
	Keywords []string // In the form of ParseKeyword.
	Key      string   // For hand-overs from the queue, else "".
	Reason   string   // Of screen's verdict.
	NoQuota  bool     // It counts against the quota, but is taken in any case.

	Forwarded   bool   // As in Facts.
	ForwardDKIM string // As in Facts.
	List        bool   // As in Facts.
	Verdict     []byte // As in Email. What is longer than VerdictMax is left out.

	// Destined is the mailbox it would have been put into, had it not been put into
	// Mailbox for the user to look at: with Reject, and for senders who are not known
	// yet. "": none.
	Destined string

	// Announce says that somebody is to be told of it: see Arrival.
	Announce bool

	// Reject is for a message that was refused. It is stored as seen, unless the
	// account has it as a reject already, and doesn't count against the quota: it is
	// refused if it does not fit in, but no other mail is because of it.
	Reject bool
}

// RecipientError says which recipient is why a Delivery was refused.
type RecipientError struct {
	Index int // In Delivery.To.
	Err   error
}

// Error names the recipient's place only: the caller knows the address.
func (e *RecipientError) Error() string { return fmt.Sprintf("recipient %d: %v", e.Index, e.Err) }

// Unwrap returns the cause.
func (e *RecipientError) Unwrap() error { return e.Err }

// Deliver makes a delivery durable for all recipients, or for none. When it
// returns nil, each has the message for certain, though it is visible only a
// moment later (Account.WaitDurable). The content belongs to the journal then.
//
// ErrOverQuota comes within a RecipientError; ErrDiskFull and ErrBusy are for
// all. With any of them the sender may try again later.
func (d *Dir) Deliver(ctx context.Context, dl Delivery) error {
	r, err := d.reserve(ctx, dl)
	if err != nil {
		return err
	}
	_, err = d.journal.Append(ctx, journal.Record{Type: recordDelivery, Data: r.encode(), Files: r.file, Value: r})
	if err == nil || errors.Is(err, journal.ErrFailed) {
		// Also after a failure: the record may be in the log, and needs its file then.
		dl.Content.giveUp()
	}
	if err != nil {
		d.unreserve(dl, r, len(dl.To))
		if errors.Is(err, journal.ErrRoom) {
			err = ErrBusy
		}
		return fmt.Errorf("writing delivery to journal: %w", err)
	}
	return nil
}

// CheckRoom returns ErrDiskFull unless size more bytes can be accepted: each
// needs room twice, in the journal and in its file (journal.md, rule 2).
func (d *Dir) CheckRoom(size int64) error {
	free, err := d.opts.DiskFree()
	if err != nil {
		return err
	}
	if free < 2*(d.backlog.bytes()+size)+diskSpare {
		return ErrDiskFull
	}
	return nil
}

// reserve settles everything that could refuse the delivery and takes ids,
// quota and room in the backlog for it.
func (d *Dir) reserve(ctx context.Context, dl Delivery) (*record, error) {
	if len(dl.To) == 0 || len(dl.To) > recipientsMax {
		return nil, fmt.Errorf("delivery to %d recipients", len(dl.To))
	}
	size := dl.Content.Size()
	if size > InlineMax && dl.Content.file == nil {
		return nil, fmt.Errorf("content of %d bytes in memory, more than %d", size, InlineMax)
	}
	if err := d.CheckRoom(size); err != nil {
		return nil, err
	}
	hash, err := dl.rejectKey()
	if err != nil {
		return nil, err
	}
	if err := d.backlog.take(ctx, size); err != nil {
		return nil, err
	}
	r := &record{
		inline: dl.Content.inline, size: size, crc: dl.Content.crc, analysis: dl.Analysis,
		facts: dl.Facts, received: dl.Received, rcpts: make([]recordRcpt, 0, len(dl.To)), shared: &sharedContent{},
	}
	r.facts.bound()
	if dl.Content.file != nil {
		r.file = []journal.FileRef{*dl.Content.file}
	}
	for i := range dl.To {
		rcpt, err := dl.To[i].reserve(size)
		if err != nil {
			d.unreserve(dl, r, i)
			return nil, &RecipientError{i, err}
		}
		rcpt.contentKey = hash
		r.rcpts = append(r.rcpts, rcpt)
	}
	return r, nil
}

// rejectKey returns the key of the content, 0 if no recipient needs it.
func (dl *Delivery) rejectKey() (int64, error) {
	if !slices.ContainsFunc(dl.To, func(to Recipient) bool { return to.Reject }) {
		return 0, nil
	}
	return contentKey(dl.Content.ReaderAt(), dl.Content.Size())
}

// unreserve gives back what reserve took for the first n recipients.
func (d *Dir) unreserve(dl Delivery, r *record, n int) {
	for i := range n {
		to := &dl.To[i]
		to.Account.unreserve(to.reserves(r.size), to.Key)
	}
	d.backlog.give(r.size)
}

// reserve checks one recipient and takes quota and ids.
func (to *Recipient) reserve(size int64) (recordRcpt, error) {
	if len(to.Prefix) > PrefixMax {
		return recordRcpt{}, fmt.Errorf("prefix of %d bytes, more than %d", len(to.Prefix), PrefixMax)
	}
	mailbox := to.Mailbox
	if mailbox == "" {
		mailbox = "Inbox"
	}
	mailbox, err := CheckMailboxName(mailbox)
	if err != nil {
		return recordRcpt{}, err
	}
	for _, kw := range to.Keywords {
		if k, err := ParseKeyword(kw); err != nil || k != kw {
			return recordRcpt{}, fmt.Errorf("%w: %q", ErrKeyword, kw)
		}
	}
	destined := to.Destined
	if destined != "" {
		if destined, err = CheckMailboxName(destined); err != nil {
			return recordRcpt{}, err
		}
	}
	a := to.Account
	if to.Reject {
		if err := a.checkRejectQuota(size + int64(len(to.Prefix))); err != nil {
			return recordRcpt{}, err
		}
	}
	emailID, messageID, mailboxID, err := a.reserve(to.reserves(size), to.NoQuota || to.Reject, mailbox, to.Key)
	if err != nil {
		return recordRcpt{}, err
	}
	return recordRcpt{
		accountID: a.id, account: a.name, mailboxID: mailboxID, mailbox: mailbox, emailID: emailID, messageID: messageID,
		prefix: to.Prefix, flags: to.placeFlags(), keywords: to.Keywords, key: to.Key,
		rcptTo: indexable(to.RcptTo, 512), reason: to.Reason, forwarded: to.Forwarded, list: to.List,
		forwardDKIM: bounded(to.ForwardDKIM, domainMax), verdict: to.verdict(), destined: destined, reject: to.Reject, announce: to.Announce,
	}, nil
}

// reserves returns the quota that a content of size bytes takes.
func (to *Recipient) reserves(size int64) amounts {
	if to.Reject {
		return amounts{}
	}
	return amounts{1, size + int64(len(to.Prefix))}
}

// placeFlags returns the flags of the message. The user need not be told of a
// reject.
func (to *Recipient) placeFlags() Flags {
	if to.Reject {
		return to.Flags | FlagSeen
	}
	return to.Flags
}

// verdict returns the verdict, unless it is too large: mail is not refused because of it.
func (to *Recipient) verdict() []byte {
	if len(to.Verdict) > VerdictMax {
		to.Account.dir.log.Warn("reason of delivery is too long to keep", "account", to.Account.name, "bytes", len(to.Verdict))
		return nil
	}
	return to.Verdict
}

// item is a record for one account, waiting to be applied.
type item struct {
	rec      *record
	rcpts    []*recordRcpt // Those of the account.
	reserved bool          // Quota is reserved for it.
	flags    int           // Messages whose flags it changes, and nothing else; 0: it is a delivery.
	told     bool          // Sessions know of that change.
	aside    string        // The file it is kept in outside the journal, or "".
	asideID  string        // The account's id, if aside.
	last     int64         // The highest id reserved for it, if aside.
	seq      uint64
	appended time.Time
	tries    int
	bare     *Analysis // In place of the record's, after it failed.
}

// takes returns the quota that the item takes.
func (it *item) takes() (s amounts) {
	for _, r := range it.rcpts {
		if !r.reject {
			s.add(amounts{1, it.rec.size + int64(len(r.prefix))}, 1)
		}
	}
	return s
}

// analysis returns that of the record, or what it has in its place.
func (it *item) analysis() *Analysis {
	if it.bare != nil {
		return it.bare
	}
	return &it.rec.analysis
}

// durable is called by the journal for each record on disk, in sequence order,
// before the delivery is answered. It hands the record to its accounts.
func (d *Dir) durable(e *journal.Entry) {
	r, ok := e.Value.(*record)
	if !ok {
		return
	}
	r.seq = e.Seq
	delivery := r.changes == nil
	if delivery {
		d.load.add()
	}
	now := time.Now()
	items := map[string]*item{}
	var order []string
	for i := range r.rcpts {
		rcpt := &r.rcpts[i]
		it := items[rcpt.account]
		if it == nil {
			it = &item{rec: r, seq: r.seq, reserved: delivery, flags: r.messages(), told: !delivery, appended: now}
			items[rcpt.account] = it
			order = append(order, rcpt.account)
		}
		it.rcpts = append(it.rcpts, rcpt)
	}
	r.left.Store(int32(len(order)))
	if len(order) > 1 {
		r.shared.users.Store(int32(len(order)))
	}
	d.tracker.push(e.Seq, len(order))

	d.mu.Lock()
	accounts := make([]*Account, len(order))
	for i, name := range order {
		accounts[i] = d.accounts[name] // Reservations keep it open.
	}
	d.mu.Unlock()
	for i, name := range order {
		accounts[i].push(items[name])
	}
	d.observe(Event{Kind: "backlog", Records: 1, Bytes: d.backlog.bytes()})
}

// finished is called when an account has dealt with an item for good.
func (d *Dir) finished(it *item) {
	if it.aside == "" {
		d.finishedRecord(it.rec)
		return
	}
	d.asideApplied(it.aside)
	it.unload()
	d.cleanSoon()
}

// finishedRecord says that one account no longer needs the record in the journal.
func (d *Dir) finishedRecord(r *record) {
	d.release(r)
	d.tracker.done(r.seq)
	if r.left.Add(-1) == 0 {
		d.backlog.give(r.size)
	}
	d.cleanSoon()
}
