package imapserver

import (
	"context"
	"slices"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// TextIndex knows in which messages a text may be, so that the search keys BODY and TEXT
// need not read all. It need not be exact, since the messages it names are read: it may
// name too many, never too few. It need not be complete either: newer messages are read
// too, as long as it does not know them. A server without one reads all messages.
//
// Its methods are called by many sessions at once, and wait for nothing long: who can't
// tell soon says that it doesn't know.
type TextIndex interface {
	// Candidates returns where a text may be in an account. It returns false if it can't
	// tell, as for a text that is too short for it.
	Candidates(ctx context.Context, account string, q TextQuery) (c TextCandidates, ok bool)
}

// TextQuery is what is looked for.
type TextQuery struct {
	// Text is in the form of i;unicode-casemap, as imap.AppendCasemap makes it: what is in
	// the index must be in that form. It is to be found anywhere, also within words. It is
	// not empty.
	Text []byte

	// Header means that it may be in a header too: in a field, with its name, unfolded and
	// decoded. Otherwise it may only be in the parts that are text, decoded, and in headers
	// of messages within the message.
	Header bool
}

// TextCandidates says which Emails may have a text.
type TextCandidates struct {
	EmailIDs []int64 // Ascending.

	// Through is the highest id up to which the index knows each Email that there is: of
	// those above, all may have the text.
	Through int64
}

// indexed returns a matcher for BODY or TEXT that asks the index first, if there is one.
// What it does not rule out m decides.
func (r *searcher) indexed(ctx context.Context, k imap.SearchKey, m matcher) (matcher, error) {
	index := r.s.server.opts.TextIndex
	if index == nil || k.Text == "" {
		return m, nil
	}
	c, ok := index.Candidates(ctx, r.s.account.Name(), TextQuery{Text: imap.AppendCasemap(nil, k.Text), Header: k.Key == "TEXT"})
	if !ok {
		return m, nil
	}
	maybe := onEntry(func(e *store.Entry) bool {
		_, named := slices.BinarySearch(c.EmailIDs, e.EmailID)
		return named || e.EmailID > c.Through
	})
	return matchAll([]matcher{maybe, m}), nil
}
