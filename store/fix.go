package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/journal"
)

// FixOptions says how Fix mends.
type FixOptions struct {
	// Report is told of each change, with its place as in a Problem. Required.
	Report func(place, text string)

	// Moved is a directory for files that are in the way. It is made when something
	// goes there.
	Moved string
}

// Fix mends what can be mended of what Verify finds, in a data directory that
// nobody has open. Nothing that can still be of use is thrown away: files without
// a row go to Moved, and so does what is known of a message that has to be removed
// since its file is gone. Of Options it uses what Verify does.
//
// A file with a size other than that kept is taken as it is, since every attempt
// of a client to read it would end in a broken connection. One with its size and
// another checksum stays a problem: the message can be read, in part.
//
// Called again it changes nothing.
func Fix(ctx context.Context, opts Options, fix FixOptions) error {
	how := VerifyOptions{Report: func(Problem) {}, Content: true}
	how.complete()
	v := &verifier{
		d: &Dir{opts: opts, log: opts.Log}, opts: how,
		waiting: map[string][]waiting{}, kept: map[asideKey]bool{}, damaged: map[string]bool{},
	}
	for _, step := range []func(context.Context) error{v.keptRecords, v.journal} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("mending %s: %w", opts.Dir, err)
		}
	}
	if err := fixJournal(opts.Dir, v.report, fix); err != nil {
		return err
	}
	names, err := v.d.Accounts()
	if err != nil {
		return err
	}
	for _, name := range names {
		if database.Check(filepath.Join(v.d.accountDir(name), indexFile)) != nil {
			continue // Nothing here can mend it.
		}
		if err := v.fixAccount(ctx, name, fix); err != nil {
			return fmt.Errorf("mending account %q: %w", name, err)
		}
	}
	return nil
}

// fixJournal removes what a crash left of a batch that was never acknowledged, as
// the next start does.
func fixJournal(dir string, r journal.Report, fix FixOptions) error {
	if !r.Torn || len(r.Problems) > 0 {
		return nil
	}
	j, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{})
	if err != nil {
		return fmt.Errorf("mending journal: %w", err)
	}
	fix.Report("journal/"+r.TornSegment, fmt.Sprintf("removed a part of a batch, from offset %d, that was not written to its end", r.TornOffset))
	return j.Close()
}

// fixer mends one account.
type fixer struct {
	FixOptions
	c        *checker // Knows what waits, and has the account.
	db       *bstore.DB
	reserved idSet
	modSeq   int64 // Highest of all rows.
	known    idSet // Emails that are there.
	changes  int
	threads  int // Changes to threads.
}

// fixAccount mends one account.
func (v *verifier) fixAccount(ctx context.Context, name string, fix FixOptions) (err error) {
	db, err := openDatabase(v.d.accountDir(name))
	if errors.Is(err, database.ErrNewer) || errors.Is(err, database.ErrForeign) || errors.Is(err, database.ErrOlder) {
		return nil // Verify tells of it.
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	a, row, err := v.d.accountOf(ctx, name, db)
	if errors.Is(err, bstore.ErrAbsent) || err == nil && row.Name != name {
		return nil
	} else if err != nil {
		return err
	}
	c := newChecker(a, func(Problem) {})
	c.content, c.again, c.waiting = true, map[int64]contentSum{}, v.take(a)
	f := &fixer{FixOptions: fix, c: c, db: db, reserved: idSet{}, known: idSet{}}
	a.raiseID(row.LastID)
	if row.Lowest <= row.LastID {
		a.staged[row.Lowest] = struct{}{} // Files from there on are the next start's to judge.
	}
	for _, w := range c.waiting {
		a.raiseID(max(w.emailID, w.messageID))
		c.again[w.emailID] = contentSum{w.fileSize, w.crc}
		f.reserved.add(w.emailID)
	}
	for _, step := range []func(context.Context) error{f.ids, f.boxes, f.misplaced, f.sequences, f.emails, f.tombs, f.reputations, f.annotations, f.rejects, f.counts, f.strays} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// did reports a change to rows.
func (f *fixer) did(format string, args ...any) {
	f.changes++
	f.Report(accountFile(f.c.a.name), fmt.Sprintf(format, args...))
}

// errNothing ends a transaction in which nothing was to be changed.
var errNothing = errors.New("store: nothing to mend")

// update changes rows. What fn does without saying so is not kept.
func (f *fixer) update(ctx context.Context, fn func(tx *Tx) error) error {
	var row accountRow
	before := f.changes
	err := f.db.Write(ctx, func(b *bstore.Tx) error {
		row = accountRow{ID: 1}
		if err := b.Get(&row); err != nil {
			return err
		}
		tx := newTx(f.c.a, b, row, true)
		tx.touch()
		if err := fn(tx); err != nil {
			return err
		}
		if f.changes == before {
			return errNothing
		}
		err := tx.flush()
		row = tx.row
		return err
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	if err == nil {
		f.c.a.hub.setPublished(&row)
	}
	return err
}

// ids makes sure that the account's counters are above all that were given.
func (f *fixer) ids(ctx context.Context) error {
	var row accountRow
	var last int64
	err := f.db.Read(ctx, func(b *bstore.Tx) error {
		row = accountRow{ID: 1}
		err := b.Get(&row)
		f.modSeq = row.ModSeq
		each := func(err error) error { return errors.Join(err, ctx.Err()) }
		if err == nil {
			err = bstore.QueryTx[Message](b).ForEach(func(m Message) error {
				f.modSeq, last = max(f.modSeq, m.ModSeq), max(last, m.ID, m.EmailID)
				return each(nil)
			})
		}
		if err == nil {
			err = bstore.QueryTx[Email](b).ForEach(func(e Email) error {
				last = max(last, e.ID)
				return each(nil)
			})
		}
		if err == nil {
			err = bstore.QueryTx[Expunged](b).ForEach(func(x Expunged) error {
				f.modSeq = max(f.modSeq, x.ModSeq)
				return each(nil)
			})
		}
		if err == nil {
			err = bstore.QueryTx[Mailbox](b).ForEach(func(mb Mailbox) error {
				f.modSeq = max(f.modSeq, mb.ModSeq, mb.CreateSeq, mb.PurgedSeq)
				return each(nil)
			})
		}
		if err == nil {
			err = bstore.QueryTx[MailboxGone](b).ForEach(func(g MailboxGone) error {
				f.modSeq = max(f.modSeq, g.ModSeq)
				return each(nil)
			})
		}
		if err == nil {
			err = bstore.QueryTx[Annotation](b).ForEach(func(a Annotation) error {
				f.modSeq = max(f.modSeq, a.ModSeq, a.CreateSeq)
				return each(nil)
			})
		}
		return err
	})
	if err != nil {
		return err
	}
	given := row.LastID
	f.c.a.raiseID(last)
	if f.modSeq == row.ModSeq && last <= given {
		return nil
	}
	return f.update(ctx, func(tx *Tx) error {
		if f.modSeq > row.ModSeq {
			f.did("modseq was %d, and is %d as in its rows", row.ModSeq, f.modSeq)
		}
		if last > given {
			f.did("the last id was %d, and is %d as in its rows", given, last)
		}
		tx.row.ModSeq = f.modSeq
		return nil
	})
}

// boxes mends what mailboxes say of themselves.
func (f *fixer) boxes(ctx context.Context) error {
	return f.update(ctx, func(tx *Tx) error {
		boxes, err := bstore.QueryTx[Mailbox](tx.b).SortAsc("ID").List()
		if err != nil {
			return err
		}
		seen := map[uint32]bool{}
		highest := tx.row.UIDValidity
		for i := range boxes {
			highest = max(highest, int64(boxes[i].UIDValidity))
		}
		if highest > tx.row.UIDValidity {
			f.did("the last UIDVALIDITY was %d, and is %d as in its mailboxes", tx.row.UIDValidity, highest)
			tx.row.UIDValidity = highest
		}
		for i := range boxes {
			mb := &boxes[i]
			if mb.UIDValidity == 0 || seen[mb.UIDValidity] {
				tx.row.UIDValidity++
				box, err := tx.box(mb.ID)
				if err != nil {
					return err
				}
				f.did("mailbox %q had UIDVALIDITY %d, and has %d", mb.Name, mb.UIDValidity, tx.row.UIDValidity)
				box.UIDValidity = uint32(tx.row.UIDValidity)
				tx.changed(box)
			}
			seen[mb.UIDValidity] = true
		}
		if _, err := tx.Mailbox(inbox); errors.Is(err, ErrNoMailbox) {
			f.did("made Inbox, which was not there")
			_, err = tx.CreateMailbox(inbox, UseNone)
			return err
		} else if err != nil {
			return err
		}
		return nil
	})
}

// misplaced puts messages of mailboxes that never were into Inbox.
func (f *fixer) misplaced(ctx context.Context) error {
	var lost []Message
	err := f.db.Read(ctx, func(b *bstore.Tx) error {
		boxes := map[int64]bool{}
		if err := bstore.QueryTx[Mailbox](b).ForEach(func(mb Mailbox) error { boxes[mb.ID] = true; return nil }); err != nil {
			return err
		}
		if err := bstore.QueryTx[MailboxGone](b).ForEach(func(g MailboxGone) error { boxes[g.ID] = g.Draining; return nil }); err != nil {
			return err
		}
		return bstore.QueryTx[Message](b).ForEach(func(m Message) error {
			if !boxes[m.MailboxID] && len(lost) < fixMax {
				lost = append(lost, m)
			}
			return ctx.Err()
		})
	})
	if err != nil || len(lost) == 0 {
		return err
	}
	err = f.update(ctx, func(tx *Tx) error {
		box, err := tx.existing(inbox)
		if err != nil {
			return err
		}
		for i := range lost {
			m := lost[i]
			if err := tx.b.Delete(&Message{ID: m.ID}); err != nil {
				return err
			}
			if err := tx.place(box, &m, m.Flags(), nil); err != nil {
				return err
			}
			f.did("message %d was in mailbox %d that does not exist, and is UID %d in Inbox", m.ID, lost[i].MailboxID, m.UID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.misplaced(ctx)
}

// sequences mends numbers of messages that can't be.
func (f *fixer) sequences(ctx context.Context) error {
	var wrong []Message
	err := f.db.Read(ctx, func(b *bstore.Tx) error {
		return bstore.QueryTx[Message](b).ForEach(func(m Message) error {
			if (m.CreateSeq < 1 || m.CreateSeq > m.ModSeq) && len(wrong) < fixMax {
				wrong = append(wrong, m)
			}
			return ctx.Err()
		})
	})
	if err != nil || len(wrong) == 0 {
		return err
	}
	err = f.update(ctx, func(tx *Tx) error {
		for i := range wrong {
			m := &wrong[i]
			modSeq, createSeq := m.ModSeq, m.CreateSeq
			m.ModSeq = max(1, m.ModSeq)
			m.CreateSeq = min(max(1, m.CreateSeq), m.ModSeq)
			f.did("message %d had modseq %d and was created at %d, and has %d and %d", m.ID, modSeq, createSeq, m.ModSeq, m.CreateSeq)
			if err := tx.b.Update(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.sequences(ctx)
}

// fixMax is how many rows are changed in one transaction.
const fixMax = 500

// tombs removes rows that say of a message that it is gone, which is there.
func (f *fixer) tombs(ctx context.Context) error {
	var wrong []Expunged
	err := f.db.Read(ctx, func(b *bstore.Tx) error {
		tx := newTx(f.c.a, b, accountRow{}, false)
		return bstore.QueryTx[Expunged](b).ForEach(func(x Expunged) error {
			_, err := tx.message(x.MailboxID, x.UID)
			if err == nil && len(wrong) < fixMax {
				wrong = append(wrong, x)
			} else if errors.Is(err, ErrExpunged) {
				err = nil
			}
			return errors.Join(err, ctx.Err())
		})
	})
	if err != nil || len(wrong) == 0 {
		return err
	}
	err = f.update(ctx, func(tx *Tx) error {
		for _, x := range wrong {
			f.did("UID %d in mailbox %d was there and expunged, and is there", x.UID, x.MailboxID)
			if err := tx.b.Delete(&Expunged{ID: x.ID}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.tombs(ctx)
}

// counts makes mailboxes and the account say what their messages do.
func (f *fixer) counts(ctx context.Context) error {
	f.c.boxes = map[int64]*boxCheck{}
	var size int64
	err := f.db.Read(ctx, func(b *bstore.Tx) error {
		if err := bstore.QueryTx[Mailbox](b).ForEach(func(mb Mailbox) error {
			f.c.boxes[mb.ID] = &boxCheck{row: mb, counted: Mailbox{UIDNext: max(1, mb.UIDNext), ModSeq: max(mb.ModSeq, mb.CreateSeq, mb.PurgedSeq)}}
			return nil
		}); err != nil {
			return err
		}
		if err := bstore.QueryTx[Message](b).ForEach(f.countMessage(ctx)); err != nil {
			return err
		}
		if err := bstore.QueryTx[Expunged](b).ForEach(func(x Expunged) error {
			if box := f.c.boxes[x.MailboxID]; box != nil {
				box.counted.UIDNext, box.counted.ModSeq = max(box.counted.UIDNext, x.UID+1), max(box.counted.ModSeq, x.ModSeq)
			}
			return ctx.Err()
		}); err != nil {
			return err
		}
		m, err := newMerge(b, 0)
		if err != nil {
			return err
		}
		defer m.close()
		size, err = m.size(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return f.update(ctx, func(tx *Tx) error {
		for id, box := range f.c.boxes {
			if err := f.count(tx, id, box); err != nil {
				return err
			}
		}
		if tx.row.Size != size {
			f.did("the account said %d bytes, and says %d as its emails have", tx.row.Size, size)
			tx.row.Size = size
		}
		return nil
	})
}

func (f *fixer) countMessage(ctx context.Context) func(m Message) error {
	return func(m Message) error {
		box := f.c.boxes[m.MailboxID]
		if box == nil {
			return ctx.Err()
		}
		box.counted.count(&m, 1)
		box.counted.UIDNext, box.counted.ModSeq = max(box.counted.UIDNext, m.UID+1), max(box.counted.ModSeq, m.ModSeq)
		return ctx.Err()
	}
}

// count writes the counts of one mailbox, if they are wrong.
func (f *fixer) count(tx *Tx, id int64, box *boxCheck) error {
	was, is := &box.row, &box.counted
	unseen := is.Unseen > 0 && was.UnseenFrom > is.UnseenFrom
	if was.Total == is.Total && was.Deleted == is.Deleted && was.Unseen == is.Unseen && was.Size == is.Size &&
		was.UIDNext == is.UIDNext && was.ModSeq == is.ModSeq && !unseen {
		return nil
	}
	mb, err := tx.box(id)
	if err != nil {
		return err
	}
	f.did("mailbox %q said %d messages, %d deleted, %d unseen, %d bytes, UIDNEXT %d, modseq %d; it says %d, %d, %d, %d, %d, %d, as its messages do", was.Name,
		was.Total, was.Deleted, was.Unseen, was.Size, was.UIDNext, was.ModSeq, is.Total, is.Deleted, is.Unseen, is.Size, is.UIDNext, is.ModSeq)
	mb.Total, mb.Deleted, mb.Unseen, mb.Size, mb.UIDNext = is.Total, is.Deleted, is.Unseen, is.Size, is.UIDNext
	if unseen {
		mb.UnseenFrom = is.UnseenFrom
	}
	tx.changed(mb)
	return nil
}

// strays moves files without a row aside.
func (f *fixer) strays(ctx context.Context) error {
	var paths []string
	c := newChecker(f.c.a, func(p Problem) {
		if p.File != accountFile(f.c.a.name) {
			paths = append(paths, p.File)
		}
	})
	c.emails, c.erase = f.known, f.reserved
	if err := f.c.a.View(ctx, func(tx *Tx) error { c.lowest = tx.row.Lowest; return nil }); err != nil {
		return err
	}
	if err := c.strays(ctx); err != nil {
		return err
	}
	for _, rel := range paths {
		if err := f.moveAside(rel); err != nil {
			return err
		}
	}
	if len(paths) > 0 {
		return f.strays(ctx) // There may be more than are listed at a time.
	}
	return nil
}

// moveAside moves a file, named as in a Problem, to Moved.
func (f *fixer) moveAside(rel string) error {
	from, to := filepath.Join(f.c.a.dir.opts.Dir, filepath.FromSlash(rel)), filepath.Join(f.Moved, filepath.FromSlash(rel))
	if err := atomicfile.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	f.Report(rel, "moved aside, to "+f.c.a.dir.relative(to))
	return errors.Join(atomicfile.SyncDir(filepath.Dir(to)), atomicfile.SyncDir(filepath.Dir(from)))
}

// since returns a time for people and programs.
func since(unix int64) time.Time { return time.Unix(unix, 0).UTC() }
