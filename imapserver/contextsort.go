package imapserver

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// sortedItem is a result with what it is ordered by, which never changes.
type sortedItem struct {
	uid     store.UID
	numbers []int64  // One for each criterion that has them, in order.
	texts   []string // Likewise.
}

// itemBytes is what an item needs besides its texts: itself, its slices' headers and
// contents, and its places in the list and in the map.
const (
	itemBytes      = 128
	itemKeyBytes   = 24
	sortItemsBatch = entriesBatch // Items that are made before their size is looked at.
)

// sortedResults are results in the order of SORT (RFC 5267, section 4.3.2). The place
// of a message is found by comparing it with few others.
type sortedResults struct {
	by    imap.SortProgram
	from  *searcher
	order *ranked[*sortedItem]
	items map[store.UID]*sortedItem
	size  int // Bytes.
}

// sortedResults returns the results of SORT, nil if they need more than a number of
// bytes.
func (r *searcher) sortedResults(ctx context.Context, found []store.UID, by imap.SortProgram, budget int) (contextResults, error) {
	results := &sortedResults{by: by, from: r, items: map[store.UID]*sortedItem{}}
	all := make([]*sortedItem, 0, len(found))
	for part := range slices.Chunk(slices.Sorted(slices.Values(found)), sortItemsBatch) {
		items, err := results.make(ctx, part)
		if err != nil {
			return nil, err
		}
		if results.size > budget {
			return nil, nil //nolint:nilnil // Too many is an answer here.
		}
		all = append(all, items...)
	}
	slices.SortFunc(all, results.compare)
	results.order = newRanked(results.compare, all)
	return results, nil
}

// make makes items of ascending uids, and keeps them.
func (r *sortedResults) make(ctx context.Context, uids []store.UID) ([]*sortedItem, error) {
	items := make([]*sortedItem, len(uids))
	for i, uid := range uids {
		items[i] = &sortedItem{uid: uid}
	}
	for _, k := range r.by {
		if !sortsTexts(k.Key) {
			values, err := r.from.sortValues(ctx, uids, k.Key)
			if err != nil {
				return nil, err
			}
			for i, item := range items {
				item.numbers = append(item.numbers, values[i])
			}
			continue
		}
		for _, item := range items {
			item.texts = append(item.texts, "")
		}
		col, _ := sortColumn(k.Key)
		err := r.from.texts(ctx, uids, col, func(i int, text []byte) {
			item := items[i]
			item.texts[len(item.texts)-1] = string(text)
		})
		if err != nil {
			return nil, err
		}
	}
	for _, item := range items {
		r.items[item.uid] = item
		r.size += item.bytes()
	}
	return items, nil
}

// sortsTexts tells whether a criterion compares texts; others compare numbers.
func sortsTexts(key string) bool { return key != "ARRIVAL" && key != "SIZE" && key != "DATE" }

func (i *sortedItem) bytes() int {
	n := itemBytes + itemKeyBytes*(len(i.numbers)+len(i.texts))
	for _, s := range i.texts {
		n += len(s)
	}
	return n
}

// compare compares as SORT does: what is equal is in the order of the mailbox.
func (r *sortedResults) compare(a, b *sortedItem) int {
	number, text := 0, 0
	for _, k := range r.by {
		c := 0
		if sortsTexts(k.Key) {
			c = strings.Compare(a.texts[text], b.texts[text])
			text++
		} else {
			c = cmp.Compare(a.numbers[number], b.numbers[number])
			number++
		}
		if k.Reverse {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(a.uid, b.uid)
}

func (r *sortedResults) has(uid store.UID) bool { return r.items[uid] != nil }

func (r *sortedResults) bytes() int { return r.size }

// put puts messages in from the first place to the last, so that the position of each
// is the one that it keeps while the others are put in.
func (r *sortedResults) put(ctx context.Context, uids []store.UID) ([]placed, error) {
	items, err := r.make(ctx, uids)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(items, r.compare)
	var list []placed
	for _, item := range items {
		place, _ := r.order.insert(item)
		if n := len(list); n > 0 && list[n-1].position+len(list[n-1].uids) == place+1 {
			list[n-1].uids = append(list[n-1].uids, item.uid)
			continue
		}
		list = append(list, placed{place + 1, []store.UID{item.uid}})
	}
	return list, nil
}

// take takes messages out from the last place to the first, so that no position
// depends on what went before.
func (r *sortedResults) take(uids []store.UID) []placed {
	items := make([]*sortedItem, 0, len(uids))
	for _, uid := range uids {
		items = append(items, r.items[uid])
		r.size -= r.items[uid].bytes()
		delete(r.items, uid)
	}
	slices.SortFunc(items, func(a, b *sortedItem) int { return r.compare(b, a) })
	var list []placed
	for _, item := range items {
		place, _ := r.order.remove(item)
		if n := len(list); n > 0 && list[n-1].position == place+2 {
			list[n-1].position = place + 1
			list[n-1].uids = append(list[n-1].uids, item.uid)
			continue
		}
		list = append(list, placed{place + 1, []store.UID{item.uid}})
	}
	for _, p := range list {
		slices.Reverse(p.uids)
	}
	return list
}
