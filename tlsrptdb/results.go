// Package tlsrptdb keeps what came of TLS on connections to other servers, to be
// reported to the domains that mail was for (RFC 8460), in the file tlsrptresult.db.
//
// ResultDB has the file, and no clock. A Collector adds up in memory, and writes
// every few seconds. What is a success and what a failure is decided by package
// delivery; what is told, to whom and when, by who makes reports.
package tlsrptdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/tlsrpt"
)

// resultKind and resultSchema identify the file. The latter counts the changes to the
// rows that older versions can't read.
const (
	resultKind   = "tlsrptresult"
	resultSchema = 1
)

const (
	// rowsMax bounds the rows. It is some times what the largest sender has in three
	// days: whoever makes our users write to ever more domains fills no disk.
	rowsMax = 200_000

	// policiesMax bounds the policies of a row: a domain that changes them by the hour
	// has others than those it means to have.
	policiesMax = 10

	// domainMax bounds the name of a domain in bytes.
	domainMax = 255

	// chunk is how many rows are written or removed in a transaction: larger ones keep
	// others waiting.
	chunk = 200

	// dayFormat is how days are written. They are in order.
	dayFormat = "20060102"
)

// Results is what came of TLS on the connections of a day that were for mail to one
// domain.
type Results struct {
	ID int64

	// PolicyDomain is whose policy it is: the recipient domain itself, or a host of it
	// if Host. RecipientDomain is the domain of the addresses. In A-labels, lower case.
	PolicyDomain    string `bstore:"nonzero,unique PolicyDomain+Day+RecipientDomain+Host"`
	Day             string `bstore:"nonzero,index"` // Of UTC, see DayOf.
	RecipientDomain string `bstore:"nonzero"`
	Host            bool

	Created, Updated time.Time

	Policies []tlsrpt.Result // At most policiesMax, each with another policy.
}

// DayOf returns the day of a time, for Results.Day. Days are in order as texts.
func DayOf(t time.Time) string { return t.UTC().Format(dayFormat) }

// ParseDay returns the first moment of a day.
func ParseDay(s string) (time.Time, error) { return time.Parse(dayFormat, s) }

// add adds what came of other connections, for the same domains and day. Policies
// beyond policiesMax are left out.
func (r *Results) add(other Results) {
	r.Updated = other.Updated
	for _, p := range other.Policies {
		i := slices.IndexFunc(r.Policies, func(q tlsrpt.Result) bool { return q.Policy.Equal(p.Policy) })
		switch {
		case i >= 0:
			r.Policies[i].Add(p)
		case len(r.Policies) < policiesMax:
			fresh := tlsrpt.Result{Policy: p.Policy}
			fresh.Add(p)
			r.Policies = append(r.Policies, fresh)
		}
	}
}

// ResultDB is an open tlsrptresult.db. It is safe for concurrent use.
type ResultDB struct{ file *bstore.DB }

// OpenResults opens the file at path, and creates it if absent. It fails for a file
// written by a newer version or by something else.
func OpenResults(path string) (*ResultDB, error) {
	file, err := database.Open(path, resultKind, resultSchema, Results{})
	if err != nil {
		return nil, fmt.Errorf("opening database of TLS results: %w", err)
	}
	return &ResultDB{file}, nil
}

// OpenResultsCopy opens a copy of the file at path, made in the directory dir. It is
// for looking at a file that must not change, and that nobody writes to. The caller
// calls remove when it is done, which closes the copy.
func OpenResultsCopy(ctx context.Context, path, dir string) (db *ResultDB, remove func() error, err error) {
	file, remove, err := database.OpenCopy(ctx, path, dir, resultKind, resultSchema, Results{})
	if err != nil {
		return nil, nil, fmt.Errorf("opening database of TLS results: %w", err)
	}
	return &ResultDB{file}, remove, nil
}

// Close waits for running calls. The DB may not be used after it.
func (db *ResultDB) Close() error { return db.file.Close() }

// WriteTo writes a consistent copy of the file to w. Changes made meanwhile are not in
// it. It returns the number of bytes written.
func (db *ResultDB) WriteTo(ctx context.Context, w io.Writer) (n int64, err error) {
	err = db.file.Read(ctx, func(tx *bstore.Tx) error {
		n, err = tx.WriteTo(w)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("copying database of TLS results: %w", err)
	}
	return n, nil
}

// Add adds to what there is. List has each combination of domains and day at most
// once. It returns how many were left out because there are too many rows. An error
// can leave a part of the list added.
func (db *ResultDB) Add(ctx context.Context, list []Results) (left int, err error) {
	for part := range slices.Chunk(list, chunk) {
		n := 0
		err := db.file.Write(ctx, func(tx *bstore.Tx) (err error) {
			n, err = addSome(tx, part)
			return err
		})
		if err != nil {
			return left, fmt.Errorf("recording TLS results: %w", err)
		}
		left += n
	}
	return left, nil
}

func addSome(tx *bstore.Tx, list []Results) (left int, err error) {
	room := -1 // Counted when it is needed.
	for _, r := range list {
		old, err := find(tx, r)
		if err == nil {
			old.add(r)
			if err := tx.Update(&old); err != nil {
				return 0, err
			}
			continue
		} else if !errors.Is(err, bstore.ErrAbsent) {
			return 0, err
		}
		if room < 0 {
			n, err := bstore.QueryTx[Results](tx).Count()
			if err != nil {
				return 0, err
			}
			room = max(0, rowsMax-n)
		}
		if room == 0 {
			left++
			continue
		}
		room--
		fresh := r
		fresh.ID, fresh.Policies = 0, nil
		fresh.add(r)
		if err := tx.Insert(&fresh); err != nil {
			return 0, err
		}
	}
	return left, nil
}

// find returns the row for the domains and the day of r.
func find(tx *bstore.Tx, r Results) (Results, error) {
	q := bstore.QueryTx[Results](tx)
	q.FilterEqual("PolicyDomain", r.PolicyDomain)
	q.FilterEqual("Day", r.Day)
	q.FilterEqual("RecipientDomain", r.RecipientDomain)
	q.FilterEqual("Host", r.Host)
	return q.Get()
}

// List returns what came of mail for a domain, or of connections with a host of that
// name; all if it is empty. It is ordered by day, the newest first, then by domains.
func (db *ResultDB) List(ctx context.Context, domain string) ([]Results, error) {
	q := bstore.QueryDB[Results](ctx, db.file)
	if domain != "" {
		q.FilterFn(func(r Results) bool { return r.RecipientDomain == domain || r.PolicyDomain == domain })
	}
	list, err := q.List()
	if err != nil {
		return nil, fmt.Errorf("listing TLS results: %w", err)
	}
	slices.SortFunc(list, func(a, b Results) int {
		return cmp.Or(strings.Compare(b.Day, a.Day), strings.Compare(a.RecipientDomain, b.RecipientDomain),
			compareBool(a.Host, b.Host), strings.Compare(a.PolicyDomain, b.PolicyDomain))
	})
	return list, nil
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// RemoveBefore removes the results of days before one, and returns how many rows that
// were.
func (db *ResultDB) RemoveBefore(ctx context.Context, day string) (removed int, err error) {
	for {
		n := 0
		err := db.file.Write(ctx, func(tx *bstore.Tx) (err error) {
			n, err = bstore.QueryTx[Results](tx).FilterLess("Day", day).Limit(chunk).Delete()
			return err
		})
		removed += n
		if err != nil {
			return removed, fmt.Errorf("removing TLS results: %w", err)
		}
		if n < chunk {
			return removed, nil
		}
	}
}

// Check returns what is wrong with the rows. Pages of the file are checked by
// database.Check.
func (db *ResultDB) Check(ctx context.Context) (problems []error, err error) {
	rows := 0
	for r, err := range bstore.QueryDB[Results](ctx, db.file).All() {
		if err != nil {
			return nil, fmt.Errorf("checking database of TLS results: %w", err)
		}
		rows++
		if err := r.check(); err != nil {
			problems = append(problems, fmt.Errorf("TLS results %d, of %q for %q: %w", r.ID, r.PolicyDomain, r.RecipientDomain, err))
		}
	}
	if rows > rowsMax {
		problems = append(problems, fmt.Errorf("there are %d TLS results, more than %d", rows, rowsMax))
	}
	return problems, nil
}

// check returns what is wrong with a row.
func (r Results) check() error {
	for _, d := range []string{r.PolicyDomain, r.RecipientDomain} {
		if len(d) > domainMax || d != strings.ToLower(d) || strings.ContainsFunc(d, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			return fmt.Errorf("%+q is not the name of a domain", d)
		}
	}
	if !r.Host && r.PolicyDomain != r.RecipientDomain {
		return errors.New("the policy is of neither the domain nor a host")
	}
	if _, err := ParseDay(r.Day); err != nil {
		return fmt.Errorf("%q is not a day", r.Day)
	}
	if len(r.Policies) == 0 || len(r.Policies) > policiesMax {
		return fmt.Errorf("it has %d policies, not between 1 and %d", len(r.Policies), policiesMax)
	}
	for i, p := range r.Policies {
		if slices.ContainsFunc(r.Policies[:i], func(q tlsrpt.Result) bool { return q.Policy.Equal(p.Policy) }) {
			return errors.New("it has a policy twice")
		}
		if err := checkResult(p); err != nil {
			return err
		}
	}
	return nil
}

func checkResult(r tlsrpt.Result) error {
	switch r.Policy.Type {
	case tlsrpt.PolicyNone, tlsrpt.PolicySTS, tlsrpt.PolicyTLSA:
	default:
		return fmt.Errorf("unknown type of policy %q", r.Policy.Type)
	}
	if r.Summary.Success < 0 || r.Summary.Failure < 0 || len(r.Failures) > tlsrpt.FailuresMax {
		return errors.New("numbers of sessions or failures are wrong")
	}
	for _, f := range r.Failures {
		if f.Sessions <= 0 || !slices.Contains(tlsrpt.ResultTypes(), f.Type) {
			return fmt.Errorf("a failure of type %q in %d sessions", f.Type, f.Sessions)
		}
	}
	return nil
}
