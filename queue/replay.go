package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/journal"
)

// replayMax bounds the contents in bytes that are read of the log before their
// messages get rows.
const replayMax = 8 << 20

// replay is the start of a queue: what only the log has gets rows and files.
type replay struct {
	ctx   context.Context //nolint:containedctx // It lives for one call.
	db    *DB
	row   logRow
	known bool // There is a row.
	filed map[int64]bool

	foreign bool // The rows are of another log, and have used the same ids.

	head  int64 // The last record.
	batch []*logged
	rows  int
	bytes int64
	ids   counters
	dirs  map[string]bool // Of contents written.
	added int
}

// replayLog makes rows of all messages that only the log has, and files of their
// contents. A message that was handed over and not yet settled comes again: its
// account knows its key.
func (db *DB) replayLog(ctx context.Context) error {
	r := &replay{ctx: ctx, db: db, filed: map[int64]bool{}, dirs: map[string]bool{}, row: logRow{ID: 1}}
	if err := db.db.Read(ctx, r.read); err != nil {
		return fmt.Errorf("reading what the log has: %w", err)
	}
	if id := db.journal.ID(); r.row.Journal != id {
		if r.row.Journal != "" {
			db.log.Error("the log of the queue is not the one it had: messages may be missing that were taken at the end", "had", r.row.Journal, "has", id)
		}
		r.row.Seq, r.filed, r.foreign = 0, map[int64]bool{}, true
	}
	r.head = r.row.Seq
	db.journal.Floor(uint64(r.row.Seq))
	if err := db.journal.Entries(r.entry); err != nil {
		return fmt.Errorf("reading the log of the queue: %w", err)
	}
	if err := r.flush(); err != nil {
		return err
	}
	if r.added > 0 {
		db.log.Info("messages of the log were moved to the database", "messages", r.added)
	}
	if err := r.end(); err != nil {
		return fmt.Errorf("noting what was read of the log: %w", err)
	}
	return nil
}

// read reads what was noted, and which ids were given.
func (r *replay) read(tx *bstore.Tx) error {
	err := tx.Get(&r.row)
	if r.known = err == nil; err != nil && !errors.Is(err, bstore.ErrAbsent) {
		return err
	}
	r.ids = counters{r.row.NextMessage, r.row.NextContent, r.row.NextPrefix}
	if last, err := bstore.QueryTx[messageRow](tx).SortDesc("ID").Limit(1).List(); err != nil {
		return err
	} else if len(last) > 0 {
		r.ids.message = max(r.ids.message, last[0].ID)
	}
	if last, err := bstore.QueryTx[retiredRow](tx).SortDesc("ID").Limit(1).List(); err != nil {
		return err
	} else if len(last) > 0 {
		r.ids.message = max(r.ids.message, last[0].ID)
	}
	if last, err := bstore.QueryTx[contentRow](tx).SortDesc("ID").Limit(1).List(); err != nil {
		return err
	} else if len(last) > 0 {
		r.ids.content = max(r.ids.content, last[0].ID)
	}
	if last, err := bstore.QueryTx[prefixRow](tx).SortDesc("ID").Limit(1).List(); err != nil {
		return err
	} else if len(last) > 0 {
		r.ids.prefix = max(r.ids.prefix, last[0].ID)
	}
	return bstore.QueryTx[loggedRow](tx).ForEach(func(l loggedRow) error {
		r.filed[l.Seq] = true
		return nil
	})
}

// entry takes over one record.
func (r *replay) entry(e *journal.Entry) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	seq := int64(e.Seq)
	r.head = max(r.head, seq)
	if seq <= r.row.Seq {
		return nil
	}
	h, data, err := parseRecord(e.Data)
	if err != nil || e.Type != recordAdded {
		return fmt.Errorf("record %d of type %d: %w", e.Seq, e.Type, errors.Join(err, errRecord))
	}
	l := &logged{content: h.Content, prefixes: h.Prefixes, rows: h.Rows, data: data, seq: e.Seq, over: make([]bool, len(h.Rows)), left: len(h.Rows)}
	if r.foreign {
		r.renumber(l)
	}
	r.ids.message = max(r.ids.message, l.rows[len(l.rows)-1].ID)
	r.ids.content = max(r.ids.content, l.content.ID)
	for _, p := range l.prefixes {
		r.ids.prefix = max(r.ids.prefix, p.ID)
	}
	if r.filed[seq] {
		return r.mend(l)
	}
	r.batch = append(r.batch, l)
	r.rows += len(l.rows)
	if r.bytes += int64(len(data)); r.bytes > replayMax || r.rows > chunkMax {
		return r.flush()
	}
	return nil
}

// renumber gives new ids.
func (r *replay) renumber(l *logged) {
	ids := &r.ids
	ids.content++
	l.content.ID, l.content.Prefixes = ids.content, nil
	prefixes := map[int64]int64{}
	for i := range l.prefixes {
		p := &l.prefixes[i]
		ids.prefix++
		prefixes[p.ID], p.ID = ids.prefix, ids.prefix
		l.content.Prefixes = append(l.content.Prefixes, p.ID)
	}
	for i := range l.rows {
		row := &l.rows[i]
		ids.message++
		row.ID, row.M.ID, row.M.ContentID, row.PrefixID = ids.message, ids.message, l.content.ID, prefixes[row.PrefixID]
	}
}

// mend writes the file of a message again that has rows, and whose file may not
// have been on disk.
func (r *replay) mend(l *logged) error {
	err := r.db.db.Get(r.ctx, &contentRow{ID: l.content.ID})
	if errors.Is(err, bstore.ErrAbsent) {
		return nil // Retired.
	} else if err != nil {
		return err
	}
	path := r.db.contentPath(l.content.Name)
	if l.data == nil || checkFile(path, l.content.Size) == "" && checkCRC(path, l.content.CRC) == "" {
		return r.keep(l)
	}
	return r.write(l)
}

// write writes the file of a message durably, but for its directory.
func (r *replay) write(l *logged) error {
	path := r.db.contentPath(l.content.Name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), dirPerm), os.WriteFile(path, l.data, contentPerm))
	if err != nil {
		return fmt.Errorf("writing content of a message in the log: %w", err)
	}
	return r.keep(l)
}

// keep syncs the file of a message. Whether it is there is looked at later.
func (r *replay) keep(l *logged) error {
	path := r.db.contentPath(l.content.Name)
	if err := syncFile(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	r.dirs[filepath.Dir(path)] = true
	return nil
}

// flush makes rows of messages that were read.
func (r *replay) flush() error {
	for _, l := range r.batch {
		if l.data == nil {
			continue
		}
		if err := r.write(l); err != nil {
			return err
		}
	}
	if err := r.syncDirs(); err != nil {
		return err
	}
	if len(r.batch) == 0 {
		return nil
	}
	err := r.db.db.Write(r.ctx, func(b *bstore.Tx) error {
		t := &tx{Tx: b, db: r.db}
		for _, l := range r.batch {
			if err := t.insertLogged(l); err != nil {
				return err
			}
			if err := t.insert(&loggedRow{Seq: int64(l.seq)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("making rows of messages in the log: %w", err)
	}
	r.added += r.rows
	r.batch, r.rows, r.bytes = nil, 0, 0
	return nil
}

// syncDirs makes the directory entries of what was written durable.
func (r *replay) syncDirs() error {
	for dir := range r.dirs {
		if err := atomicfile.SyncDir(dir); err != nil {
			return err
		}
		delete(r.dirs, dir)
	}
	return atomicfile.SyncDir(r.db.contentPath(""))
}

// end notes that all of the log has rows.
func (r *replay) end() error {
	db := r.db
	db.ids = r.ids
	return db.db.Write(r.ctx, func(b *bstore.Tx) error {
		if _, err := bstore.QueryTx[loggedRow](b).Delete(); err != nil {
			return err
		}
		row := logRow{ID: 1, Journal: db.journal.ID(), Seq: r.head, NextMessage: r.ids.message, NextContent: r.ids.content, NextPrefix: r.ids.prefix}
		switch {
		case !r.known:
			return b.Insert(&row)
		case row == r.row:
			return nil
		}
		return b.Update(&row)
	})
}
