package receive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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

// handCopy is one copy of the message.
type handCopy struct {
	judgement
	rcpts   []int // In To, those that it is for.
	prefix  []byte
	account *store.Account
	done    bool // The account has it.
	by      int  // The recipient whose key the account has for it.
	err     error
	full    bool // The error is that the account has no room.
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

// content returns the content for the journal. Linking a file beats reading it into
// the journal at any size (BenchmarkHandOver of package store).
func (h *handing) content(ctx context.Context) (*store.Content, error) {
	if h.Data != nil && len(h.Data) <= store.InlineMax {
		return h.r.opts.Store.ContentBytes(h.Data), nil
	}
	if h.Data != nil {
		return h.r.opts.Store.ContentFile(ctx, h.Size, bytes.NewReader(h.Data))
	}
	return h.r.opts.Store.ContentLink(ctx, h.File)
}

// deliver makes copies, and waits until they are in the databases.
func (h *handing) deliver(ctx context.Context, batch []*handCopy) {
	content, err := h.content(ctx)
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
		Facts: h.judge.inv.facts,
	}
	for _, c := range batch {
		to := target{c.judgement, &Recipient{Path: h.To[c.by].Path}}.recipient(c.account, c.prefix)
		to.Key = h.key(c, c.by)
		h.r.announce(&to, c.place.account, c.answer)
		dl.To = append(dl.To, to)
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
