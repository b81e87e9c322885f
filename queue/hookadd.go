package queue

import (
	"context"
	"fmt"
	"time"
	"unique"

	"github.com/mjl-/mox/webhook"
)

// tellsState tells whether an event says what became of a message.
func tellsState(e webhook.Event) bool {
	return e != webhook.EventUnrecognized && e != webhook.EventIncoming
}

// hookChanges are the changes to hooks in a transaction, taken over in memory when
// it is on disk.
type hookChanges struct {
	added     []hookRow
	gone      map[int64]bool
	ofMessage map[int64]int64 // As in hookQueue, of those added.
	ofEmail   map[emailKey]bool
	counts    map[string]int // How many more wait, by account; "" for all.
	ended     []Hook         // Retired.
}

// tell queues a hook about what became of a message, if its account has one for the
// event. An older one that was not called yet is not called any more: the new one
// says more.
func (tx *tx) tell(m *Message, e HookEvent) error {
	if m.Account == "" || e.Event == "" {
		return nil
	}
	url, ok := tx.db.opts.Webhook(m.Account, e.Event)
	if !ok {
		return nil
	}
	now := tx.now.Round(0)
	payload, err := webhook.Outgoing{
		Version: webhook.Version, Event: e.Event, DSN: e.DSN, Suppressing: e.Suppressing,
		QueueMsgID: m.ID, FromID: m.FromID, MessageID: m.MessageID, Subject: m.Subject, WebhookQueued: now.UTC(),
		SMTPCode: int(e.Code), SMTPEnhancedCode: e.Enhanced, Error: cut(e.Error, hookTextMax), Extra: m.Extra,
	}.Encode()
	if err != nil {
		return fmt.Errorf("encoding what became of message %d: %w", m.ID, err)
	}
	return tx.addHook(Hook{
		Account: m.Account, Event: e.Event, URL: url, QueueMsgID: m.ID, FromID: m.FromID, MessageID: m.MessageID, Subject: m.Subject,
		Extra: m.Extra, Payload: payload, Submitted: now, NextAttempt: now,
	})
}

// tellResult tells what came of an attempt, which is the last result of a row.
func (tx *tx) tellResult(r *messageRow, event webhook.Event, suppressing bool) error {
	e := HookEvent{Event: event, Suppressing: suppressing}
	if n := len(r.M.Results); n > 0 && event != "" {
		res := r.M.Results[n-1]
		e.Code, e.Enhanced, e.Error = res.Code, res.Enhanced, res.Error
	}
	m := r.message()
	return tx.tell(&m, e)
}

// tellCanceled tells that a message was taken out of the queue, unless nobody was
// told that it is in it.
func (tx *tx) tellCanceled(r *messageRow) error {
	if r.Unsure {
		return nil
	}
	m := r.message()
	return tx.tell(&m, HookEvent{Event: webhook.EventCanceled})
}

// addHook queues a hook.
func (tx *tx) addHook(h Hook) error {
	row := hookRow{H: h}
	if err := tx.insert(&row); err != nil {
		return err
	}
	ch := tx.hookChanges()
	if supersedes(&h) {
		if old := tx.hookOf(h.QueueMsgID); old != 0 {
			if err := tx.retireHookID(old, HookSuperseded, row.ID); err != nil {
				return err
			}
		}
		ch.ofMessage[h.QueueMsgID] = row.ID
	}
	if h.EmailID != 0 {
		ch.ofEmail[emailKey{unique.Make(h.Account), h.EmailID}] = true
	}
	if err := tx.makeHookRoom(h.Account); err != nil {
		return err
	}
	ch.added = append(ch.added, row)
	ch.counts[h.Account]++
	ch.counts[""]++
	return nil
}

// hookChanges returns what the transaction has changed of hooks.
func (tx *tx) hookChanges() *hookChanges {
	if tx.hooks == nil {
		tx.hooks = &hookChanges{gone: map[int64]bool{}, ofMessage: map[int64]int64{}, ofEmail: map[emailKey]bool{}, counts: map[string]int{}}
	}
	return tx.hooks
}

// hookOf returns the hook that waits and tells what became of a message, 0 if there
// is none.
func (tx *tx) hookOf(message int64) int64 {
	ch := tx.hookChanges()
	if id := ch.ofMessage[message]; id != 0 {
		return id
	}
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	if id := tx.db.hooks.ofMessage[message]; !ch.gone[id] {
		return id
	}
	return 0
}

// makeHookRoom gives up the oldest hooks if there are as many as there can be.
func (tx *tx) makeHookRoom(account string) error {
	db, ch := tx.db, tx.hookChanges()
	for _, of := range []struct {
		account string
		most    int
	}{{account, db.opts.HooksPerAccount}, {"", hooksTotalMax}} {
		db.mu.Lock()
		count, oldest := len(db.hooks.known), int64(0)
		if of.account != "" {
			count = db.hooks.count(of.account)
		}
		if count+ch.counts[of.account] >= of.most {
			oldest = db.hooks.oldest(of.account, ch.gone)
		}
		db.mu.Unlock()
		if oldest == 0 {
			continue // Or all that wait are of this transaction, which has a limit of its own.
		}
		if err := tx.retireHookID(oldest, HookCrowded, 0); err != nil {
			return err
		}
	}
	return nil
}

// retireHookID retires a hook that may have been added by this transaction.
func (tx *tx) retireHookID(id int64, outcome HookOutcome, by int64) error {
	row := hookRow{ID: id}
	if err := tx.Get(&row); err != nil {
		return fmt.Errorf("reading webhook %d: %w", id, err)
	}
	row.H.SupersededBy = by
	return tx.retireHook(&row, outcome)
}

// retireHook moves a hook out of those that wait.
func (tx *tx) retireHook(row *hookRow, outcome HookOutcome) error {
	if err := tx.delete(&hookRow{ID: row.ID}); err != nil {
		return err
	}
	ch, h := tx.hookChanges(), &row.H
	h.Outcome, h.RetiredAt = outcome, tx.now.Round(0)
	h.LastActivity = h.RetiredAt
	ch.forget(row.ID)
	ch.counts[h.Account]--
	ch.counts[""]--
	ch.ended = append(ch.ended, row.hook())
	keep := tx.db.opts.KeepRetiredHooks(h.Account)
	if keep <= 0 {
		return nil
	}
	return tx.insert(&hookRetiredRow{ID: row.ID, Until: h.RetiredAt.Add(keep), H: *h})
}

// forget notes that a hook is gone.
func (ch *hookChanges) forget(id int64) {
	ch.gone[id] = true
	for i := range ch.added {
		if ch.added[i].ID == id {
			ch.added = append(ch.added[:i], ch.added[i+1:]...)
			return
		}
	}
}

// applyHooks takes over what a transaction has changed of hooks. db.mu is held.
func (db *DB) applyHooks(ch *hookChanges, now time.Time) {
	for id := range ch.gone {
		db.hooks.remove(id)
	}
	for i := range ch.added {
		db.hooks.add(&ch.added[i], now)
	}
	db.rearmHooks()
}

// tellHooks logs and reports what a transaction has changed of hooks.
func (db *DB) tellHooks(ch *hookChanges) {
	for range ch.added {
		db.observeHook("queued", "")
	}
	for _, h := range ch.ended {
		db.observeHook(string(h.Outcome), h.Account)
		attrs := []any{"hook", h.ID, "account", h.Account, "event", string(h.Event), "attempts", h.Attempts, "outcome", string(h.Outcome)}
		switch h.Outcome {
		case HookFailed, HookCrowded:
			if n := len(h.Results); n > 0 {
				attrs = append(attrs, "err", h.Results[n-1].Error)
			}
			db.log.Warn("webhook is given up", attrs...)
		case HookCanceled:
			db.log.Info("webhook is canceled", attrs...)
		case HookCalled, HookSuperseded:
		}
	}
	if len(ch.added) > 0 {
		db.signalHooks()
	}
}

// observeHook reports an event about hooks.
func (db *DB) observeHook(kind, account string) {
	if db.opts.Observe != nil {
		db.opts.Observe(Event{Kind: "webhook " + kind, Account: account})
	}
}

// AddIncoming queues hooks about messages that came in, for accounts that want to be
// told. Those that wait already are left out: it may be called again.
func (db *DB) AddIncoming(ctx context.Context, list []NewIncoming) error {
	leave, err := db.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = db.commit(&change{rows: len(list), run: func(tx *tx) error {
		for _, n := range list {
			if err := tx.addIncoming(n); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("queueing webhooks: %w", err)
	}
	return nil
}

// addIncoming queues a hook about a message that came in.
func (tx *tx) addIncoming(n NewIncoming) error {
	url, ok := tx.db.opts.Webhook(n.Account, webhook.EventIncoming)
	if !ok || n.EmailID <= 0 {
		return nil
	}
	key := emailKey{unique.Make(n.Account), n.EmailID}
	tx.db.mu.Lock()
	known := tx.db.hooks.ofEmail[key] != 0
	tx.db.mu.Unlock()
	if known || tx.hookChanges().ofEmail[key] {
		return nil
	}
	now := tx.now.Round(0)
	messageID := cut(n.MessageID, messageIDMax)
	return tx.addHook(Hook{
		Account: n.Account, Event: webhook.EventIncoming, URL: url, EmailID: n.EmailID, MessageID: messageID, Subject: cut(n.Subject, textMax),
		Submitted: now, NextAttempt: now,
	})
}
