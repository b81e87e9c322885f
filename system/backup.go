package system

import (
	"context"

	"github.com/mjl-/mox/backup"
)

// makeBackup makes what makes backups.
func (s *System) makeBackup(context.Context) error {
	var err error
	s.backup, err = backup.New(backup.Options{
		Config: s.opts.Config, Accounts: s.accounts, Queue: s.queue, Logins: s.logins, Policies: s.policies, TLSResults: s.results, DataDir: s.dir(),
		Log: s.log, Version: s.opts.Version, Registerer: s.registry,
	})
	return err
}
