package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/bstore"
)

// Get returns a message, also if it is retired, or ErrNoMessage.
func (db *DB) Get(ctx context.Context, id int64) (m Message, err error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return m, err
	}
	defer leave()
	if err := db.flush(); err != nil {
		return m, err
	}
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		r := messageRow{ID: id}
		err := get(tx, &r)
		if errors.Is(err, ErrNoMessage) {
			retired := retiredRow{ID: id}
			err = get(tx, &retired)
			m = retired.message()
			return err
		} else if err != nil {
			return err
		}
		m = r.message()
		if r.PrefixID == 0 {
			return nil
		}
		p := prefixRow{ID: r.PrefixID}
		err = tx.Get(&p)
		m.Prefix = p.Data
		return err
	})
	if err != nil {
		return Message{}, fmt.Errorf("looking up message %d: %w", id, err)
	}
	db.addLease(&m)
	return m, nil
}

// addLease sets what is known of a message in memory alone.
func (db *DB) addLease(m *Message) {
	db.mu.Lock()
	defer db.mu.Unlock()
	e := db.schedule.entries[m.ID]
	if m.State == Waiting && e != nil && e.place == leased {
		m.State = Delivering
	}
}

// OpenContent opens the content of a message: prefix and file. ErrNoMessage also
// if it is retired.
func (db *DB) OpenContent(ctx context.Context, id int64) (io.ReadCloser, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	m, err := db.Get(ctx, id)
	if err == nil && m.State == Retired {
		err = ErrNoMessage
	}
	if err != nil {
		return nil, err
	}
	c := contentRow{ID: m.ContentID}
	err = db.db.Read(ctx, func(tx *bstore.Tx) error { return get(tx, &c) })
	if err != nil {
		return nil, fmt.Errorf("looking up content of message %d: %w", id, err)
	}
	f, err := os.Open(db.contentPath(c.Name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNoMessage, err)
	} else if err != nil {
		return nil, fmt.Errorf("opening content of message %d: %w", id, err)
	}
	return prefixed{io.MultiReader(strings.NewReader(string(m.Prefix)), f), f}, nil
}

// prefixed reads a prefix and then a file.
type prefixed struct {
	io.Reader
	io.Closer
}

// ErrFilter means that a filter or an order can't be.
var ErrFilter = errors.New("queue: filter not understood")

// matcher is a Filter made ready.
type matcher struct {
	Filter
	ids                  map[int64]bool
	from, to             string // Canonical, lower case.
	fromDomain, toDomain string // In A-labels; empty for none.
}

// prepare checks a filter.
func (f Filter) prepare() (*matcher, error) {
	m := &matcher{Filter: f}
	if f.IDs != nil {
		m.ids = make(map[int64]bool, len(f.IDs))
		for _, id := range f.IDs {
			m.ids[id] = true
		}
	}
	switch f.State {
	case "", Waiting, Held, Delivering, Retired:
	default:
		return nil, fmt.Errorf("%w: state %q", ErrFilter, f.State)
	}
	if f.State != Retired && (f.Success != nil || f.LastActivity != TimeFilter{}) {
		return nil, fmt.Errorf("%w: result and last activity are of retired messages", ErrFilter)
	}
	if f.Max < 0 {
		return nil, fmt.Errorf("%w: at most %d messages", ErrFilter, f.Max)
	}
	var err error
	if f.From != "" && f.From != "<>" {
		m.from, m.fromDomain, err = parsePattern(f.From)
	}
	if f.To != "" && err == nil {
		m.to, m.toDomain, err = parsePattern(f.To)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// parsePattern parses an address or "@domain".
func parsePattern(s string) (address, domain string, err error) {
	pattern, whole := strings.CutPrefix(s, "@")
	if whole {
		pattern = "x@" + pattern
	}
	p, err := Path(pattern)
	if err != nil || p.IPDomain.IsZero() && whole {
		return "", "", fmt.Errorf("%w: %+q is no address and no @domain", ErrFilter, s)
	}
	if whole {
		return "", domainOf(p), nil
	}
	return strings.ToLower(p.String()), "", nil
}

// match says whether a message is selected. All fields that are set must match.
func (f *matcher) match(m *Message) bool {
	switch {
	case f.ids != nil && !f.ids[m.ID],
		f.Success != nil && (m.Outcome == Delivered) != *f.Success,
		!f.LastActivity.match(m.LastActivity),
		f.Account != "" && m.Account != f.Account,
		f.State != "" && m.State != f.State,
		f.From == "<>" && m.MailFrom != "",
		f.from != "" && strings.ToLower(m.MailFrom) != f.from && strings.ToLower(m.BaseFrom) != f.from,
		f.to != "" && strings.ToLower(m.Rcpt) != f.to,
		f.toDomain != "" && m.Domain != f.toDomain,
		f.fromDomain != "" && !hasDomain(m.MailFrom, f.fromDomain),
		f.Transport != nil && m.Transport != *f.Transport,
		f.Held != nil && (m.State == Held) != *f.Held,
		!f.Submitted.match(m.Queued),
		!f.NextAttempt.match(m.NextAttempt):
		return false
	}
	return true
}

// hasDomain says whether the path in a row has a domain.
func hasDomain(path, domain string) bool {
	p, err := Path(path)
	return err == nil && domainOf(p) == domain
}

func (t TimeFilter) match(at time.Time) bool {
	return t.At.IsZero() || t.Before && at.Before(t.At) || !t.Before && at.After(t.At)
}

// order returns the time a list is sorted by.
func (s Sort) order(of State) (func(m *Message) time.Time, error) {
	switch {
	case s.By == "queued":
		return func(m *Message) time.Time { return m.Queued }, nil
	case of == Retired && (s.By == "" || s.By == "lastactivity"):
		return func(m *Message) time.Time { return m.LastActivity }, nil
	case of != Retired && (s.By == "" || s.By == "nextattempt"):
		return func(m *Message) time.Time { return m.NextAttempt }, nil
	}
	return nil, fmt.Errorf("%w: order by %q", ErrFilter, s.By)
}

// List returns messages without their prefixes, sorted; those of the same time in
// the order of their ids. Those that are retired it returns only if the filter asks
// for that state.
//
// Unless the filter has ids, it looks at all rows of messages that are not retired,
// and holds no more than what it returns, and 24 bytes for each that matches. Of
// retired ones, which can be many more, it reads in their order until it has Max.
func (db *DB) List(ctx context.Context, f Filter, s Sort) ([]Message, error) {
	leave, err := db.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	match, err := f.prepare()
	if err != nil {
		return nil, err
	}
	at, err := s.order(match.State)
	if err != nil {
		return nil, err
	}
	if err := db.flush(); err != nil {
		return nil, err
	}
	if match.State == Retired && match.ids == nil {
		return db.listRetired(ctx, match, s)
	}
	type found struct {
		id int64
		at time.Time
	}
	var messages []Message
	err = db.db.Read(ctx, func(tx *bstore.Tx) error {
		var all []found
		err := db.each(tx, match, func(m *Message) error {
			all = append(all, found{m.ID, at(m)})
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(all, func(a, b found) int {
			if s.Desc {
				a, b = b, a
			}
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id))
		})
		if f.Max > 0 {
			all = all[:min(len(all), f.Max)]
		}
		messages = make([]Message, len(all))
		for i, fd := range all {
			if messages[i], err = db.read(tx, match, fd.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing messages: %w", err)
	}
	return messages, nil
}

// each calls fn for messages that match, in the order of their ids.
func (db *DB) each(tx *bstore.Tx, match *matcher, fn func(m *Message) error) error {
	check := func(m Message) error {
		db.addLease(&m)
		if !match.match(&m) {
			return nil
		}
		return fn(&m)
	}
	if match.ids == nil {
		if match.State == Retired {
			return bstore.QueryTx[retiredRow](tx).ForEach(func(r retiredRow) error { return check(r.message()) })
		}
		return bstore.QueryTx[messageRow](tx).ForEach(func(r messageRow) error { return check(r.message()) })
	}
	ids := slices.Sorted(slices.Values(match.IDs))
	for _, id := range slices.Compact(ids) {
		m, err := db.read(tx, match, id)
		if errors.Is(err, ErrNoMessage) {
			continue
		} else if err != nil {
			return err
		}
		if err := check(m); err != nil {
			return err
		}
	}
	return nil
}

// read returns a message of the kind a filter asks for.
func (db *DB) read(tx *bstore.Tx, match *matcher, id int64) (Message, error) {
	if match.State == Retired {
		r := retiredRow{ID: id}
		err := get(tx, &r)
		return r.message(), err
	}
	r := messageRow{ID: id}
	err := get(tx, &r)
	m := r.message()
	db.addLease(&m)
	return m, err
}
