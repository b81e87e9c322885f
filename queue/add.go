package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// RecipientsMax bounds the recipients of one message.
	RecipientsMax = 10000

	// PrefixMax bounds a prefix, in bytes.
	PrefixMax = 64 << 10

	// ExtraMax bounds New.Extra, in bytes of all names and values together.
	ExtraMax = 16 << 10

	// messageIDMax bounds a Message-ID that is kept, in bytes: a header line has no
	// more (RFC 5322, section 2.1.1). A longer one is left out.
	messageIDMax = 998
)

// Add queues a message for all its recipients, or for none. When it returns nil
// the message is on disk. Several that call it at once share a sync. The order of
// the messages is that of New.To.
//
// The end of ctx counts until the message is about to be written.
func (db *DB) Add(ctx context.Context, n New) ([]Message, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := n.check(); err != nil {
		return nil, err
	}
	if n.FutureRelease != "" {
		if err := db.CheckFuture(n.Account, len(n.To)); err != nil {
			return nil, err
		}
	}
	rules := db.useRules()
	defer rules.users.Done()
	l, err := db.newLogged(n, rules, db.clock.now())
	if err != nil {
		return nil, err
	}
	if l.claims, err = db.claim(ctx, n); err != nil {
		return nil, fmt.Errorf("queueing message: %w", err)
	}
	messages := make([]Message, len(l.rows)) // Made before: from then on the rows are the queue's.
	for i := range l.rows {
		messages[i] = l.rows[i].M
	}
	if err := db.add(ctx, l, n.Content); err != nil {
		db.mu.Lock()
		db.unclaim(l.claims)
		db.mu.Unlock()
		return nil, fmt.Errorf("queueing message: %w", err)
	}
	n.Content.over = true
	for i := range messages {
		db.observe("added", messages[i])
	}
	return messages, nil
}

// add makes a message durable. A content that is a file is that before.
func (db *DB) add(ctx context.Context, l *logged, c *Content) error {
	if c.over || c.file == nil && c.data == nil {
		return errors.New("content was used before")
	}
	if c.file != nil {
		if err := c.sync(); errors.Is(err, ErrDiskFull) {
			return err
		} else if err != nil {
			return db.fail(err)
		}
	}
	return db.appendLog(ctx, l)
}

// check returns an error for what can't be queued.
func (n New) check() error {
	if n.Content == nil {
		return errors.New("queue: message without content")
	}
	if len(n.To) == 0 || len(n.To) > RecipientsMax {
		return fmt.Errorf("queue: message to %d recipients, not between 1 and %d", len(n.To), RecipientsMax)
	}
	size := 0
	for k, v := range n.Extra {
		size += len(k) + len(v)
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return errors.New("queue: extra data is not UTF-8")
		}
	}
	if size > ExtraMax {
		return fmt.Errorf("queue: extra data of %d bytes, more than %d", size, ExtraMax)
	}
	for _, to := range n.To {
		if len(to.Prefix) > PrefixMax {
			return fmt.Errorf("queue: prefix of %d bytes, more than %d", len(to.Prefix), PrefixMax)
		}
		if to.Path.IsZero() {
			return errors.New("queue: recipient without address")
		}
		if err := to.check(); err != nil {
			return err
		}
	}
	return nil
}

// hold returns the state a message has at first, without rules.
func (n New) hold() (State, HoldReason) {
	switch {
	case n.Provisional:
		return Held, HeldProvisional
	case n.Hold:
		return Held, HeldAsAsked
	}
	return Waiting, ""
}

// newLogged returns what is to be logged for n, at now.
func (db *DB) newLogged(n New, rules *ruleSet, now time.Time) (*logged, error) {
	next, chosen := now, false
	if at := db.clock.of(n.NotBefore); !n.NotBefore.IsZero() && at.After(now) {
		next, chosen = at, true
	}
	state, why := n.hold()
	sender := domainOf(n.MailFrom)
	messageID := strings.ToValidUTF8(n.MessageID, "?")
	if len(messageID) > messageIDMax {
		messageID = ""
	}
	c := n.Content
	l := &logged{
		added: time.Now(), data: c.data, left: len(n.To), over: make([]bool, len(n.To)),
		content: contentRow{Name: c.name, Size: c.size, CRC: c.crc, Messages: int64(len(n.To))},
	}
	shared := Message{
		State: state, Queued: now, Since: next, FutureRelease: n.FutureRelease, NextAttempt: next, Account: n.Account, MailFrom: n.MailFrom.String(), MessageID: messageID,
		Subject: cut(strings.ToValidUTF8(n.Subject, "?"), textMax), SMTPUTF8: n.SMTPUTF8, EightBit: n.EightBit, RequireTLS: n.RequireTLS,
		Extra: n.Extra, EnvelopeID: n.DSN.EnvelopeID, Return: n.DSN.Return, Report: n.Report, HoldReason: why,
	}
	for _, to := range n.To {
		m := shared
		var err error
		if m.Key, err = db.random(); err != nil {
			return nil, err
		}
		m.Rcpt, m.Domain, m.Prefix = to.Path.String(), domainOf(to.Path), to.Prefix
		m.Notify, m.OriginalRcpt = to.DSN.Notify, to.DSN.Original
		m.Size = int64(len(to.Prefix)) + c.size
		if to.FromID != "" {
			m.FromID, m.BaseFrom, m.MailFrom = to.FromID, m.MailFrom, to.MailFrom.String()
		}
		if rule := rules.first(m.Account, sender, m.Domain); rule != nil {
			m.State, m.HoldReason, m.HoldRule = Held, HeldByRule, rule.ID
		}
		l.rows = append(l.rows, messageRow{M: m, Chosen: chosen, Unsure: n.Provisional})
	}
	db.number(l)
	return l, nil
}

// counters are the last ids given, so that they are known before there are rows.
type counters struct{ message, content, prefix int64 }

// number gives ids. Prefixes that are the same share one.
func (db *DB) number(l *logged) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.ids.content++
	l.content.ID = db.ids.content
	known := map[string]int64{}
	for i := range l.rows {
		r := &l.rows[i]
		db.ids.message++
		r.ID, r.M.ID, r.M.ContentID = db.ids.message, db.ids.message, l.content.ID
		if len(r.M.Prefix) == 0 {
			continue
		}
		id := known[string(r.M.Prefix)]
		if id == 0 {
			db.ids.prefix++
			id = db.ids.prefix
			known[string(r.M.Prefix)] = id
			l.prefixes = append(l.prefixes, prefixRow{id, r.M.Prefix})
			l.content.Prefixes = append(l.content.Prefixes, id)
		}
		r.PrefixID = id
	}
}

// joiner finds messages that can go together: those of the same content, domain,
// prefix and sender, among rows that come in the order of their ids.
type joiner struct {
	content int64
	last    map[joinKey]*entry
}

type joinKey struct {
	domain string
	prefix int64
	from   string
}

// join puts an entry into the ring of those it can go with.
func (j *joiner) join(e *entry, row *messageRow) {
	if row.M.ContentID != j.content {
		j.content = row.M.ContentID
		clear(j.last)
	}
	key := joinKey{row.M.Domain, row.PrefixID, row.M.MailFrom}
	if other := j.last[key]; other != nil {
		e.join(other)
	}
	j.last[key] = e
}

// enlist puts a row into the schedule. db.mu is held.
func (db *DB) enlist(row *messageRow, j *joiner) {
	e := db.schedule.add(row.ID, row.M.ContentID, row.M.Account, row.M.Domain)
	j.join(e, row)
	db.weigh(&row.M, 1)
	db.place(e, row)
}

// place puts an entry that is nowhere to where its row says. db.mu is held.
func (db *DB) place(e *entry, row *messageRow) {
	e.fail = row.Fail != ""
	if row.M.State == Held {
		db.schedule.hold(e)
		return
	}
	due := row.M.NextAttempt
	if latest := db.clock.now().Add(db.opts.Schedule.longest()); !row.Chosen && due.After(latest) {
		due = latest // The time was ahead when it was written.
	}
	e.chosen = row.Chosen
	db.schedule.put(e, due, time.Now())
}
