package queue

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	// RecipientsMax bounds the recipients of one message.
	RecipientsMax = 10000

	// PrefixMax bounds a prefix, in bytes.
	PrefixMax = 64 << 10

	// syncFirst is the size in bytes above which a content is synced before its rows
	// are committed.
	syncFirst = 256 << 10

	// messageIDMax bounds a Message-ID that is kept, in bytes: a header line has no
	// more (RFC 5322, section 2.1.1). A longer one is left out.
	messageIDMax = 998
)

// Add queues a message for all its recipients, or for none. When it returns nil
// the message is on disk. Several that call it at once share a commit. The order
// of the messages is that of New.To.
func (db *DB) Add(ctx context.Context, n New) ([]Message, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := n.check(); err != nil {
		return nil, err
	}
	a := &addition{db: db, n: n}
	if err := a.prepare(time.Now()); err != nil {
		return nil, err
	}
	if err := db.add(a); err != nil {
		return nil, fmt.Errorf("queueing message: %w", err)
	}
	n.Content.over = true
	messages := make([]Message, len(a.rows))
	for i := range a.rows {
		messages[i] = a.rows[i].M
		db.observe("added", messages[i])
	}
	return messages, nil
}

// add commits the rows and syncs the content, both at once unless it is large: others
// in the same commit wait for it.
func (db *DB) add(a *addition) error {
	c := a.n.Content
	if c.over || c.file == nil {
		return errors.New("content was used before")
	}
	ch := &change{run: a.run, apply: a.apply, rows: len(a.rows), dir: filepath.Dir(db.contentPath(c.name))}
	if c.size > syncFirst {
		if err := c.sync(); errors.Is(err, ErrDiskFull) {
			return err
		} else if err != nil {
			return db.fail(err)
		}
	} else {
		ch.synced = make(chan error, 1)
	}
	a.change = ch
	db.submit(ch)
	if ch.synced != nil {
		ch.synced <- c.sync()
	}
	<-ch.done
	return ch.err
}

// check returns an error for what can't be queued.
func (n New) check() error {
	if n.Content == nil {
		return errors.New("queue: message without content")
	}
	if len(n.To) == 0 || len(n.To) > RecipientsMax {
		return fmt.Errorf("queue: message to %d recipients, not between 1 and %d", len(n.To), RecipientsMax)
	}
	for _, to := range n.To {
		if len(to.Prefix) > PrefixMax {
			return fmt.Errorf("queue: prefix of %d bytes, more than %d", len(to.Prefix), PrefixMax)
		}
		if to.Path.IsZero() {
			return errors.New("queue: recipient without address")
		}
	}
	return nil
}

// addition is a message being added.
type addition struct {
	db       *DB
	n        New
	change   *change
	content  contentRow
	prefixes []prefixRow
	prefixOf []int // For each row, an index in prefixes, or -1.
	rows     []messageRow
}

// prepare makes the rows, without ids.
func (a *addition) prepare(now time.Time) error {
	n := &a.n
	now = now.Round(0)
	next, chosen := now, false
	if n.NotBefore.After(now) {
		next, chosen = n.NotBefore.Round(0), true
	}
	state := Waiting
	if n.Hold || n.Provisional {
		state = Held
	}
	messageID := n.MessageID
	if len(messageID) > messageIDMax {
		messageID = ""
	}
	shared := Message{
		State: state, Queued: now, NextAttempt: next, Account: n.Account, MailFrom: n.MailFrom.String(), MessageID: cut(messageID, messageIDMax),
		Subject: cut(n.Subject, textMax), SMTPUTF8: n.SMTPUTF8, EightBit: n.EightBit, RequireTLS: n.RequireTLS,
	}
	known := map[string]int{}
	for _, to := range n.To {
		m := shared
		var err error
		if m.Key, err = a.db.random(); err != nil {
			return err
		}
		m.Rcpt, m.Domain, m.Prefix = to.Path.String(), domainOf(to.Path), to.Prefix
		m.Size = int64(len(to.Prefix)) + n.Content.size
		a.rows = append(a.rows, messageRow{M: m, Chosen: chosen, Unsure: n.Provisional})
		a.prefixOf = append(a.prefixOf, a.prefix(known, to.Prefix))
	}
	return nil
}

// prefix returns the index of a prefix.
func (a *addition) prefix(known map[string]int, data []byte) int {
	if len(data) == 0 {
		return -1
	}
	i, ok := known[string(data)]
	if !ok {
		i = len(a.prefixes)
		known[string(data)] = i
		a.prefixes = append(a.prefixes, prefixRow{Data: data})
	}
	return i
}

// run inserts the rows.
func (a *addition) run(tx *tx) error {
	a.content = contentRow{Name: a.n.Content.name, Size: a.n.Content.size, CRC: a.n.Content.crc, Settled: a.db.settled, Messages: int64(len(a.rows))}
	for i := range a.prefixes {
		p := &a.prefixes[i]
		p.ID = 0
		if err := tx.insert(p); err != nil {
			return err
		}
		a.content.Prefixes = append(a.content.Prefixes, p.ID)
	}
	if err := tx.insert(&a.content); err != nil {
		return err
	}
	a.change.content = a.content.ID
	for i := range a.rows {
		r := &a.rows[i]
		r.ID, r.M.ID, r.PrefixID, r.M.ContentID = 0, 0, 0, a.content.ID
		if at := a.prefixOf[i]; at >= 0 {
			r.PrefixID = a.prefixes[at].ID
		}
		if err := tx.insert(r); err != nil {
			return err
		}
		r.M.ID = r.ID
	}
	return nil
}

// apply puts the rows into the schedule.
func (a *addition) apply() {
	delete(a.db.loose, a.content.Name)
	joiner := joiner{last: map[joinKey]*entry{}}
	for i := range a.rows {
		a.db.enlist(&a.rows[i], &joiner)
	}
}

// joiner finds messages that can go together: those of the same content, domain
// and prefix, among rows that come in the order of their ids.
type joiner struct {
	content int64
	last    map[joinKey]*entry
}

type joinKey struct {
	domain string
	prefix int64
}

// join puts an entry into the ring of those it can go with.
func (j *joiner) join(e *entry, row *messageRow) {
	if row.M.ContentID != j.content {
		j.content = row.M.ContentID
		clear(j.last)
	}
	key := joinKey{row.M.Domain, row.PrefixID}
	if other := j.last[key]; other != nil {
		e.join(other)
	}
	j.last[key] = e
}

// enlist puts a row into the schedule. db.mu is held.
func (db *DB) enlist(row *messageRow, j *joiner) {
	e := db.schedule.add(row.ID, row.M.ContentID, row.M.Account, row.M.Domain)
	j.join(e, row)
	db.bytes += row.M.Size
	db.place(e, row)
}

// place puts an entry that is nowhere to where its row says. db.mu is held.
func (db *DB) place(e *entry, row *messageRow) {
	e.fail = row.Fail != ""
	if row.M.State == Held {
		db.schedule.hold(e)
		return
	}
	db.schedule.put(e, row.M.NextAttempt, time.Now())
}
