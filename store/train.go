package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/message"
)

// Limits of training.
const (
	trainMax      = 100         // Messages in one transaction.
	trainWordsMax = 200_000     // Words of them after which no more are read: about 16 MiB.
	trainAfter    = time.Second // From a change of flags to training: who marks one message often marks more.
	trainRetry    = time.Minute // After a failure.
	trainSlots    = 1           // Accounts that train at the same time: nobody waits for it, and mail goes before.
)

// training is how an account's training goroutine is reached.
type training struct {
	ctx      context.Context //nolint:containedctx // Ends when the account closes.
	cancel   context.CancelFunc
	wake     chan struct{}
	retrains chan *retrain // Unbuffered.
	done     chan struct{} // Closed when the goroutine has ended.
}

func newTraining() training {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // It ends with the account, whoever opened that.
	return training{ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1), retrains: make(chan *retrain), done: make(chan struct{})}
}

// retrain is a request to make the filter anew, or only to train what waits.
type retrain struct {
	ctx      context.Context         //nolint:containedctx // Of who waits for it.
	progress func(done, total int64) // Nil: only train.
	res      Retrained
	err      error
	done     chan struct{}
}

// trainSoon makes the trainer look for work.
func (a *Account) trainSoon() {
	select {
	case a.training.wake <- struct{}{}:
	default:
	}
}

// trainLoop is the account's one goroutine that changes its junk filter. It applies
// Training rows that changes of flags leave, and makes the filter anew where that
// is needed.
//
// A row is removed after what it asks for is on disk in the filter, with the note as
// what the message is trained. A crash in between makes the row come again, and then
// there is nothing to do: nothing is counted twice.
func (a *Account) trainLoop() {
	defer close(a.training.done)
	t := &trainer{a: a, ctx: a.training.ctx}
	wait := time.NewTimer(0) // What a crash or the last close left.
	defer wait.Stop()
	due := true // The timer runs: more changes don't put it off.
	for {
		select {
		case <-t.ctx.Done():
			return
		case r := <-a.training.retrains:
			t.woken = true
			r.res, r.err = t.retrain(r)
			close(r.done)
			continue
		case <-a.training.wake:
			t.woken = true
			if !due {
				wait.Reset(trainAfter)
				due = true
			}
			continue
		case <-wait.C:
			due = false
		}
		if err := t.run(); err != nil && t.ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			a.dir.log.Error("training junk filter", "account", a.name, "err", err)
			wait.Reset(trainRetry)
			due = true
		}
	}
}

// trainer is the state of the goroutine.
type trainer struct {
	a     *Account
	ctx   context.Context //nolint:containedctx // Of training.
	woken bool            // Somebody had to do with the filter. Before, it is not opened for nothing.
}

// run does all there is to do.
func (t *trainer) run() error {
	for {
		rows, err := t.rows()
		if err != nil || len(rows) == 0 && !t.woken {
			return err
		}
		ready, err := t.prepare()
		if err != nil || len(rows) == 0 {
			return err
		}
		if err := t.slot(func() error { return t.batch(rows, ready) }); err != nil {
			return err
		}
	}
}

// slot calls fn when it is this account's turn.
func (t *trainer) slot(fn func() error) error {
	select {
	case t.a.dir.trains <- struct{}{}:
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
	defer func() { <-t.a.dir.trains }()
	return fn()
}

// rows returns the first Training rows.
func (t *trainer) rows() (rows []Training, err error) {
	err = t.a.View(t.ctx, func(tx *Tx) error {
		rows, err = bstore.QueryTx[Training](tx.b).SortAsc("EmailID").Limit(trainMax).List()
		return err
	})
	return rows, err
}

// prepare opens the filter, and makes it anew if there is none, or it is damaged,
// or was trained with other words. It returns whether there is one to train: an
// account without JunkFilter in the configuration goes on with the one it has, but
// gets none.
func (t *trainer) prepare() (bool, error) {
	params, configured := t.a.junkParams()
	var row junkRow
	err := t.a.junk.use(t.ctx, func(db *junkDB) (err error) {
		row, err = db.row(t.ctx)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !configured {
			return false, nil
		}
	case isJunkDamage(err):
		if err := t.a.junk.setAside(err); err != nil || !configured {
			return false, err
		}
	case err != nil:
		return false, err
	case row.Built && row.Version == junk.Version && (!configured || junk.Grams(row.Grams) == params.Grams):
		return true, nil
	case !configured:
		return true, nil // Not to be made anew for nobody.
	}
	t.a.dir.log.Info("junk filter is trained from marked messages", "account", t.a.name)
	_, err = t.rebuild(t.ctx, params.Grams, nil)
	return err == nil, err
}

// batch applies rows, as many as their words allow, and removes them. Without a
// filter they are only removed.
func (t *trainer) batch(rows []Training, ready bool) error {
	var lessons []lesson
	if ready {
		err := t.a.junk.use(t.ctx, func(db *junkDB) error {
			var n int
			var err error
			lessons, n, err = t.lessons(db, rows)
			rows = rows[:n]
			return err
		})
		if err != nil {
			return err
		}
	}
	t.a.junk.copying.Lock()
	defer t.a.junk.copying.Unlock()
	if len(lessons) > 0 {
		err := t.a.junk.use(t.ctx, func(db *junkDB) error { return db.learn(t.ctx, lessons) })
		if isJunkDamage(err) {
			return t.a.junk.setAside(err) // The next round makes another.
		} else if err != nil {
			return err
		}
	}
	if err := t.a.dir.faults.Hit(FaultTrainCounted); err != nil {
		return err
	}
	return t.remove(rows)
}

// remove removes rows that are applied, and not changed since.
func (t *trainer) remove(rows []Training) error {
	return t.a.Update(t.ctx, func(tx *Tx) error {
		for _, r := range rows {
			now := Training{EmailID: r.EmailID}
			if err := tx.b.Get(&now); errors.Is(err, bstore.ErrAbsent) || err == nil && now != r {
				continue
			} else if err != nil {
				return err
			}
			tx.touch()
			if err := tx.b.Delete(&Training{EmailID: r.EmailID}); err != nil {
				return err
			}
		}
		return nil
	})
}

// lessons reads what rows ask for, up to trainWordsMax, and returns for how many
// of them that is. Messages that are trained already as they should be, that are
// gone, or can't be read, have none.
func (t *trainer) lessons(db *junkDB, rows []Training) (list []lesson, n int, err error) {
	words := 0
	for _, r := range rows {
		if words >= trainWordsMax {
			break
		}
		was, err := db.trained(t.ctx, r.EmailID)
		if err != nil {
			return nil, 0, err
		}
		n++
		if !differs(was, r) {
			continue
		}
		l := lesson{row: r, was: was, now: Trained(r)}
		if l.words, err = t.words(r.EmailID, db.grams); err != nil && t.ctx.Err() != nil {
			return nil, 0, err
		} else if err != nil {
			t.skip(r.EmailID, err)
			continue
		}
		words += len(l.words.List)
		list = append(list, l)
	}
	return list, n, nil
}

// differs tells whether a row asks for another training.
func differs(was Trained, r Training) bool {
	wasJunk, wasTrained := class(was.Junk, was.NotJunk)
	isJunk, train := class(r.Junk, r.NotJunk)
	return wasTrained != train || train && wasJunk != isJunk
}

// skip notes that a message is not trained as it is marked. One that is gone counts
// as erased: what was learned of it stays, as it was. So it does for one that can't
// be read, since what to undo isn't known.
func (t *trainer) skip(emailID int64, err error) {
	if errors.Is(err, ErrExpunged) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	t.a.dir.log.Warn("message can't be read for training of junk filter, it is left out", "account", t.a.name, "email", emailID, "err", err)
}

// words reads the words of a message from its file, while nothing is held that
// others wait for.
func (t *trainer) words(emailID int64, grams junk.Grams) (words junk.Words, err error) {
	var e Email
	var st Structure
	err = t.a.View(t.ctx, func(tx *Tx) error {
		var err1, err2 error
		e, err1 = tx.Email(emailID)
		st, err2 = tx.Structure(emailID)
		return errors.Join(err1, err2)
	})
	if err != nil {
		return junk.Words{}, err
	}
	part, err := message.ParsePart(st.Tree)
	if err != nil {
		return junk.Words{}, err
	}
	f, err := os.Open(t.a.messagePath(emailID))
	if err != nil {
		return junk.Words{}, err
	}
	words, err = junk.ReadWords(junk.Source{Content: f, Part: &part, MailFrom: e.Facts.MailFrom}, grams)
	return words, errors.Join(err, f.Close())
}

// train asks for a message to be trained as its junk flags say, when there is time.
// Of several, the last counts. It writes: see Tx.touch.
func (tx *Tx) train(emailID int64, modSeq int64, f Flags) error {
	tx.touch()
	tx.trains = true
	r := Training{EmailID: emailID, ModSeq: modSeq, Junk: f&FlagJunk != 0, NotJunk: f&FlagNotJunk != 0}
	err := tx.b.Get(&Training{EmailID: emailID})
	if errors.Is(err, bstore.ErrAbsent) {
		err = tx.b.Insert(&r)
	} else if err == nil {
		err = tx.b.Update(&r)
	}
	if err != nil {
		return fmt.Errorf("noting email %d for training: %w", emailID, err)
	}
	return nil
}

// WaitTrained waits until the messages that are marked when it is called are
// trained as they are marked, or ctx ends. It is for tests and commands.
func (a *Account) WaitTrained(ctx context.Context) error {
	r := &retrain{ctx: ctx}
	_, err := a.ask(r)
	return err
}

// Retrained says what Retrain did.
type Retrained struct {
	Junk, NotJunk int64 // Messages that the filter is trained with.
	Words         int64 // Known from more than one message.
}

// Retrain makes the junk filter anew from the messages that are marked as junk or
// not, beside the one that is in use meanwhile. What was learned from messages that
// are erased is forgotten. progress is called now and then with the number of
// messages that were looked at, and about how many there are. Mail flows.
//
// It returns ErrNoJunkFilter if the configuration has none for the account.
func (a *Account) Retrain(ctx context.Context, progress func(done, total int64)) (Retrained, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	return a.ask(&retrain{ctx: ctx, progress: progress})
}

// ErrNoJunkFilter means that the account has no junk filter.
var ErrNoJunkFilter = errors.New("store: account has no junk filter")

// ask gives the trainer a request and waits for its end.
func (a *Account) ask(r *retrain) (Retrained, error) {
	r.done = make(chan struct{})
	select {
	case a.training.retrains <- r:
	case <-r.ctx.Done():
		return Retrained{}, r.ctx.Err()
	case <-a.training.done:
		return Retrained{}, ErrClosed
	}
	<-r.done // It ends soon after r.ctx does.
	return r.res, r.err
}

// retrain serves a request.
func (t *trainer) retrain(r *retrain) (Retrained, error) {
	if r.progress == nil {
		return Retrained{}, t.run()
	}
	params, ok := t.a.junkParams()
	if !ok {
		return Retrained{}, fmt.Errorf("%w: %q", ErrNoJunkFilter, t.a.name)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	res, err := t.rebuild(ctx, params.Grams, r.progress)
	t.a.trainSoon() // Rows that came meanwhile.
	return res, err
}

// junkPath returns the path of a file of the filter.
func (t *trainer) junkPath(name string) string { return filepath.Join(t.a.path, name) }
