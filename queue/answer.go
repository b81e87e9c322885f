package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/webhook"
)

// AnswerEvent is what an answer says of a message that was sent.
type AnswerEvent string

// The events: the actions of RFC 3464, section 2.3.3, and what says none of them.
const (
	AnswerFailed       AnswerEvent = "failed"
	AnswerDelayed      AnswerEvent = "delayed"
	AnswerDelivered    AnswerEvent = "delivered"
	AnswerRelayed      AnswerEvent = "relayed"
	AnswerExpanded     AnswerEvent = "expanded"
	AnswerUnrecognized AnswerEvent = "unrecognized"
)

// Limits of what is kept of an answer.
const (
	// answersMax bounds the answers among the results of a message. The oldest go
	// first: whoever has got the address can write to it as often as he likes.
	answersMax = 8

	enhancedMax  = 11  // "5.999.999", and some.
	remoteMTAMax = 255 // A name of a host.
	answerKeyMax = 64

	// answerRcptsMax bounds the addresses that an answer is looked up by.
	answerRcptsMax = 4
)

// Answer is a message that came to an account, and may be about one it has sent.
// What it says may be invented, but for Account, Key, Received, FromID and Verified.
type Answer struct {
	Account  string // That it came to.
	Key      string // The same for the same answer, however often it comes: it counts once.
	Received time.Time
	FromID   string // Of the address that it came to. Empty: it had none.

	// MessageID is that of the message this is about, with angle brackets, and
	// EnvelopeID the one it was sent with. Each is empty if it is not told.
	MessageID, EnvelopeID string

	// Rcpts are the addresses that it names as that of the one recipient it is about:
	// final, and original if that is told.
	Rcpts []string

	Event     AnswerEvent
	Code      int64  // SMTP reply code, 0 if there was none.
	Enhanced  string // Enhanced status code.
	Error     string // For people.
	RemoteMTA string // That said so.

	// Verified are the domains that SPF or DKIM show it to come from.
	Verified []dns.Domain
}

// Answered is what was made of an Answer.
type Answered struct {
	Message     Message     // That it is about, as it is now. ID is 0 if none is known.
	Again       bool        // It came before: nothing has changed.
	Event       AnswerEvent // What counts of it: AnswerUnrecognized if Claimed.
	Claimed     bool        // Nothing vouches for what it says: it is only noted.
	Suppressing bool        // The account sends no more to the recipient because of it.
}

// Answered finds the message that an answer is about, in the queue or among those
// retired, and notes what the answer says of it, with a webhook for that. It is on disk when Answered returns.
//
// With a FromID nothing else has to fit: nobody could guess it. Otherwise Message-ID
// or envelope id, and the recipient, have to, and what the answer says counts only if
// it comes from where the message went (see credible).
func (db *DB) Answered(ctx context.Context, a Answer) (Answered, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return Answered{}, err
	}
	defer leave()
	w := &answering{db: db, Answer: a}
	if err := w.do(ctx); err != nil {
		return Answered{}, fmt.Errorf("noting answer to a message of account %q: %w", a.Account, err)
	}
	return w.answered, nil
}

// answering is one Answered.
type answering struct {
	db *DB
	Answer
	answered Answered
}

// do notes the answer if its message is known. Only then there is something to write.
func (w *answering) do(ctx context.Context) error {
	w.answered.Event = w.Event
	if w.FromID != "" && w.db.claimed(w.Account, w.FromID) {
		if err := w.db.flush(); err != nil {
			return err
		}
	}
	found := false
	err := w.db.db.Read(ctx, func(tx *bstore.Tx) error {
		s, err := w.find(tx)
		found = s != nil
		return err
	})
	if err != nil || !found {
		return err
	}
	return w.db.commit(&change{run: w.run, rows: 1})
}

// claimed says whether a FromID may have no row yet.
func (db *DB) claimed(account, fromID string) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.claims[fromIDKey(account, fromID)]
}

// run notes the answer.
func (w *answering) run(tx *tx) error {
	w.answered = Answered{Event: w.Event}
	s, err := w.find(tx.Tx)
	if err != nil || s == nil {
		return err
	}
	m := s.message()
	w.answered.Message = *m
	if w.known(m) {
		w.answered.Again = true
		return nil
	}
	w.answered.Claimed = w.FromID == "" && !credible(w.Verified, m)
	if w.answered.Claimed {
		w.answered.Event = AnswerUnrecognized
	}
	m.addAnswer(w.result())
	m.LastActivity = tx.now.Round(0)
	if w.answered.Event == AnswerFailed {
		if m.State == Retired && m.Outcome == Delivered {
			m.Outcome = Failed
		}
		w.answered.Suppressing, err = tx.failedFor(m, refusal{code: w.Code, enhanced: w.Enhanced}, w.Error)
		if err != nil {
			return err
		}
	}
	w.answered.Message = *m
	if err := s.put(tx); err != nil {
		return err
	}
	return tx.tell(m, HookEvent{
		Event: webhook.Event(w.answered.Event), DSN: w.Event != AnswerUnrecognized, Suppressing: w.answered.Suppressing,
		Code: w.Code, Enhanced: cut(w.Enhanced, enhancedMax), Error: w.Error,
	})
}

// known says whether the answer was noted before, and sets what came of it then.
func (w *answering) known(m *Message) bool {
	for _, r := range m.Results {
		if r.Key != w.Key || r.Key == "" {
			continue
		}
		if w.answered.Claimed = r.Claimed; r.Claimed {
			w.answered.Event = AnswerUnrecognized
		}
		return true
	}
	return false
}

// result returns what is kept of the answer.
func (w *answering) result() Result {
	r := Result{
		Start: w.Received.Round(0), Code: w.Code, Enhanced: cut(w.Enhanced, enhancedMax), Error: cut(w.Error, resultErrorMax),
		RemoteMTA: cut(w.RemoteMTA, remoteMTAMax), Answer: w.Event, Claimed: w.answered.Claimed, Key: cut(w.Key, answerKeyMax),
	}
	switch w.Event {
	case AnswerFailed:
		r.Permanent = true
	case AnswerDelivered, AnswerRelayed, AnswerExpanded:
		r.OK = true
	case AnswerDelayed, AnswerUnrecognized:
	}
	return r
}

// addAnswer adds what an answer says to the results. While an attempt is running the
// last of them stands for it, and stays the last.
func (m *Message) addAnswer(res Result) {
	results := make([]Result, 0, len(m.Results)+1)
	drop := -answersMax + 1
	for _, r := range m.Results {
		if r.Answer != "" {
			drop++
		}
	}
	for _, r := range m.Results {
		if r.Answer != "" && drop > 0 {
			drop--
			continue
		}
		results = append(results, r)
	}
	at := len(results)
	if m.State == Delivering && at > 0 {
		at--
	}
	results = append(results[:at:at], append([]Result{res}, results[at:]...)...)
	m.Results = results[max(0, len(results)-ResultsMax):]
}

// sent is a message that was found for an answer, with the rows that have it.
type sent struct {
	queued  *messageRow
	retired *retiredRow
	from    *fromIDRow // If it has the message.
}

// message returns the message to be changed.
func (s *sent) message() *Message {
	switch {
	case s.queued != nil:
		return &s.queued.M
	case s.retired != nil:
		return &s.retired.M
	}
	return &s.from.M
}

// put writes the rows.
func (s *sent) put(tx *tx) error {
	m := s.message()
	var err error
	if s.queued != nil {
		err = tx.update(s.queued)
	}
	if s.retired != nil && err == nil {
		s.retired.LastActivity = m.LastActivity
		err = tx.update(s.retired)
	}
	if s.from != nil && err == nil {
		s.from.M = *m
		err = tx.update(s.from)
	}
	return err
}

// find returns the message that the answer is about, nil if none is known.
func (w *answering) find(tx *bstore.Tx) (*sent, error) {
	if w.FromID != "" {
		from, found, err := fromIDOf(tx, w.Account, w.FromID)
		if err != nil || !found {
			return nil, err
		}
		return readSent(tx, from.Message, &from)
	}
	rcpts, domains := w.bases()
	for _, base := range rcpts {
		for _, ref := range refsOf(w.Account, w.MessageID, w.EnvelopeID, base) {
			r, err := bstore.QueryTx[retiredRow](tx).FilterIn("Refs", ref).SortDesc("ID").Limit(1).Get()
			if isAbsent(err) {
				continue
			} else if err != nil {
				return nil, err
			}
			var from *fromIDRow
			if r.M.FromID != "" {
				if row, found, err := fromIDOf(tx, r.M.Account, r.M.FromID); err != nil {
					return nil, err
				} else if found {
					from = &row
				}
			}
			return readSent(tx, r.ID, from)
		}
	}
	return w.findLeased(tx, rcpts, domains)
}

// bases returns the addresses that the answer names, in the form of BaseAddress, and
// their domains as Message.Domain has them.
func (w *answering) bases() (list, domains []string) {
	for _, rcpt := range w.Rcpts[:min(len(w.Rcpts), answerRcptsMax)] {
		if p, err := Path(rcpt); err == nil && !p.IsZero() {
			list, domains = append(list, BaseAddress(p)), append(domains, domainOf(p))
		}
	}
	return list, domains
}

// findLeased looks among what is being delivered: a server can return a message before
// we have noted that it was taken.
//
// What waits for another attempt is not looked through. What becomes of it is seen by
// that attempt, and it can be a lot.
func (w *answering) findLeased(tx *bstore.Tx, rcpts, domains []string) (*sent, error) {
	for _, id := range w.db.leasedBy(w.Account, domains) {
		r := messageRow{ID: id}
		err := tx.Get(&r)
		if isAbsent(err) {
			continue // Only the log has it, or it was retired since.
		} else if err != nil {
			return nil, err
		}
		for _, ref := range messageRefs(&r.M) {
			for _, base := range rcpts {
				for _, other := range refsOf(w.Account, w.MessageID, w.EnvelopeID, base) {
					if ref == other {
						return readSent(tx, id, nil)
					}
				}
			}
		}
	}
	return nil, nil
}

// leasedBy returns the messages of an account that are being sent to other servers, for
// some domains: of each there are a few hundred at most.
func (db *DB) leasedBy(account string, domains []string) (ids []int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for l := db.schedule.leases.head; l != nil; l = l.next {
		for _, e := range l.entries {
			if !l.local && e.account.Value() == account && slices.Contains(domains, e.domain.Value()) {
				ids = append(ids, e.id)
			}
		}
	}
	return ids
}

// readSent reads the rows of a message. It returns nil if none has it any more.
func readSent(tx *bstore.Tx, id int64, from *fromIDRow) (*sent, error) {
	s := &sent{}
	if from != nil && from.M.ID != 0 {
		s.from = from
	}
	queued, retired := messageRow{ID: id}, retiredRow{ID: id}
	err := tx.Get(&queued)
	if err == nil {
		s.queued = &queued
		return s, nil
	}
	if !isAbsent(err) {
		return nil, err
	}
	err = tx.Get(&retired)
	if err == nil {
		s.retired = &retired
	} else if !isAbsent(err) {
		return nil, err
	}
	if s.retired == nil && s.from == nil {
		return nil, nil
	}
	return s, nil
}

// messageRefs returns by what answers find a message.
func messageRefs(m *Message) []int64 {
	p, err := Path(m.Rcpt)
	if err != nil {
		return nil
	}
	return refsOf(m.Account, m.MessageID, m.EnvelopeID, BaseAddress(p))
}

// refsOf returns by what answers are found that name a Message-ID or an envelope id, and
// a recipient in the form of BaseAddress. Either id can be empty.
func refsOf(account, messageID, envelopeID, base string) (refs []int64) {
	if messageID != "" {
		refs = append(refs, rowKey(account, "message "+messageID+" "+base))
	}
	if envelopeID != "" {
		refs = append(refs, rowKey(account, "envelope "+envelopeID+" "+base))
	}
	return refs
}
