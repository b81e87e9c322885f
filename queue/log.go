package queue

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/mjl-/mox/journal"
)

// The log of the queue is a journal, below Options.Dir. A message is acknowledged
// when its record is in it: one write and one sync, shared with all others that
// come at the time. Rows, and a file for the content, are made later, and not at
// all for a message that was handed over to accounts before that: see logged.

const (
	logDir = "journal" // Below Options.Dir.

	// logSizeDefault is the size of a segment in bytes.
	logSizeDefault = 16 << 20

	// inlineMaxDefault is the largest content in bytes that goes into the log. A larger
	// one is in its file before its record is appended.
	inlineMaxDefault = 1 << 20

	// logHeadMax bounds what a record has besides the content, in bytes: that of a
	// message to thousands of recipients makes rows at once.
	logHeadMax = 128 << 10

	// logFaults is in front of the names of the log's fault points.
	logFaults = "queue's "
)

// recordAdded is the type of all records: a message was added.
const recordAdded = 1

// recordHead is a record without the content that may follow it.
type recordHead struct {
	Content  contentRow
	Inline   bool // The content follows. Otherwise it is in its file.
	Prefixes []prefixRow
	Rows     []messageRow
}

// errRecord means that a record is not one that we write.
var errRecord = errors.New("not a record of a message")

// appendHead appends the encoded head: its length, then JSON.
func (h *recordHead) appendHead(b []byte) ([]byte, error) {
	for i := range h.Rows {
		m := &h.Rows[i].M
		for _, s := range []string{m.Account, m.MailFrom, m.FromID, m.BaseFrom, m.Rcpt, m.Domain, m.MessageID, m.Subject, m.EnvelopeID, m.OriginalRcpt} {
			if !utf8.ValidString(s) {
				return nil, fmt.Errorf("queue: %q is not UTF-8", s) // JSON would change it.
			}
		}
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding message for the log: %w", err)
	}
	return append(binary.AppendUvarint(b, uint64(len(text))), text...), nil
}

// parseRecord parses a record. The content is part of data.
func parseRecord(data []byte) (h recordHead, content []byte, err error) {
	size, n := binary.Uvarint(data)
	if n <= 0 || size > uint64(len(data)-n) {
		return h, nil, errRecord
	}
	if err := json.Unmarshal(data[n:n+int(size)], &h); err != nil {
		return h, nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	content = data[n+int(size):]
	want := h.Content.Size
	if !h.Inline {
		want = 0
	}
	if len(h.Rows) == 0 || int64(len(content)) != want || h.Content.ID <= 0 || !isContentName(h.Content.Name) {
		return h, nil, errRecord
	}
	for i := range h.Rows {
		if r := &h.Rows[i]; r.ID <= 0 || r.M.ContentID != h.Content.ID {
			return h, nil, errRecord
		}
	}
	if !h.Inline {
		content = nil
	}
	return h, content, nil
}

// isContentName says whether a name is one that we give to contents.
func isContentName(name string) bool {
	dir, file := filepath.Split(filepath.FromSlash(name))
	return len(dir) == 3 && isHex(dir[:2], 1) && isHex(file, 16)
}

// openLog opens the log.
func (db *DB) openLog() (err error) {
	size := db.opts.LogSize
	if size == 0 {
		size = logSizeDefault
	}
	db.journal, err = journal.Open(filepath.Join(db.opts.Dir, logDir), journal.Options{
		SegmentSize: size, Faults: db.faults.Prefixed(logFaults), Rand: lockedRand{db}, Durable: db.durable, Observe: db.observeLog,
	})
	if err != nil {
		return fmt.Errorf("opening the log of the queue: %w", err)
	}
	return nil
}

// lockedRand reads random bytes of the options.
type lockedRand struct{ db *DB }

// Read fills p.
func (r lockedRand) Read(p []byte) (int, error) {
	r.db.randMu.Lock()
	defer r.db.randMu.Unlock()
	return r.db.opts.Rand.Read(p)
}

// observeLog logs that the log has no room for now. That it failed comes out of
// Append.
func (db *DB) observeLog(e journal.Event) {
	if e.Err == nil || errors.Is(e.Err, journal.ErrFailed) {
		return
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if last := &db.full.logLogged; last.IsZero() || time.Since(*last) >= fullLogEvery {
		*last = time.Now()
		db.log.Warn("no room for the log of the queue", "err", e.Err)
	}
}

// appendLog makes a message durable by its record. When it returns, durable was
// called for it.
func (db *DB) appendLog(ctx context.Context, l *logged) error {
	h := recordHead{Content: l.content, Inline: l.data != nil, Prefixes: l.prefixes, Rows: l.bareRows()}
	head, err := h.appendHead(nil)
	if err != nil {
		return err
	}
	if len(head) > logHeadMax {
		return db.addRows(l)
	}
	_, err = db.journal.Append(ctx, journal.Record{Type: recordAdded, Data: [][]byte{head, l.data}, Value: l})
	switch {
	case errors.Is(err, journal.ErrTooLarge):
		return db.addRows(l)
	case errors.Is(err, journal.ErrRoom):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	case errors.Is(err, journal.ErrFailed):
		return db.fail(err)
	}
	return err
}

// addRows makes a message durable by its rows, with its content in a file.
func (db *DB) addRows(l *logged) error {
	err := db.writeFile(l)
	if err == nil {
		err = db.syncFile(l)
	}
	if err != nil {
		err = db.failOrFull(err)
	} else {
		err = db.commitRows(l)
	}
	if isFull(err) && l.data != nil {
		return errors.Join(err, db.removeLoose(l.content.Name))
	}
	return err
}

// commitRows commits the rows of a message that has no record in the log.
func (db *DB) commitRows(l *logged) error {
	return db.commit(&change{
		rows: len(l.rows),
		run:  func(tx *tx) error { return tx.insertLogged(l) },
		apply: func() {
			delete(db.loose, l.content.Name)
			db.dropData(l)
			db.unclaim(l.claims)
			db.enlistLogged(l)
		},
	})
}

// durable takes over a message whose record is on disk, in the order of the log.
// The journal calls it before it answers, so that nothing is due that a crash
// could take back, and no later message is known before.
func (db *DB) durable(e *journal.Entry) {
	l := e.Value.(*logged)
	db.mu.Lock()
	l.seq = e.Seq
	db.logged = append(db.logged, l)
	db.recent[l.content.ID] = l
	if l.data == nil {
		l.synced = true
	}
	db.enlistLogged(l)
	db.armSettle(settleEvery)
	db.rearm()
	db.mu.Unlock()
	db.signal()
}

// enlistLogged puts the messages of l into the schedule. db.mu is held.
func (db *DB) enlistLogged(l *logged) {
	joiner := joiner{last: map[joinKey]*entry{}}
	for i := range l.rows {
		db.enlist(&l.rows[i], &joiner)
	}
}

// logged is a message with its record in the log, and perhaps rows already. It
// comes from Add, and goes when the log can forget it: when it is settled.
//
// What it has does not change, so that it can be read without a lock. What is below
// is guarded by DB.mu.
type logged struct {
	added    time.Time // With a monotonic reading.
	content  contentRow
	prefixes []prefixRow
	rows     []messageRow // In the order of ids.
	claims   []int64      // Of FromIDs. See DB.claims.

	seq    uint64 // In the log.
	data   []byte // Content, in memory. Nil if it is in its file, or not needed any more.
	filing bool   // The committer makes its rows: nothing else may happen to it.
	filed  bool   // Its rows are committed, and what is below about retired messages is over.
	synced bool   // Its file is on disk.
	gone   bool   // Its rows are retired, and its file with them.

	over    []bool // For each of rows, unless filed: retired, without ever having been in the database.
	left    int    // How many are not over.
	handed  []Handed
	retired []retiredRow
	froms   []*fromIDRow // Of those retired.
}

// bareRows returns the rows as they are in records: without prefixes.
func (l *logged) bareRows() []messageRow {
	rows := make([]messageRow, len(l.rows))
	for i := range rows {
		rows[i] = l.rows[i]
		rows[i].M.Prefix = nil
	}
	return rows
}

// settled says whether the log can forget the message. db.mu is held.
func (l *logged) settled() bool {
	if l.filed {
		return l.synced || l.gone
	}
	return l.left == 0 && !l.filing
}

// row returns the index of a row.
func (l *logged) row(id int64) int {
	for i := range l.rows {
		if l.rows[i].ID == id {
			return i
		}
	}
	return -1
}

// dropData forgets the content in memory. db.mu is held.
func (db *DB) dropData(l *logged) {
	db.memory -= int64(len(l.data))
	l.data = nil
}
