package queue

import (
	"fmt"
	"slices"
	"time"
)

const (
	// historyDeliveries is how many deliveries to an address have to fail, one after the
	// other, for it to be suppressed.
	historyDeliveries = 3

	// historyKeep is how long a failure is remembered, and historiesMax bounds the
	// addresses for which there are any, of all accounts together. Those which nothing
	// was sent to for longest go first.
	historyKeep  = 180 * 24 * time.Hour
	historiesMax = 200_000
)

// historyRow is what became of the last deliveries of an account to an address that
// one of them failed for.
type historyRow struct {
	ID      int64 `bstore:"noauto"` // rowKey of account and address.
	Account string
	Address string    // In the form of BaseAddress.
	Last    time.Time `bstore:"index"`
	Past    []pastDelivery
}

// pastDelivery is a delivery in a history.
type pastDelivery struct {
	Message int64
	Failed  bool
}

// note adds what became of a delivery, or changes it: a message that was delivered
// can be returned later.
func (r *historyRow) note(message int64, failed bool) {
	i := slices.IndexFunc(r.Past, func(p pastDelivery) bool { return p.Message == message })
	if i >= 0 {
		r.Past[i].Failed = r.Past[i].Failed || failed
		return
	}
	r.Past = append(r.Past, pastDelivery{message, failed})
	r.Past = r.Past[max(0, len(r.Past)-historyDeliveries):]
}

// allFailed says whether as many as it takes have failed.
func (r *historyRow) allFailed() bool {
	return len(r.Past) == historyDeliveries && !slices.ContainsFunc(r.Past, func(p pastDelivery) bool { return !p.Failed })
}

// anyFailed says whether there is something to remember.
func (r *historyRow) anyFailed() bool {
	return slices.ContainsFunc(r.Past, func(p pastDelivery) bool { return p.Failed })
}

// learn notes what an attempt to send a message to another server, which was the
// last, tells of its recipient. It says whether that is suppressed because of it.
func (tx *tx) learn(m *Message, rep *Report, outcome Outcome) (suppressing bool, err error) {
	if m.Account == "" {
		return false, nil
	}
	switch {
	case outcome == Delivered:
		return false, tx.deliveredTo(m)
	case outcome == Failed && rep.Replied != "" && rep.Result.Permanent:
		return tx.failedFor(m, refusal{rep.Result.Code, rep.Result.Enhanced, rep.Replied}, rep.Result.Error)
	}
	return false, nil
}

// deliveredTo notes a delivery, if there were failures before.
func (tx *tx) deliveredTo(m *Message) error {
	r, found, err := tx.history(m)
	if err != nil || !found {
		return err
	}
	r.note(m.ID, false)
	return tx.putHistory(r, true)
}

// failedFor notes a failure, and suppresses the recipient if that is the reason, or if
// the two deliveries before failed too.
func (tx *tx) failedFor(m *Message, why refusal, text string) (suppressing bool, err error) {
	who := why.blame()
	if who == blameNobody {
		return false, nil
	}
	r, found, err := tx.history(m)
	if err != nil {
		return false, err
	}
	r.note(m.ID, true)
	if who == blameUnclear && !r.allFailed() {
		return false, tx.putHistory(r, found)
	}
	s := Suppression{
		Account: m.Account, Address: r.Address, For: m.Rcpt, Created: tx.now.Round(0), Message: m.ID, Code: why.code, Enhanced: cut(why.enhanced, enhancedMax),
		Reason: "the address takes no mail", Until: tx.now.Round(0).Add(suppressCertain),
	}
	if who != blameRecipient {
		s.Reason = fmt.Sprintf("the last %d messages failed", historyDeliveries)
		s.Until = s.Created.Add(suppressRepeated)
	}
	if text != "" {
		s.Reason = cut(s.Reason+": "+text, resultErrorMax)
	}
	old, was, err := suppressed(tx.Tx, s.Account, s.Address)
	if err != nil || was && old.active(tx.now) {
		return false, err
	}
	if found {
		if err := tx.deleteHistory(&r); err != nil {
			return false, err
		}
	}
	return true, tx.suppress(s)
}

// history returns what is known of deliveries to the recipient of a message.
func (tx *tx) history(m *Message) (r historyRow, found bool, err error) {
	to, err := Path(m.Rcpt)
	if err != nil {
		return r, false, err
	}
	base := BaseAddress(to)
	r.ID = rowKey(m.Account, base)
	err = tx.Get(&r)
	found = err == nil
	if isAbsent(err) {
		err = nil
	}
	if r.Account != m.Account || r.Address != base {
		r.Past = nil
	}
	r.Account, r.Address = m.Account, base
	return r, found, err
}

// putHistory writes a history, unless there is nothing to remember.
func (tx *tx) putHistory(r historyRow, found bool) error {
	r.Last = tx.now.Round(0)
	switch {
	case !r.anyFailed() && found:
		return tx.deleteHistory(&r)
	case !r.anyFailed():
		return nil
	case found:
		return tx.update(&r)
	}
	tx.counts.histories++
	return tx.insert(&r)
}

// deleteHistory removes a history.
func (tx *tx) deleteHistory(r *historyRow) error {
	tx.counts.histories--
	return tx.delete(r)
}

// forgetHistory removes a history if there is one.
func (tx *tx) forgetHistory(account, base string) error {
	r := historyRow{ID: rowKey(account, base)}
	err := tx.Get(&r)
	if isAbsent(err) {
		return nil
	} else if err != nil {
		return err
	}
	return tx.deleteHistory(&r)
}
