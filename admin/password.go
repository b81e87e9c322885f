package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/store"
)

// SetPasswordRequest is for SetPassword.
type SetPasswordRequest struct {
	Account  string `json:"account"`  // Name of the account.
	Password string `json:"password"` // At least auth.PasswordMin characters; compared in the form of RFC 8265.
}

// SetPasswordResult is what SetPassword did.
type SetPasswordResult struct {
	Account string `json:"account"`
}

// SetPassword gives an account another password, also one whose user may not
// choose it. Only secrets derived from it are stored. When it returns, nobody can
// log in with the one before, and sessions of the account are ended.
func (a *Admin) SetPassword(ctx context.Context, req SetPasswordRequest) (SetPasswordResult, error) {
	if !slices.Contains(a.opts.Config().Accounts(), req.Account) {
		return SetPasswordResult{}, &Error{Code: NotFound, Message: fmt.Sprintf("no account %q", req.Account)}
	}
	a.passwords.Lock()
	defer a.passwords.Unlock()
	account, err := a.opts.Accounts.Account(ctx, req.Account)
	if err != nil {
		return SetPasswordResult{}, fmt.Errorf("opening account %q: %w", req.Account, err)
	}
	err = errors.Join(setPassword(ctx, a, account, req.Password), account.Close())
	if errors.Is(err, auth.ErrPassword) {
		return SetPasswordResult{}, err // It is for the user, as it is.
	} else if err != nil {
		return SetPasswordResult{}, fmt.Errorf("setting password of account %q: %w", req.Account, err)
	}
	a.log.InfoContext(ctx, "password set", "account", req.Account)
	a.opts.EndSessions(req.Account)
	return SetPasswordResult{req.Account}, nil
}

func setPassword(ctx context.Context, a *Admin, account *store.Account, password string) error {
	existing, err := account.Credentials(ctx)
	if err != nil {
		return err
	}
	var options []auth.CredentialOption
	if a.opts.Config().Static.AllowCRAMMD5 {
		options = append(options, auth.WithCRAMMD5)
	}
	c, err := auth.NewCredential(a.opts.Rand, existing, password, time.Now(), options...)
	if err != nil {
		return err
	}
	return account.SetPassword(ctx, c)
}
