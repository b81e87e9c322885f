package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/junk"
)

// What problems with junk filters mean, and what mends them.
const (
	effectJunk = "junk is not told by its words until the filter is trained again"
	mendJunk   = "nothing: when it is next used, it is set aside and trained again from marked messages"
)

// junkProblem reports something about the filter.
func (c *checker) junkProblem(format string, args ...any) {
	c.emit(Problem{
		File: "accounts/" + c.a.name + "/" + junkFile, Kind: format, Text: fmt.Sprintf(format, args...), Effect: effectJunk, Mend: mendJunk,
	})
}

// junkFilter checks an account's filter.
func (c *checker) junkFilter(ctx context.Context, db *junkDB) error {
	err := db.db.Read(ctx, func(tx *bstore.Tx) error {
		row := junkRow{ID: 1}
		if err := tx.Get(&row); err != nil {
			return err
		}
		if err := junk.Check(junkPages{tx}, row.state()); err != nil {
			return err
		}
		var have junk.Count
		err := bstore.QueryTx[Trained](tx).ForEach(func(r Trained) error {
			if isJunk, trained := class(r.Junk, r.NotJunk); trained && isJunk {
				have.Junk++
			} else if trained {
				have.NotJunk++
			}
			return ctx.Err()
		})
		if want := row.state().Trained; err == nil && have != want {
			c.junkProblem("junk filter says that it was trained with %d junk messages and %d others, and names %d and %d", want.Junk, want.NotJunk, have.Junk, have.NotJunk)
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		c.junkProblem("junk filter: %v", err)
		return nil
	}
	return err
}

// junkFile checks the file of a filter that nobody has open, in a copy made in the
// directory temp.
func (c *checker) junkFile(ctx context.Context, path, temp string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, remove, err := database.OpenCopy(ctx, path, temp, junkKind, junkSchema, junkTypes...)
	if errors.Is(err, database.ErrNoRoom) || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	} else if err != nil {
		c.junkProblem("junk filter: %v", err)
		return nil
	}
	return errors.Join(c.junkFilter(ctx, &junkDB{db: db}), remove())
}

// junkLive checks the filter of an account that is open.
func (c *checker) junkLive(ctx context.Context) error {
	err := c.live.junk.use(ctx, func(db *junkDB) error { return c.junkFilter(ctx, db) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed):
		c.junkProblem("junk filter: %v", err)
		return nil
	}
	return err
}

// copyJunk copies the filter to the directory dst. One that can't be copied is left
// out: the messages are there from which another is trained.
func (c *copier) copyJunk(ctx context.Context, a *Account, dst string) error {
	info, err := os.Stat(a.junk.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = c.room(info.Size())
	}
	if err == nil {
		err = a.junk.use(ctx, func(db *junkDB) error { return database.CopyTo(ctx, db.db, filepath.Join(dst, junkFile)) })
	}
	if err == nil || c.stops(ctx, err) {
		return err
	}
	c.res.problem(Problem{Account: a.name, Text: fmt.Sprintf("junk filter is not copied: %v", err), Effect: effectJunk, Mend: mendJunk, Warning: true})
	return nil
}

// isJunkName tells whether a name in an account's directory is of the filter, and
// not to be copied as it is.
func isJunkName(name string) bool { return slices.Contains(JunkNames(), name) }

// JunkNames returns the names of files in an account's directory that belong to its
// junk filter.
func JunkNames() []string { return []string{junkFile, junkNew, junkDamaged} }
