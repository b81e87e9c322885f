package imapserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/store"
)

// cost says what a matcher needs of a message. In AND and OR the cheap ones are
// asked first.
type cost uint8

const (
	costEntry  cost = iota // The array in memory.
	costColumn             // A column: a text in memory, mostly.
	costFile               // The message file.
)

// matcher is a compiled search key. It is for one goroutine.
type matcher struct {
	cost  cost
	match func(c *candidate) (bool, error)

	entry func(e *store.Entry) bool // The same, with costEntry; nil with others.

	all  []matcher      // Of AND: those that must match, the cheap ones first.
	fork func() matcher // Returns one for another goroutine; nil: this one has no state.
}

// forked returns a matcher for another goroutine.
func (m matcher) forked() matcher {
	if m.fork == nil {
		return m
	}
	return m.fork()
}

// forkedAll returns matchers for another goroutine.
func forkedAll(list []matcher) []matcher {
	out := make([]matcher, len(list))
	for i, m := range list {
		out[i] = m.forked()
	}
	return out
}

// searcher searches one mailbox, which need not be the one that is selected.
type searcher struct {
	s        *session
	sel      *selection           // Whose messages are searched, and whose numbers and "$" keys name.
	progress func(done, goal int) // Is told how far long work is.

	live *liveSearch // Not nil if matchers are to be asked again later.
}

// searcher returns one of the selected mailbox.
func (s *session) searcher() *searcher { return s.searcherOf(s.sel) }

// searcherOf returns one of a mailbox that need not be selected.
func (s *session) searcherOf(sel *selection) *searcher {
	return &searcher{s: s, sel: sel, progress: s.progress}
}

// candidate is a message being searched. What is more than its entry is read
// when it is asked for.
type candidate struct {
	s         *session
	ctx       context.Context //nolint:containedctx // It lives as long as the call that makes it.
	entry     store.Entry
	structure *store.Structure
	tree      *message.Part
	email     *store.Email
	file      *os.File
}

func (c *candidate) close() {
	if c.file != nil {
		_ = c.file.Close() // It was only read.
	}
}

// envelope returns the ready-made ENVELOPE.
func (c *candidate) envelope() ([]byte, error) {
	if c.structure == nil {
		err := c.s.account.ViewContent(c.ctx, func(tx *store.Tx) error {
			st, err := tx.Structure(c.entry.EmailID)
			c.structure = &st
			return err
		})
		if err != nil {
			c.structure = nil
			return nil, err
		}
	}
	return c.structure.Envelope, nil
}

// open returns the parsed structure, the prefix and the file.
func (c *candidate) open() (*message.Part, []byte, *os.File, error) {
	if c.file != nil {
		return c.tree, c.email.Prefix, c.file, nil
	}
	if _, err := c.envelope(); err != nil {
		return nil, nil, nil, err
	}
	tree, err := message.ParsePart(c.structure.Tree)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("parsing structure: %w", err)
	}
	var email store.Email
	err = c.s.account.ViewContent(c.ctx, func(tx *store.Tx) (err error) {
		email, err = tx.Email(c.entry.EmailID)
		return err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	file, err := c.s.account.OpenMessage(c.entry.EmailID)
	if err != nil {
		return nil, nil, nil, err
	}
	c.tree, c.email, c.file = &tree, &email, file
	return c.tree, email.Prefix, file, nil
}

// match returns those of the ascending uids for which m holds. If files have to be
// read, it is only those of messages that fulfil what needs none.
func (r *searcher) match(ctx context.Context, m matcher, uids []store.UID) ([]store.UID, error) {
	if m.cost < costFile {
		return r.matchMemory(ctx, m, uids)
	}
	dear := m
	if n := slices.IndexFunc(m.all, func(m matcher) bool { return m.cost == costFile }); n > 0 {
		var err error
		if uids, err = r.matchMemory(ctx, matchAll(m.all[:n]), uids); err != nil {
			return nil, err
		}
		dear = matchAll(m.all[n:])
	}
	return r.scan(ctx, dear, uids)
}

// matchMemory is match for what reads no files.
func (r *searcher) matchMemory(ctx context.Context, m matcher, uids []store.UID) ([]store.UID, error) {
	var found []store.UID
	var entries []store.Entry
	for part := range slices.Chunk(uids, entriesBatch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entries = r.sel.view.Entries(part, entries[:0])
		var err error
		if found, err = r.matchBatch(ctx, m, entries, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (r *searcher) matchBatch(ctx context.Context, m matcher, entries []store.Entry, found []store.UID) ([]store.UID, error) {
	var c candidate
	if m.entry != nil {
		for i := range entries {
			if m.entry(&entries[i]) {
				found = append(found, entries[i].UID)
			}
		}
		return found, nil
	}
	for i := range entries {
		c = candidate{s: r.s, ctx: ctx, entry: entries[i]}
		ok, err := m.match(&c)
		c.close()
		switch {
		case err == nil:
			if ok {
				found = append(found, c.entry.UID)
			}
		case errors.Is(err, store.ErrExpunged) || errors.Is(err, os.ErrNotExist):
			continue // Gone, and the client will be told.
		default:
			return nil, fmt.Errorf("message %d: %w", c.entry.UID, err)
		}
	}
	return found, nil
}

// compile makes a matcher of a key.
func (r *searcher) compile(ctx context.Context, k imap.SearchKey) (matcher, error) {
	switch k.Key {
	case imap.SearchAnd:
		return r.compileAll(ctx, k.Keys)
	case "NOT", "OR":
		return r.compileLogic(ctx, k)
	case imap.SearchSeq, "UID":
		if r.s.uidOnly && k.Key == imap.SearchSeq && !k.Set.Saved {
			return matcher{}, imap.BadCode("UIDREQUIRED", "there are no sequence numbers after ENABLE UIDONLY")
		}
		if r.live != nil && k.Key == "UID" && !k.Set.Saved {
			return r.compileLiveUIDs(k.Set), nil
		}
		in := r.sel.containing(k.Set, k.Key == "UID")
		return onEntry(func(e *store.Entry) bool { return in(e.UID) }), nil
	case "EMAILID", "THREADID":
		return r.compileObject(ctx, k)
	case "MODSEQ":
		return onEntry(func(e *store.Entry) bool { return e.ModSeq >= k.Size }), nil
	case "KEYWORD", "UNKEYWORD":
		return r.compileKeyword(k.Text, k.Key == "KEYWORD"), nil
	}
	if r.live != nil && (k.Key == "YOUNGER" || k.Key == "OLDER") {
		return r.compileLiveAge(k), nil
	}
	if test := flagTests[k.Key]; test.known {
		return onEntry(func(e *store.Entry) bool { return e.Flags()&test.mask == test.want }), nil
	}
	if m, ok := compileNumber(k); ok {
		return m, nil
	}
	if m, ok := r.compileSent(k); ok {
		return m, nil
	}
	return r.compileText(ctx, k)
}

// containing returns what tells whether a message is in a set. Numbers that do not
// exist are left out: they are no error in a search (RFC 7377, section 2). A set is
// held as ranges: a thousand keys may name all of a large mailbox.
func (sel *selection) containing(set imap.NumSet, byUID bool) func(store.UID) bool {
	if set.Saved {
		saved := sel.saved
		return func(uid store.UID) bool {
			_, ok := slices.BinarySearch(saved, uid)
			return ok
		}
	}
	ranges := set.Resolve(sel.largest(byUID))
	if !byUID {
		ranges = rangesOfNumbers(ranges, sel.uids())
	}
	return func(uid store.UID) bool { return imap.Contains(ranges, uint32(uid)) }
}

// rangesOfNumbers makes UIDs of ranges of sequence numbers: between two messages
// there are only those between their numbers.
func rangesOfNumbers(ranges []imap.NumRange, uids []store.UID) []imap.NumRange {
	out := ranges[:0]
	for _, r := range ranges {
		if r.First > 0 && int64(r.First) <= int64(len(uids)) {
			last := min(int64(r.Last), int64(len(uids)))
			out = append(out, imap.NumRange{First: uint32(uids[r.First-1]), Last: uint32(uids[last-1])})
		}
	}
	return out
}

// compileAll makes a matcher that holds if all keys do.
func (r *searcher) compileAll(ctx context.Context, keys []imap.SearchKey) (matcher, error) {
	list, err := r.compileList(ctx, keys)
	if err != nil || len(list) == 1 {
		return append(list, matcher{})[0], err
	}
	var flat []matcher // What an index says of a BODY within comes before all files too.
	for _, m := range list {
		if len(m.all) == 0 {
			flat = append(flat, m)
		}
		flat = append(flat, m.all...)
	}
	sortByCost(flat)
	return matchAll(flat), nil
}

// matchAll makes a matcher that holds if all do.
func matchAll(list []matcher) matcher {
	m := matcher{cost: list[len(list)-1].cost, all: list}
	if m.cost == costEntry {
		m.entry = func(e *store.Entry) bool {
			return !slices.ContainsFunc(list, func(m matcher) bool { return !m.entry(e) })
		}
	}
	m.fork = func() matcher { return matchAll(forkedAll(list)) }
	m.match = func(c *candidate) (bool, error) {
		for _, m := range list {
			if ok, err := m.match(c); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	return m
}

// compileList compiles keys, and puts the cheap ones first.
func (r *searcher) compileList(ctx context.Context, keys []imap.SearchKey) (list []matcher, err error) {
	for _, k := range keys {
		m, err := r.compile(ctx, k)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	sortByCost(list)
	return list, nil
}

func sortByCost(list []matcher) {
	slices.SortStableFunc(list, func(a, b matcher) int { return cmp.Compare(a.cost, b.cost) })
}

// compileLogic compiles NOT and OR.
func (r *searcher) compileLogic(ctx context.Context, k imap.SearchKey) (matcher, error) {
	list, err := r.compileList(ctx, k.Keys)
	if err != nil {
		return matcher{}, err
	}
	return matchAny(list, k.Key == "NOT"), nil
}

// matchAny makes a matcher that holds if one of list does, or if none does.
func matchAny(list []matcher, not bool) matcher {
	m := matcher{cost: list[len(list)-1].cost}
	if m.cost == costEntry {
		m.entry = func(e *store.Entry) bool {
			return slices.ContainsFunc(list, func(m matcher) bool { return m.entry(e) }) != not
		}
	}
	m.fork = func() matcher { return matchAny(forkedAll(list), not) }
	m.match = func(c *candidate) (bool, error) {
		for _, m := range list {
			ok, err := m.match(c)
			if err != nil {
				return false, err
			}
			if ok {
				return !not, nil
			}
		}
		return not, nil
	}
	return m
}

func onEntry(test func(e *store.Entry) bool) matcher {
	return matcher{cost: costEntry, entry: test, match: func(c *candidate) (bool, error) { return test(&c.entry), nil }}
}

// flagTests are the keys about system flags: those under mask must be as want.
// \Recent no message has, so RECENT and NEW find none, and OLD all.
var flagTests = map[string]struct {
	mask, want store.Flags
	known      bool
}{
	"ALL": {0, 0, true},

	"SAVEDATESUPPORTED": {0, 0, true}, // RFC 8514, section 4.3.

	"OLD":        {0, 0, true},
	"NEW":        {0, 1, true},
	"RECENT":     {0, 1, true},
	"SEEN":       {store.FlagSeen, store.FlagSeen, true},
	"UNSEEN":     {store.FlagSeen, 0, true},
	"ANSWERED":   {store.FlagAnswered, store.FlagAnswered, true},
	"UNANSWERED": {store.FlagAnswered, 0, true},
	"FLAGGED":    {store.FlagFlagged, store.FlagFlagged, true},
	"UNFLAGGED":  {store.FlagFlagged, 0, true},
	"DELETED":    {store.FlagDeleted, store.FlagDeleted, true},
	"UNDELETED":  {store.FlagDeleted, 0, true},
	"DRAFT":      {store.FlagDraft, store.FlagDraft, true},
	"UNDRAFT":    {store.FlagDraft, 0, true},
}

// compileKeyword makes a matcher for a keyword, which may be one that is kept as
// system flag.
func (r *searcher) compileKeyword(name string, want bool) matcher {
	if flag, ok := store.ParseFlag(name); ok {
		return onEntry(func(e *store.Entry) bool { return (e.Flags()&flag != 0) == want })
	}
	name = strings.ToLower(name)
	if r.live == nil && !slices.Contains(r.sel.view.AllKeywords(), name) {
		return onEntry(func(*store.Entry) bool { return !want })
	}
	return onEntry(func(e *store.Entry) bool {
		return slices.Contains(r.sel.view.Keywords(*e), name) == want
	})
}

// compileNumber compiles the keys that compare sizes and days. Days are those of
// INTERNALDATE in UTC, in which we write it, or of the Date field in its own
// zone: RFC 9051 wants time and zone disregarded.
func compileNumber(k imap.SearchKey) (matcher, bool) {
	const day = 24 * 60 * 60
	from := k.Date.Time().Unix()
	switch k.Key {
	case "LARGER":
		return onEntry(func(e *store.Entry) bool { return int64(e.Size) > k.Size }), true
	case "SMALLER":
		return onEntry(func(e *store.Entry) bool { return int64(e.Size) < k.Size }), true
	case "BEFORE":
		return onEntry(func(e *store.Entry) bool { return int64(e.Received) < from }), true
	case "ON":
		return onEntry(func(e *store.Entry) bool { return int64(e.Received) >= from && int64(e.Received) < from+day }), true
	case "SINCE":
		return onEntry(func(e *store.Entry) bool { return int64(e.Received) >= from }), true
	case "SAVEDBEFORE":
		return onEntry(func(e *store.Entry) bool { return int64(e.Saved) < from }), true
	case "SAVEDON":
		return onEntry(func(e *store.Entry) bool { return int64(e.Saved) >= from && int64(e.Saved) < from+day }), true
	case "SAVEDSINCE":
		return onEntry(func(e *store.Entry) bool { return int64(e.Saved) >= from }), true
	case "YOUNGER": // RFC 5032, section 2.
		since := time.Now().Unix() - k.Size
		return onEntry(func(e *store.Entry) bool { return int64(e.Received) >= since }), true
	case "OLDER":
		since := time.Now().Unix() - k.Size
		return onEntry(func(e *store.Entry) bool { return int64(e.Received) <= since }), true
	}
	return matcher{}, false
}

// compileSent compiles the keys about the day of the Date field. A message without one
// that can be understood was sent on no day.
func (r *searcher) compileSent(k imap.SearchKey) (matcher, bool) {
	day := floorDiv(k.Date.Time().Unix(), secondsPerDay)
	var test func(sent int64) bool
	switch k.Key {
	case "SENTBEFORE":
		test = func(sent int64) bool { return sent < day }
	case "SENTON":
		test = func(sent int64) bool { return sent == day }
	case "SENTSINCE":
		test = func(sent int64) bool { return sent >= day }
	default:
		return matcher{}, false
	}
	return r.onColumn(sentColumn(), func(text []byte) bool {
		sent, ok := sentDay(text)
		return ok && test(sent)
	}), true
}
