package imapmodel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mjl-/mox/store"
)

// deliver brings a message from outside.
func (w *world) deliver(r *rand.Rand) error {
	b, e := w.pick(r), w.newContent()
	w.logf("a message is delivered to %s", b.name)
	content := []byte(e.content)
	an, err := store.Analyze(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return err
	}
	prefix := "Delivered-To: <mox@example.org>\r\n"
	err = w.store.Deliver(context.Background(), store.Delivery{
		Content: w.store.ContentBytes(content), Analysis: an, Received: time.Now(),
		To: []store.Recipient{{Account: w.acct, Mailbox: b.name, Prefix: []byte(prefix)}},
	})
	if err != nil {
		return fmt.Errorf("delivering to %s: %w", b.name, err)
	}
	w.acct.WaitDurable(context.Background())
	e.content = prefix + e.content
	b.add(message{email: e, received: w.now(), saved: w.now()}, w.model.change())
	return nil
}

// webmail changes something by another protocol.
func (w *world) webmail(r *rand.Rand) error {
	b := w.pick(r)
	var list []*message
	var uids []store.UID
	for _, m := range b.live {
		if r.IntN(6) == 0 {
			list, uids = append(list, m), append(uids, store.UID(m.uid))
		}
	}
	if len(list) == 0 {
		return nil
	}
	if r.IntN(3) > 0 {
		flags := pickFlags(r)
		w.logf("webmail flags UIDs %d of %s with %q", uids, b.name, flags)
		bits, keywords, err := store.ParseFlags(flags)
		if err != nil {
			return err
		}
		w.setFlags(b, list, nil, '+', flags)
		return w.update(b, func(tx *store.Tx, mb *store.Mailbox) error {
			_, err := tx.SetFlags(mb, uids, store.FlagChange{Op: store.FlagsAdd, Flags: bits, Keywords: keywords})
			return err
		})
	}
	w.logf("webmail removes UIDs %d of %s", uids, b.name)
	b.remove(list, w.model.change())
	return w.update(b, func(tx *store.Tx, mb *store.Mailbox) error {
		_, err := tx.Expunge(mb, uids)
		return err
	})
}

// update changes a mailbox in the store.
func (w *world) update(b *box, fn func(tx *store.Tx, mb *store.Mailbox) error) error {
	return w.acct.Update(context.Background(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox(b.name)
		if err != nil {
			return fmt.Errorf("mailbox %s: %w", b.name, err)
		}
		return fn(tx, &mb)
	})
}

// purged returns up to which mod-sequence the server has forgotten who went.
func (w *world) purged(b *box) (seq int64, err error) {
	err = w.view(func(tx *store.Tx) error {
		mb, err := tx.Mailbox(b.name)
		seq = mb.PurgedSeq
		return err
	})
	return seq, err
}

// forgetAfter is a time after which the store does not know any more who went.
const forgetAfter = 181 * 24 * time.Hour

// pause restarts the server, lets a little time go by, or so much that the server
// forgets who went.
func (w *world) pause(r *rand.Rand) error {
	switch r.IntN(6) {
	case 0:
		for _, s := range w.sessions {
			if s.conn != nil {
				s.drop()
			}
		}
		w.logf("half a year goes by")
		time.Sleep(forgetAfter)
		return nil
	case 1, 2:
		return w.restart()
	}
	time.Sleep(time.Duration(1+r.IntN(20)) * time.Second)
	return nil
}

// restart stops the server and starts it again.
func (w *world) restart() error {
	w.logf("the server restarts")
	for _, s := range w.sessions {
		s.remember()
		s.sel, s.idle, s.notify = nil, "", notified{}
	}
	if err := w.close(); err != nil {
		return err
	}
	return w.open(false)
}

// check looks whether all is in order in the store.
func (w *world) check() error {
	w.acct.WaitDurable(context.Background())
	problems, err := w.store.Check(context.Background(), true)
	for _, p := range problems {
		err = errors.Join(err, fmt.Errorf("store: %+v", p))
	}
	return err
}
