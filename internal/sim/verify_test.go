package sim

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/mjl-/mox/backup"
)

// verifyEvery is how often what a kill left is verified, since it takes a while:
// once in so many.
const verifyEvery = 4

// verify fails the test if something is wrong with what a process left on disk,
// also when it was killed. What the next start puts in order is a warning.
func verify(ctx context.Context, t testing.TB, what, dir string) {
	t.Helper()
	opts := backup.VerifyOptions{
		Dir: filepath.Join(dir, "data"), Temp: t.TempDir(), Workers: 1,
		Lock: func(string) (func() error, error) { return func() error { return nil }, nil },
	}
	_, err := backup.Verify(context.WithoutCancel(ctx), opts, func(p backup.Problem) {
		if p.Severity != backup.Warning {
			t.Errorf("%s: %v", what, p)
		}
	})
	if err != nil {
		t.Errorf("verifying %s: %v", what, err)
	}
}
