package queue

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/bstore"
	"golang.org/x/text/unicode/norm"

	"github.com/mjl-/mox/smtp"
)

// Limits of suppression.
const (
	// suppressionsMax bounds the addresses an account can have on its list. Of those
	// that came by themselves the oldest go first.
	suppressionsMax = 10_000

	// suppressCertain is how long an address stays on the list that takes no mail, and
	// suppressRepeated one that three deliveries failed to, for whatever reason: the
	// reason may be over. One that somebody has put there stays.
	suppressCertain  = 365 * 24 * time.Hour
	suppressRepeated = 30 * 24 * time.Hour
)

var (
	// ErrSuppressed means that an address was put on the list before.
	ErrSuppressed = errors.New("queue: address is suppressed already")

	// ErrNotSuppressed means that an address is not on the list.
	ErrNotSuppressed = errors.New("queue: address is not suppressed")

	// ErrSuppressions means that an account can't have more addresses on its list.
	ErrSuppressions = errors.New("queue: too many suppressed addresses")
)

// Suppression is an address that an account sends no mail to.
type Suppression struct {
	Account string
	Address string // In the form of BaseAddress.
	For     string // As it was given, or the recipient that failed.
	Created time.Time
	Until   time.Time // When it ends by itself. Zero: never.
	Manual  bool      // Somebody has put it there.
	Reason  string    // For people.

	// Message is the one that failed, and Code and Enhanced are what the server said.
	// Only if not Manual.
	Message  int64
	Code     int64
	Enhanced string
}

// suppressionRow is a Suppression.
type suppressionRow struct {
	ID      int64     `bstore:"noauto"` // rowKey of account and address.
	Account string    `bstore:"index"`
	Until   time.Time `bstore:"index"` // Of S, notRetired for never.
	S       Suppression
}

// BaseAddress returns the form of an address in which all are the same that
// certainly reach one mailbox: in lower case, without what follows a "+".
//
// Others cut at "-" too, and remove dots. That would take anna-maria@ for anna@.
func BaseAddress(p smtp.Path) string {
	local := strings.ToLower(norm.NFC.String(string(p.Localpart)))
	if i := strings.IndexByte(local, '+'); i > 0 {
		local = local[:i]
	}
	return smtp.Path{Localpart: smtp.Localpart(local), IPDomain: p.IPDomain}.XString(true)
}

// rowKey returns the number of a row about a text of an account. That two have the
// same does not happen.
func rowKey(account, text string) int64 {
	sum := sha256.Sum256([]byte(account + "\x00" + text))
	return max(1, int64(binary.BigEndian.Uint64(sum[:8])>>1))
}

// active says whether a suppression has not ended.
func (s *Suppression) active(now time.Time) bool { return s.Until.IsZero() || now.Before(s.Until) }

// Suppressed returns whether an account sends no mail to an address. After an error
// that is not known: the caller should not send now.
func (db *DB) Suppressed(ctx context.Context, account string, to smtp.Path) (s Suppression, found bool, err error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return s, false, err
	}
	defer leave()
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		s, found, err = suppressed(tx, account, BaseAddress(to))
		return err
	})
	if err != nil {
		return s, false, fmt.Errorf("looking up suppression of %s: %w", to, err)
	}
	return s, found && s.active(db.clock.now()), nil
}

// suppressed returns what the list has of an address, also if its time is over.
func suppressed(tx *bstore.Tx, account, base string) (Suppression, bool, error) {
	r := suppressionRow{ID: rowKey(account, base)}
	err := tx.Get(&r)
	if isAbsent(err) {
		return Suppression{}, false, nil
	}
	return r.S, err == nil && r.S.Account == account && r.S.Address == base, err
}

// Suppressions returns the list of an account, or of all if it is empty, sorted by
// account and address.
func (db *DB) Suppressions(ctx context.Context, account string) ([]Suppression, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	q := bstore.QueryDB[suppressionRow](ctx, db.db)
	if account != "" {
		q.FilterNonzero(suppressionRow{Account: account})
	}
	now := db.clock.now()
	list := []Suppression{}
	err = q.ForEach(func(r suppressionRow) error {
		if r.S.active(now) {
			list = append(list, r.S)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing suppressions: %w", err)
	}
	slices.SortFunc(list, func(a, b Suppression) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Address, b.Address))
	})
	return list, nil
}

// Suppress puts an address on the list of an account because somebody wants that. One
// that came there by itself then stays.
func (db *DB) Suppress(ctx context.Context, account string, to smtp.Path, reason string) (Suppression, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return Suppression{}, err
	}
	defer leave()
	s := Suppression{Account: account, Address: BaseAddress(to), For: to.String(), Manual: true, Reason: cut(reason, resultErrorMax)}
	err = db.commit(&change{rows: 1, run: func(tx *tx) error {
		s.Created = tx.now.Round(0)
		old, found, err := suppressed(tx.Tx, account, s.Address)
		if err == nil && found && old.Manual {
			err = ErrSuppressed
		}
		if err == nil && !found {
			if n := db.suppressionCount(account); n >= suppressionsMax {
				err = fmt.Errorf("%w: account %q has %d", ErrSuppressions, account, n)
			}
		}
		if err != nil {
			return err
		}
		return tx.suppress(s)
	}})
	if err != nil {
		return Suppression{}, fmt.Errorf("suppressing %s: %w", to, err)
	}
	return s, nil
}

// Unsuppress takes an address off the list of an account, and forgets failures that
// counted against it.
func (db *DB) Unsuppress(ctx context.Context, account string, to smtp.Path) (Suppression, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return Suppression{}, err
	}
	defer leave()
	base := BaseAddress(to)
	var old Suppression
	err = db.commit(&change{rows: 1, run: func(tx *tx) (err error) {
		var found bool
		if old, found, err = suppressed(tx.Tx, account, base); err != nil {
			return err
		}
		if !found || !old.active(tx.now) {
			return ErrNotSuppressed
		}
		tx.counts.suppression(account, -1)
		return errors.Join(tx.delete(&suppressionRow{ID: rowKey(account, base)}), tx.forgetHistory(account, base))
	}})
	if err != nil {
		return Suppression{}, fmt.Errorf("no longer suppressing %s: %w", to, err)
	}
	return old, nil
}

// suppress writes a suppression, in place of one there may be.
func (tx *tx) suppress(s Suppression) error {
	r := suppressionRow{ID: rowKey(s.Account, s.Address)}
	err := tx.Get(&r)
	absent := isAbsent(err)
	if err != nil && !absent {
		return err
	}
	r.Account, r.Until, r.S = s.Account, s.Until, s
	if s.Until.IsZero() {
		r.Until = notRetired
	}
	if absent {
		tx.counts.suppression(s.Account, 1)
		return tx.insert(&r)
	}
	return tx.update(&r)
}
