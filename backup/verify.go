package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/store"
)

// shownMaxDefault is how many problems of one kind are told. Who has read a
// hundred of them wants to know how many there are, and not the others.
const shownMaxDefault = 100

// ErrNewer means that a backup, or a data directory, is of a newer version. An
// operator must use that.
var ErrNewer = errors.New("backup: made by a newer version")

// ErrNoData means that a directory is neither a backup nor a data directory.
var ErrNoData = errors.New("neither a backup nor a data directory")

// VerifyOptions says what to verify, and how.
type VerifyOptions struct {
	// Dir is a backup, the data directory in one, or a data directory that no server
	// has. It is not used for a running server.
	Dir string

	// Version is that of this program: what a newer one made is refused.
	Version string

	// Temp is where copies of databases are made, each removed when it was looked at.
	// "": the directory of the system for temporary files.
	Temp string

	// Lock locks a data directory, and tells how to unlock it. Required, but for a
	// running server.
	Lock func(dir string) (unlock func() error, err error)

	// SizesOnly leaves the content of files alone: of message files only the size is
	// looked at. It is quick, and finds little.
	SizesOnly bool

	// Workers is how many files are looked at at a time. 0: as many as there are
	// processors.
	Workers int

	// ShownMax is how many problems of a kind are reported; all are counted. 0: 100.
	ShownMax int

	// Progress is told how far it is, now and then, by several goroutines. Nil:
	// nothing is told.
	Progress func(Progress)
}

// Progress is how far verifying is.
type Progress struct {
	Step  string // What is looked at.
	Files int64  // Looked at so far, in all steps.
	Bytes int64
}

// Severity is how bad a problem is.
type Severity string

// The severities. A warning is about what works, and someone may want to know.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is something that is wrong.
type Problem struct {
	Severity Severity `json:"severity"`
	Place    string   `json:"place"`             // File, relative to the directory that was verified, with slashes.
	Account  string   `json:"account,omitempty"` // Whose it is, if of one.
	Text     string   `json:"text"`              // What is wrong, and in which row.
	Effect   string   `json:"effect,omitempty"`  // What it means for users.
	Mend     string   `json:"mend,omitempty"`    // What mends it, "" if nothing is known to.

	kind string // The same for problems that differ only in their place and values.
}

// String returns the problem in a line.
func (p Problem) String() string {
	text := fmt.Sprintf("%s: %s: %s", p.Severity, p.Place, p.Text)
	if p.Effect != "" {
		text += "; " + p.Effect
	}
	if p.Mend != "" {
		text += "; to mend it: " + p.Mend
	}
	return text
}

// Summary is what verifying came to.
type Summary struct {
	What     string `json:"what"` // "backup", "data directory" or "server".
	Errors   int64  `json:"errors"`
	Warnings int64  `json:"warnings"`
	Unshown  int64  `json:"unshown"` // Of both, not reported since there were many of their kind.
	Accounts int64  `json:"accounts"`
	Files    int64  `json:"files"` // Looked at; in a backup twice, as what the manifest names and as what they are.
	Bytes    int64  `json:"bytes"`
}

// Verify looks for anything that is wrong with a backup, or with a data directory
// that no server uses, and calls report for each problem, by one goroutine at a
// time. An error means that it could not be looked at, or not to the end.
//
// It changes nothing there, also not the times of files, so that it may be on a
// medium that can't be written to. Databases are copied before they are opened.
func Verify(ctx context.Context, opts VerifyOptions, report func(Problem)) (Summary, error) {
	v, err := newVerifier(opts, report)
	if err != nil {
		return Summary{}, err
	}
	err = v.offline(ctx)
	return v.result(), err
}

// verifier is one run.
type verifier struct {
	opts VerifyOptions
	root string // Of the backup, "" for a data directory.
	data string
	temp string // Copies go here.

	config  *config.Config // Nil if there is none, or not known.
	removed func(accountID string) (bool, error)
	handed  handovers

	step         atomic.Pointer[string]
	files, bytes atomic.Int64

	mu      sync.Mutex
	report  func(Problem)
	shown   map[string]int
	summary Summary
}

func newVerifier(opts VerifyOptions, report func(Problem)) (*verifier, error) {
	if opts.Workers <= 0 {
		opts.Workers = runtime.GOMAXPROCS(0)
	}
	if opts.ShownMax <= 0 {
		opts.ShownMax = shownMaxDefault
	}
	temp, err := os.MkdirTemp(opts.Temp, "mox-verify-")
	if err != nil {
		return nil, fmt.Errorf("making directory for copies: %w", err)
	}
	v := &verifier{opts: opts, report: report, temp: temp, shown: map[string]int{}}
	v.begin("")
	return v, nil
}

// result returns the summary, when nothing runs any more.
func (v *verifier) result() Summary {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.summary.Files, v.summary.Bytes = v.files.Load(), v.bytes.Load()
	return v.summary
}

// begin says what is looked at now.
func (v *verifier) begin(step string) {
	v.step.Store(&step)
	v.progress()
}

func (v *verifier) progress() {
	if v.opts.Progress != nil {
		v.opts.Progress(Progress{*v.step.Load(), v.files.Load(), v.bytes.Load()})
	}
}

// checked counts a file.
func (v *verifier) checked(bytes int64) {
	v.files.Add(1)
	v.bytes.Add(bytes)
	v.progress()
}

// add counts and reports a problem. Its place is relative to the data directory
// or, if it begins with "/", to the backup.
func (v *verifier) add(p Problem) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case p.Place != "" && p.Place[0] == '/':
		p.Place = p.Place[1:]
	case v.root != "":
		p.Place = filepath.ToSlash(filepath.Join(DataDir, filepath.FromSlash(p.Place)))
	}
	if p.Severity == Warning {
		v.summary.Warnings++
	} else {
		p.Severity = Error
		v.summary.Errors++
	}
	if v.shown[p.kind]++; v.shown[p.kind] > v.opts.ShownMax {
		v.summary.Unshown++
		return
	}
	v.report(p)
}

// problem adds an error about a file.
func (v *verifier) problem(place, effect, mend, format string, args ...any) {
	v.add(Problem{Place: place, Text: fmt.Sprintf(format, args...), Effect: effect, Mend: mend, kind: format})
}

// warning adds a warning about a file.
func (v *verifier) warning(place, effect, mend, format string, args ...any) {
	v.add(Problem{Severity: Warning, Place: place, Text: fmt.Sprintf(format, args...), Effect: effect, Mend: mend, kind: format})
}

// stored adds a problem that package store has found.
func (v *verifier) stored(p store.Problem) {
	problem := Problem{Place: p.File, Account: p.Account, Text: p.Text, Effect: p.Effect, Mend: p.Mend, kind: p.Kind}
	if p.Warning {
		problem.Severity = Warning
	}
	v.add(problem)
}

// offline verifies what nobody has open.
func (v *verifier) offline(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(v.temp)) }()
	if err := v.find(); err != nil {
		return err
	}
	if v.root == "" {
		unlock, err := v.opts.Lock(v.data)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock()) }()
		if err := CheckRestored(v.data); errors.Is(err, ErrRestoreIncomplete) {
			v.problem(RestoreIncompleteName, "no server starts with it", "restore it again", "%v", err)
		}
	}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"version", v.version}, {"manifest", v.manifest}, {"configuration", v.configuration}, {"files", v.unknown}, {"auth.db", v.auth}, {"accounts", v.accounts},
		{"queue", v.queue}, {"hand-overs", v.handovers}, {tracesName, v.traces},
	}
	for _, s := range steps {
		v.begin(s.name)
		if err := s.run(ctx); err != nil {
			return err
		}
	}
	for _, f := range sideFiles {
		v.begin(f.name)
		if err := v.sideFile(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// find finds out what the directory is.
func (v *verifier) find() error {
	dir, err := filepath.Abs(v.opts.Dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	switch {
	case exists(dir, ManifestName), exists(dir, DataDir) && (exists(dir, VersionName) || exists(dir, IncompleteName)):
		v.root = dir
	case filepath.Base(dir) == DataDir && exists(parent, ManifestName):
		v.root = parent
	case exists(dir, "accounts"), exists(dir, "auth.db"), exists(dir, "journal"):
		v.data, v.summary.What = dir, "data directory"
		return nil
	case exists(dir, DataDir, "accounts"):
		return fmt.Errorf("%w: %s has no manifest: give its directory %s", ErrNoData, dir, DataDir)
	default:
		return fmt.Errorf("%w: %s", ErrNoData, dir)
	}
	v.data, v.summary.What = filepath.Join(v.root, DataDir), "backup"
	return nil
}

// exists says whether something is there. What can't be looked at is: who opens it
// is told why.
func exists(elem ...string) bool {
	_, err := os.Lstat(filepath.Join(elem...))
	return !errors.Is(err, fs.ErrNotExist)
}

// accounts verifies the accounts and the journal.
func (v *verifier) accounts(ctx context.Context) error {
	opts := store.Options{Dir: v.data, Log: discard(), Removed: v.removed}
	if v.config != nil {
		opts.QuotaSize, opts.QuotaMessages = v.config.QuotaSize, v.config.QuotaMessages
	}
	if !exists(v.data, "accounts") {
		v.problem("accounts", "all mail is missing", mendBackup, "the directory of accounts is missing")
		return nil
	}
	names, err := os.ReadDir(filepath.Join(v.data, "accounts"))
	if err != nil {
		return err
	}
	v.summary.Accounts = int64(len(names))
	return store.Verify(ctx, opts, v.how())
}

// how says how accounts are verified.
func (v *verifier) how() store.VerifyOptions {
	return store.VerifyOptions{
		Report: v.stored, Content: !v.opts.SizesOnly, Whole: v.root != "", Temp: v.temp, Workers: v.opts.Workers, Checked: v.checked, Handover: v.handed.add,
	}
}
