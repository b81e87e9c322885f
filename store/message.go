package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/bstore"
)

var (
	// ErrExpunged means the message is gone.
	ErrExpunged = errors.New("store: message is expunged")

	// ErrSameMailbox means messages are to be moved to where they are.
	ErrSameMailbox = errors.New("store: source and destination are the same mailbox")

	// ErrHandoverPending means a delivery with the same hand-over key is on its way.
	ErrHandoverPending = errors.New("store: hand-over is pending")
)

// AppendOptions is what a client says of a message it appends.
type AppendOptions struct {
	Flags    Flags
	Keywords []string  // In the form of ParseKeyword.
	Received time.Time // INTERNALDATE; zero: now.
}

// Append puts a staged message into a mailbox and returns it. mb is updated.
func (tx *Tx) Append(mb *Mailbox, s *Staged, opts AppendOptions) (Message, error) {
	box, err := tx.box(mb.ID)
	if err != nil {
		return Message{}, err
	}
	size := s.size // A message is kept as it was given, even one without a header.
	if err := tx.checkQuota(1, size); err != nil {
		return Message{}, err
	}
	if opts.Received.IsZero() {
		opts.Received = time.Now()
	}
	e := Email{
		ID: s.id, CreateSeq: tx.nextModSeq(), Size: size, FileSize: s.size, CRC: s.crc,
		Received: opts.Received, MailboxID: box.ID,
	}
	if opts.Flags, err = tx.arrive(&e, box, opts.Flags); err != nil {
		return Message{}, err
	}
	if err := tx.insertEmail(&e, &s.analysis, box.ID); err != nil {
		return Message{}, err
	}
	m := Message{ID: tx.a.lastID.Add(1), EmailID: e.ID, Size: size, Received: opts.Received.Unix()}
	if err := tx.place(box, &m, opts.Flags, opts.Keywords); err != nil {
		return Message{}, err
	}
	tx.dirs[tx.a.messageDir(s.id)] = true
	tx.staged = append(tx.staged, s)
	*mb = *box
	return m, nil
}

// insertEmail inserts content and structure, and finds the thread.
func (tx *Tx) insertEmail(e *Email, an *Analysis, mailboxID int64) error {
	e.MessageID, e.Subject, e.Preview = an.MessageID, an.Subject, an.Preview
	e.MessageKey, e.SubjectKey = key(an.MessageID), key(an.Subject)
	if err := tx.assignThread(e, an, mailboxID); err != nil {
		return fmt.Errorf("finding thread: %w", err)
	}
	if err := tx.b.Insert(e); err != nil {
		return fmt.Errorf("inserting email %d: %w", e.ID, err)
	}
	st := Structure{EmailID: e.ID, Tree: an.Tree, Envelope: an.Envelope, BodyStructure: an.BodyStructure, Header: keptHeader(e.Prefix, an)}
	if err := tx.b.Insert(&st); err != nil {
		return fmt.Errorf("inserting structure %d: %w", e.ID, err)
	}
	tx.row.Size += e.Size
	return nil
}

// place gives a message its UID in a mailbox and inserts it. ID, EmailID, Size
// and Received are set by the caller.
func (tx *Tx) place(box *Mailbox, m *Message, flags Flags, keywords []string) error {
	if box.UIDNext > uidMax {
		return fmt.Errorf("%w: mailbox %q has used all UIDs", ErrTooMany, box.Name)
	}
	bits, more, grew, err := box.bitsFor(flags, keywords)
	if err != nil {
		return err
	}
	m.MailboxID, m.UID, m.ModSeq = box.ID, box.UIDNext, tx.nextModSeq()
	m.CreateSeq, m.Bits, m.More, m.Saved = m.ModSeq, bits, more, time.Now().Unix()
	box.UIDNext++
	box.count(m, 1)
	tx.messages++
	tx.changed(box)
	if grew {
		tx.note(change{kind: MailboxChanged, mailboxID: box.ID, mailbox: clone(box)})
	}
	if err := tx.b.Insert(m); err != nil {
		return fmt.Errorf("inserting message: %w", err)
	}
	tx.note(change{kind: MessageAdded, mailboxID: box.ID, entry: entryOf(m), more: m.More})
	return nil
}

// count adds a message to the counts of its mailbox n times; -1 takes it out.
func (mb *Mailbox) count(m *Message, n int64) {
	mb.Total += n
	mb.Size += n * m.Size
	if m.Flags()&FlagDeleted != 0 {
		mb.Deleted += n
	}
	if m.Flags()&FlagSeen != 0 {
		return
	}
	mb.Unseen += n
	switch {
	case n > 0 && (mb.Unseen == 1 || m.UID < mb.UnseenFrom):
		mb.UnseenFrom = m.UID
	case n < 0 && m.UID == mb.UnseenFrom:
		mb.UnseenFrom++
	}
}

// message returns the row of a message, ErrExpunged if it is gone.
func (tx *Tx) message(mailboxID int64, uid UID) (Message, error) {
	m, err := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{MailboxID: mailboxID, UID: uid}).Get()
	if errors.Is(err, bstore.ErrAbsent) {
		return Message{}, ErrExpunged
	} else if err != nil {
		return Message{}, fmt.Errorf("reading message %d: %w", uid, err)
	}
	return m, nil
}

// Message returns a message by its UID, or ErrExpunged.
func (tx *Tx) Message(mailboxID int64, uid UID) (Message, error) { return tx.message(mailboxID, uid) }

// Email returns an Email. Those of expunged messages are there as long as a
// session that was not told of it exists; after that it returns ErrExpunged.
func (tx *Tx) Email(id int64) (Email, error) {
	e := Email{ID: id}
	if err := tx.b.Get(&e); errors.Is(err, bstore.ErrAbsent) {
		return Email{}, ErrExpunged
	} else if err != nil {
		return Email{}, fmt.Errorf("reading email %d: %w", id, err)
	}
	return e, nil
}

// Structure returns the structure of an Email, as Email does.
func (tx *Tx) Structure(emailID int64) (Structure, error) {
	s := Structure{EmailID: emailID}
	if err := tx.b.Get(&s); errors.Is(err, bstore.ErrAbsent) {
		return Structure{}, ErrExpunged
	} else if err != nil {
		return Structure{}, fmt.Errorf("reading structure %d: %w", emailID, err)
	}
	return s, nil
}

// Copied says which messages became which.
type Copied struct {
	UIDValidity uint32 // Of the destination.
	Src, Dst    []UID  // Pairs, in the order of assignment.
}

// Copy copies messages. Those that are gone are left out. No file is touched: only
// their number can pass a limit.
func (tx *Tx) Copy(src, dst *Mailbox, uids []UID) (Copied, error) {
	return tx.transfer(src, dst, uids, false)
}

// Move moves messages: they get new UIDs in dst and are expunged in src.
func (tx *Tx) Move(src, dst *Mailbox, uids []UID) (Copied, error) {
	return tx.transfer(src, dst, uids, true)
}

func (tx *Tx) transfer(src, dst *Mailbox, uids []UID, move bool) (Copied, error) {
	if src.ID == dst.ID && move {
		return Copied{}, ErrSameMailbox
	}
	from, err := tx.box(src.ID)
	if err != nil {
		return Copied{}, err
	}
	to, err := tx.box(dst.ID)
	if err != nil {
		return Copied{}, err
	}
	if !move {
		if err := tx.checkQuota(int64(len(uids)), 0); err != nil {
			return Copied{}, err
		}
	}
	copied := Copied{UIDValidity: to.UIDValidity}
	for _, uid := range uids {
		old, err := tx.message(from.ID, uid)
		if errors.Is(err, ErrExpunged) {
			continue
		} else if err != nil {
			return Copied{}, err
		}
		flags := old.Flags()
		if from != to {
			if flags, err = tx.moved(from, to, &old); err != nil {
				return Copied{}, fmt.Errorf("classifying message %d: %w", uid, err)
			}
		}
		m := Message{ID: tx.a.lastID.Add(1), EmailID: old.EmailID, Size: old.Size, Received: old.Received}
		if err := tx.place(to, &m, flags, keywordsOf(from.Keywords, old.Bits, old.More)); err != nil {
			return Copied{}, fmt.Errorf("copying message %d: %w", uid, err)
		}
		if move {
			if err := tx.remove(from, &old, false); err != nil {
				return Copied{}, fmt.Errorf("moving message %d: %w", uid, err)
			}
		}
		copied.Src, copied.Dst = append(copied.Src, uid), append(copied.Dst, m.UID)
	}
	*src, *dst = *from, *to
	return copied, nil
}

// remove takes a message out of its mailbox. If last may be true and it was the
// Email's last, the Email is to be erased.
func (tx *Tx) remove(box *Mailbox, m *Message, last bool) error {
	modSeq := tx.nextModSeq()
	if err := tx.b.Delete(&Message{ID: m.ID}); err != nil {
		return fmt.Errorf("removing message %d: %w", m.UID, err)
	}
	x := Expunged{MailboxID: m.MailboxID, ModSeq: modSeq, UID: m.UID, EmailID: m.EmailID, At: time.Now().Unix()}
	if err := tx.b.Insert(&x); err != nil {
		return fmt.Errorf("noting removal of message %d: %w", m.UID, err)
	}
	if box != nil {
		box.count(m, -1)
		tx.messages--
		tx.changed(box)
		tx.note(change{kind: MessageRemoved, mailboxID: box.ID, entry: entryOf(m)})
	}
	if !last {
		return nil
	}
	return tx.eraseIfLast(m, modSeq)
}

// eraseIfLast leaves an Erase row if no message refers to the Email any more.
func (tx *Tx) eraseIfLast(m *Message, modSeq int64) error {
	more, err := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{EmailID: m.EmailID}).Limit(1).Exists()
	if err != nil {
		return fmt.Errorf("looking for copies of message %d: %w", m.UID, err)
	}
	if more {
		return nil
	}
	tx.row.Size -= m.Size
	tx.erases = true
	if err := tx.dropReject(m.EmailID); err != nil {
		return err
	}
	if err := tx.b.Insert(&Erase{EmailID: m.EmailID, ModSeq: modSeq}); err != nil {
		return fmt.Errorf("noting email %d for erasing: %w", m.EmailID, err)
	}
	return nil
}

// Expunge removes messages, whatever their flags, and returns the UIDs of those
// that were there. A caller with many should do so in parts: others wait.
func (tx *Tx) Expunge(mb *Mailbox, uids []UID) ([]UID, error) {
	return tx.expunge(mb, uids, func(*Message) bool { return true })
}

// ExpungeDeleted removes those of the messages that have \Deleted.
func (tx *Tx) ExpungeDeleted(mb *Mailbox, uids []UID) ([]UID, error) {
	return tx.expunge(mb, uids, func(m *Message) bool { return m.Flags()&FlagDeleted != 0 })
}

func (tx *Tx) expunge(mb *Mailbox, uids []UID, match func(*Message) bool) ([]UID, error) {
	box, err := tx.box(mb.ID)
	if err != nil {
		return nil, err
	}
	var removed []UID
	for _, uid := range uids {
		m, err := tx.message(box.ID, uid)
		if errors.Is(err, ErrExpunged) {
			continue
		} else if err != nil {
			return nil, err
		}
		if !match(&m) {
			continue
		}
		if err := tx.remove(box, &m, true); err != nil {
			return nil, err
		}
		removed = append(removed, uid)
	}
	*mb = *box
	return removed, nil
}

// FlagOp says what SetFlags does with the given flags.
type FlagOp uint8

// The operations.
const (
	FlagsReplace FlagOp = iota + 1
	FlagsAdd
	FlagsRemove
)

// FlagChange is a change of flags.
type FlagChange struct {
	Op             FlagOp
	Flags          Flags
	Keywords       []string // In the form of ParseKeyword.
	UnchangedSince int64    // If not 0, messages with a higher ModSeq are left as they are (RFC 7162, section 3.1.3).
}

// FlagResult is what SetFlags did.
type FlagResult struct {
	Entries  []Entry    // Of all messages that are there, with their flags after the change.
	Keywords [][]string // Of each entry.
	Changed  []bool     // Whether the entry's flags are other than before.
	Modified []UID      // Left out because of UnchangedSince.
}

// SetFlags changes flags of messages. Those that are gone are left out. A
// message whose flags stay the same keeps its ModSeq.
func (tx *Tx) SetFlags(mb *Mailbox, uids []UID, c FlagChange) (FlagResult, error) {
	box, err := tx.box(mb.ID)
	if err != nil {
		return FlagResult{}, err
	}
	var res FlagResult
	for _, uid := range uids {
		m, err := tx.message(box.ID, uid)
		if errors.Is(err, ErrExpunged) {
			continue
		} else if err != nil {
			return FlagResult{}, err
		}
		if c.UnchangedSince > 0 && m.ModSeq > c.UnchangedSince {
			res.Modified = append(res.Modified, uid)
			continue
		}
		changed, err := tx.setFlags(box, &m, c)
		if err != nil {
			return FlagResult{}, err
		}
		res.Entries = append(res.Entries, entryOf(&m))
		res.Keywords = append(res.Keywords, keywordsOf(box.Keywords, m.Bits, m.More))
		res.Changed = append(res.Changed, changed)
	}
	*mb = *box
	return res, nil
}

// setFlags changes the flags of one message and reports whether they differ.
func (tx *Tx) setFlags(box *Mailbox, m *Message, c FlagChange) (bool, error) {
	flags, keywords := m.Flags(), keywordsOf(box.Keywords, m.Bits, m.More)
	switch c.Op {
	case FlagsReplace:
		flags, keywords = c.Flags, c.Keywords
	case FlagsAdd:
		flags |= c.Flags
		for _, kw := range c.Keywords {
			if !slices.Contains(keywords, kw) {
				keywords = append(keywords, kw)
			}
		}
	case FlagsRemove:
		flags &^= c.Flags
		keywords = slices.DeleteFunc(keywords, func(kw string) bool { return slices.Contains(c.Keywords, kw) })
	}
	bits, more, grew, err := box.bitsFor(flags, keywords)
	if err != nil {
		return false, err
	}
	if bits == m.Bits && slices.Equal(more, m.More) {
		return false, nil
	}
	modSeq := tx.nextModSeq()
	if err := tx.flagged(m, Flags(bits)&flagsAll); err != nil {
		return false, fmt.Errorf("classifying message %d: %w", m.UID, err)
	}
	box.count(m, -1)
	m.Bits, m.More, m.ModSeq = bits, more, modSeq
	box.count(m, 1)
	tx.changed(box)
	if grew {
		tx.note(change{kind: MailboxChanged, mailboxID: box.ID, mailbox: clone(box)})
	}
	if err := tx.b.Update(m); err != nil {
		return false, fmt.Errorf("changing flags of message %d: %w", m.UID, err)
	}
	tx.note(change{kind: FlagsChanged, mailboxID: box.ID, entry: entryOf(m), more: m.More})
	return true, nil
}
