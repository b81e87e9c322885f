package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Query says which events are wanted: those that any of ID, MessageID, Address and
// CID is about. What is not set finds nothing.
type Query struct {
	ID        int64  // Of a message in the queue.
	MessageID string // With or without angle brackets.
	Address   string // Of a sender or recipient, whatever its case; the domain with U-labels.
	CID       CID

	Since, Until time.Time // Zero: no bound.
	Max          int       // Events, the newest. Zero: EventsMax.
}

const (
	// EventsMax bounds the events that Lookup returns, at some 1 KiB each.
	EventsMax = 10_000

	// foundBytesMax bounds their size in the files, in bytes.
	foundBytesMax = 32 << 20

	// gapsMax bounds the gaps that Lookup returns: the newest.
	gapsMax = 100
)

// Found is what there is to a Query.
type Found struct {
	Events []Event // In the order of time.
	Gaps   []Event // Of kind Gap, in the time of the query, likewise.
	More   bool    // There are older ones.
}

// Lookup returns the events for a query. It looks at those that were appended
// before it was called.
func (l *Log) Lookup(ctx context.Context, q Query) (Found, error) {
	if l == nil {
		return Found{}, nil
	}
	if q.Max <= 0 || q.Max > EventsMax {
		q.Max = EventsMax
	}
	q.MessageID, q.Address = foldMessageID(q.MessageID), foldAddress(q.Address)
	q.Since = clean(q.Since)
	if oldest := time.Now().Add(-l.opts.KeepFor); q.Since.Before(oldest) {
		q.Since = oldest
	}
	l.looking.Lock()
	defer l.looking.Unlock()
	k := &looking{query: q, keys: q.keys(), dir: l.opts.Dir}
	for _, s := range l.snapshot() {
		if err := k.series(ctx, s); err != nil {
			return Found{}, fmt.Errorf("looking up traces: %w", err)
		}
	}
	return k.found(), nil
}

// keys returns the keys of which one must be in a record.
func (q *Query) keys() (keys []key) {
	if q.ID != 0 {
		keys = append(keys, idKey(q.ID))
	}
	if q.MessageID != "" {
		keys = append(keys, newKey(keyMessageID, q.MessageID))
	}
	if q.Address != "" {
		keys = append(keys, newKey(keyAddress, q.Address))
	}
	if q.CID != 0 {
		keys = append(keys, newKey(keyCID, q.CID.String()))
	}
	return keys
}

// match tells whether an event is one of those wanted.
func (q *Query) match(e *Event) bool {
	return q.ID != 0 && slices.Contains(e.ids(), q.ID) ||
		q.MessageID != "" && slices.Contains(e.messageIDs(), q.MessageID) ||
		q.Address != "" && slices.ContainsFunc(e.addresses(), func(s string) bool { return foldAddress(s) == q.Address }) ||
		q.CID != 0 && e.CID == q.CID
}

// during tells whether times are in that of the query.
func (q *Query) during(first, last time.Time) bool {
	return !last.Before(q.Since) && (q.Until.IsZero() || !first.After(q.Until))
}

// listing is a series as it is at a moment.
type listing struct {
	name     string
	segments []segment
}

// snapshot writes what is pending and returns what there is.
func (l *Log) snapshot() (list []listing) {
	l.files.Lock()
	defer l.files.Unlock()
	l.flush()
	for _, s := range l.series {
		list = append(list, listing{s.name, slices.Clone(s.segments)})
	}
	return list
}

// looking is one Lookup.
type looking struct {
	query  Query
	keys   []key
	dir    string
	events []Event
	gaps   []Event
	more   bool
}

// series looks through a series, from the newest segment to the oldest.
func (k *looking) series(ctx context.Context, s listing) error {
	left, room := k.query.Max, int64(foundBytesMax)
	for _, seg := range slices.Backward(s.segments) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if seg.size == 0 || !k.query.during(seg.first, seg.last) {
			continue
		}
		wanted, gaps, err := k.index(s.name, seg)
		if err != nil {
			return err
		}
		if !wanted && !gaps {
			continue
		}
		if left <= 0 || room <= 0 {
			k.more = k.more || wanted
			return nil
		}
		b, err := readSegment(k.dir, s.name, seg.seq)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // It has become too old; and so have those before.
		} else if err != nil {
			return err
		}
		k.segment(b[:min(seg.size, int64(len(b)))], &left, &room)
	}
	return nil
}

// index tells whether a segment may have events that are wanted, and whether it may
// have gaps. One without index is read.
func (k *looking) index(series string, seg segment) (wanted, gaps bool, err error) {
	if seg.indexSize == 0 {
		return true, true, nil
	}
	b, err := os.ReadFile(filepath.Join(k.dir, segmentName(series, seg.seq)+indexSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	} else if err != nil {
		return false, false, err
	}
	_, keys, err := parseIndex(b)
	if err != nil {
		return true, true, nil //nolint:nilerr // The segment itself tells.
	}
	return slices.ContainsFunc(k.keys, keys.has), keys.has(newKey(keyGap, "")), nil
}

// segment takes events from the records of a segment: the newest, if there are too
// many.
func (k *looking) segment(b []byte, left *int, room *int64) {
	gap := newKey(keyGap, "")
	for _, line := range slices.Backward(k.lines(b, gap)) {
		e, ok := parseRecord(line)
		if !ok || !k.query.during(e.Time, e.Time) {
			continue
		}
		switch {
		case e.Kind == Gap:
			if len(k.gaps) < gapsMax {
				k.gaps = append(k.gaps, e)
			}
		case !k.query.match(&e):
		case *left <= 0 || *room <= 0:
			k.more = true
			return
		default:
			k.events = append(k.events, e)
			*left--
			*room -= int64(len(line))
		}
	}
}

// lines returns the lines that have a key, each once, in their order.
func (k *looking) lines(b []byte, gap key) (lines [][]byte) {
	var starts []int
	for _, wanted := range append(slices.Clone(k.keys), gap) {
		pattern := wanted.append(nil)
		for offset := 0; ; {
			i := bytes.Index(b[offset:], pattern)
			if i < 0 {
				break
			}
			start := 1 + bytes.LastIndexByte(b[:offset+i], '\n')
			starts = append(starts, start)
			n := bytes.IndexByte(b[start:], '\n')
			if n < 0 {
				break
			}
			offset = start + n + 1
		}
	}
	slices.Sort(starts)
	for _, start := range slices.Compact(starts) {
		n := bytes.IndexByte(b[start:], '\n')
		if n < 0 {
			n = len(b) - start
		}
		lines = append(lines, b[start:start+n])
	}
	return lines
}

// found returns what was found, of all series.
func (k *looking) found() Found {
	byTime := func(a, b Event) int { return a.Time.Compare(b.Time) }
	slices.Reverse(k.events) // Those of one moment in the order in which they were appended.
	slices.Reverse(k.gaps)
	slices.SortStableFunc(k.events, byTime)
	slices.SortStableFunc(k.gaps, byTime)
	f := Found{Events: k.events, Gaps: k.gaps, More: k.more}
	if n := len(f.Events) - k.query.Max; n > 0 {
		f.Events, f.More = f.Events[n:], true
	}
	return f
}

// ParseCID parses an id as the log has it.
func ParseCID(s string) (CID, error) {
	v, err := strconv.ParseInt(s, 16, 64)
	if err != nil || v <= 0 {
		return 0, fmt.Errorf("%+q is not an id of a connection", s)
	}
	return CID(v), nil
}
