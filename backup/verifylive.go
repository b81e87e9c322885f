package backup

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// Verify is the function Verify for the server that runs, while mail flows. Each
// database is copied first, below tmp in the data directory, so that nothing
// waits: what comes after the copy is not looked at.
func (b *Backup) Verify(ctx context.Context, opts VerifyOptions, report func(Problem)) (Summary, error) {
	r := b.opts
	if opts.Temp == "" {
		opts.Temp = filepath.Join(r.DataDir, "tmp")
	}
	v, err := newVerifier(opts, report)
	if err != nil {
		return Summary{}, err
	}
	v.data, v.summary.What, v.config = r.DataDir, "server", r.Config.Current()
	err = v.running(ctx, r)
	return v.result(), err
}

// running verifies a server that runs. The queue comes after the accounts: what
// an account keeps for it then is still known there, or not kept any more.
func (v *verifier) running(ctx context.Context, r Options) (err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(v.temp)) }()
	steps := []struct {
		name string
		run  func(context.Context, Options) error
	}{
		{"files", func(ctx context.Context, _ Options) error { return v.unknown(ctx) }},
		{"auth.db", v.runningAuth}, {"accounts", v.runningAccounts}, {"queue", v.runningQueue}, {"hand-overs", v.runningHandovers},
		{tracesName, func(ctx context.Context, _ Options) error { return v.traces(ctx) }},
	}
	for _, s := range steps {
		v.begin(s.name)
		if err := s.run(ctx, r); err != nil {
			return err
		}
	}
	for _, f := range sideFiles {
		v.begin(f.name)
		if err := v.runningSideFile(ctx, f, r); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) runningAuth(ctx context.Context, r Options) error {
	return v.authCopy(ctx, func() (*authdb.DB, func() error, error) {
		path := filepath.Join(v.temp, "auth.db")
		if err := writeCopy(path, func(w io.Writer) error {
			_, err := r.Logins.WriteTo(ctx, w)
			return err
		}); err != nil {
			return nil, nil, err
		}
		if damage := database.Check(path); len(damage) > 0 {
			return nil, nil, errors.Join(damage...)
		}
		db, err := authdb.Open(path)
		if err != nil {
			return nil, nil, err
		}
		return db, func() error { return errors.Join(db.Close(), os.Remove(path)) }, nil
	})
}

// writeCopy writes a file that is to be looked at and removed.
func writeCopy(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	return errors.Join(write(w), w.Flush(), f.Close())
}

func (v *verifier) runningAccounts(ctx context.Context, r Options) error {
	names, err := r.Accounts.Accounts()
	if err != nil {
		return err
	}
	v.summary.Accounts = int64(len(names))
	return r.Accounts.Verify(ctx, v.how())
}

func (v *verifier) runningQueue(ctx context.Context, r Options) error {
	if r.Queue == nil {
		return nil
	}
	temp := filepath.Join(v.temp, "queue")
	if _, err := r.Queue.CopyTo(ctx, temp); err != nil {
		v.problem("queue", effectQueue, mendQueue, "%v", err)
		return ctx.Err()
	}
	return v.queueCopy(ctx, temp)
}

// runningHandovers looks again for keys that the queue does not know: it forgets
// them when the account has.
func (v *verifier) runningHandovers(ctx context.Context, r Options) error {
	byAccount := map[string][]queue.Handed{}
	for _, k := range v.handed.unknown() {
		byAccount[k.Account] = append(byAccount[k.Account], k)
	}
	for account, list := range byAccount {
		a, err := r.Accounts.Account(ctx, account)
		if errors.Is(err, store.ErrNoAccount) {
			continue
		} else if err != nil {
			return err
		}
		kept, err := a.HandoverKeys(ctx)
		if err := errors.Join(err, a.Close()); err != nil {
			return err
		}
		for _, k := range list {
			if _, ok := slices.BinarySearch(kept, k.Key); ok {
				v.unconfirmed(k)
			}
		}
	}
	return nil
}
