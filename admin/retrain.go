package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/mox/store"
)

// retrainNoteEvery is the time between notes of progress.
const retrainNoteEvery = time.Second

// RetrainRequest asks for junk filters to be made anew.
type RetrainRequest struct {
	Account string `json:"account,omitempty"` // Empty: all accounts that have a filter.
}

// RetrainResult says what filters were trained with.
type RetrainResult struct {
	Accounts []Retrained `json:"accounts"`
}

// Retrained is the filter of an account.
type Retrained struct {
	Account string `json:"account"`
	Junk    int64  `json:"junk"`    // Messages that are marked as junk.
	NotJunk int64  `json:"notJunk"` // Messages that are marked as not junk.
	Words   int64  `json:"words"`   // Known from more than one of them.
}

// Retrain makes junk filters anew from the messages that are marked, while mail
// flows and the filters that there are go on. With all accounts, one that fails is
// told of in a note and does not keep others from it.
func (a *Admin) Retrain(ctx context.Context, req RetrainRequest, note func(Note)) (RetrainResult, error) {
	res := RetrainResult{Accounts: []Retrained{}}
	names := a.opts.Config().Accounts()
	if req.Account != "" {
		if !slices.Contains(names, req.Account) {
			return res, &Error{Code: NotFound, Message: fmt.Sprintf("no account %q", req.Account)}
		}
		names = []string{req.Account}
	}
	for _, name := range names {
		r, err := a.retrain(ctx, name, note)
		switch {
		case err == nil:
			res.Accounts = append(res.Accounts, r)
		case req.Account != "" || ctx.Err() != nil:
			return res, err
		case !errors.Is(err, store.ErrNoJunkFilter):
			a.log.WarnContext(ctx, "retraining junk filter", "account", name, "err", err)
			note(Note{Message: fmt.Sprintf("account %s: %v", name, err), Warning: true})
		}
	}
	return res, nil
}

// retrain makes the filter of one account anew.
func (a *Admin) retrain(ctx context.Context, name string, note func(Note)) (Retrained, error) {
	account, err := a.opts.Accounts.Account(ctx, name)
	if err != nil {
		return Retrained{}, fmt.Errorf("opening account %q: %w", name, err)
	}
	var limit throttle
	r, err := account.Retrain(ctx, func(done, total int64) {
		if limit.due(name, retrainNoteEvery) {
			note(Note{Message: "messages of account " + name, Done: done, Total: total})
		}
	})
	err = errors.Join(err, account.Close())
	return Retrained{name, r.Junk, r.NotJunk, r.Words}, err
}
