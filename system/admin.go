package system

import (
	"context"
	"log/slog"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/screen"
)

// Admin returns what an administrator can do to the System. Stop is called when
// one wants it to stop: it must end the context of Serve, and return at once.
func (s *System) Admin(stop func()) (*admin.Admin, error) {
	return admin.New(admin.Options{
		Log: s.log, Config: s.current, Accounts: s.accounts, Queue: s.queue, Trace: s.trace, Backup: s.backup, Levels: s.opts.Levels, Rand: s.opts.Rand,
		Update: s.opts.Config.Update, Logins: s.logins, Keeper: s.keeper, EndSessions: s.endSessions, Listeners: s.listeners, Blocklists: s.blocklists.Status,
		TLS:    admin.TLSPolicies{Policies: s.policies, Cache: s.policyCache, Results: s.results, Collector: s.tlsResults},
		Reload: s.opts.Config.Reload, ConfigStatus: s.opts.Config.Status,
		ConfigDir: s.opts.Config.Dir(), FastDKIMKeys: s.opts.FastDKIMKeys, Explain: s.explain, Stop: stop, Version: s.opts.Version,
	})
}

// explain asks the receiver about a message, as if it came to the first endpoint for
// mail of other servers.
func (s *System) explain(ctx context.Context, q admin.Question) ([]screen.Explanation, error) {
	r := receive.Question{Rcpt: q.Rcpt, Content: q.Content, Size: q.Size, IP: q.IP, Hello: q.Hello, MailFrom: q.MailFrom, TLS: q.TLS, At: q.At}
	for _, e := range s.current().Endpoints {
		if e.Service == config.ServiceSMTP {
			r.Blocklists, r.FirstTimeDelay = e.Blocklists, e.FirstTimeDelay
			break
		}
	}
	return s.receiver.Explain(ctx, r)
}

// DataDir returns the data directory.
func (s *System) DataDir() string { return s.dir() }

// Logger returns a logger for a part of the program that goes with the System.
func (s *System) Logger(pkg string) *slog.Logger { return s.log.With("pkg", pkg) }

// PanicCounter returns a function that counts a panic in such a part.
func (s *System) PanicCounter(pkg string) func() { return s.panics.In(pkg) }
