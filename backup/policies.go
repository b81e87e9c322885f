package backup

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/mtastsdb"
)

// policiesName is the file with policies of MTA-STS.
const policiesName = "mtasts.db"

const (
	effectPolicies = "the server does not start; or mail goes without the policies of MTA-STS that it has seen, until it sees them again"
	mendPolicies   = "restore the file from a backup, or move it aside, and the next start makes an empty one"
)

// copier is a database that copies itself.
type copier interface {
	WriteTo(ctx context.Context, w io.Writer) (int64, error)
}

// policies verifies the database of policies. None is fine: the next start makes it.
func (v *verifier) policies(ctx context.Context) error {
	path := filepath.Join(v.data, policiesName)
	if !exists(path) {
		return nil
	}
	db, remove, err := mtastsdb.OpenCopy(ctx, path, v.temp)
	return v.policiesCopy(ctx, db, remove, err)
}

// runningPolicies does the same for the server that runs.
func (v *verifier) runningPolicies(ctx context.Context, r Options) error {
	if r.Policies == nil {
		return nil
	}
	path := filepath.Join(v.temp, policiesName)
	err := writeCopy(path, func(w io.Writer) error {
		_, err := r.Policies.WriteTo(ctx, w)
		return err
	})
	if err == nil {
		err = errors.Join(database.Check(path)...)
	}
	if err != nil {
		return v.policiesCopy(ctx, nil, nil, err)
	}
	db, err := mtastsdb.Open(path)
	return v.policiesCopy(ctx, db, func() error { return errors.Join(db.Close(), os.Remove(path)) }, err)
}

// policiesCopy checks a copy, and removes it, or tells why there is none.
func (v *verifier) policiesCopy(ctx context.Context, db *mtastsdb.DB, remove func() error, err error) error {
	if errors.Is(err, database.ErrNoRoom) || ctx.Err() != nil && err != nil {
		return err
	} else if err != nil {
		v.problem(policiesName, effectPolicies, mendPolicies, "%v", err)
		return nil
	}
	problems, err := db.Check(ctx)
	if err != nil {
		v.problem(policiesName, effectPolicies, mendPolicies, "%v", err)
	}
	for _, p := range problems {
		v.problem(policiesName, "mail for this domain may go without protection, or not at all", mendPolicies, "%v", p)
	}
	return errors.Join(ctx.Err(), remove())
}
