package store

import "fmt"

// Class is how a message counts in reputations and for the junk filter: junk or
// not, if it has exactly one of the two flags.
//
// A message can be in several mailboxes, with other flags in each. Then the flags
// that were changed last count: where it came to be in a mailbox with flags other
// than before, or where they were set. To be removed from a mailbox changes
// nothing, so that what was learned stays when the message goes.
type Class int8

// The classes.
const (
	Unclassified Class = iota // Neither flag, or both: its reader has not decided.
	ClassJunk
	ClassNotJunk
)

// junkFlags are the flags that classify.
const junkFlags = FlagJunk | FlagNotJunk

// classOf returns the class that flags stand for.
func classOf(f Flags) Class {
	switch f & junkFlags {
	case FlagJunk:
		return ClassJunk
	case FlagNotJunk:
		return ClassNotJunk
	}
	return Unclassified
}

// flags returns the flags that stand for a class.
func (c Class) flags() Flags { return [...]Flags{0, FlagJunk, FlagNotJunk}[c] }

// junkRules returns what the configuration says about marks now.
func (tx *Tx) junkRules() *JunkRules {
	if tx.rules == nil {
		tx.rules = &JunkRules{}
		if tx.a.dir.opts.JunkRules != nil {
			*tx.rules = tx.a.dir.opts.JunkRules(tx.a.name)
		}
	}
	return tx.rules
}

// arrive classifies a new Email, which is yet to be inserted, and returns the
// flags for its first place. What was put elsewhere for the user to look at is not
// marked by that mailbox, unless that is the one for junk.
func (tx *Tx) arrive(e *Email, box *Mailbox, flags Flags) (Flags, error) {
	if e.DestinedID == 0 && !e.Reject || box.Use == UseJunk {
		flags = tx.junkRules().arriving(box, flags)
	}
	_, err := tx.classify(e, classOf(flags), box.ID)
	return flags, err
}

// flagged classifies the Email of a message whose flags are changed in its place.
func (tx *Tx) flagged(m *Message, flags Flags) error {
	if (m.Flags()^flags)&junkFlags == 0 {
		return nil
	}
	e, err := tx.Email(m.EmailID)
	if err != nil {
		return err
	}
	changed, err := tx.classify(&e, classOf(flags), m.MailboxID)
	return tx.writeEmail(&e, changed, err)
}

// moved classifies the Email of a message that comes from one mailbox to another,
// and returns its flags there.
//
// Who takes a message from where it was put for a look to where it was destined
// for says that it should have been there from the start. A reject is none any
// more.
func (tx *Tx) moved(from, to *Mailbox, m *Message) (Flags, error) {
	flags := tx.junkRules().moving(from, to, m.Flags())
	if !from.ForOthers && (m.Flags()^flags)&junkFlags == 0 {
		return flags, nil
	}
	e, err := tx.Email(m.EmailID)
	if err != nil {
		return flags, err
	}
	if e.MailboxID == from.ID && e.DestinedID == to.ID && flags&junkFlags == 0 {
		flags |= FlagNotJunk
	}
	accepted := e.Reject
	if accepted {
		e.Reject = false
		if err := tx.dropReject(e.ID); err != nil {
			return flags, err
		}
	}
	class := e.Class
	if (m.Flags()^flags)&junkFlags != 0 {
		class = classOf(flags)
	}
	changed, err := tx.classify(&e, class, to.ID)
	return flags, tx.writeEmail(&e, changed || accepted, err)
}

// writeEmail writes an Email that has changed, unless there was an error.
func (tx *Tx) writeEmail(e *Email, changed bool, err error) error {
	if err != nil || !changed {
		return err
	}
	if err := tx.b.Update(e); err != nil {
		return fmt.Errorf("classifying email %d: %w", e.ID, err)
	}
	return nil
}

// classify is the one place where the class of an Email changes, because of the
// flags that it was given in a mailbox. Reputations change with it, and what the
// junk filter has to learn is noted, all in this transaction. It reports whether e
// has changed, which the caller writes.
func (tx *Tx) classify(e *Email, class Class, mailboxID int64) (bool, error) {
	// Put elsewhere for a look, it now counts where it belongs.
	settled := e.DestinedID != 0 && e.MailboxID != e.DestinedID && (class != Unclassified || mailboxID == e.DestinedID)
	if e.Class == class && !settled {
		return false, nil
	}
	tx.touch()
	was := e.Class
	if settled {
		if err := tx.learn(e, was, Unclassified); err != nil {
			return false, err
		}
		e.MailboxID, was = e.DestinedID, Unclassified
	}
	if err := tx.learn(e, was, class); err != nil {
		return false, err
	}
	if e.Class == class {
		return true, nil
	}
	e.Class = class
	return true, tx.train(e.ID, tx.nextModSeq(), class.flags())
}
