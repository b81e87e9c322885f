package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mjl-/bstore"
)

// HoldReason says why a message is held.
type HoldReason string

// The reasons.
const (
	HeldByAdmin     HoldReason = "administrator" // Hold.
	HeldByRule      HoldReason = "rule"          // Message.HoldRule says which.
	HeldAsAsked     HoldReason = "asked"         // New.Hold.
	HeldProvisional HoldReason = "provisional"   // Until the server knows that it was accepted.
	HeldRestored    HoldReason = "restored"      // For another server, in a queue restored from a backup.
	HeldDamaged     HoldReason = "damaged"       // Its content is missing or not whole.
)

const (
	// HoldRulesMax bounds the rules: each is looked at for each recipient.
	HoldRulesMax = 1000

	// holdTextMax bounds the name of an account in a rule, in bytes.
	holdTextMax = 256
)

var (
	// ErrHoldRule means that a rule can't be, or that there is one like it already.
	ErrHoldRule = errors.New("queue: hold rule is refused")

	// ErrNoHoldRule means there is no such rule.
	ErrNoHoldRule = errors.New("queue: no such hold rule")
)

// HoldRule keeps messages from being tried. It is about those for which all fields
// that are set match; one without any is about all.
//
// Messages for recipients of ours go through the queue too, and are held like
// others. So are notifications of ours to senders elsewhere, which have neither
// account nor sender: rules that name one of these are not about them.
type HoldRule struct {
	ID              int64
	Account         string // Of the sender.
	SenderDomain    string // Of MAIL FROM: A-labels without final dot, or an address literal.
	RecipientDomain string // Likewise, of the recipient.
	Added           time.Time
}

// match says whether the rule is about a message of an account, from a domain to
// another.
func (r HoldRule) match(account, sender, recipient string) bool {
	return (r.Account == "" || r.Account == account) &&
		(r.SenderDomain == "" || r.SenderDomain == sender) &&
		(r.RecipientDomain == "" || r.RecipientDomain == recipient)
}

// matchMessage is match for a message in the queue.
func (r HoldRule) matchMessage(m *Message) bool {
	sender := ""
	if r.SenderDomain != "" {
		if p, err := Path(m.MailFrom); err == nil {
			sender = domainOf(p)
		}
	}
	return r.match(m.Account, sender, m.Domain)
}

// same says whether two rules are about the same messages.
func (r HoldRule) same(o HoldRule) bool {
	return r.Account == o.Account && r.SenderDomain == o.SenderDomain && r.RecipientDomain == o.RecipientDomain
}

// complete checks a rule, and brings its domains into the form that messages have.
func (r *HoldRule) complete() error {
	if len(r.Account) > holdTextMax || cut(r.Account, holdTextMax) != r.Account {
		return fmt.Errorf("%w: %+q is no account", ErrHoldRule, cut(r.Account, holdTextMax))
	}
	for _, domain := range []*string{&r.SenderDomain, &r.RecipientDomain} {
		if *domain == "" {
			continue
		}
		p, err := Path("x@" + *domain)
		if err != nil || p.IPDomain.IsZero() {
			return fmt.Errorf("%w: %+q is no domain", ErrHoldRule, cut(*domain, holdTextMax))
		}
		*domain = domainOf(p)
	}
	return nil
}

// holdRuleRow is a rule.
type holdRuleRow struct {
	ID      int64
	Rule    HoldRule
	Pending bool // Messages that were in the queue before it are still to be held.
}

// rule returns the rule of a row.
func (r *holdRuleRow) rule() HoldRule {
	rule := r.Rule
	rule.ID = r.ID
	return rule
}

// ruleSet is the rules at some time. It does not change, but for its users.
type ruleSet struct {
	rules []HoldRule     // In the order of their ids.
	users sync.WaitGroup // Messages that are being added by these rules.
}

// first returns the first rule about a message, nil if there is none.
func (s *ruleSet) first(account, sender, recipient string) *HoldRule {
	for i := range s.rules {
		if s.rules[i].match(account, sender, recipient) {
			return &s.rules[i]
		}
	}
	return nil
}

// useRules returns the rules for a message that is being added. The caller calls
// users.Done when the message is known to others, or won't be.
func (db *DB) useRules() *ruleSet {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.rules.users.Add(1)
	return db.rules
}

// HoldRules returns the rules, in the order of their ids.
func (db *DB) HoldRules() []HoldRule {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Clone(db.rules.rules)
}

// AddHoldRule adds a rule, and returns it with its id. New messages that match are
// held from then on, and those that are in the queue are held now: held says how
// many. Those that are being delivered are held when that ends, if they are not
// retired then. It fails with ErrHoldRule if there is such a rule already.
//
// The end of ctx does not stop that once the rule is made. If the process dies or
// stops meanwhile, the next start goes on with it.
func (db *DB) AddHoldRule(ctx context.Context, r HoldRule) (rule HoldRule, held int, err error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return r, 0, err
	}
	defer leave()
	if err := r.complete(); err != nil {
		return r, 0, err
	}
	var row holdRuleRow
	err = db.commit(&change{
		run:   func(tx *tx) (err error) { row, err = tx.insertRule(r); return err },
		apply: func() { db.setRules(append(db.rules.without(row.ID), row.rule())) },
	})
	if errors.Is(err, ErrHoldRule) {
		return r, 0, err
	} else if err != nil {
		return r, 0, fmt.Errorf("adding hold rule: %w", err)
	}
	db.waitRules() // From here on each message either was held by the rule, or is found.
	if held, err = db.applyRule(context.WithoutCancel(ctx), row); err != nil {
		return row.rule(), held, fmt.Errorf("holding messages in the queue: %w", err)
	}
	return row.rule(), held, nil
}

// insertRule inserts a rule, unless there is one that is still to be applied.
func (tx *tx) insertRule(r HoldRule) (holdRuleRow, error) {
	all, err := bstore.QueryTx[holdRuleRow](tx.Tx).SortAsc("ID").List()
	if err != nil {
		return holdRuleRow{}, err
	}
	for _, have := range all {
		switch {
		case !have.Rule.same(r):
		case have.Pending:
			return have, nil
		default:
			return holdRuleRow{}, fmt.Errorf("%w: rule %d is about the same messages", ErrHoldRule, have.ID)
		}
	}
	if len(all) >= HoldRulesMax {
		return holdRuleRow{}, fmt.Errorf("%w: there are %d already, as many as there can be", ErrHoldRule, len(all))
	}
	r.ID, r.Added = 0, tx.now.Round(0)
	row := holdRuleRow{Rule: r, Pending: true}
	err = tx.insert(&row)
	return row, err
}

// without returns the rules but for one.
func (s *ruleSet) without(id int64) []HoldRule {
	return slices.DeleteFunc(slices.Clone(s.rules), func(r HoldRule) bool { return r.ID == id })
}

// setRules makes rules count for new messages, in place of those before. db.mu is
// held.
func (db *DB) setRules(rules []HoldRule) {
	db.oldRules = append(db.oldRules, db.rules)
	db.rules = &ruleSet{rules: rules}
}

// waitRules waits until no message is being added by rules that count no more.
func (db *DB) waitRules() {
	db.mu.Lock()
	old := slices.Clone(db.oldRules)
	db.mu.Unlock()
	for _, s := range old {
		s.users.Wait()
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.oldRules = slices.DeleteFunc(db.oldRules, func(s *ruleSet) bool { return slices.Contains(old, s) })
}

// applyRule holds the messages in the queue that a rule is about.
func (db *DB) applyRule(ctx context.Context, row holdRuleRow) (held int, err error) {
	rule := row.rule()
	ids, err := db.choose(ctx, &matcher{}, func(m *Message) bool { return rule.matchMessage(m) })
	if err != nil {
		return 0, err
	}
	hold := func(r *messageRow, delivering bool, _ time.Time) Outcome {
		if r.Fail != "" {
			return unchanged // An administrator wants its sender to be told.
		}
		return r.hold(delivering, HeldByRule, rule.ID)
	}
	err = db.editIDs(ctx, &matcher{}, ids, hold, func(*messageRow) { held++ })
	if err != nil {
		return held, err
	}
	return held, db.commit(&change{run: func(tx *tx) error {
		r := holdRuleRow{ID: row.ID}
		err := tx.Get(&r)
		if errors.Is(err, bstore.ErrAbsent) {
			return nil // Removed meanwhile.
		} else if err != nil {
			return err
		}
		r.Pending = false
		return tx.update(&r)
	}})
}

// RemoveHoldRule removes a rule, or returns ErrNoHoldRule. Messages that it holds
// stay held.
func (db *DB) RemoveHoldRule(ctx context.Context, id int64) error {
	leave, err := db.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = db.commit(&change{
		run: func(tx *tx) error {
			row := holdRuleRow{ID: id}
			err := tx.Get(&row)
			if errors.Is(err, bstore.ErrAbsent) {
				return fmt.Errorf("%w: %d", ErrNoHoldRule, id)
			} else if err != nil {
				return err
			}
			return tx.delete(&row)
		},
		apply: func() { db.setRules(db.rules.without(id)) },
	})
	if err != nil {
		return fmt.Errorf("removing hold rule: %w", err)
	}
	return nil
}

// readRules reads the rules at start.
func (db *DB) readRules(ctx context.Context) error {
	rows, err := bstore.QueryDB[holdRuleRow](ctx, db.db).SortAsc("ID").List()
	if err != nil {
		return fmt.Errorf("reading hold rules: %w", err)
	}
	for i := range rows {
		db.rules.rules = append(db.rules.rules, rows[i].rule())
		if rows[i].Pending {
			db.pendingRules = append(db.pendingRules, rows[i])
		}
	}
	return nil
}

// applyPending holds the messages that rules are about whose adding the end of the
// last process interrupted.
func (db *DB) applyPending(ctx context.Context) error {
	for _, row := range db.pendingRules {
		held, err := db.applyRule(ctx, row)
		if err != nil {
			return fmt.Errorf("holding messages by rule %d: %w", row.ID, err)
		}
		db.log.Info("held messages by a rule whose adding was interrupted", "rule", row.ID, "messages", held)
	}
	db.pendingRules = nil
	return nil
}

// hold is an editor: it holds a message now, or when its delivery ends.
func (r *messageRow) hold(delivering bool, why HoldReason, rule int64) Outcome {
	m := &r.M
	switch {
	case r.HoldNext, m.State == Held && !r.Unsure, r.Unsure && m.HoldReason != HeldProvisional && m.HoldReason != "":
		return unchanged // The first reason counts.
	case delivering:
		r.HoldNext = true
	default:
		m.State = Held
	}
	m.HoldReason, m.HoldRule = why, rule
	return ""
}

// release makes a held message wait.
func (m *Message) release() { m.State, m.HoldReason, m.HoldRule = Waiting, "", 0 }
