package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/bstore"
)

// modelLearned is what should be known of recipients. Keys are account, a space and
// address, or FromID.
type modelLearned struct {
	suppressed map[string]bool // True if by hand.
	failures   map[string][]pastDelivery
	fromIDs    map[string]int64
}

func newModelLearned() modelLearned {
	return modelLearned{map[string]bool{}, map[string][]pastDelivery{}, map[string]int64{}}
}

// clone copies what changes.
func (l modelLearned) clone() modelLearned {
	c := modelLearned{maps.Clone(l.suppressed), map[string][]pastDelivery{}, maps.Clone(l.fromIDs)}
	for key, past := range l.failures {
		c.failures[key] = slices.Clone(past)
	}
	return c
}

// learn notes what came of a delivery.
func (l modelLearned) learn(key string, id int64, failed, certain bool) {
	past := slices.Clone(l.failures[key])
	if !failed && len(past) == 0 {
		return
	}
	i := slices.IndexFunc(past, func(p pastDelivery) bool { return p.Message == id })
	switch {
	case i < 0:
		past = append(past, pastDelivery{id, failed})
		if len(past) > 3 {
			past = past[1:]
		}
	case failed:
		past[i].Failed = true
	}
	bad := 0
	for _, p := range past {
		if p.Failed {
			bad++
		}
	}
	_, suppressed := l.suppressed[key]
	switch {
	case failed && (certain || bad == 3):
		if !suppressed {
			l.suppressed[key] = false
			delete(l.failures, key)
		}
	case bad == 0:
		delete(l.failures, key)
	default:
		l.failures[key] = past
	}
}

// read reads what the queue knows.
func (l modelLearned) read(db *DB) error {
	return db.db.Read(context.Background(), func(tx *bstore.Tx) error {
		err := bstore.QueryTx[suppressionRow](tx).ForEach(func(r suppressionRow) error {
			l.suppressed[r.Account+" "+r.S.Address] = r.S.Manual
			return nil
		})
		if err == nil {
			err = bstore.QueryTx[historyRow](tx).ForEach(func(r historyRow) error {
				l.failures[r.Account+" "+r.Address] = r.Past
				return nil
			})
		}
		if err == nil {
			err = bstore.QueryTx[fromIDRow](tx).ForEach(func(r fromIDRow) error {
				l.fromIDs[r.Account+" "+r.FromID] = r.Message
				return nil
			})
		}
		return err
	})
}

// differs tells how two differ, empty if they do not.
func (l modelLearned) differs(want modelLearned) string {
	switch {
	case !maps.Equal(l.suppressed, want.suppressed):
		return fmt.Sprintf("suppressed are %v, want %v", l.suppressed, want.suppressed)
	case !maps.EqualFunc(l.failures, want.failures, slices.Equal):
		return fmt.Sprintf("failures are %v, want %v", l.failures, want.failures)
	case !maps.Equal(l.fromIDs, want.fromIDs):
		return fmt.Sprintf("ids are %v, want %v", l.fromIDs, want.fromIDs)
	}
	return ""
}

// modelAccount returns the account of a message.
func (mm modelMessage) account() string {
	if mm.keep {
		return "keep"
	}
	return "none"
}

// learnResult does to the model what a result says of a recipient.
func (m *model) learnResult(id int64, mm modelMessage, r *Report) {
	if !r.Result.OK && r.Replied == "" {
		return
	}
	m.now.learned.learn(mm.account()+" "+mm.rcpt, id, !r.Result.OK, r.Result.Enhanced == noUser.Result.Enhanced)
}

// answer has an answer come to an address with an id, twice.
func (m *model) answer() {
	keys := slices.Sorted(maps.Keys(m.now.learned.fromIDs))
	if len(keys) == 0 {
		return
	}
	key := keys[m.rng.IntN(len(keys))]
	id := m.now.learned.fromIDs[key]
	account, fromID, _ := strings.Cut(key, " ")
	certain := m.rng.IntN(3) == 0
	a := Answer{Account: account, FromID: fromID, Key: fmt.Sprint(m.rng.Uint64()), Received: time.Now(), Event: AnswerFailed, Enhanced: "5.7.1"}
	if certain {
		a.Enhanced = "5.1.1"
	}
	if m.rng.IntN(4) == 0 {
		a.Event = AnswerUnrecognized
	}
	var got Answered
	noted := false
	m.do("answering", func() (err error) {
		got, err = m.w.db.Answered(m.t.Context(), a)
		noted = err == nil
		return err
	}, func() {
		if a.Event != AnswerFailed {
			return
		}
		if m.now.retired[id] == Delivered {
			m.now.retired[id] = Failed
		}
		m.now.learned.learn(account+" "+m.rcpts[id], id, true, certain)
	})
	if !noted || m.fault != "" || m.t.Failed() {
		return
	}
	if got.Message.ID != id || got.Message.Rcpt != m.rcpts[id] || got.Again {
		m.t.Errorf("answer to %d: got %+v", id, got)
	}
	if got, err := m.w.db.Answered(m.t.Context(), a); err != nil || !got.Again {
		m.t.Errorf("answer to %d again: got %+v, %v", id, got, err)
	}
}

// suppress puts an address on the list, or takes it off.
func (m *model) suppress() {
	account := []string{"keep", "none"}[m.rng.IntN(2)]
	rcpt := fmt.Sprintf("r%d@%s", m.rng.IntN(4), []string{"remote.example", "other.example"}[m.rng.IntN(2)])
	key := account + " " + rcpt
	manual, is := m.now.learned.suppressed[key]
	if is && m.rng.IntN(4) > 0 {
		m.do("taking off the list", func() error {
			_, err := m.w.db.Unsuppress(m.t.Context(), account, path(m.t, rcpt))
			return err
		}, func() {
			delete(m.now.learned.suppressed, key)
			delete(m.now.learned.failures, key)
		})
		return
	}
	want := error(nil)
	if manual {
		want = ErrSuppressed
	}
	m.do("putting on the list", func() error {
		_, err := m.w.db.Suppress(m.t.Context(), account, path(m.t, rcpt), "")
		if want != nil && errors.Is(err, want) {
			return nil
		} else if want != nil && m.fault == "" {
			return fmt.Errorf("got %w, want %w", err, want)
		}
		return err
	}, func() { m.now.learned.suppressed[key] = true })
}
