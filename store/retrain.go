package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/junk"
)

// rebuildMax bounds the Emails that are looked at in one snapshot.
const rebuildMax = 1000

// rebuild makes a filter from all messages that are marked, and puts it in the place
// of the one that there may be. The old one is used until then, and stays if it
// fails. Training rows that come meanwhile are applied afterwards; for those that
// say what was found already, there is nothing to do.
func (t *trainer) rebuild(ctx context.Context, grams junk.Grams, progress func(done, total int64)) (res Retrained, err error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	path := t.junkPath(junkNew)
	if err := removeIfThere(path); err != nil {
		return res, err
	}
	db, err := openJunkDB(ctx, path, grams)
	if err != nil {
		return res, err
	}
	row, err := t.fill(ctx, db, progress)
	if err := errors.Join(err, db.db.Close()); err != nil {
		return res, errors.Join(fmt.Errorf("making junk filter: %w", err), removeIfThere(path))
	}
	if err := t.a.dir.faults.Hit(FaultTrainBuilt); err != nil {
		return res, err
	}
	t.a.junk.copying.Lock()
	defer t.a.junk.copying.Unlock()
	if err := t.a.junk.replace(ctx, path); err != nil {
		return res, fmt.Errorf("replacing junk filter: %w", err)
	}
	res = Retrained{Junk: row.TrainedJunk, NotJunk: row.TrainedNotJunk, Words: row.Words}
	t.a.dir.log.Info("junk filter trained", "account", t.a.name, "junk", res.Junk, "notjunk", res.NotJunk, "words", res.Words)
	return res, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// fill trains a new file and says at the end that it is whole.
func (t *trainer) fill(ctx context.Context, db *junkDB, progress func(done, total int64)) (junkRow, error) {
	total, err := t.messages(ctx)
	if err != nil {
		return junkRow{}, err
	}
	after := int64(0)
	for done := int64(0); ; {
		progress(done, max(done, total))
		rows, last, n, err := t.marked(ctx, after)
		if err != nil {
			return junkRow{}, err
		}
		if n == 0 {
			break
		}
		done, after = done+n, last
		for len(rows) > 0 {
			err := t.slot(func() error {
				lessons, n, err := t.lessons(db, rows)
				if err == nil && len(lessons) > 0 {
					err = db.learn(ctx, lessons)
				}
				rows = rows[n:]
				return errors.Join(err, ctx.Err())
			})
			if err != nil {
				return junkRow{}, err
			}
		}
	}
	row, err := db.row(ctx)
	if err != nil {
		return row, err
	}
	row.Built = true
	return row, db.db.Update(ctx, &row)
}

// messages returns how many messages the account has.
func (t *trainer) messages(ctx context.Context) (total int64, err error) {
	err = t.a.View(ctx, func(tx *Tx) error {
		total = 0
		return bstore.QueryTx[Mailbox](tx.b).ForEach(func(mb Mailbox) error {
			total += mb.Total
			return nil
		})
	})
	return total, err
}

// marked looks at the Emails after an id, and returns what those that are marked
// are to be trained as, the last id, and the number of Emails.
func (t *trainer) marked(ctx context.Context, after int64) (rows []Training, last, n int64, err error) {
	err = t.a.View(ctx, func(tx *Tx) error {
		rows, last, n = nil, after, 0
		return bstore.QueryTx[Email](tx.b).FilterGreater("ID", after).SortAsc("ID").Limit(rebuildMax).ForEach(func(e Email) error {
			last = e.ID
			n++
			if e.Class == Unclassified {
				return nil
			}
			err := tx.b.Get(&Erase{EmailID: e.ID})
			if errors.Is(err, bstore.ErrAbsent) {
				rows = append(rows, Training{EmailID: e.ID, ModSeq: tx.row.ModSeq, Junk: e.Class == ClassJunk, NotJunk: e.Class == ClassNotJunk})
				return nil
			}
			return err
		})
	})
	return rows, last, n, err
}
