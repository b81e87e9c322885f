package imapmodel

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// failure is a run that went wrong.
type failure struct {
	steps []step // Up to the one that failed.
	log   []string
	err   error
}

// runner runs steps, each time in a directory of its own.
type runner struct {
	t      *testing.T
	dir    string
	runs   int
	tamper func() func(string) []string // Nil: nothing is planted.
}

// try runs steps and returns the failure, if there is one.
func (r *runner) try(steps []step) (f *failure) {
	r.runs++
	dir := filepath.Join(r.dir, fmt.Sprint(r.runs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return &failure{err: err}
	}
	var tamper func(string) []string
	if r.tamper != nil {
		tamper = r.tamper()
	}
	synctest.Test(r.t, func(*testing.T) {
		w, n, err := run(dir, steps, tamper)
		if err != nil {
			f = &failure{slices.Clone(steps[:min(n+1, len(steps))]), w.log, err}
		}
	})
	if err := os.RemoveAll(dir); err != nil && f == nil {
		f = &failure{err: err}
	}
	return f
}

// shrinkMax bounds the time for looking for fewer steps that fail.
const shrinkMax = time.Minute

// shrink leaves out steps as long as it fails without them.
func (r *runner) shrink(f *failure) *failure {
	until := time.Now().Add(shrinkMax)
	for size := len(f.steps) / 2; size > 0; {
		again := false
		for at := len(f.steps) - size; at >= 0 && time.Now().Before(until); at -= size {
			at = min(at, len(f.steps)-size)
			if at < 0 {
				break
			}
			less := slices.Concat(f.steps[:at], f.steps[at+size:])
			if g := r.try(less); g != nil {
				f, again = g, true
			}
		}
		if !again || size > len(f.steps)/2 {
			size /= 2
		}
	}
	return f
}

// String returns what happened, to be read.
func (f *failure) String() string {
	var b strings.Builder
	all := kinds()
	fmt.Fprintf(&b, "%v\n%d steps:\n", f.err, len(f.steps))
	for _, st := range f.steps {
		fmt.Fprintf(&b, "\t%c %s\n", 'A'+st.session, all[st.kind].name)
	}
	fmt.Fprintf(&b, "%s\n%v", strings.Join(f.log, "\n"), f.err)
	return b.String()
}
