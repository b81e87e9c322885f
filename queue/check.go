package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/journal"
)

// problemsMax bounds what Check tells.
const problemsMax = 100

// Check returns what is wrong with the queue, at most problemsMax things. It reads
// all contents. While it looks at the rows, about a second for 100,000 messages,
// nothing else is written.
func (db *DB) Check(ctx context.Context) []error {
	leave, err := db.enter(ctx)
	if err != nil {
		return []error{err}
	}
	defer leave()
	c := &checker{db: db, contents: map[int64]contentRow{}, prefixes: map[int64]bool{}, messages: map[int64]int64{}, senders: map[int64]int64{}, future: map[string]int{}}
	if err := db.commit(&change{alone: true, run: func(tx *tx) error { return c.rows(ctx, tx) }}); err != nil {
		return append(c.problems, fmt.Errorf("reading rows: %w", err))
	}
	if err := c.files(ctx); err != nil {
		c.add("reading contents: %w", err)
	}
	return c.problems
}

// CheckDir returns what is wrong with the queue in a directory that nobody has
// open.
func CheckDir(ctx context.Context, opts Options) []error {
	if problems := database.Check(filepath.Join(opts.Dir, indexFile)); len(problems) > 0 {
		return problems
	}
	if problems := checkLog(ctx, filepath.Join(opts.Dir, logDir)); len(problems) > 0 {
		return problems
	}
	db, err := Open(ctx, opts)
	if err != nil {
		return []error{err}
	}
	problems := db.Check(ctx)
	if err := db.Close(); err != nil {
		problems = append(problems, err)
	}
	return problems
}

// checkLog returns what is wrong with the log in a directory, where there need be
// none.
func checkLog(ctx context.Context, dir string) []error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	rep, err := journal.Verify(ctx, dir, func(e *journal.Entry) error {
		if _, _, err := parseRecord(e.Data); err != nil || e.Type != recordAdded {
			return fmt.Errorf("record %d of type %d of the queue's log: %w", e.Seq, e.Type, errors.Join(err, errRecord))
		}
		return nil
	})
	if err != nil {
		return []error{err}
	}
	return rep.Problems
}

// checker gathers problems.
type checker struct {
	db       *DB
	problems []error
	contents map[int64]contentRow
	prefixes map[int64]bool
	messages map[int64]int64 // By content.
	senders  map[int64]int64 // Numbers of the FromIDs of messages.
	count    int
	bytes    int64
	future   map[string]int // As DB.future.
}

// add notes a problem.
func (c *checker) add(format string, args ...any) {
	if len(c.problems) < problemsMax {
		c.problems = append(c.problems, fmt.Errorf(format, args...))
	}
}

// rows looks at all rows, in the goroutine that alone writes them.
func (c *checker) rows(ctx context.Context, tx *tx) error {
	err := bstore.QueryTx[contentRow](tx.Tx).ForEach(func(r contentRow) error {
		c.contents[r.ID] = r
		for _, id := range r.Prefixes {
			c.prefixes[id] = false
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	err = bstore.QueryTx[prefixRow](tx.Tx).ForEach(func(p prefixRow) error {
		if _, ok := c.prefixes[p.ID]; !ok {
			c.add("prefix %d belongs to no content", p.ID)
		}
		c.prefixes[p.ID] = true
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for id, ok := range c.prefixes {
		if !ok {
			c.add("prefix %d is missing", id)
		}
	}
	if err := bstore.QueryTx[messageRow](tx.Tx).ForEach(func(r messageRow) error { c.message(&r); return ctx.Err() }); err != nil {
		return err
	}
	for id, content := range c.contents {
		if n := c.messages[id]; n != content.Messages || n == 0 {
			c.add("content %d has %d messages, and says %d", id, n, content.Messages)
		}
	}
	c.memory()
	if err := c.checkNotices(ctx, tx); err != nil {
		return err
	}
	if err := c.hooks(ctx, tx); err != nil {
		return err
	}
	if err := c.learned(ctx, tx); err != nil {
		return err
	}
	return bstore.QueryTx[retiredRow](tx.Tx).ForEach(func(r retiredRow) error {
		if r.M.State != Retired || r.M.Outcome == "" || r.M.RetiredAt.IsZero() {
			c.add("retired message %d has state %q, outcome %q", r.ID, r.M.State, r.M.Outcome)
		}
		return ctx.Err()
	})
}

// message looks at a row and at its entry in the schedule.
func (c *checker) message(r *messageRow) {
	m := &r.M
	c.messages[m.ContentID]++
	c.count++
	c.bytes += m.Size
	if m.FutureRelease != "" {
		c.future[m.Account]++
	}
	if m.FromID != "" {
		c.senders[r.ID] = fromIDKey(m.Account, m.FromID)
	}
	if _, ok := c.contents[m.ContentID]; !ok {
		c.add("message %d: no content %d", r.ID, m.ContentID)
	}
	if _, ok := c.prefixes[r.PrefixID]; r.PrefixID != 0 && !ok {
		c.add("message %d: no prefix %d", r.ID, r.PrefixID)
	}
	if len(m.Key) != 32 || m.Rcpt == "" || m.Queued.IsZero() || m.NextAttempt.IsZero() || m.Outcome != "" {
		c.add("message %d is not whole: %+v", r.ID, *m)
	}
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	e := c.db.schedule.entries[r.ID]
	if e == nil {
		c.add("message %d is not in the schedule", r.ID)
		return
	}
	ok := false
	switch m.State {
	case Waiting:
		ok = e.place != held
	case Held:
		ok = e.place == held || e.place == nowhere
	case Delivering:
		ok = e.place == leased
	case Retired:
	}
	if !ok {
		c.add("message %d with state %q is at %d in the schedule", r.ID, m.State, e.place)
	}
	if e.content != m.ContentID || e.account.Value() != m.Account || e.domain.Value() != m.Domain || e.fail != (r.Fail != "") && e.place != leased {
		c.add("message %d is not the one in the schedule", r.ID)
	}
}

// memory compares what is kept in memory with the rows.
func (c *checker) memory() {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	count, bytes := c.count, c.bytes // And what only the log has yet.
	for _, l := range c.db.logged {
		for i := range l.rows {
			if !l.filed && !l.over[i] {
				count++
				bytes += l.rows[i].M.Size
				if m := &l.rows[i].M; m.FutureRelease != "" {
					c.future[m.Account]++
				}
			}
		}
	}
	if n := len(c.db.schedule.entries); n != count {
		c.add("%d messages are in the schedule, not %d", n, count)
	}
	if c.db.bytes != bytes {
		c.add("counted %d bytes, there are %d", c.db.bytes, bytes)
	}
	if !maps.Equal(c.db.future, c.future) {
		c.add("counted messages with a time of release: %v, there are %v", c.db.future, c.future)
	}
	for _, err := range c.db.schedule.check() {
		c.add("schedule: %w", err)
	}
}

// files looks at the content files, while others may come and go.
func (c *checker) files(ctx context.Context) error {
	names := map[string]bool{}
	for id, row := range c.contents {
		if err := ctx.Err(); err != nil {
			return err
		}
		names[row.Name] = true
		path := c.db.contentPath(row.Name)
		why := checkFile(path, row.Size)
		if why == "" {
			why = checkCRC(path, row.CRC)
		}
		if why == "" {
			continue
		}
		err := c.db.db.Get(ctx, &contentRow{ID: id})
		if err == nil {
			c.add("content %d (%s): %s", id, row.Name, why)
		} else if !errors.Is(err, bstore.ErrAbsent) {
			return err
		}
	}
	return fs.WalkDir(os.DirFS(c.db.contentPath("")), ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil || names[name] {
			return err
		}
		if d.IsDir() {
			if isHex(d.Name(), 16) {
				c.add("directory %s has the name of a content", name)
			}
			return nil
		}
		stray, err := c.stray(ctx, name)
		if stray {
			c.add("file %s belongs to no message", name)
		}
		return err
	})
}

// stray says whether a file has no row, and is not on its way to one or from it.
func (c *checker) stray(ctx context.Context, name string) (bool, error) {
	c.db.mu.Lock()
	loose := c.db.loose[name]
	c.db.mu.Unlock()
	if loose {
		return false, nil
	}
	// It is either one that was added since, or one that was removed.
	found, err := bstore.QueryDB[contentRow](ctx, c.db.db).FilterEqual("Name", name).Exists()
	if err != nil || found {
		return false, err
	}
	_, err = os.Lstat(c.db.contentPath(name))
	return err == nil, nil
}
