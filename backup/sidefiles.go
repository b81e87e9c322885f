package backup

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/tlsrptdb"
)

// Names of databases beside accounts, queue and logins.
const (
	policiesName   = "mtasts.db"       // Policies of MTA-STS.
	tlsResultsName = "tlsrptresult.db" // What came of TLS, for reports.
)

// sideFile is one of those databases. A server without it makes an empty one.
type sideFile struct {
	name    string
	note    string // What a backup says of it.
	effect  string // Of a file that can't be read,
	effects string // and of a row that is wrong.

	running func(Options) copier // Nil: there is none.
	open    func(path string) (sideDB, error)
	copy    func(ctx context.Context, path, dir string) (sideDB, func() error, error)
}

const mendSideFile = "restore the file from a backup, or move it aside, and the next start makes an empty one"

// sideFiles are those databases, in the order in which they are copied.
var sideFiles = []sideFile{
	{
		name: policiesName, note: "policies",
		effect:  "the server does not start; or mail goes without the policies of MTA-STS that it has seen, until it sees them again",
		effects: "mail for this domain may go without protection, or not at all",
		running: func(o Options) copier { return copierOf(o.Policies) },
		open:    func(path string) (sideDB, error) { return mtastsdb.Open(path) },
		copy: func(ctx context.Context, path, dir string) (sideDB, func() error, error) {
			return mtastsdb.OpenCopy(ctx, path, dir)
		},
	},
	{
		name: tlsResultsName, note: "TLS results",
		effect:  "the server does not start; or other domains aren't told of the connections of the last days",
		effects: "this domain may be told what is wrong",
		running: func(o Options) copier { return copierOf(o.TLSResults) },
		open:    func(path string) (sideDB, error) { return tlsrptdb.OpenResults(path) },
		copy: func(ctx context.Context, path, dir string) (sideDB, func() error, error) {
			return tlsrptdb.OpenResultsCopy(ctx, path, dir)
		},
	},
}

// copier is a database that copies itself.
type copier interface {
	WriteTo(ctx context.Context, w io.Writer) (int64, error)
}

// copierOf returns a database as a copier, nil if there is none.
func copierOf[T any, P interface {
	*T
	copier
}](db P) copier {
	if db == nil {
		return nil
	}
	return db
}

// sideDB is such a database that is open.
type sideDB interface {
	Check(ctx context.Context) ([]error, error)
	Close() error
}

// isSideFile tells whether a file of the data directory is one of them.
func isSideFile(name string) bool {
	return slices.ContainsFunc(sideFiles, func(f sideFile) bool { return f.name == name })
}

// copySideFiles copies those that are there.
func (r *run) copySideFiles(ctx context.Context) error {
	for _, f := range sideFiles {
		db := f.running(r.b.opts)
		if db == nil {
			continue
		}
		r.note("%s", f.note)
		if err := r.copyDatabase(ctx, f.name, db); err != nil {
			return err
		}
	}
	return nil
}

// sideFile verifies a file that nobody has open. None is fine: the next start makes it.
func (v *verifier) sideFile(ctx context.Context, f sideFile) error {
	path := filepath.Join(v.data, f.name)
	if !exists(path) {
		return nil
	}
	db, remove, err := f.copy(ctx, path, v.temp)
	return v.sideCopy(ctx, f, db, remove, err)
}

// runningSideFile does the same for the server that runs.
func (v *verifier) runningSideFile(ctx context.Context, f sideFile, r Options) error {
	running := f.running(r)
	if running == nil {
		return nil
	}
	path := filepath.Join(v.temp, f.name)
	err := writeCopy(path, func(w io.Writer) error {
		_, err := running.WriteTo(ctx, w)
		return err
	})
	if err == nil {
		err = errors.Join(database.Check(path)...)
	}
	if err != nil {
		return v.sideCopy(ctx, f, nil, nil, err)
	}
	db, err := f.open(path)
	return v.sideCopy(ctx, f, db, func() error { return errors.Join(db.Close(), os.Remove(path)) }, err)
}

// sideCopy checks a copy, and removes it, or tells why there is none.
func (v *verifier) sideCopy(ctx context.Context, f sideFile, db sideDB, remove func() error, err error) error {
	if errors.Is(err, database.ErrNoRoom) || ctx.Err() != nil && err != nil {
		return err
	} else if err != nil {
		v.problem(f.name, f.effect, mendSideFile, "%v", err)
		return nil
	}
	problems, err := db.Check(ctx)
	if err != nil {
		v.problem(f.name, f.effect, mendSideFile, "%v", err)
	}
	for _, p := range problems {
		v.problem(f.name, f.effects, mendSideFile, "%v", p)
	}
	return errors.Join(ctx.Err(), remove())
}
