package system

import (
	"context"
	"fmt"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/store"
)

// makeAccounts makes the data of configured accounts that have none.
func (s *System) makeAccounts(ctx context.Context) error {
	c := s.current()
	existing, err := s.accounts.Accounts()
	if err != nil {
		return fmt.Errorf("listing accounts: %w", err)
	}
	have := map[string]bool{}
	for _, name := range existing {
		have[name] = true
	}
	n := store.NewAccount{}
	for _, m := range c.InitialMailboxes() {
		use := store.UseNone
		if m.Use != "" {
			use, _ = store.ParseSpecialUse(`\` + m.Use)
		}
		n.Mailboxes = append(n.Mailboxes, store.NewMailbox{Name: m.Name, Use: use})
	}
	for _, name := range c.Accounts() {
		if have[name] {
			continue
		}
		if err := s.makeAccount(ctx, name, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *System) makeAccount(ctx context.Context, name string, n store.NewAccount) error {
	if s.opts.Local != nil && s.opts.Local.Password != "" {
		c, err := auth.NewCredential(s.opts.Rand, nil, s.opts.Local.Password, time.Now())
		if err != nil {
			return fmt.Errorf("password for account %q: %w", name, err)
		}
		n.Credentials = []store.Credential{c}
	}
	a, err := s.accounts.Create(ctx, name, n)
	if err != nil {
		return fmt.Errorf("making account %q: %w", name, err)
	}
	s.log.InfoContext(ctx, "account made", "pkg", "system", "account", name)
	return a.Close()
}
