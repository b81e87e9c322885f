package imapserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// sortRequest is a parsed SORT or UID SORT.
type sortRequest struct{ imap.Sort }

// parseSort parses the arguments of SORT, RFC 5256, section 5, and RFC 5267, section
// 5:
//
//	sort = "SORT" [search-return-opts] SP sort-criteria SP search-criteria
func parseSort(d *imap.Decoder) (req sortRequest) {
	d.SP()
	req.Sort = d.Sort()
	return req
}

// sort answers SORT (RFC 5256, section 3, and RFC 5267, section 3).
func (s *session) sort(ctx context.Context, cmd command, req sortRequest) (imap.Response, error) {
	if req.Extended && s.disabled("ESORT") {
		return imap.Response{}, imap.Bad("ESORT is switched off")
	}
	return s.runSearch(ctx, &searching{cmd: cmd, opts: req.SearchOptions, key: req.Key, by: req.By})
}

// writeSort writes the response of RFC 5256, section 4, with a mod-sequence if there is
// one (RFC 7162, section 3.1.6).
func (s *session) writeSort(cmd command, sorted []store.UID, highest int64) {
	numbers := s.numbersOf(sorted, cmd.byUID)
	s.out.Raw("* SORT")
	for part := range slices.Chunk(numbers, entriesBatch) {
		s.out.Append(func(b []byte) []byte {
			for _, n := range part {
				b = strconv.AppendUint(append(b, ' '), uint64(n), 10)
			}
			return b
		})
	}
	if highest > 0 && len(numbers) > 0 {
		s.out.Raw(" (MODSEQ ").Num(highest).Raw(")")
	}
	s.out.CRLF()
}

// sorted returns messages of the mailbox that is searched, given in ascending order, in
// that of SORT.
func (r *searcher) sorted(ctx context.Context, uids []store.UID, by imap.SortProgram) ([]store.UID, error) {
	keys := make([][]int64, 0, len(by))
	for _, k := range by {
		values, err := r.sortValues(ctx, uids, k.Key)
		if err != nil {
			return nil, fmt.Errorf("sorting by %s: %w", k.Key, err)
		}
		for i := range values {
			if k.Reverse {
				values[i] = -values[i]
			}
		}
		keys = append(keys, values)
	}
	out := make([]store.UID, len(uids))
	for i, at := range orderBy(keys, len(uids)) {
		out[i] = uids[at]
	}
	return out, nil
}

// orderBy returns the numbers below n in the order of the values that they have in the
// first of keys, then in the second, and so on, then in their own.
func orderBy(keys [][]int64, n int) []int32 {
	type item struct {
		first int64 // Most comparisons need no other.
		at    int32
	}
	items := make([]item, n)
	for i := range items {
		items[i].at = int32(i)
		if len(keys) > 0 {
			items[i].first = keys[0][i]
		}
	}
	slices.SortFunc(items, func(a, b item) int {
		if a.first != b.first {
			return cmp.Compare(a.first, b.first)
		}
		for _, values := range keys[min(1, len(keys)):] {
			if c := cmp.Compare(values[a.at], values[b.at]); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.at, b.at) // RFC 5256, section 3: the order in the mailbox.
	})
	order := make([]int32, n)
	for i := range items {
		order[i] = items[i].at
	}
	return order
}

// sortValues returns a number for each message: messages are in the order of those.
func (r *searcher) sortValues(ctx context.Context, uids []store.UID, key string) ([]int64, error) {
	switch key {
	case "ARRIVAL":
		return r.entryValues(uids, func(e *store.Entry) int64 { return int64(e.Received) }), nil
	case "SIZE":
		return r.entryValues(uids, func(e *store.Entry) int64 { return int64(e.Size) }), nil
	case "DATE":
		return r.sentValues(ctx, uids)
	}
	col, _ := sortColumn(key)
	return r.ranks(ctx, uids, col)
}

// entryValues returns a number of each message's entry. What is gone has 0.
func (r *searcher) entryValues(uids []store.UID, value func(e *store.Entry) int64) []int64 {
	values := make([]int64, 0, len(uids))
	var entries []store.Entry
	for part := range slices.Chunk(uids, entriesBatch) {
		entries = r.sel.view.Entries(part, entries[:0])
		next := 0
		for _, uid := range part {
			v := int64(0)
			if next < len(entries) && entries[next].UID == uid {
				v = value(&entries[next])
				next++
			}
			values = append(values, v)
		}
	}
	return values
}

// sentValues returns the sent date of each message in seconds: that of its Date field,
// else INTERNALDATE (RFC 5256, section 2.2).
func (r *searcher) sentValues(ctx context.Context, uids []store.UID) ([]int64, error) {
	values := r.entryValues(uids, func(e *store.Entry) int64 { return int64(e.Received) })
	err := r.texts(ctx, uids, sentColumn(), func(i int, text []byte) {
		if sec, ok := sentMoment(text); ok {
			values[i] = sec
		}
	})
	return values, err
}

// ranks returns the place of each message's text in a column among all texts. Who sorts
// most of a mailbox sorts all its texts, and so once for all sessions.
func (r *searcher) ranks(ctx context.Context, uids []store.UID, col column) ([]int64, error) {
	values := make([]int64, len(uids))
	if len(uids) > len(r.sel.uids())/4 {
		c, err := r.sel.view.Column(ctx, col.ColumnSpec, r.progress)
		if err == nil {
			ranks, next := c.Ranks(), 0
			for i, uid := range uids {
				number, place, _ := c.Text(uid, next)
				values[i], next = int64(ranks[number]), place+1
			}
			return values, nil
		}
		if !errors.Is(err, store.ErrColumnSize) {
			return nil, err
		}
	}
	all := make([]string, len(uids))
	if err := r.texts(ctx, uids, col, func(i int, text []byte) { all[i] = string(text) }); err != nil {
		return nil, err
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(all)))
	for i, text := range all {
		at, _ := slices.BinarySearch(distinct, text)
		values[i] = int64(at)
	}
	return values, nil
}
