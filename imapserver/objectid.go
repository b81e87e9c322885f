package imapserver

import (
	"context"
	"slices"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// Object ids (RFC 8474) are the ids of rows, which are never given again, with a
// letter in front that keeps the kinds apart.
const (
	emailIDLetter   = 'M'
	threadIDLetter  = 'T'
	mailboxIDLetter = 'F'
)

// appendObjectID appends an id in parentheses.
func appendObjectID(b []byte, letter byte, id int64) []byte {
	return append(strconv.AppendInt(append(b, '(', letter), id, 10), ')')
}

// mailboxIDCode returns the response code for a mailbox.
func mailboxIDCode(mb *store.Mailbox) string {
	return string(appendObjectID([]byte("MAILBOXID "), mailboxIDLetter, mb.ID))
}

// parseObjectID returns the id of an object of a kind, 0 for what no object has.
func parseObjectID(s string, letter byte) int64 {
	if len(s) < 2 || s[0] != letter {
		return 0
	}
	id, err := strconv.ParseInt(s[1:], 10, 64)
	if err != nil || id <= 0 || strconv.FormatInt(id, 10) != s[1:] {
		return 0
	}
	return id
}

// compileObject makes a matcher for EMAILID and THREADID, RFC 8474, section 6. The
// messages of a thread are few, and are looked up once.
func (r *searcher) compileObject(ctx context.Context, k imap.SearchKey) (matcher, error) {
	if k.Key == "EMAILID" {
		id := parseObjectID(k.Text, emailIDLetter)
		return onEntry(func(e *store.Entry) bool { return e.EmailID == id }), nil
	}
	var emails []int64
	find := func(ctx context.Context) error {
		id := parseObjectID(k.Text, threadIDLetter)
		if id == 0 {
			return nil
		}
		return r.s.account.ViewContent(ctx, func(tx *store.Tx) (err error) {
			emails, err = tx.ThreadEmails(id)
			return err
		})
	}
	if err := find(ctx); err != nil {
		return matcher{}, err
	}
	if r.live != nil {
		r.live.refresh = append(r.live.refresh, find) // The thread may grow.
	}
	return onEntry(func(e *store.Entry) bool {
		_, ok := slices.BinarySearch(emails, e.EmailID)
		return ok
	}), nil
}
