package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/queue"
)

// QueueHoldRule is a rule that keeps messages from being tried: those for which all
// fields that are set match, and all if none is.
type QueueHoldRule struct {
	ID              int64     `json:"id"`
	Account         string    `json:"account,omitempty"`      // Of the sender.
	SenderDomain    string    `json:"senderDomain,omitempty"` // Of MAIL FROM, in ASCII.
	RecipientDomain string    `json:"recipientDomain,omitempty"`
	Added           time.Time `json:"added"`
}

func queueHoldRule(r queue.HoldRule) QueueHoldRule {
	return QueueHoldRule{ID: r.ID, Account: r.Account, SenderDomain: r.SenderDomain, RecipientDomain: r.RecipientDomain, Added: r.Added.UTC()}
}

// QueueHoldRules is a list of rules.
type QueueHoldRules struct {
	Rules []QueueHoldRule `json:"rules"` // In the order in which they were added.
}

// QueueHoldRuleList returns the rules that hold messages.
func (a *Admin) QueueHoldRuleList(context.Context, Nothing) (QueueHoldRules, error) {
	if a.opts.Queue == nil {
		return QueueHoldRules{}, errNoQueue
	}
	list := QueueHoldRules{Rules: []QueueHoldRule{}}
	for _, r := range a.opts.Queue.HoldRules() {
		list.Rules = append(list.Rules, queueHoldRule(r))
	}
	return list, nil
}

// QueueHoldRuleAddRequest is for QueueHoldRuleAdd. Without any field the rule is
// about all messages.
type QueueHoldRuleAddRequest struct {
	Account         string `json:"account,omitempty"`
	SenderDomain    string `json:"senderDomain,omitempty"`
	RecipientDomain string `json:"recipientDomain,omitempty"`
}

// QueueHoldRuleAdded is a rule that was added.
type QueueHoldRuleAdded struct {
	Rule QueueHoldRule `json:"rule"`
	Held int           `json:"held"` // Messages that were in the queue, and are held now.
}

// QueueHoldRuleAdd adds a rule. Messages in the queue that match are held, and those
// that come.
func (a *Admin) QueueHoldRuleAdd(ctx context.Context, req QueueHoldRuleAddRequest) (QueueHoldRuleAdded, error) {
	if a.opts.Queue == nil {
		return QueueHoldRuleAdded{}, errNoQueue
	}
	if _, ok := a.opts.Config().Dynamic.Accounts[req.Account]; !ok && req.Account != "" {
		return QueueHoldRuleAdded{}, noAccount(req.Account)
	}
	rule, held, err := a.opts.Queue.AddHoldRule(ctx, queue.HoldRule{
		Account: req.Account, SenderDomain: req.SenderDomain, RecipientDomain: req.RecipientDomain,
	})
	if errors.Is(err, queue.ErrHoldRule) {
		return QueueHoldRuleAdded{}, err
	} else if err != nil {
		return QueueHoldRuleAdded{}, fmt.Errorf("adding rule that holds messages: %w", err)
	}
	if held > 0 {
		a.traceHeld(ctx, rule)
	}
	a.log.InfoContext(ctx, "hold rule added", "id", rule.ID, "account", rule.Account, "sender_domain", rule.SenderDomain, "recipient_domain", rule.RecipientDomain, "held", held)
	return QueueHoldRuleAdded{Rule: queueHoldRule(rule), Held: held}, nil
}

// QueueHoldRuleRemoveRequest is for QueueHoldRuleRemove.
type QueueHoldRuleRemoveRequest struct {
	ID int64 `json:"id"`
}

// QueueHoldRuleRemove removes a rule. Messages that it holds stay held.
func (a *Admin) QueueHoldRuleRemove(ctx context.Context, req QueueHoldRuleRemoveRequest) (Nothing, error) {
	if a.opts.Queue == nil {
		return Nothing{}, errNoQueue
	}
	err := queue.ErrNoHoldRule
	if req.ID > 0 {
		err = a.opts.Queue.RemoveHoldRule(ctx, req.ID)
	}
	if errors.Is(err, queue.ErrNoHoldRule) {
		return Nothing{}, &Error{Code: NotFound, Message: fmt.Sprintf("no hold rule %d", req.ID)}
	} else if err != nil {
		return Nothing{}, err
	}
	a.log.InfoContext(ctx, "hold rule removed", "id", req.ID)
	return Nothing{}, nil
}
