package imapserver

import (
	"context"
	"slices"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// liveSearch is what the matchers of a search with UPDATE need in order to be asked
// again when something has changed: RFC 5267, section 4.3, has them answer as the
// search would then. Only sequence numbers and "$" stand for good for the messages
// that they stood for at first.
type liveSearch struct {
	now     int64                         // Unix seconds, for YOUNGER and OLDER.
	ages    []int64                       // Their seconds.
	star    bool                          // A set of UIDs has "*".
	last    store.UID                     // What "*" stands for, 0 in an empty mailbox.
	refresh []func(context.Context) error // For keys that look something up.
}

// liveEvery is how often messages are looked at again only because time has passed.
// RFC 5032, section 2, allows that to be done now and then.
const liveEvery = time.Minute

// compileLiveUIDs makes a matcher for a set of UIDs in which "*" moves, and which
// messages can enter that come later.
func (r *searcher) compileLiveUIDs(set imap.NumSet) matcher {
	ranges := set.Resolve(r.sel.largest(true))
	if _, star := set.Largest(); star {
		r.live.star = true
		r.live.refresh = append(r.live.refresh, func(context.Context) error {
			ranges = set.Resolve(r.sel.largest(true))
			return nil
		})
	}
	return onEntry(func(e *store.Entry) bool { return imap.Contains(ranges, uint32(e.UID)) })
}

// compileLiveAge makes a matcher for YOUNGER and OLDER, RFC 5032, section 2.
func (r *searcher) compileLiveAge(k imap.SearchKey) matcher {
	live := r.live
	live.ages = append(live.ages, k.Size)
	if k.Key == "YOUNGER" {
		return onEntry(func(e *store.Entry) bool { return int64(e.Received) >= live.now-k.Size })
	}
	return onEntry(func(e *store.Entry) bool { return int64(e.Received) <= live.now-k.Size })
}

// moved returns the messages, ascending, for which the keys may answer otherwise
// than before although nothing happened to them: "*" stood for them or does now, or
// they have got old.
func (r *searcher) moved(now int64) []store.UID {
	live := r.live
	var uids []store.UID
	last := store.UID(0)
	if all := r.sel.uids(); len(all) > 0 {
		last = all[len(all)-1]
	}
	if live.star && last != live.last {
		uids = append(uids, live.last, last)
	}
	live.last = last
	if len(live.ages) > 0 && now-live.now >= int64(liveEvery/time.Second) {
		uids = append(uids, r.aged(live.now, now)...)
		live.now = now
	}
	slices.Sort(uids)
	return slices.Compact(uids)
}

// aged returns the messages that got old enough for one of the keys between two
// times. It looks at all entries, which is why it is done now and then only.
func (r *searcher) aged(from, to int64) (uids []store.UID) {
	var entries []store.Entry
	for part := range slices.Chunk(r.sel.uids(), entriesBatch) {
		entries = r.sel.view.Entries(part, entries[:0])
		for i := range entries {
			received := int64(entries[i].Received)
			crossed := func(age int64) bool { return received >= from-age && received <= to-age }
			if slices.ContainsFunc(r.live.ages, crossed) {
				uids = append(uids, entries[i].UID)
			}
		}
	}
	return uids
}
