package receive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

const (
	// confirmMax is the number of keys that an account forgets in one transaction.
	confirmMax = 1000

	// confirmsMax bounds the accounts that forget keys at a time. Each waits for its
	// disk.
	confirmsMax = 16
)

// About is what a Notice is about, which decides about its place.
type About int

const (
	// AboutTrouble is mail that is delayed or failed. It goes into Inbox, or into the
	// postmaster's mailbox if the account is gone: somebody should know.
	AboutTrouble About = iota

	// AboutSuccess is mail that was delivered. It goes into Inbox. If the account is
	// gone nobody needs to know.
	AboutSuccess

	// AboutReport is a report of ours to another server that could not be delivered.
	// It goes into the postmaster's mailbox, whatever Account is, marked as read: who
	// asked for reports can't take them, and nobody has to do anything about it.
	AboutReport
)

// Notice is a message of our own for an account, as a notification about mail
// that could not be delivered. It is not judged.
type Notice struct {
	CID     int64
	About   About
	Key     string // The same for the same notice: it is delivered once.
	Account string
	To      smtp.Path // For Delivered-To.
	Content []byte    // Whole, with header, without trace fields.
	UTF8    bool      // The header has UTF-8.
}

// Notify delivers a notice from the null sender, once. It returns when it is in
// the account's database, with the key that the account has, if any. There is no
// refusal: quota does not count for it.
func (r *Receiver) Notify(ctx context.Context, n Notice) ([]queue.Handed, error) {
	accounts := openAccounts{r: r}
	defer accounts.close(ctx)
	to := place{account: n.Account}
	if n.About == AboutReport {
		to = r.postmaster()
	}
	a, err := accounts.get(ctx, to.account)
	if errors.Is(err, store.ErrNoAccount) && n.About == AboutSuccess {
		r.log.InfoContext(ctx, "notice dropped, the account is gone", "cid", cid.Format(n.CID), "account", n.Account, "rcptto", n.To.String())
		return nil, nil
	}
	if errors.Is(err, store.ErrNoAccount) {
		to = r.postmaster()
		a, err = accounts.get(ctx, to.account)
	}
	if err != nil {
		return nil, fmt.Errorf("notifying account %q: %w", n.Account, err)
	}
	if err := r.notify(ctx, n, a, to.mailbox); err != nil {
		return nil, fmt.Errorf("notifying account %q: %w", to.account, err)
	}
	r.log.InfoContext(ctx, "notice delivered", "cid", cid.Format(n.CID), "account", to.account, "rcptto", n.To.String(), "size", len(n.Content))
	return []queue.Handed{{Account: to.account, Key: n.Key}}, nil
}

// postmaster returns where the mail of the postmaster goes.
func (r *Receiver) postmaster() place {
	p := r.opts.Config().Static.Postmaster
	return place{account: p.Account, mailbox: p.Mailbox}
}

// notify delivers a notice, unless the account has it.
func (r *Receiver) notify(ctx context.Context, n Notice, a *store.Account, mailbox string) error {
	ctx, cancel := context.WithTimeout(ctx, applyWait)
	defer cancel()
	if done, err := a.HandedOver(ctx, n.Key); done || err != nil {
		return err
	}
	size := int64(len(n.Content))
	analysis, err := store.Analyze(bytes.NewReader(n.Content), size)
	if err != nil {
		return fmt.Errorf("analyzing notice: %w", err)
	}
	content, err := r.content(ctx, n.Content)
	if err != nil {
		return err
	}
	var w message.HeaderWriter
	w.ReturnPath("")
	w.DeliveredTo(n.To.XString(n.UTF8))
	to := store.Recipient{Account: a, Mailbox: mailbox, RcptTo: n.To.String(), Prefix: w.Bytes(), Key: n.Key, NoQuota: true}
	if n.About == AboutReport {
		to.Flags = store.FlagSeen
	}
	err = r.opts.Store.Deliver(ctx, store.Delivery{
		Content: content, Analysis: analysis, Received: time.Now(),
		Facts: store.Facts{SMTPUTF8: n.UTF8, CID: n.CID},
		To:    []store.Recipient{to},
	})
	if err != nil {
		return errors.Join(err, content.Discard())
	}
	done, err := a.HandedOver(ctx, n.Key)
	if err == nil && !done {
		err = errors.New("the notice could not be stored")
	}
	return err
}

// content returns bytes as a content for the store: in a file if the journal
// does not take so much.
func (r *Receiver) content(ctx context.Context, b []byte) (*store.Content, error) {
	if len(b) <= store.InlineMax {
		return r.opts.Store.ContentBytes(b), nil
	}
	return r.opts.Store.ContentFile(ctx, int64(len(b)), bytes.NewReader(b))
}

// Notified says whether the account of a sender has a notification with this key
// that was not confirmed yet. An account that is gone has none.
func (r *Receiver) Notified(ctx context.Context, account, key string) (bool, error) {
	a, err := r.opts.Store.Account(ctx, account)
	if errors.Is(err, store.ErrNoAccount) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a notification in account %q: %w", account, err)
	}
	told, err := a.HandedOver(ctx, key)
	if err := errors.Join(err, a.Close()); err != nil {
		return false, fmt.Errorf("looking for a notification in account %q: %w", account, err)
	}
	return told, nil
}

// Confirm makes accounts forget keys of rows that the queue has retired. Accounts
// that are gone are fine. After an error it may be called again with all keys.
func (r *Receiver) Confirm(ctx context.Context, keys []queue.Handed) error {
	byAccount := map[string][]string{}
	for _, k := range keys {
		byAccount[k.Account] = append(byAccount[k.Account], k.Key)
	}
	names := slices.Sorted(maps.Keys(byAccount))
	errs := make([]error, len(names))
	slots := make(chan struct{}, confirmsMax)
	var all sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = r.confirm(ctx, name, byAccount[name])
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// confirm makes one account forget keys.
func (r *Receiver) confirm(ctx context.Context, account string, keys []string) error {
	a, err := r.opts.Store.Account(ctx, account)
	if errors.Is(err, store.ErrNoAccount) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("confirming hand-overs to account %q: %w", account, err)
	}
	for part := range slices.Chunk(keys, confirmMax) {
		if err == nil {
			err = a.ConfirmHandover(ctx, part)
		}
	}
	if err := errors.Join(err, a.Close()); err != nil {
		return fmt.Errorf("confirming hand-overs to account %q: %w", account, err)
	}
	return nil
}
