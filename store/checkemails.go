package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/mjl-/bstore"
)

// cursor goes through rows in the order of a number, the id of an Email.
type cursor[T any] struct {
	query *bstore.Query[T]
	id    func(*T) int64
	row   T
	at    int64 // Id of row, cursorEnd after the last.
}

const cursorEnd = math.MaxInt64

func newCursor[T any](q *bstore.Query[T], id func(*T) int64) (*cursor[T], error) {
	c := &cursor[T]{query: q, id: id}
	return c, c.next()
}

// next goes to the next row.
func (c *cursor[T]) next() error {
	row, err := c.query.Next()
	if errors.Is(err, bstore.ErrAbsent) {
		c.at = cursorEnd
		return nil
	} else if err != nil {
		return err
	}
	c.row, c.at = row, c.id(&row)
	return nil
}

// contents checks the Emails against their structures, and against the messages
// that refer to them. All are read at once, in the order of the Emails' ids, so
// that nothing need be kept of each: an account can have millions.
func (c *checker) contents(ctx context.Context) error {
	m, err := newMerge(c.tx.b, math.MinInt64)
	if err != nil {
		return err
	}
	defer m.close()
	defer c.files.wait(c)
	var size, messages int64
	for {
		id := m.next()
		if err := ctx.Err(); id == cursorEnd || err != nil {
			if err == nil {
				c.totals(size, messages)
			}
			return err
		}
		one, err := m.take(id)
		if err != nil {
			return err
		}
		messages += one.messages
		used, err := c.email(ctx, id, one)
		if err != nil {
			return err
		}
		size += used
	}
}

// totals compares sums over all Emails with what the account says.
func (c *checker) totals(size, messages int64) {
	if size != c.tx.row.Size {
		c.problem("the quota is wrong", mendFix, "account says %d bytes, its emails have %d", c.tx.row.Size, size)
	}
	if messages != c.messages {
		c.problem(effectLost, "restore the account from a backup", "%d messages are there, and %d are in the index by email", c.messages, messages)
	}
}

// merge goes through all that is about Emails.
type merge struct {
	emails     *cursor[Email]
	structures *cursor[Structure]
	erases     *cursor[Erase]
	messages   *cursor[Message]
}

// newMerge begins with an id.
func newMerge(tx *bstore.Tx, from int64) (*merge, error) {
	m := &merge{}
	var errs [4]error
	m.emails, errs[0] = newCursor(bstore.QueryTx[Email](tx).FilterGreaterEqual("ID", from).SortAsc("ID"), func(e *Email) int64 { return e.ID })
	m.structures, errs[1] = newCursor(bstore.QueryTx[Structure](tx).FilterGreaterEqual("EmailID", from).SortAsc("EmailID"), func(s *Structure) int64 { return s.EmailID })
	m.erases, errs[2] = newCursor(bstore.QueryTx[Erase](tx).FilterGreaterEqual("EmailID", from).SortAsc("EmailID"), func(e *Erase) int64 { return e.EmailID })
	m.messages, errs[3] = newCursor(bstore.QueryTx[Message](tx).FilterGreaterEqual("EmailID", from).SortAsc("EmailID"), func(m *Message) int64 { return m.EmailID })
	if err := errors.Join(errs[:]...); err != nil {
		m.close()
		return nil, fmt.Errorf("reading emails: %w", err)
	}
	return m, nil
}

// next returns the id that comes next, cursorEnd after the last.
func (m *merge) next() int64 {
	return min(m.emails.at, m.structures.at, m.erases.at, m.messages.at)
}

func (m *merge) close() {
	_ = m.emails.query.Close() // What went wrong was told by Next.
	_ = m.structures.query.Close()
	_ = m.erases.query.Close()
	_ = m.messages.query.Close()
}

// emailRows is all that is about one Email.
type emailRows struct {
	email     *Email // Nil: not there.
	structure *Structure
	erase     bool
	messages  int64
	least     int64 // Sizes that messages have.
	most      int64
}

// take returns what there is of an id, and goes on to the next.
func (m *merge) take(id int64) (one emailRows, err error) {
	if m.emails.at == id {
		e := m.emails.row
		one.email = &e
		if err := m.emails.next(); err != nil {
			return one, fmt.Errorf("reading emails, after %d: %w", id, err)
		}
	}
	if m.structures.at == id {
		s := m.structures.row
		one.structure = &s
		if err := m.structures.next(); err != nil {
			return one, fmt.Errorf("reading structures, after %d: %w", id, err)
		}
	}
	if m.erases.at == id {
		one.erase = true
		if err := m.erases.next(); err != nil {
			return one, fmt.Errorf("reading what is to be erased, after %d: %w", id, err)
		}
	}
	one.least, one.most = math.MaxInt64, math.MinInt64
	for m.messages.at == id {
		one.messages++
		one.least, one.most = min(one.least, m.messages.row.Size), max(one.most, m.messages.row.Size)
		if err := m.messages.next(); err != nil {
			return one, fmt.Errorf("reading messages by email, after %d: %w", id, err)
		}
	}
	return one, nil
}

// email checks one Email, and returns the bytes that it counts for.
func (c *checker) email(ctx context.Context, id int64, one emailRows) (used int64, err error) {
	e := one.email
	if one.erase {
		c.erase.add(id)
	}
	if e == nil {
		if one.messages > 0 {
			c.problem(effectLost, mendFix, "messages refer to email %d that is not there", id)
		}
		if one.structure != nil {
			c.problem(effectSpace, mendFix, "structure %d has no email", id)
		}
		return 0, nil
	}
	c.emails.add(id)
	switch {
	case one.messages == 0 && !one.erase:
		c.problem(effectSpace, mendFix, "email %d is in no mailbox", id)
	case one.messages > 0 && one.erase:
		c.problem("a message will vanish", mendFix, "email %d is in a mailbox and to be erased", id)
	case e.Size != e.FileSize+int64(len(e.Prefix)), one.messages > 0 && (one.least != e.Size || one.most != e.Size):
		c.problem("clients show a wrong size", mendFix, "email %d has size %d, file %d, prefix %d, its messages say %d", id, e.Size, e.FileSize, len(e.Prefix), one.most)
	}
	if one.messages > 0 {
		used = e.Size
	}
	if e.MessageKey != key(e.MessageID) || e.SubjectKey != key(e.Subject) {
		c.problem(effectThread, mendFix, "email %d is not found by its Message-ID or subject", id)
	}
	if lost, err := c.lostReject(e); err != nil {
		return used, err
	} else if lost && !one.erase {
		c.problem(effectRejects, mendFix, "email %d is a reject that is not found", id)
	}
	if err := c.thread(e); err != nil {
		return used, err
	}
	if one.structure == nil {
		c.problem(effectParts, mendFix, "email %d has no structure", id)
	}
	if !one.erase { // Its file may be gone already.
		c.files.add(ctx, c, fileCheck{*e, one.structure})
	}
	return used, nil
}

// thread checks the place of an Email in its thread.
func (c *checker) thread(e *Email) error {
	switch {
	case slices.Contains(e.Ancestors, e.ID):
		c.problem(effectThread, mendFix, "email %d is its own ancestor", e.ID)
		return nil
	case e.ThreadID == 0 || len(e.Ancestors) == 0 && e.ThreadID != e.ID || len(e.Ancestors) > ancestorsMax:
		c.problem(effectThread, mendFix, "email %d with %d ancestors is in thread %d", e.ID, len(e.Ancestors), e.ThreadID)
		return nil
	case len(e.Ancestors) == 0:
		return nil
	}
	p := Email{ID: e.Ancestors[0]}
	if err := c.tx.b.Get(&p); errors.Is(err, bstore.ErrAbsent) {
		return nil // Erased since.
	} else if err != nil {
		return fmt.Errorf("reading email %d: %w", p.ID, err)
	}
	want := ancestorsOf(e.ID, &p)
	if p.ThreadID != e.ThreadID || !slices.Equal(e.Ancestors, want) {
		c.problem(effectThread, mendFix, "email %d in thread %d has ancestors %d, its parent in thread %d has %d", e.ID, e.ThreadID, e.Ancestors, p.ThreadID, p.Ancestors)
	}
	return nil
}
