//go:build unix

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/store"
)

// inspect looks at what a crash has left: the journal as it lies, then what the
// next start makes of all of it, and the journal that this leaves.
func inspect(ctx context.Context, dir string, log *slog.Logger) (dump, error) {
	out := dump{Accounts: map[string]dumpAccount{}}
	if err := out.verifyDir(ctx, dir); err != nil {
		return out, err
	}
	d, err := store.Open(ctx, storeOptions(dir, log))
	if err != nil {
		return out, err
	}
	if err := out.open(ctx, d); err != nil {
		return out, errors.Join(err, d.Close())
	}
	if err := d.Close(); err != nil {
		return out, err
	}
	if err := out.verifyJournal(ctx, dir, "after the restart"); err != nil {
		return out, err
	}
	return out, out.strays(dir)
}

func (out *dump) problem(format string, args ...any) {
	out.Problems = append(out.Problems, fmt.Sprintf(format, args...))
}

func (out *dump) verifyJournal(ctx context.Context, dir, when string) error {
	r, err := journal.Verify(ctx, filepath.Join(dir, "journal"), nil)
	for _, p := range r.Problems {
		out.problem("journal %s: %v", when, p)
	}
	return err
}

// strays looks for what a start should have removed.
func (out *dump) strays(dir string) error {
	r, err := journal.Verify(context.Background(), filepath.Join(dir, "journal"), nil)
	if r.Torn {
		out.problem("journal has a torn tail after a restart: %s at %d", r.TornSegment, r.TornOffset)
	}
	for _, name := range r.Strays {
		out.problem("journal has stray file %s after a restart", name)
	}
	for _, sub := range []string{"aside", "failed"} {
		names, err := filepath.Glob(filepath.Join(dir, "journal", sub, "*"))
		if err != nil {
			return err
		}
		for _, name := range names {
			out.problem("kept record %s", name)
		}
	}
	return err
}

// open reads everything from an open store.
func (out *dump) open(ctx context.Context, d *store.Dir) error {
	for _, name := range accountNames {
		a, err := d.Account(ctx, name)
		if err != nil {
			return err
		}
		a.WaitDurable(ctx)
		da, err := dumpOf(ctx, a)
		if err := errors.Join(err, a.Close()); err != nil {
			return fmt.Errorf("reading account %s: %w", name, err)
		}
		out.Accounts[name] = da
	}
	problems, err := d.Check(ctx, true)
	for _, p := range problems {
		out.problem("check: %v", p)
	}
	return err
}

func dumpOf(ctx context.Context, a *store.Account) (da dumpAccount, err error) {
	err = a.View(ctx, func(tx *store.Tx) error {
		da = dumpAccount{ModSeq: tx.ModSeq()}
		boxes, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for _, mb := range boxes {
			b := dumpBox{Name: mb.Name, UIDValidity: mb.UIDValidity, UIDNext: uint32(mb.UIDNext), ModSeq: mb.ModSeq}
			for uid := store.UID(1); uid < mb.UIDNext; uid++ {
				m, err := tx.Message(mb.ID, uid)
				if errors.Is(err, store.ErrExpunged) {
					continue
				} else if err != nil {
					return err
				}
				dm, err := dumpMessageOf(tx, a, m)
				if err != nil {
					return err
				}
				b.Messages = append(b.Messages, dm)
			}
			da.Boxes = append(da.Boxes, b)
		}
		return nil
	})
	return da, err
}

func dumpMessageOf(tx *store.Tx, a *store.Account, m store.Message) (dumpMessage, error) {
	e, err := tx.Email(m.EmailID)
	if err != nil {
		return dumpMessage{}, fmt.Errorf("UID %d: %w", m.UID, err)
	}
	dm := dumpMessage{UID: uint32(m.UID), ModSeq: m.ModSeq, Flags: uint32(m.Flags()), ID: contentID(e.MessageID)}
	f, err := a.OpenMessage(e.ID)
	if errors.Is(err, os.ErrNotExist) {
		dm.Hash = "no file"
		return dm, nil
	} else if err != nil {
		return dm, err
	}
	data, err := io.ReadAll(f)
	dm.Hash = hash(data)
	return dm, errors.Join(err, f.Close())
}
