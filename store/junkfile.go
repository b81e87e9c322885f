package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/junk"
)

// Names in an account's directory for its junk filter.
const (
	junkFile    = "junkfilter.db"
	junkNew     = junkFile + ".new"     // Being made, to replace it.
	junkDamaged = junkFile + ".damaged" // Set aside. Only the last one is kept.
)

// junkKind tells the file from others of ours.
const junkKind = "junkfilter"

// junkSchema counts the changes to the rows that older versions can't read. A file
// of an older one is not upgraded: it is made again from the messages.
const junkSchema = 1

// junkTypes are the types kept in an account's junkfilter.db.
var junkTypes = []any{junkRow{}, JunkPage{}, Trained{}}

// junkRow is the only one of its type. It, the pages and Trained change together.
type junkRow struct {
	ID      int64 // Always 1.
	Built   bool  // All messages that were marked when the file was made are in it.
	Grams   int64 // junk.Grams that it was trained with.
	Version int64 // junk.Version that it was trained with.

	// A junk.State.
	TrainedJunk    int64
	TrainedNotJunk int64
	Bits           int64
	Words          int64
	OnceJunk       int64
	OnceNot        int64
}

func (r *junkRow) state() junk.State {
	return junk.State{
		Trained: junk.Count{Junk: uint32(r.TrainedJunk), NotJunk: uint32(r.TrainedNotJunk)},
		Bits:    int(r.Bits), Words: r.Words, OnceJunk: r.OnceJunk, OnceNot: r.OnceNot,
	}
}

func (r *junkRow) setState(s junk.State) {
	r.TrainedJunk, r.TrainedNotJunk = int64(s.Trained.Junk), int64(s.Trained.NotJunk)
	r.Bits, r.Words, r.OnceJunk, r.OnceNot = int64(s.Bits), s.Words, s.OnceJunk, s.OnceNot
}

// JunkPage is a page of a junk.Filter. The ID is its number and one.
type JunkPage struct {
	ID   int64
	Data []byte
}

// Trained says as what an Email was last trained. It stays when the Email is
// erased, since what was learned stays.
type Trained struct {
	EmailID int64
	ModSeq  int64 // Of the Training that was applied.
	Junk    bool
	NotJunk bool // Neither: its training was undone.
}

// class returns what a message with junk flags is trained as: both are none.
func class(junk, notJunk bool) (isJunk, trained bool) { return junk, junk != notJunk }

// junkPages are the pages of a filter in a transaction.
type junkPages struct{ tx *bstore.Tx }

// Page returns a page.
func (p junkPages) Page(number int64) ([]byte, error) {
	row := JunkPage{ID: number + 1}
	if err := p.tx.Get(&row); errors.Is(err, bstore.ErrAbsent) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading page %d: %w", number, err)
	}
	return row.Data, nil
}

// SetPage replaces a page.
func (p junkPages) SetPage(number int64, data []byte) error {
	row := JunkPage{ID: number + 1, Data: data}
	var err error
	switch have := p.tx.Get(&JunkPage{ID: row.ID}); {
	case have != nil && !errors.Is(have, bstore.ErrAbsent):
		err = have
	case data == nil && have == nil:
		err = p.tx.Delete(&JunkPage{ID: row.ID})
	case data == nil:
	case have == nil:
		err = p.tx.Update(&row)
	default:
		err = p.tx.Insert(&row)
	}
	if err != nil {
		return fmt.Errorf("writing page %d: %w", number, err)
	}
	return nil
}

// junkDB is an open junkfilter.db.
type junkDB struct {
	db *bstore.DB

	// Of the row, constant while the file is open: another file is made to change them.
	grams   junk.Grams
	version int64
}

// openJunkDB opens the file at path, and makes an empty one with grams if there is
// none and grams is not 0.
func openJunkDB(ctx context.Context, path string, grams junk.Grams) (*junkDB, error) {
	if _, err := os.Stat(path); grams == 0 && err != nil {
		return nil, err
	}
	db, err := database.Open(path, junkKind, junkSchema, junkTypes...)
	if err != nil {
		return nil, err
	}
	row := junkRow{ID: 1}
	err = db.Get(ctx, &row)
	if errors.Is(err, bstore.ErrAbsent) && grams != 0 {
		row.Grams, row.Version = int64(grams), junk.Version
		err = db.Insert(ctx, &row)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading junk filter: %w", err), db.Close())
	}
	return &junkDB{db, junk.Grams(row.Grams), row.Version}, nil
}

// row returns the row of the file.
func (j *junkDB) row(ctx context.Context) (junkRow, error) {
	row := junkRow{ID: 1}
	return row, j.db.Get(ctx, &row)
}

// read calls fn with the pages and the state of one snapshot.
func (j *junkDB) read(ctx context.Context, fn func(pages junk.Pages, row junkRow) error) error {
	return j.db.Read(ctx, func(tx *bstore.Tx) error {
		row := junkRow{ID: 1}
		if err := tx.Get(&row); err != nil {
			return err
		}
		return fn(junkPages{tx}, row)
	})
}

// lesson is what is to be learned of one message.
type lesson struct {
	row      Training
	was, now Trained
	words    junk.Words
}

// learn applies lessons, with what they were trained as, in one transaction.
func (j *junkDB) learn(ctx context.Context, lessons []lesson) error {
	return j.db.Write(ctx, func(tx *bstore.Tx) error {
		row := junkRow{ID: 1}
		if err := tx.Get(&row); err != nil {
			return err
		}
		f := junk.NewFilter(junkPages{tx}, row.state())
		for i := range lessons {
			if err := teach(f, &lessons[i]); err != nil {
				return err
			}
			if lessons[i].now.EmailID == 0 {
				continue // Of no account.
			}
			if err := put(tx, &lessons[i].now); err != nil {
				return err
			}
		}
		if err := f.Flush(); err != nil {
			return err
		}
		row.setState(f.State())
		return tx.Update(&row)
	})
}

// teach undoes what a message was trained as, and trains it anew.
func teach(f *junk.Filter, l *lesson) error {
	if isJunk, trained := class(l.was.Junk, l.was.NotJunk); trained {
		if err := f.Untrain(l.words, isJunk); err != nil {
			return err
		}
	}
	if isJunk, trained := class(l.now.Junk, l.now.NotJunk); trained {
		return f.Train(l.words, isJunk)
	}
	return nil
}

// put inserts or replaces a row.
func put(tx *bstore.Tx, row *Trained) error {
	err := tx.Get(&Trained{EmailID: row.EmailID})
	if errors.Is(err, bstore.ErrAbsent) {
		return tx.Insert(row)
	} else if err != nil {
		return err
	}
	return tx.Update(row)
}

// trained returns as what an Email was trained.
func (j *junkDB) trained(ctx context.Context, emailID int64) (Trained, error) {
	row := Trained{EmailID: emailID}
	if err := j.db.Get(ctx, &row); errors.Is(err, bstore.ErrAbsent) {
		return Trained{EmailID: emailID}, nil
	} else if err != nil {
		return Trained{}, err
	}
	return row, nil
}

// isJunkDamage tells whether an error of the file means that another has to be made.
func isJunkDamage(err error) bool {
	for _, e := range []error{junk.ErrDamaged, database.ErrDamaged, database.ErrForeign, database.ErrOlder, bstore.ErrAbsent} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// junkFilter is the filter of an account. It is opened when first needed.
type junkFilter struct {
	a *Account

	// copying is held while the trainer changes both databases, and while both are
	// copied, so that a copy has a Training either applied or still to do.
	copying sync.Mutex

	mu     sync.RWMutex // Held for writing while the file is opened, replaced or closed.
	db     *junkDB
	closed bool
}

func (j *junkFilter) path() string { return filepath.Join(j.a.path, junkFile) }

// use calls fn with the open file. Without one it returns fs.ErrNotExist.
func (j *junkFilter) use(ctx context.Context, fn func(db *junkDB) error) error {
	if err := j.open(ctx, 0); err != nil {
		return err
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.db == nil {
		return ErrClosed
	}
	return fn(j.db)
}

// open opens the file, if it is not. With grams it is made if there is none.
func (j *junkFilter) open(ctx context.Context, grams junk.Grams) error {
	j.mu.RLock()
	ready, closed := j.db != nil, j.closed
	j.mu.RUnlock()
	switch {
	case closed:
		return ErrClosed
	case ready:
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.db != nil || j.closed {
		return nil // use looks again.
	}
	db, err := openJunkDB(ctx, j.path(), grams)
	j.db = db
	return err
}

// close closes the file. With forever it is not opened again.
func (j *junkFilter) close(forever bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = j.closed || forever
	if j.db == nil {
		return nil
	}
	err := j.db.db.Close()
	j.db = nil
	return err
}

// setAside moves a file away that can't be used. One before it goes.
func (j *junkFilter) setAside(cause error) error {
	j.a.dir.log.Error("junk filter can't be used, it is set aside and trained again from marked messages", "account", j.a.name, "file", junkDamaged, "err", cause)
	err := j.close(false)
	if err == nil {
		err = os.Rename(j.path(), filepath.Join(j.a.path, junkDamaged))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, atomicfile.SyncDir(j.a.path))
}

// replace puts the file at path, which is closed, in place of the one that is used.
func (j *junkFilter) replace(ctx context.Context, path string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	if j.db != nil {
		err := j.db.db.Close()
		j.db = nil
		if err != nil {
			return err
		}
	}
	if err := os.Rename(path, j.path()); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(j.a.path); err != nil {
		return err
	}
	db, err := openJunkDB(ctx, j.path(), 0)
	j.db = db
	return err
}

// JunkFile is a junk filter in a file that no server uses, for commands.
type JunkFile struct{ db *junkDB }

// OpenJunkFile opens the filter in the file at path, and makes one with grams if
// there is none and grams is not 0. The caller closes it.
func OpenJunkFile(ctx context.Context, path string, grams junk.Grams) (*JunkFile, error) {
	db, err := openJunkDB(ctx, path, grams)
	if err != nil {
		return nil, fmt.Errorf("opening junk filter %s: %w", path, err)
	}
	if db.version != junk.Version {
		return nil, errors.Join(fmt.Errorf("junk filter %s was trained by another version", path), db.db.Close())
	}
	return &JunkFile{db}, nil
}

// Grams returns which words it knows.
func (f *JunkFile) Grams() junk.Grams { return f.db.grams }

// Learn trains the filter with messages that have these words, in one transaction.
func (f *JunkFile) Learn(ctx context.Context, messages []junk.Words, isJunk bool) error {
	lessons := make([]lesson, len(messages))
	for i, words := range messages {
		lessons[i] = lesson{words: words, now: Trained{Junk: isJunk, NotJunk: !isJunk}}
	}
	return f.db.learn(ctx, lessons)
}

// Score returns the score of a message with these words.
func (f *JunkFile) Score(ctx context.Context, words junk.Words, p junk.Params) (s junk.Score, err error) {
	err = f.db.read(ctx, func(pages junk.Pages, row junkRow) error {
		s, err = junk.NewFilter(pages, row.state()).Score(words, p)
		return err
	})
	return s, err
}

// Counts returns in how many messages that it was trained with each word was.
func (f *JunkFile) Counts(ctx context.Context, words junk.Words) (counts []junk.Count, err error) {
	err = f.db.read(ctx, func(pages junk.Pages, row junkRow) error {
		counts, err = junk.Counts(pages, row.state(), words)
		return err
	})
	return counts, err
}

// Close closes the file.
func (f *JunkFile) Close() error { return f.db.db.Close() }
