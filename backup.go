package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/backup"
)

const backupHelp = `Make a backup of the running server, while mail flows.

The directory is made, and may not be there yet; that in which it is has to be, so
that no backup goes to another disk when one is not mounted. The server makes it,
and its user has to be allowed to. It gets config/, data/, a manifest with the size
and checksum of each file, and the version. Where the file system can, message
files are links to those of the server, which takes little room: for a backup that
outlives the disk, make it there or copy it elsewhere.

All mail that was accepted before is in a complete backup. The last line says
whether it is complete, and so does the exit status: 0 if it is, 1 if something
could not be copied, which is named, or if there is no backup. One that is broken
off, as by ctrl-c, leaves a directory without a manifest, which can be removed.

Warnings go to stderr. On a terminal it is shown how far it is. See also "restore".

	-verbose  print each step
	-json     print what is in the backup as JSON
`

// backupCall makes a backup for a control connection, as long as that is there.
func backupCall(s *ctlServer, ctx context.Context, req admin.BackupRequest, note func(admin.Note)) (backup.Result, error) {
	return s.opts.Admin.Backup(ctx, req, note)
}

func runBackup(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	verbose := flags.Bool("verbose", false, "")
	asJSON := flags.Bool("json", false, "")
	if err := inv.parse(flags, 1); err != nil {
		return err
	}
	if inv.args[0] == "" {
		return &usageError{"no directory for the backup"}
	}
	path, err := filepath.Abs(inv.args[0])
	if err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	var res backup.Result
	p := inv.progress(*verbose, *asJSON)
	err = ctlCallStream(ctx, c, "backup", admin.BackupRequest{Path: path}, func(f ctlFrame) error {
		if f.Note != nil {
			p.note(*f.Note)
			return nil
		}
		return json.Unmarshal(f.Result, &res)
	})
	p.clear()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("broken off: what is in %s is no backup, and can be removed", path)
	case errors.Is(err, errCtlBroken):
		return fmt.Errorf("%w: what is in %s is no backup unless it has %s", err, path, backup.ManifestName)
	case err != nil:
		return err
	}
	if err := inv.print(*asJSON, res, func() { inv.printBackup(res) }); err != nil {
		return err
	}
	if !res.Complete {
		return exitStatus(exitError) // It was said how.
	}
	return nil
}

// printBackup prints the last line. Scripts look at its first word.
func (inv *invocation) printBackup(res backup.Result) {
	what := "complete"
	if !res.Complete {
		what = fmt.Sprintf("incomplete, %s", count(int64(len(res.Problems)+res.More), "problem"))
	}
	inv.printf("%s: %s: %s, %s, %d in the queue; %s, %s, took %v\n", what, res.Path, count(int64(res.Accounts), "account"),
		count(res.Messages, "message"), res.Queued, count(res.Files, "file"), megabytes(res.Bytes), res.Finished.Sub(res.Started).Round(time.Millisecond))
}

// count returns a number of things, with the word for them.
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// progress prints how far long work is.
type progress struct {
	inv      *invocation
	verbose  bool // Each step on a line.
	terminal bool // In place, on one line.
	shown    bool // That line is not empty.
}

// progress returns what prints notes. What machines read has none.
func (inv *invocation) progress(verbose, asJSON bool) *progress {
	p := &progress{inv: inv, verbose: verbose && !asJSON}
	if f, ok := inv.stdout.(*os.File); ok && !verbose && !asJSON {
		p.terminal = isTerminal(f)
	}
	return p
}

// note prints a note. Warnings are always printed.
func (p *progress) note(n admin.Note) {
	switch {
	case n.Warning:
		p.clear()
		p.inv.printNote(n)
	case p.verbose:
		p.inv.printNote(n)
	case p.terminal:
		p.clear()
		p.inv.printf("%.*s", progressWidth, noteText(n))
		p.shown = true
	}
}

// progressWidth is how many characters are shown in place, so that they fit on a
// line.
const progressWidth = 79

// clear removes what is shown in place.
func (p *progress) clear() {
	if p.shown {
		p.inv.printf("\r\x1b[K")
	}
	p.shown = false
}
