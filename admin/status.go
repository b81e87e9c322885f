package admin

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/queue"
)

// Status is how a server is.
type Status struct {
	Version       string     `json:"version"` // Of mox, "unknown" if it was not stored when building.
	Go            string     `json:"go"`      // Version of Go.
	System        string     `json:"system"`  // As "linux/amd64".
	PID           int        `json:"pid"`
	Started       time.Time  `json:"started"`
	UptimeSeconds int64      `json:"uptimeSeconds"`
	Hostname      string     `json:"hostname"`
	Listeners     []Listener `json:"listeners"`
	Domains       int        `json:"domains"`          // That are configured.
	Accounts      int        `json:"accounts"`         // Likewise.
	Disabled      []string   `json:"disabledAccounts"` // Accounts to which nobody can log in.

	// StrayAccounts have data and are not configured. They take no mail and keep
	// their names from new accounts; AccountRemove removes them.
	StrayAccounts []string `json:"strayAccounts"`

	// RemovedAccounts are those of which data is still being erased.
	RemovedAccounts []string `json:"removedAccounts"`

	Queued  int64         `json:"queued"` // Messages in the queue, of all states.
	Queue   StatusQueue   `json:"queue"`
	Journal StatusJournal `json:"journal"`

	DiskFree int64  `json:"diskFree"` // Bytes for new mail, about.
	Problem  string `json:"problem,omitempty"`

	// Backup is how the last backup ended. Nil: there was none.
	Backup *backup.Last `json:"backup,omitempty"`

	Config *ConfigStatus `json:"config,omitempty"` // Nil if unknown.

	// Blocklists is what lists that are monitored say about our addresses.
	Blocklists []Blocklist `json:"blocklists,omitempty"`
}

// Listener is an address at which a server listens.
type Listener struct {
	Name    string `json:"name"`    // In mox.conf.
	Service string `json:"service"` // As "imaps".
	Address string `json:"address"` // With port.
}

// StatusQueue counts the messages in the queue.
type StatusQueue struct {
	Waiting    int64      `json:"waiting"`
	Held       int64      `json:"held"`
	Delivering int64      `json:"delivering"`
	Bytes      int64      `json:"bytes"`
	Oldest     *time.Time `json:"oldest,omitempty"` // When the oldest was queued.
}

// StatusJournal tells of mail that was accepted and is not in its account yet.
type StatusJournal struct {
	Records int        `json:"records"`
	Bytes   int64      `json:"bytes"`
	Oldest  *time.Time `json:"oldest,omitempty"` // When it was accepted.
	Failing []string   `json:"failingAccounts"`  // Accounts that can't take theirs at present.
	Aside   int        `json:"aside"`            // Records that were put aside for such accounts.
	Failed  int        `json:"failed"`           // Records that nobody can take. An administrator should look at them.
}

// Status tells how the server is. Problem is why it can take no mail, if so.
func (a *Admin) Status(ctx context.Context, _ Nothing) (Status, error) {
	c := a.opts.Config()
	s := Status{
		Version: a.opts.Version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, PID: os.Getpid(),
		Started: a.started.UTC().Round(0), UptimeSeconds: int64(time.Since(a.started) / time.Second),
		Hostname: c.Hostname.Name(), Listeners: []Listener{}, Domains: len(c.Dynamic.Domains), Accounts: len(c.Dynamic.Accounts),
		Disabled: []string{}, RemovedAccounts: []string{}, Backup: a.lastBackup(), Config: a.configStatus(),
	}
	if a.opts.Listeners != nil {
		s.Listeners = append(s.Listeners, a.opts.Listeners()...)
	}
	if a.opts.Blocklists != nil {
		s.Blocklists = a.opts.Blocklists()
	}
	for _, name := range c.Accounts() {
		if c.LoginDisabled(name) != "" {
			s.Disabled = append(s.Disabled, name)
		}
	}
	if err := a.opts.Accounts.Err(); err != nil {
		s.Problem = err.Error()
	}
	s.queue(a.opts.Queue) //nolint:contextcheck // It takes none.
	return s, s.data(ctx, a)
}

// queue looks at the queue.
func (s *Status) queue(q *queue.DB) {
	if q == nil {
		return
	}
	stats := q.Stats()
	for _, n := range stats.Messages {
		s.Queued += n
	}
	s.Queue = StatusQueue{
		Waiting: stats.Messages[queue.Waiting], Held: stats.Messages[queue.Held], Delivering: stats.Messages[queue.Delivering],
		Bytes: stats.Bytes, Oldest: optionalTime(stats.Oldest),
	}
	if err := q.Err(); err != nil && s.Problem == "" {
		s.Problem = err.Error()
	}
}

// data looks at the data directory.
func (s *Status) data(ctx context.Context, a *Admin) error {
	strays, err := a.opts.Keeper.strays()
	if err != nil {
		return fmt.Errorf("looking for data of accounts: %w", err)
	}
	pending, err := a.opts.Logins.PendingRemovals(ctx)
	if err != nil {
		return err
	}
	for _, r := range pending {
		s.RemovedAccounts = append(s.RemovedAccounts, r.Name)
	}
	s.StrayAccounts = append([]string{}, strays...)
	b, err := a.opts.Accounts.Backlog()
	if err != nil {
		return fmt.Errorf("looking at what waits for accounts: %w", err)
	}
	s.Journal = StatusJournal{
		Records: b.Records, Bytes: b.Bytes, Oldest: optionalTime(b.Oldest), Failing: append([]string{}, slices.Sorted(slices.Values(b.Failing))...),
		Aside: b.Aside, Failed: b.Failed,
	}
	if s.DiskFree, err = a.opts.Accounts.DiskFree(); err != nil {
		return fmt.Errorf("asking for free disk space: %w", err)
	}
	return nil
}

// optionalTime returns nil for no time.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Round(0)
	return &t
}
