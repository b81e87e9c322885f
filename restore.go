package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/system"
)

const restoreHelp = `Make a data directory from a backup, for a server that does not run.

The backup is verified first, as by "verifydata", and never changed; nothing is
linked to it. The data directory may not be there yet, or
is empty. If restoring is broken off, no server starts there; the command can be
run again, and begins anew.

Clients have to synchronise all mailboxes again: each gets a new UIDVALIDITY, since
messages that came after the backup had UIDs that are given again. Messages in the
queue for other servers are held, since they may have been sent after the backup:
see "queue list", and "queue unhold" or "queue drop".

The configuration of the server stays as it is.

	-account name      restore only this account, to a data directory that has others
	                   and not this. What it had in the queue is left out.
	-config directory  restore the configuration too, to this directory, which may not
	                   be there yet, or is empty
	-force             also restore a backup that is damaged or incomplete, as far as
	                   that goes
	-temp directory    where databases are copied to be looked at, as for verifydata
	-json              print what was restored as JSON
`

func runRestore(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	account := flags.String("account", "", "")
	configDir := flags.String("config", "", "")
	force := flags.Bool("force", false, "")
	temp := flags.String("temp", "", "")
	asJSON := flags.Bool("json", false, "")
	if err := inv.parse(flags, 2); err != nil {
		return err
	}
	if *account != "" && *configDir != "" {
		return &usageError{"with -account the configuration is not restored"}
	}
	p := inv.progress(false, *asJSON)
	opts := backup.RestoreOptions{
		Backup: inv.args[0], DataDir: inv.args[1], ConfigDir: *configDir, Force: *force, Version: version(), Temp: *temp, Lock: lockDataDir,
		Log: slog.New(logfmt.New(inv.stderr, logfmt.NewLevels(slog.LevelWarn))),
		Note: func(n backup.Note) {
			p.note(admin.Note{Message: n.Message, Warning: n.Warning, Done: n.Done, Total: n.Total})
		},
	}
	var res backup.Restored
	var err error
	if *account != "" {
		res, err = backup.RestoreAccount(ctx, opts, *account)
	} else {
		res, err = backup.Restore(ctx, opts)
	}
	p.clear()
	for _, problem := range res.Problems {
		inv.errorf("the backup: %s", problem)
	}
	if res.More > 0 {
		inv.errorf("the backup: and %d more", res.More)
	}
	if err != nil {
		return err
	}
	return inv.print(*asJSON, res, func() { inv.printRestored(res, *account) })
}

// lockDataDir locks a data directory for this process.
func lockDataDir(dir string) (unlock func() error, err error) {
	l, err := system.LockDataDir(dir)
	if err != nil {
		return nil, err
	}
	return l.Unlock, nil
}

// printRestored prints what was restored, and what is left to do.
func (inv *invocation) printRestored(res backup.Restored, account string) {
	if res.Held > 0 {
		inv.printf("%s for other servers held: see \"mox queue list\"\n", are(count(int64(res.Held), "message"), res.Held))
	}
	if os.Geteuid() == 0 {
		inv.printf("the files belong to root: \"mox serve\", started as root, gives them to its user; else do so\n")
	}
	saved := filepath.Join(res.Backup, backup.ConfigDir)
	switch {
	case account != "":
		inv.printf("if %s has no account %q, take it from that in %s\n", config.DynamicName, account, saved)
		inv.printf("restored: account %s in %s\n", account, res.Path)
		return
	case res.Config != "":
		inv.printf("configuration: %s; look whether its DataDir is %s\n", res.Config, res.Path)
	default:
		inv.printf("the configuration stays as it is; that of the backup is in %s\n", saved)
	}
	inv.printf("restored: %s: %s, %s, %s\n", res.Path, count(int64(res.Accounts), "account"), count(res.Files, "file"), megabytes(res.Bytes))
}

// are adds the verb to a number of things.
func are(things string, n int) string {
	if n == 1 {
		return things + " is"
	}
	return things + " are"
}
