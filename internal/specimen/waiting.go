package specimen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/store"
)

// unapplied makes a store whose deliveries stay in the journal: applying them
// fails as if the disk were full.
func unapplied(opts *store.Options) {
	opts.Faults = fault.New()
	opts.Faults.Arm(store.FaultApplied, func() error { return syscall.ENOSPC })
}

// makeKept leaves a record that was put aside, since its account could not be
// opened at a start, and one that could not be applied, since its account was not
// there. Both accounts come back afterwards.
func (s *specimen) makeKept(ctx context.Context) error {
	err := s.withStore(ctx, unapplied, func(d *store.Dir) error {
		return errors.Join(
			s.deliver(ctx, d, 10, text(10, "put aside"), Aside),
			s.deliver(ctx, d, 11, text(11, "could not be applied"), Failed),
		)
	})
	if err != nil {
		return err
	}
	database, away := s.path("accounts", Aside, "index.db"), s.path("tmp", "index.db")
	account, gone := s.path("accounts", Failed), s.path("tmp", Failed)
	err = errors.Join(
		os.Rename(database, away),
		os.WriteFile(database, []byte("not a database"), 0o640),
		os.Rename(account, gone),
		s.withStore(ctx, nil, func(d *store.Dir) error { return s.nextSegment(ctx, d) }),
		os.Rename(away, database),
		os.Rename(gone, account),
	)
	if err != nil {
		return err
	}
	return errors.Join(s.wantKept("aside"), s.wantKept("failed"))
}

// wantKept fails if nothing is kept in a directory beside the journal.
func (s *specimen) wantKept(dir string) error {
	entries, err := os.ReadDir(s.path("journal", dir))
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("nothing is in %s: %w", dir, fs.ErrNotExist)
	}
	return err
}

// makeWaiting leaves deliveries in the journal that are not applied, inline and in
// files, for one account and for several, and a message whose file can't go yet.
func (s *specimen) makeWaiting(ctx context.Context) error {
	return s.withStore(ctx, unapplied, func(d *store.Dir) error {
		return errors.Join(
			s.deliver(ctx, d, 20, text(20, "waits in the journal"), Waiting),
			s.deliver(ctx, d, 21, text(21, "waits in the journal, to two"), Waiting, Main),
			s.deliver(ctx, d, 22, large(22, "waits in a file of the journal", store.InlineMax), Waiting, Main),
			s.removeAccount(ctx, d),
			s.expungeWatched(ctx, d),
		)
	})
}

// expungeWatched expunges a message that a session has not been told of, so that
// its file stays.
func (s *specimen) expungeWatched(ctx context.Context, d *store.Dir) error {
	return withAccount(ctx, d, Main, func(a *store.Account) error {
		watch := a.Watch() // Open until the account closes.
		var inbox store.Mailbox
		err := a.View(ctx, func(tx *store.Tx) (err error) {
			inbox, err = tx.Mailbox("Inbox")
			return err
		})
		if err != nil {
			return err
		}
		if _, err := watch.Select(ctx, inbox.ID); err != nil {
			return err
		}
		return a.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.Expunge(&inbox, []store.UID{find("expunged while a session reads it")})
			return err
		})
	})
}

// removeAccount removes an account, and notes that another one is to be removed
// whose data is gone already.
func (s *specimen) removeAccount(ctx context.Context, d *store.Dir) error {
	var id string
	err := withAccount(ctx, d, gone, func(a *store.Account) error { id = a.ID(); return nil })
	if err != nil {
		return err
	}
	err = s.withLogins(func(db *authdb.DB) error {
		return errors.Join(db.MarkRemoved(ctx, id, gone, s.now), db.MarkRemoved(ctx, otherGone, "sam", s.now))
	})
	if err == nil {
		err = d.Remove(ctx, gone, id)
	}
	if err == nil {
		err = d.EraseRemoved(ctx, id)
	}
	if err != nil {
		return err
	}
	return s.withLogins(func(db *authdb.DB) error { return db.FinishRemoval(ctx, id) })
}

// otherGone is the id of an account that was being removed.
const otherGone = "0123456789abcdef0123456789abcdef"
