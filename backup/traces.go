package backup

import (
	"context"
	"path/filepath"

	"github.com/mjl-/mox/trace"
)

// tracesName is the directory with what became of messages.
const tracesName = "trace"

// traces verifies what became of messages. None is fine: the next start makes it. Who
// writes there at the same time does no harm.
func (v *verifier) traces(ctx context.Context) error {
	if !exists(v.data, tracesName) {
		return nil
	}
	err := v.names(tracesName, func(name string, dir bool) bool { return !dir && trace.IsName(name) })
	if err != nil {
		return err
	}
	problems, err := trace.Check(ctx, filepath.Join(v.data, tracesName))
	for _, p := range problems {
		v.problem(tracesName, "what became of some messages can't be looked up; nothing else depends on it", "it goes by itself when it is old enough, or remove the file", "%v", p)
	}
	return err
}
