package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/system"
)

const verifyDataHelp = `Look for anything that is wrong with data, or with a backup.

The directory is a backup, the directory data in one, or the data directory of a
server that has stopped. Nothing in it is changed; it may be on a medium that can't
be written to. Without a directory the data of the running server is looked at,
while mail flows.

Looked at are: the manifest of a backup, with each file; the pages and rows of all
databases, and what they say of each other; each message file, with what was kept
of its structure; the queue; the journal; the configuration of a backup; and files
that nobody knows. Each problem is a line, with its place, what is wrong, what it
means for users, and what mends it. Of many problems of one kind 100 are printed.

The last line says OK, or how many problems there are. The exit status is 0 if all
is well or there are only warnings, 1 for errors, and 2 for mistakes in the
arguments.

	-fix             mend what can be mended, and verify again. Only for the data
	                 directory of a server that has stopped. Each change is printed.
	                 Files that are in the way go to moved/ in the data directory,
	                 with what is known of messages that had to be removed
	-sizesonly       don't read message files, only compare their sizes: quick, and
	                 finds less
	-temp directory  where databases are copied to be looked at; it needs room for the
	                 largest, and for the queue. By default the system's directory for
	                 temporary files
	-json            print lines of JSON: problems, and at the end a summary
`

// verifyFlags are the flags of the command.
type verifyFlags struct {
	*flag.FlagSet
	fix, sizesOnly, json bool
	temp                 string
}

func runVerifyData(ctx context.Context, inv *invocation) error {
	f := verifyFlags{FlagSet: inv.flagSet()}
	f.BoolVar(&f.fix, "fix", false, "")
	f.BoolVar(&f.sizesOnly, "sizesonly", false, "")
	f.BoolVar(&f.json, "json", false, "")
	f.StringVar(&f.temp, "temp", "", "")
	if err := parseFlags(f.FlagSet, inv.args); err != nil {
		return err
	}
	p := &verifyPrinter{inv: inv, json: f.json}
	switch {
	case f.NArg() > 1:
		return &usageError{}
	case f.NArg() == 0 && (f.fix || f.temp != ""):
		return &usageError{"-fix and -temp need a directory"}
	case f.NArg() == 0:
		return inv.verifyRunning(ctx, admin.VerifyRequest{SizesOnly: f.sizesOnly}, p)
	}
	opts := backup.VerifyOptions{
		Dir: f.Arg(0), Version: version(), Temp: f.temp, SizesOnly: f.sizesOnly, Lock: system.ShareDataDir, Progress: p.progress,
	}
	if f.fix {
		if err := inv.fixData(ctx, opts, p); err != nil {
			return p.running(err)
		}
	}
	sum, err := backup.Verify(ctx, opts, p.problem)
	if err != nil {
		return p.running(err)
	}
	return p.end(sum)
}

// verifyRunning has the running server verify its data.
func (inv *invocation) verifyRunning(ctx context.Context, req admin.VerifyRequest, p *verifyPrinter) error {
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	var sum backup.Summary
	err = ctlCallStream(ctx, c, "verify", req, func(f ctlFrame) error {
		switch {
		case f.Result != nil:
			return json.Unmarshal(f.Result, &sum)
		case f.Note != nil && f.Note.Problem != nil:
			p.problem(*f.Note.Problem)
		case f.Note != nil:
			p.note(*f.Note)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.end(sum)
}

// verifyCall has the server verify its data.
func verifyCall(s *ctlServer, ctx context.Context, req admin.VerifyRequest, note func(admin.Note)) (backup.Summary, error) {
	return s.opts.Admin.Verify(ctx, req, note)
}

// verifyPrinter prints what is found.
type verifyPrinter struct {
	inv  *invocation
	json bool

	mu   sync.Mutex
	last time.Time
	long int // Characters of the line of progress on a terminal, 0 for none.
}

// progressEvery is the time between two numbers on a terminal.
const progressEvery = time.Second / 5

// verifyLine is a line of JSON. One field is set.
type verifyLine struct {
	Problem *backup.Problem `json:"problem,omitempty"`
	Action  *backup.Action  `json:"action,omitempty"`
	Summary *verifySummary  `json:"summary,omitempty"`
}

// verifySummary is the last line.
type verifySummary struct {
	OK bool `json:"ok"` // There are no errors.
	backup.Summary
}

func (p *verifyPrinter) line(v verifyLine, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	// Who can't print is not helped by an error.
	_ = p.inv.print(p.json, v, func() { p.inv.printf("%s\n", text) })
}

func (p *verifyPrinter) problem(problem backup.Problem) {
	p.line(verifyLine{Problem: &problem}, problem.String())
}

func (p *verifyPrinter) action(a backup.Action) {
	p.line(verifyLine{Action: &a}, a.String())
}

func (p *verifyPrinter) progress(g backup.Progress) {
	p.note(admin.Note{Message: "verifying " + g.Step, Done: g.Files})
}

// note shows on a terminal how far it is.
func (p *verifyPrinter) note(n admin.Note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.inv.onTerminal() && now.Sub(p.last) >= progressEvery {
		p.clear()
		text := fmt.Sprintf("%s, files so far: %d", n.Message, n.Done)
		_, _ = fmt.Fprint(p.inv.stderr, text)
		p.last, p.long = now, len(text)
	}
}

// clear removes the line of progress. p.mu is held.
func (p *verifyPrinter) clear() {
	if p.long > 0 {
		_, _ = fmt.Fprintf(p.inv.stderr, "\r%*s\r", p.long, "")
		p.long = 0
	}
}

// onTerminal tells whether a person sees what is printed to standard error.
func (inv *invocation) onTerminal() bool {
	f, ok := inv.stderr.(*os.File)
	return ok && isTerminal(f)
}

// end prints the last line.
func (p *verifyPrinter) end(sum backup.Summary) error {
	text := fmt.Sprintf("OK: %s with %d accounts, %d files looked at", sum.What, sum.Accounts, sum.Files)
	if sum.Warnings > 0 {
		text += fmt.Sprintf(", %d warnings", sum.Warnings)
	}
	if sum.Errors > 0 {
		text = fmt.Sprintf("problems: %d, and warnings: %d", sum.Errors, sum.Warnings)
	}
	if sum.Unshown > 0 {
		text += fmt.Sprintf("; not shown of these: %d", sum.Unshown)
	}
	p.line(verifyLine{Summary: &verifySummary{sum.Errors == 0, sum}}, text)
	if sum.Errors > 0 {
		return exitStatus(exitError)
	}
	return nil
}

// running adds to an error what helps when a server runs.
func (p *verifyPrinter) running(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	if _, ok := errors.AsType[*system.RunningError](err); ok {
		return fmt.Errorf("%w: use verifydata without a directory, or stop the server", err)
	}
	return err
}

// fixData mends a data directory.
func (inv *invocation) fixData(ctx context.Context, opts backup.VerifyOptions, p *verifyPrinter) error {
	opts.Lock = func(dir string) (func() error, error) {
		l, err := system.LockDataDir(dir)
		if err != nil {
			return nil, err
		}
		return l.Unlock, nil
	}
	return backup.Fix(ctx, opts, p.action)
}
