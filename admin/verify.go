package admin

import (
	"context"
	"time"

	"github.com/mjl-/mox/backup"
)

// verifyNoteEvery is the time between notes of progress.
const verifyNoteEvery = time.Second

// VerifyRequest asks for a look at all data.
type VerifyRequest struct {
	SizesOnly bool `json:"sizesOnly,omitempty"` // Don't read message files: only their size is looked at.
}

// Verify looks for anything that is wrong with the data of the server, while mail
// flows. Each problem comes in a note. One runs at a time.
func (a *Admin) Verify(ctx context.Context, req VerifyRequest, note func(Note)) (backup.Summary, error) {
	if a.opts.Backup == nil {
		return backup.Summary{}, &Error{Code: Unavailable, Message: "the server has nothing to verify"}
	}
	if !a.verifying.TryLock() {
		return backup.Summary{}, &Error{Code: Unavailable, Message: "the data is being verified already"}
	}
	defer a.verifying.Unlock()
	a.log.InfoContext(ctx, "verifying data")
	start := time.Now()
	opts := backup.VerifyOptions{Version: a.opts.Version, SizesOnly: req.SizesOnly, Workers: verifyWorkers, Progress: progressNotes(note)}
	res, err := a.opts.Backup.Verify(ctx, opts, func(p backup.Problem) {
		a.log.WarnContext(ctx, "data has a problem", "severity", string(p.Severity), "place", p.Place, "account", p.Account, "err", p.Text)
		note(Note{Message: p.Place + ": " + p.Text, Warning: true, Problem: &p})
	})
	a.log.InfoContext(ctx, "data verified", "errors", res.Errors, "warnings", res.Warnings, "files", res.Files, "took", time.Since(start), "err", err)
	return res, err
}

// verifyWorkers is how many files a running server looks at at a time: mail goes
// before.
const verifyWorkers = 1

// progressNotes returns a function that makes notes of progress, not too often.
func progressNotes(note func(Note)) func(backup.Progress) {
	var limit throttle
	return func(p backup.Progress) {
		if limit.due(p.Step, verifyNoteEvery) {
			note(Note{Message: "verifying " + p.Step, Done: p.Files})
		}
	}
}
