//go:build unix

package crashtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/store"
)

// verifyDir verifies what a crash has left: it is sound, but for what the next
// start puts in order by itself. The files of a store alone are that of a server in part.
func (out *dump) verifyDir(ctx context.Context, dir string) error {
	temp, err := os.MkdirTemp("", "crashtest-verify-")
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, "auth.db")); err == nil {
		opts := backup.VerifyOptions{Dir: dir, Temp: temp, Lock: func(string) (func() error, error) { return func() error { return nil }, nil }}
		_, err = backup.Verify(ctx, opts, func(p backup.Problem) {
			if p.Severity != backup.Warning {
				out.problem("verified after the crash: %v", p)
			}
		})
		return errors.Join(err, os.RemoveAll(temp))
	}
	err = store.Verify(ctx, storeOptions(dir, nil), store.VerifyOptions{Content: true, Temp: temp, Workers: 2, Report: func(p store.Problem) {
		if !p.Warning {
			out.problem("verified after the crash: %v", p)
		}
	}})
	return errors.Join(err, os.RemoveAll(temp))
}
