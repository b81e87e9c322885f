// Package authdb keeps what belongs to logins and is not of one account alone, in
// the file auth.db: login attempts, TLS public keys and web sessions; and which
// accounts were removed, so that mail still on its way to them is dropped and a
// removal that was interrupted goes on.
//
// It checks no credentials and has no clock; package auth does, and writes login
// attempts here. Package store asks it about removed accounts, through a
// function that package system hands over.
package authdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/database"
)

// kind and schemaVersion identify the file. The latter counts the changes to the
// rows that older versions can't read.
const (
	kind          = "auth"
	schemaVersion = 1
)

// rowTypes are the types kept in the file.
var rowTypes = []any{LoginAttempt{}, attemptCount{}, TLSPublicKey{}, WebSession{}, RemovedAccount{}}

// TLSPublicKey lets a TLS client certificate with a key log in.
type TLSPublicKey struct {
	Fingerprint  string // SHA-256 of the SubjectPublicKeyInfo, in raw base64url.
	Created      time.Time
	Type         string // "rsa2048", "ecdsap256", "ed25519" and the like.
	Name         string // For people.
	NoPreauth    bool   // IMAP connections don't begin logged in.
	CertDER      []byte
	Account      string `bstore:"nonzero,index"`
	LoginAddress string `bstore:"nonzero"`
}

// WebSession is a login to a web application.
type WebSession struct {
	TokenHash    string // SHA-256 of the token, in hexadecimal: who reads the file can't use it.
	CSRFHash     string
	Account      string `bstore:"nonzero,index Account+Expires"`
	LoginAddress string
	Created      time.Time
	Expires      time.Time `bstore:"index"`
}

// RemovedAccount is an account that was removed on purpose. Rows stay: a
// delivery to it can be in a journal for long.
type RemovedAccount struct {
	AccountID string // Its random id, not its name: a new account may have that again.
	Name      string
	At        time.Time
	Done      bool // Its data is gone.
}

// DB is an open auth.db. It is safe for concurrent use.
type DB struct{ file *bstore.DB }

// Open opens the file at path, and creates it if absent. It fails for a file
// written by a newer version or by something else.
func Open(path string) (*DB, error) {
	file, err := database.Open(path, kind, schemaVersion, rowTypes...)
	if err != nil {
		return nil, fmt.Errorf("opening database of logins: %w", err)
	}
	return &DB{file}, nil
}

// OpenCopy opens a copy of the file at path, made in the directory dir. It is for
// looking at a file that must not change, and that nobody writes to. The caller
// calls remove when it is done, which closes the copy.
func OpenCopy(ctx context.Context, path, dir string) (db *DB, remove func() error, err error) {
	file, remove, err := database.OpenCopy(ctx, path, dir, kind, schemaVersion, rowTypes...)
	if err != nil {
		return nil, nil, fmt.Errorf("opening database of logins: %w", err)
	}
	return &DB{file}, remove, nil
}

// Close waits for running calls. The DB may not be used after it.
func (db *DB) Close() error { return db.file.Close() }

// WriteTo writes a consistent copy of the file to w. Changes made meanwhile are
// not in it. It returns the number of bytes written.
func (db *DB) WriteTo(ctx context.Context, w io.Writer) (n int64, err error) {
	err = db.file.Read(ctx, func(tx *bstore.Tx) error {
		n, err = tx.WriteTo(w)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("copying database of logins: %w", err)
	}
	return n, nil
}

// MarkRemoved notes that an account is being removed. From then on IsRemoved is
// true for it, also after a crash; PendingRemovals has it until FinishRemoval.
func (db *DB) MarkRemoved(ctx context.Context, accountID, name string, now time.Time) error {
	err := db.file.Write(ctx, func(tx *bstore.Tx) error {
		r := RemovedAccount{AccountID: accountID}
		if err := tx.Get(&r); err == nil || !errors.Is(err, bstore.ErrAbsent) {
			return err // Marked already, perhaps finished.
		}
		return tx.Insert(&RemovedAccount{AccountID: accountID, Name: name, At: now})
	})
	if err != nil {
		return fmt.Errorf("marking account %q as removed: %w", name, err)
	}
	return nil
}

// IsRemoved tells whether the account with this id was removed on purpose. On an
// error the caller must keep what it has for the account.
func (db *DB) IsRemoved(ctx context.Context, accountID string) (bool, error) {
	err := db.file.Get(ctx, &RemovedAccount{AccountID: accountID})
	switch {
	case errors.Is(err, bstore.ErrAbsent):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking up removed account: %w", err)
	}
	return true, nil
}

// Removed returns the ids of all accounts that were removed on purpose.
func (db *DB) Removed(ctx context.Context) (ids map[string]bool, err error) {
	ids = map[string]bool{}
	err = bstore.QueryDB[RemovedAccount](ctx, db.file).ForEach(func(r RemovedAccount) error {
		ids[r.AccountID] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing removed accounts: %w", err)
	}
	return ids, nil
}

// PendingRemovals returns the accounts whose data may still be there.
func (db *DB) PendingRemovals(ctx context.Context) ([]RemovedAccount, error) {
	q := bstore.QueryDB[RemovedAccount](ctx, db.file)
	q.FilterFn(func(r RemovedAccount) bool { return !r.Done }) // Few rows, read at start.
	pending, err := q.List()
	if err != nil {
		return nil, fmt.Errorf("listing pending removals: %w", err)
	}
	return pending, nil
}

// FinishRemoval notes that the data of a removed account is gone.
func (db *DB) FinishRemoval(ctx context.Context, accountID string) error {
	err := db.file.Write(ctx, func(tx *bstore.Tx) error {
		r := RemovedAccount{AccountID: accountID}
		if err := tx.Get(&r); err != nil || r.Done {
			return err
		}
		r.Done = true
		return tx.Update(&r)
	})
	if err != nil {
		return fmt.Errorf("finishing removal of account: %w", err)
	}
	return nil
}

// Recount counts the failed login attempts of accounts again, and returns those of
// which the count was wrong.
func (db *DB) Recount(ctx context.Context) (changed []string, err error) {
	err = db.file.Write(ctx, func(tx *bstore.Tx) error {
		changed = nil
		failed := map[string]int64{}
		for a, err := range bstore.QueryTx[LoginAttempt](tx).All() {
			if err != nil {
				return err
			}
			if !a.Result.ok() {
				failed[a.Account]++
			}
		}
		counts, err := bstore.QueryTx[attemptCount](tx).List()
		if err != nil {
			return err
		}
		for _, c := range counts {
			n := failed[c.Account]
			delete(failed, c.Account)
			if n == c.Failed {
				continue
			}
			changed = append(changed, c.Account)
			c.Failed = n
			if err := tx.Update(&c); err != nil {
				return err
			}
		}
		for account, n := range failed {
			changed = append(changed, account)
			if err := tx.Insert(&attemptCount{Account: account, Failed: n}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting login attempts: %w", err)
	}
	return changed, nil
}

// Check returns what is wrong with the rows. Pages of the file are checked by
// database.Check.
func (db *DB) Check(ctx context.Context) (problems []error, err error) {
	failed := map[string]int64{}
	err = db.file.Read(ctx, func(tx *bstore.Tx) error {
		for a, err := range bstore.QueryTx[LoginAttempt](tx).All() {
			if err != nil {
				return err
			}
			if a.Key != a.key() {
				problems = append(problems, fmt.Errorf("login attempt %s: key does not belong to its fields", a.Key))
			}
			if !a.Result.ok() {
				failed[a.Account]++
			}
		}
		for c, err := range bstore.QueryTx[attemptCount](tx).All() {
			if err != nil {
				return err
			}
			if c.Failed != failed[c.Account] {
				problems = append(problems, fmt.Errorf("failed logins of account %q: counted %d, have %d", c.Account, c.Failed, failed[c.Account]))
			}
			delete(failed, c.Account)
		}
		for k, err := range bstore.QueryTx[TLSPublicKey](tx).All() {
			if err != nil {
				return err
			}
			if made := k; made.fill() != nil || made.Fingerprint != k.Fingerprint || made.Type != k.Type {
				problems = append(problems, fmt.Errorf("TLS public key %s: does not belong to its certificate", k.Fingerprint))
			}
		}
		for w, err := range bstore.QueryTx[WebSession](tx).All() {
			if err != nil {
				return err
			}
			if w.TokenHash == "" || w.Expires.Before(w.Created) {
				problems = append(problems, fmt.Errorf("web session of account %q is not whole", w.Account))
			}
		}
		for r, err := range bstore.QueryTx[RemovedAccount](tx).All() {
			if err != nil {
				return err
			}
			if r.AccountID == "" || r.Name == "" {
				problems = append(problems, fmt.Errorf("removed account %q with id %q is not whole", r.Name, r.AccountID))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("checking database of logins: %w", err)
	}
	for account, n := range failed {
		problems = append(problems, fmt.Errorf("failed logins of account %q: have %d, not counted", account, n))
	}
	return problems, nil
}
