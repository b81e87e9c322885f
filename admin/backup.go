package admin

import (
	"context"

	"github.com/mjl-/mox/backup"
)

// BackupRequest is where to make a backup.
type BackupRequest struct {
	// Path is the directory to be made, absolute. Nothing may be there, and the user
	// of the server must be allowed to make it.
	Path string `json:"path"`
}

// Backup makes a backup, and tells how far it is. One that lacks something is no
// error: the result says so. It is broken off when ctx is done, as when who asked
// for it has gone.
func (a *Admin) Backup(ctx context.Context, req BackupRequest, note func(Note)) (backup.Result, error) {
	if a.opts.Backup == nil {
		return backup.Result{}, &Error{Code: Unavailable, Message: "the server makes no backups"}
	}
	if req.Path == "" {
		return backup.Result{}, userError("no path for the backup")
	}
	return a.opts.Backup.Run(ctx, req.Path, func(n backup.Note) {
		note(Note{Message: n.Message, Warning: n.Warning, Done: n.Done, Total: n.Total})
	})
}

// lastBackup returns how the last backup ended, nil if there was none.
func (a *Admin) lastBackup() *backup.Last {
	if a.opts.Backup == nil {
		return nil
	}
	if last := a.opts.Backup.Last(); last != (backup.Last{}) {
		return &last
	}
	return nil
}
