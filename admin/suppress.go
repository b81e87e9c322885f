package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

// suppressionsListMax bounds the addresses of one list, at some 300 bytes each.
const suppressionsListMax = 50_000

// suppressReasonMax bounds the reason that somebody gives, in bytes.
const suppressReasonMax = 500

// Suppression is an address that an account sends no mail to.
type Suppression struct {
	Account string    `json:"account"`
	Address string    `json:"address"` // In lower case, without what follows a "+": it stands for all these spellings.
	For     string    `json:"for"`     // As it was given, or the recipient that failed.
	Created time.Time `json:"created"`
	Until   time.Time `json:"until,omitzero"` // When it ends by itself.
	Manual  bool      `json:"manual"`         // Somebody has put it on the list.
	Reason  string    `json:"reason,omitempty"`

	// Of one that came by itself: the message that failed, and what the server said.
	QueueID  int64  `json:"queueId,omitempty"`
	Code     int64  `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
}

// SuppressionListRequest is for SuppressionList.
type SuppressionListRequest struct {
	Account string `json:"account,omitempty"` // Empty: all accounts.
}

// SuppressionList is a list of suppressed addresses, by account and address.
type SuppressionList struct {
	Suppressions []Suppression `json:"suppressions"`
	More         bool          `json:"more"` // There are more than one list can have.
}

// SuppressionList returns the addresses that an account, or any, sends no mail to.
func (a *Admin) SuppressionList(ctx context.Context, req SuppressionListRequest) (SuppressionList, error) {
	if a.opts.Queue == nil {
		return SuppressionList{}, errNoQueue
	}
	if err := a.checkAccount(req.Account); err != nil {
		return SuppressionList{}, err
	}
	all, err := a.opts.Queue.Suppressions(ctx, req.Account)
	if err != nil {
		return SuppressionList{}, err
	}
	list := SuppressionList{Suppressions: []Suppression{}, More: len(all) > suppressionsListMax}
	for _, s := range all[:min(len(all), suppressionsListMax)] {
		list.Suppressions = append(list.Suppressions, suppression(s))
	}
	return list, nil
}

// checkAccount returns an error for the name of an account that is not there. An
// empty one stands for all.
func (a *Admin) checkAccount(name string) error {
	if _, ok := a.opts.Config().Dynamic.Accounts[name]; !ok && name != "" {
		return noAccount(name)
	}
	return nil
}

func suppression(s queue.Suppression) Suppression {
	return Suppression{
		Account: s.Account, Address: s.Address, For: s.For, Created: s.Created.UTC(), Until: utc(s.Until), Manual: s.Manual, Reason: s.Reason,
		QueueID: s.Message, Code: s.Code, Enhanced: s.Enhanced,
	}
}

// SuppressionRequest names an address on the list of an account.
type SuppressionRequest struct {
	Account string `json:"account"`
	Address string `json:"address"`
}

// SuppressionAddRequest is for SuppressionAdd.
type SuppressionAddRequest struct {
	Account string `json:"account"`
	Address string `json:"address"`          // At another server.
	Reason  string `json:"reason,omitempty"` // For people.
}

// SuppressionAdd keeps an account from sending mail to an address, until it is removed
// from the list. Mail between users of this server is no matter of the list.
func (a *Admin) SuppressionAdd(ctx context.Context, req SuppressionAddRequest) (Suppression, error) {
	path, err := a.suppressed(SuppressionRequest{req.Account, req.Address})
	if err != nil {
		return Suppression{}, err
	}
	switch d := path.IPDomain.Domain; {
	case len(req.Reason) > suppressReasonMax:
		return Suppression{}, userError("reason of %d bytes, more than %d", len(req.Reason), suppressReasonMax)
	case a.opts.Config().IsLocal(d) || a.opts.Config().IsHost(d):
		return Suppression{}, userError("mail for %s stays on this server: the list is for addresses of others", d.Name())
	}
	s, err := a.opts.Queue.Suppress(ctx, req.Account, path, req.Reason)
	if err != nil {
		return Suppression{}, suppressError(err)
	}
	a.log.InfoContext(ctx, "address suppressed", "account", s.Account, "address", s.Address, "reason", s.Reason)
	return suppression(s), nil
}

// SuppressionRemove lets an account send mail to an address again.
func (a *Admin) SuppressionRemove(ctx context.Context, req SuppressionRequest) (Suppression, error) {
	path, err := a.suppressed(req)
	if err != nil {
		return Suppression{}, err
	}
	s, err := a.opts.Queue.Unsuppress(ctx, req.Account, path)
	if err != nil {
		return Suppression{}, suppressError(err)
	}
	a.log.InfoContext(ctx, "address no longer suppressed", "account", s.Account, "address", s.Address)
	return suppression(s), nil
}

// suppressed parses a request.
func (a *Admin) suppressed(req SuppressionRequest) (smtp.Path, error) {
	if a.opts.Queue == nil {
		return smtp.Path{}, errNoQueue
	}
	if _, ok := a.opts.Config().Dynamic.Accounts[req.Account]; !ok {
		return smtp.Path{}, noAccount(req.Account)
	}
	return suppressPath(req.Address)
}

// suppressPath parses an address, which may be one with an address literal.
func suppressPath(s string) (smtp.Path, error) {
	path, err := queue.Path(s)
	if err != nil || path.IPDomain.IsZero() {
		return smtp.Path{}, userError("%q is not an address", s)
	}
	return path, nil
}

// suppressError tells which errors are for the user.
func suppressError(err error) error {
	switch {
	case errors.Is(err, queue.ErrSuppressed):
		return userError("the address is on the list already")
	case errors.Is(err, queue.ErrNotSuppressed):
		return &Error{Code: NotFound, Message: "the address is not on the list"}
	case errors.Is(err, queue.ErrSuppressions):
		return userError("there are too many addresses on the list")
	}
	return err
}

// SuppressionLookupRequest is for SuppressionLookup.
type SuppressionLookupRequest struct {
	Account string `json:"account,omitempty"` // Empty: all accounts.
	Address string `json:"address"`
}

// SuppressionFound is who sends no mail to an address.
type SuppressionFound struct {
	Address      string        `json:"address"` // In the form of the list.
	Suppressions []Suppression `json:"suppressions"`
}

// SuppressionLookup tells which accounts, or whether one, have an address on their
// list, in any spelling.
func (a *Admin) SuppressionLookup(ctx context.Context, req SuppressionLookupRequest) (SuppressionFound, error) {
	if a.opts.Queue == nil {
		return SuppressionFound{}, errNoQueue
	}
	path, err := suppressPath(req.Address)
	if err == nil {
		err = a.checkAccount(req.Account)
	}
	if err != nil {
		return SuppressionFound{}, err
	}
	accounts := []string{req.Account}
	if req.Account == "" {
		accounts = a.opts.Config().Accounts()
	}
	found := SuppressionFound{Address: queue.BaseAddress(path), Suppressions: []Suppression{}}
	for _, account := range accounts {
		s, ok, err := a.opts.Queue.Suppressed(ctx, account, path)
		if err != nil {
			return SuppressionFound{}, fmt.Errorf("looking up suppressions: %w", err)
		}
		if ok {
			found.Suppressions = append(found.Suppressions, suppression(s))
		}
	}
	return found, nil
}
