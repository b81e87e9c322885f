package authdb

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/bstore"
)

const (
	// AttemptsKept is how long login attempts are kept after they last happened.
	AttemptsKept = 30 * 24 * time.Hour

	// failedMax bounds the rows of failed attempts of an account, and of unknown
	// users together. Beyond it the oldest go.
	failedMax = 10_000

	// fieldMax bounds each text that came from a client, in bytes.
	fieldMax = 256

	// pruneChunk is how many rows are removed in one transaction: larger ones
	// keep writers waiting.
	pruneChunk = 1000

	// UnknownAccount stands for no account, in LoginAttempt.Account.
	UnknownAccount = "-"
)

// Result is how a login attempt ended. The values are what is stored.
type Result string

// The results.
const (
	OK            Result = "ok"
	BadUser       Result = "baduser"
	BadPassword   Result = "badpassword"
	BadCreds      Result = "badcreds" // Something else about them, as a revoked one.
	BadChanBind   Result = "badchanbind"
	BadProtocol   Result = "badprotocol"
	LoginDisabled Result = "logindisabled"
	Error         Result = "error" // Ours.
	Aborted       Result = "aborted"
)

func (r Result) ok() bool { return r == OK }

// LoginAttempt stands for all attempts that are alike in all but their time.
type LoginAttempt struct {
	Key string // Hash of the fields down to Result.

	Account   string `bstore:"nonzero,index Account+Last"` // UnknownAccount if there is none.
	Login     string // As the client gave it.
	RemoteIP  string
	LocalIP   string
	TLS       string // Version and cipher, empty for plain text.
	PublicKey string // Fingerprint of a client certificate's key.
	Protocol  string // "imap", "smtp" and the like.
	UserAgent string
	Mechanism string // "login", "plain" and the like.
	Result    Result

	Count int64
	First time.Time
	Last  time.Time `bstore:"index"`
}

// attemptCount counts the rows of failed attempts of an account, so that adding
// one needs no scan.
type attemptCount struct {
	Account string
	Failed  int64
}

// key returns the hash of what makes attempts alike. Each field is preceded by
// its length, so that no two lists of fields have the same bytes.
func (a LoginAttempt) key() string {
	h := sha256.New()
	for _, field := range []string{a.Account, a.Login, a.RemoteIP, a.LocalIP, a.TLS, a.PublicKey, a.Protocol, a.UserAgent, a.Mechanism, string(a.Result)} {
		var size [4]byte
		binary.BigEndian.PutUint32(size[:], uint32(len(field)))
		h.Write(size[:])
		h.Write([]byte(field))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// AddLoginAttempts records attempts, in one transaction. Of each, Key is set
// here; Count, First and Last say how often and when it happened.
func (db *DB) AddLoginAttempts(ctx context.Context, attempts []LoginAttempt) error {
	if len(attempts) == 0 {
		return nil
	}
	err := db.file.Write(ctx, func(tx *bstore.Tx) error {
		for _, a := range attempts {
			if err := addAttempt(tx, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording %d login attempts: %w", len(attempts), err)
	}
	return nil
}

func addAttempt(tx *bstore.Tx, a LoginAttempt) error {
	if a.Account == "" {
		a.Account = UnknownAccount
	}
	for _, field := range []*string{&a.Login, &a.UserAgent, &a.Mechanism, &a.Protocol, &a.TLS} {
		*field = clean(*field)
	}
	a.Key = a.key()
	old := LoginAttempt{Key: a.Key}
	err := tx.Get(&old)
	switch {
	case err == nil:
		old.Count += a.Count
		if a.Last.After(old.Last) {
			old.Last = a.Last
		}
		return tx.Update(&old)
	case !errors.Is(err, bstore.ErrAbsent):
		return err
	}
	if !a.Result.ok() {
		if err := makeRoom(tx, a.Account); err != nil {
			return err
		}
	}
	return tx.Insert(&a)
}

// makeRoom counts one more failed attempt of an account, in place of its oldest
// when there are many.
func makeRoom(tx *bstore.Tx, account string) error {
	count := attemptCount{Account: account}
	err := tx.Get(&count)
	if errors.Is(err, bstore.ErrAbsent) {
		count.Failed = 1
		return tx.Insert(&count)
	} else if err != nil {
		return err
	}
	if count.Failed < failedMax {
		count.Failed++
		return tx.Update(&count)
	}
	q := bstore.QueryTx[LoginAttempt](tx)
	q.FilterEqual("Account", account)
	q.FilterFn(func(a LoginAttempt) bool { return !a.Result.ok() })
	q.SortAsc("Last")
	q.Limit(1)
	_, err = q.Delete()
	return err
}

// clean makes a text from a client fit to be stored: short, valid, without
// control characters.
func clean(s string) string {
	if len(s) > fieldMax {
		s = s[:fieldMax]
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// LoginAttempts returns the attempts of an account, newest first, at most limit
// if that is not zero.
func (db *DB) LoginAttempts(ctx context.Context, account string, limit int) ([]LoginAttempt, error) {
	q := bstore.QueryDB[LoginAttempt](ctx, db.file)
	q.FilterEqual("Account", account)
	q.SortDesc("Last")
	if limit > 0 {
		q.Limit(limit)
	}
	attempts, err := q.List()
	if err != nil {
		return nil, fmt.Errorf("listing login attempts of %q: %w", account, err)
	}
	return attempts, nil
}

// PruneLoginAttempts removes those that last happened longer than AttemptsKept
// before now, and returns how many.
func (db *DB) PruneLoginAttempts(ctx context.Context, now time.Time) (removed int, err error) {
	for {
		n := 0
		err := db.file.Write(ctx, func(tx *bstore.Tx) error {
			var err error
			n, err = pruneSome(tx, now.Add(-AttemptsKept))
			return err
		})
		removed += n
		if err != nil {
			return removed, fmt.Errorf("removing old login attempts: %w", err)
		}
		if n < pruneChunk {
			return removed, nil
		}
	}
}

func pruneSome(tx *bstore.Tx, before time.Time) (int, error) {
	q := bstore.QueryTx[LoginAttempt](tx)
	q.FilterLess("Last", before)
	q.SortAsc("Last")
	q.Limit(pruneChunk)
	var gone []LoginAttempt
	q.Gather(&gone)
	if _, err := q.Delete(); err != nil {
		return 0, err
	}
	failed := map[string]int64{}
	for _, a := range gone {
		if !a.Result.ok() {
			failed[a.Account]++
		}
	}
	for account, n := range failed {
		count := attemptCount{Account: account}
		if err := tx.Get(&count); err != nil {
			return 0, err
		}
		if count.Failed -= n; count.Failed > 0 {
			if err := tx.Update(&count); err != nil {
				return 0, err
			}
		} else if err := tx.Delete(&count); err != nil {
			return 0, err
		}
	}
	return len(gone), nil
}
