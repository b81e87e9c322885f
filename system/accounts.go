package system

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/store"
)

// keepAccounts makes the data of accounts what the configuration says, and sees to
// it that it stays so when that changes.
func (s *System) keepAccounts(ctx context.Context) error {
	var err error
	s.keeper, err = admin.NewKeeper(admin.KeeperOptions{
		Log: s.log, Config: s.current, Accounts: s.accounts, Logins: s.logins, Queue: s.queue, Trace: s.trace, Faults: s.opts.Faults,
		NewAccount: s.newAccount, EndSessions: s.endSessions, Forget: s.forgetAccount,
	})
	if err != nil {
		return err
	}
	s.opts.Config.OnChange(func(*config.Config) { s.keeper.Changed() })
	if err := s.keeper.Start(ctx); err != nil {
		return fmt.Errorf("making accounts: %w", err)
	}
	return nil
}

// newAccount returns what an account has from the start.
func (s *System) newAccount() (n store.NewAccount, err error) {
	for _, m := range s.current().InitialMailboxes() {
		use := store.UseNone
		if m.Use != "" {
			use, _ = store.ParseSpecialUse(`\` + m.Use)
		}
		n.Mailboxes = append(n.Mailboxes, store.NewMailbox{Name: m.Name, Use: use})
	}
	if s.opts.Local != nil && s.opts.Local.Password != "" {
		c, err := auth.NewCredential(s.opts.Rand, nil, s.opts.Local.Password, time.Now())
		if err != nil {
			return n, fmt.Errorf("password: %w", err)
		}
		n.Credentials = []store.Credential{c}
	}
	return n, nil
}

// endSessions ends the sessions of an account, and waits for that. Before the
// servers are made there are none.
func (s *System) endSessions(account string) {
	var ending sync.WaitGroup
	if s.imap != nil {
		ending.Go(func() { s.imap.EndAccount(account) })
	}
	if s.smtp != nil {
		ending.Go(func() { s.smtp.EndAccount(account) })
	}
	ending.Wait()
}

// forgetAccount makes the parts forget what they keep in memory of an account.
func (s *System) forgetAccount(account string) {
	if s.submit != nil {
		s.submit.Forget(account)
	}
}

// listeners returns where the System listens.
func (s *System) listeners() (list []admin.Listener) {
	for _, b := range s.bound {
		list = append(list, admin.Listener{Name: b.Listener, Service: string(b.Service), Address: b.Address().String()})
	}
	return list
}
