package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/bstore"
)

// Limits of looking for threads.
const (
	candidatesMax   = 16 // Rows looked at for one key.
	ancestorsMax    = 50 // Ancestors kept: a thread that is deeper is flattened.
	subjectOlderMax = 4 * 7 * 24 * time.Hour
	subjectNewerMax = 24 * time.Hour
)

// assignThread finds the thread of a new Email: by its own Message-ID, by its
// references, by its subject, else one of its own.
func (tx *Tx) assignThread(e *Email, an *Analysis, mailboxID int64) error {
	e.ThreadID = e.ID
	for _, find := range []func(*Email, *Analysis, int64) (*Email, bool, error){tx.sameMessage, tx.referenced, tx.sameSubject} {
		parent, missing, err := find(e, an, mailboxID)
		if err != nil {
			return err
		}
		if parent == nil {
			e.MissingLink = e.MissingLink || missing
			continue
		}
		e.ThreadID, e.MissingLink = parent.ThreadID, missing
		e.Ancestors = ancestorsOf(e.ID, parent)
		return nil
	}
	return nil
}

// ancestorsOf returns the ancestors of an Email with this parent.
func ancestorsOf(id int64, parent *Email) []int64 {
	ancestors := append([]int64{parent.ID}, parent.Ancestors[:min(len(parent.Ancestors), ancestorsMax-1)]...)
	return slices.DeleteFunc(ancestors, func(a int64) bool { return a == id })
}

// sameMessage finds another Email of the same Message-ID.
func (tx *Tx) sameMessage(e *Email, _ *Analysis, _ int64) (*Email, bool, error) {
	p, err := tx.byMessageID(e.MessageID, nil)
	return p, p != nil, err
}

// referenced finds the nearest ancestor that is there and has the same base
// subject; a DSN may have another. missing tells that a nearer one was named.
func (tx *Tx) referenced(e *Email, an *Analysis, _ int64) (*Email, bool, error) {
	for i, id := range an.References {
		p, err := tx.byMessageID(id, func(o Email) bool { return an.DSN || o.Subject == e.Subject })
		if err != nil || p != nil {
			return p, i > 0, err
		}
	}
	return nil, len(an.References) > 0, nil
}

// sameSubject finds what a reply without references most likely replies to: the
// newest Email of the same base subject and mailbox, within four weeks before
// and a day after. A message between them may be missing.
func (tx *Tx) sameSubject(e *Email, an *Analysis, mailboxID int64) (*Email, bool, error) {
	if len(an.References) > 0 || !an.Reply || e.SubjectKey == 0 {
		return nil, false, nil
	}
	seen := 0
	q := bstore.QueryTx[Email](tx.b).FilterNonzero(Email{SubjectKey: e.SubjectKey}).
		FilterGreaterEqual("Received", e.Received.Add(-subjectOlderMax)).
		FilterLessEqual("Received", e.Received.Add(subjectNewerMax)).SortDesc("Received")
	var found *Email
	err := q.ForEach(func(o Email) error {
		if seen++; seen > candidatesMax {
			return bstore.StopForEach
		}
		if o.Subject == e.Subject && o.MailboxID == mailboxID && o.ID != e.ID {
			found = &o
			return bstore.StopForEach
		}
		return nil
	})
	return found, found != nil, err
}

// byMessageID returns an Email with a Message-ID that passes match, or nil.
func (tx *Tx) byMessageID(id string, match func(Email) bool) (*Email, error) {
	if id == "" {
		return nil, nil //nolint:nilnil // Absence is an answer here.
	}
	seen := 0
	var found *Email
	err := bstore.QueryTx[Email](tx.b).FilterNonzero(Email{MessageKey: key(id)}).ForEach(func(o Email) error {
		if seen++; seen > candidatesMax {
			return bstore.StopForEach
		}
		if o.MessageID == id && (match == nil || match(o)) {
			found = &o
			return bstore.StopForEach
		}
		return nil
	})
	if errors.Is(err, bstore.ErrAbsent) {
		err = nil
	}
	return found, err
}

// ThreadEmails returns the ids of the Emails of a thread, ascending.
func (tx *Tx) ThreadEmails(threadID int64) ([]int64, error) {
	var ids []int64
	err := bstore.QueryTx[Email](tx.b).FilterNonzero(Email{ThreadID: threadID}).IDs(&ids)
	if err != nil {
		return nil, fmt.Errorf("reading thread: %w", err)
	}
	slices.Sort(ids)
	return ids, nil
}
