// Package mtastsdb keeps the MTA-STS policies of domains we send to (RFC 8461), in the
// file mtasts.db, and gets them.
//
// The cache is the protection. Who can stop DNS or HTTPS can hide a policy we never
// saw, but not one we hold (section 10.2). So no failure removes a policy before its
// time is over. A policy is stored before it is used.
//
// DB has the file and no clock. What to do with an entry, given what DNS says and the
// time, is decided by functions without side effects (decide.go). Cache joins both
// with DNS and the policy hosts. What a policy means for a delivery is for others.
package mtastsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/mtasts"
)

// kind and schemaVersion identify the file. The latter counts the changes to the
// rows that older versions can't read.
const (
	kind          = "mtasts"
	schemaVersion = 1
)

// Entry is what is known of a domain: a policy, also one that has expired, or that
// fetching one failed, or both.
type Entry struct {
	Domain string // In A-labels.

	Text       string        // Of the policy, as it was fetched. Empty: there is none.
	Policy     mtasts.Policy // What Text says.
	RecordID   string        // Of the record when it was fetched. Another one means another policy.
	Inserted   time.Time     // When a policy was fetched first.
	Updated    time.Time     // When it was fetched last. MaxAge counts from here.
	ValidUntil time.Time     // First moment it no longer applies.

	Used time.Time // When the entry was last asked for, give or take usedGrain.

	// Failed is when a fetch failed, zero if the last one did not. We back off from
	// asking again for the record with FailedID.
	Failed      time.Time
	FailedID    string
	Failure     mtasts.Failure
	FailureText string // At most failureTextMax bytes, for people.

	// FailedPolicy is the beginning of what was fetched in place of a policy, at most
	// failedPolicyMax bytes, for reports.
	FailedPolicy string
}

// DB is an open mtasts.db. It is safe for concurrent use.
type DB struct {
	file *bstore.DB
	max  int // Entries there may be.
}

// Open opens the file at path, and creates it if absent. It fails for a file
// written by a newer version or by something else.
func Open(path string) (*DB, error) {
	file, err := database.Open(path, kind, schemaVersion, Entry{})
	if err != nil {
		return nil, fmt.Errorf("opening database of MTA-STS policies: %w", err)
	}
	return &DB{file, entriesMax}, nil
}

// OpenCopy opens a copy of the file at path, made in the directory dir. It is for
// looking at a file that must not change, and that nobody writes to. The caller
// calls remove when it is done, which closes the copy.
func OpenCopy(ctx context.Context, path, dir string) (db *DB, remove func() error, err error) {
	file, remove, err := database.OpenCopy(ctx, path, dir, kind, schemaVersion, Entry{})
	if err != nil {
		return nil, nil, fmt.Errorf("opening database of MTA-STS policies: %w", err)
	}
	return &DB{file, entriesMax}, remove, nil
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
		return n, fmt.Errorf("copying database of MTA-STS policies: %w", err)
	}
	return n, nil
}

// Entries returns all entries, by domain.
func (db *DB) Entries(ctx context.Context) ([]Entry, error) {
	list, err := bstore.QueryDB[Entry](ctx, db.file).SortAsc("Domain").List()
	if err != nil {
		return nil, fmt.Errorf("listing MTA-STS policies: %w", err)
	}
	return list, nil
}

// Lookup returns the entry of a domain, one with nothing but its name if there is
// none. An error says nothing about the domain, so the caller must put off what it
// does: a policy may be there.
func (db *DB) Lookup(ctx context.Context, domain string) (Entry, error) {
	e := Entry{Domain: domain}
	if err := db.file.Get(ctx, &e); err != nil && !errors.Is(err, bstore.ErrAbsent) {
		return Entry{}, fmt.Errorf("looking up MTA-STS policy of %s: %w", domain, err)
	}
	return e, nil
}

// update changes the entry of a domain, from one with nothing but its name if there
// is none. It returns the entry when that is on disk. The error is errFull if there is
// none, and no room for one.
func (db *DB) update(ctx context.Context, domain string, fn func(e Entry) Entry) (Entry, error) {
	var e Entry
	err := db.file.Write(ctx, func(tx *bstore.Tx) error {
		e = Entry{Domain: domain}
		err := tx.Get(&e)
		if err != nil && !errors.Is(err, bstore.ErrAbsent) {
			return err
		}
		e = fn(e)
		if err != nil {
			if n, err := bstore.QueryTx[Entry](tx).Count(); err != nil || n >= db.max {
				return cmp.Or(err, errFull)
			}
			return tx.Insert(&e)
		}
		return tx.Update(&e)
	})
	if err != nil {
		return Entry{}, fmt.Errorf("storing MTA-STS policy of %s: %w", domain, err)
	}
	return e, nil
}

// removeIf removes the entry of a domain if it still is as it must be for that.
func (db *DB) removeIf(ctx context.Context, domain string, is func(Entry) bool) error {
	err := db.file.Write(ctx, func(tx *bstore.Tx) error {
		e := Entry{Domain: domain}
		if err := tx.Get(&e); errors.Is(err, bstore.ErrAbsent) {
			return nil
		} else if err != nil || !is(e) {
			return err
		}
		return tx.Delete(&e)
	})
	if err != nil {
		return fmt.Errorf("removing MTA-STS policy of %s: %w", domain, err)
	}
	return nil
}

// Check returns what is wrong with the rows. Pages of the file are checked by
// database.Check.
func (db *DB) Check(ctx context.Context) (problems []error, err error) {
	for e, err := range bstore.QueryDB[Entry](ctx, db.file).All() {
		if err != nil {
			return nil, fmt.Errorf("checking database of MTA-STS policies: %w", err)
		}
		if err := e.check(); err != nil {
			problems = append(problems, fmt.Errorf("MTA-STS policy of %s: %w", e.Domain, err))
		}
	}
	return problems, nil
}

// check returns what is wrong with an entry.
func (e Entry) check() error {
	if d, err := dns.ParseDomain(e.Domain); err != nil || d.ASCII != e.Domain {
		return errors.New("not the name of a domain")
	}
	if e.Text == "" && e.Failed.IsZero() {
		return errors.New("there is nothing in it")
	}
	if e.Text == "" {
		return nil
	}
	p, err := mtasts.ParsePolicy(e.Text)
	switch {
	case err != nil:
		return err
	case !reflect.DeepEqual(p, e.Policy):
		return errors.New("the text does not say what the policy is")
	case !e.ValidUntil.Equal(e.Updated.Add(p.MaxAge)):
		return errors.New("the end of its time is not where it belongs")
	case e.RecordID == "":
		return errors.New("it has no id")
	}
	return nil
}
