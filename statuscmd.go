package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/backup"
)

const statusHelp = `Print how the server is.

Its version and since when it runs, where it listens, what it has to do and what an
operator should look at: lines that begin with "warning".

	-json  print it as JSON
`

func runStatus(ctx context.Context, inv *invocation) error {
	flags := inv.jsonFlags()
	if err := inv.parse(flags.FlagSet, 0); err != nil {
		return err
	}
	return callPrint(ctx, inv, flags.json, "status", admin.Nothing{}, inv.printStatus)
}

func (inv *invocation) printStatus(s admin.Status) {
	inv.printf("version    %s (%s, %s)\n", s.Version, s.Go, s.System)
	inv.printf("running    since %s (%s), pid %d\n", tableTime(s.Started), time.Duration(s.UptimeSeconds)*time.Second, s.PID)
	inv.printf("hostname   %s\n", s.Hostname)
	for _, l := range s.Listeners {
		inv.printf("listening  %s %s (%s)\n", l.Service, l.Address, l.Name)
	}
	inv.printf("domains    %d\n", s.Domains)
	inv.printf("accounts   %d%s\n", s.Accounts, listed(", logins disabled: ", s.Disabled))
	inv.printf("queue      %d waiting, %d held, %d being delivered, %s%s\n",
		s.Queue.Waiting, s.Queue.Held, s.Queue.Delivering, size(s.Queue.Bytes), since(s.Queue.Oldest))
	inv.printf("journal    %d deliveries to be applied, %s%s\n", s.Journal.Records, size(s.Journal.Bytes), since(s.Journal.Oldest))
	inv.printf("disk       %s free for mail\n", size(s.DiskFree))
	inv.printBackupStatus(s.Backup)
	if n := len(s.Blocklists); n > 0 {
		inv.printf("blocklists %d lookups of our addresses are monitored\n", n)
	}
	for _, w := range statusWarnings(s) {
		inv.printf("warning    %s\n", w)
	}
}

// printBackupStatus prints when the last complete backup was made.
func (inv *invocation) printBackupStatus(last *backup.Last) {
	switch {
	case last == nil:
		inv.printf("backup     none was made\n")
	case last.Success.IsZero():
		inv.printf("backup     no complete one was made\n")
	default:
		inv.printf("backup     the last complete one %s\n", tableTime(last.Success))
	}
}

// statusWarnings returns what an operator should look at.
func statusWarnings(s admin.Status) (warnings []string) {
	add := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if s.Problem != "" {
		add("no mail can be taken: %s", s.Problem)
	}
	if b := s.Backup; b != nil && !b.Complete {
		add("the last backup, to %s at %s, is not complete: %s", b.Path, tableTime(b.Finished), b.Error)
	}
	if c := s.Config; c != nil && c.Problem != "" {
		add("the configuration on disk is not in use, since %s: %s", tableTime(c.Since), strings.ReplaceAll(c.Problem, "\n", "\n\t"))
	}
	for _, b := range s.Blocklists {
		switch {
		case b.Listed:
			add("%s is in the blocklist %s, looked up at %s: %s", b.IP, b.Zone, tableTime(b.Checked), cmp.Or(b.Explanation, "it doesn't say why"))
		case b.Error != "":
			add("the blocklist %s gives no answer about %s: %s", b.Zone, b.IP, b.Error)
		}
	}
	for _, name := range s.StrayAccounts {
		add("account %s is not in domains.conf, but its data is there: put it back, or remove it with: mox config account rm %[1]s", name)
	}
	if len(s.RemovedAccounts) > 0 {
		add("data of removed accounts is still being erased: %s", strings.Join(s.RemovedAccounts, " "))
	}
	if len(s.Journal.Failing) > 0 {
		add("accounts that can't take their mail at present, see the log: %s", strings.Join(s.Journal.Failing, " "))
	}
	if s.Journal.Aside > 0 {
		add("deliveries that were put aside for such accounts: %d", s.Journal.Aside)
	}
	if s.Journal.Failed > 0 {
		add("deliveries that no account can take, in journal/failed: %d", s.Journal.Failed)
	}
	return warnings
}

// listed returns names behind a text, or nothing if there are none.
func listed(text string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return text + strings.Join(names, " ")
}

// since says since when the oldest of something is there.
func since(t *time.Time) string {
	if t == nil {
		return ""
	}
	return ", the oldest since " + tableTime(*t)
}

// size returns a number of bytes as people read it.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, i := float64(n)/1024, 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
