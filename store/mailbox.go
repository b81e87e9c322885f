package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mjl-/bstore"
	"golang.org/x/text/unicode/norm"
)

var (
	// ErrNoMailbox means there is no mailbox of that name.
	ErrNoMailbox = errors.New("store: no such mailbox")

	// ErrMailboxExists means the name is taken.
	ErrMailboxExists = errors.New("store: mailbox exists")

	// ErrMailboxName means the name can't be that of a mailbox. The text says why.
	ErrMailboxName = errors.New("store: invalid mailbox name")

	// ErrHasChildren means the mailbox can't be deleted before those below it.
	ErrHasChildren = errors.New("store: mailbox has children")

	// ErrInbox means that can't be done with Inbox.
	ErrInbox = errors.New("store: not possible with Inbox")

	// ErrNotSubscribed means there is no such subscription and no such mailbox.
	ErrNotSubscribed = errors.New("store: not subscribed")

	// ErrTooMany means a limit on the number of mailboxes or messages is reached.
	ErrTooMany = errors.New("store: too many")
)

// Limits on mailboxes.
const (
	mailboxNameMax   = 1000   // Bytes.
	mailboxDepthMax  = 50     // Parts of a name.
	mailboxesMax     = 10_000 // Per account: listing them all is in many commands.
	subscriptionsMax = 20_000 // Per account: they need no mailbox.
)

// inbox is the name of the mailbox that every account has.
const inbox = "Inbox"

// CheckMailboxName returns the form in which a name is kept: NFC, with Inbox
// written so. The error says what is wrong.
func CheckMailboxName(name string) (string, error) {
	name = norm.NFC.String(name)
	if len(name) > mailboxNameMax {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrMailboxName, mailboxNameMax)
	}
	if strings.HasPrefix(name, "#") {
		return "", fmt.Errorf("%w: begins with #", ErrMailboxName)
	}
	for _, c := range name {
		if c <= 0x1f || c >= 0x7f && c <= 0x9f || c == 0x2028 || c == 0x2029 || c == 0xfffd {
			return "", fmt.Errorf("%w: character %U", ErrMailboxName, c)
		}
	}
	parts := strings.Split(name, "/")
	if len(parts) > mailboxDepthMax {
		return "", fmt.Errorf("%w: more than %d levels", ErrMailboxName, mailboxDepthMax)
	}
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			return "", fmt.Errorf("%w: empty level, or \".\" or \"..\"", ErrMailboxName)
		}
	}
	if strings.EqualFold(parts[0], inbox) {
		parts[0] = inbox
	}
	return strings.Join(parts, "/"), nil
}

// Mailbox returns a mailbox by name.
func (tx *Tx) Mailbox(name string) (Mailbox, error) {
	name, err := CheckMailboxName(name)
	if err != nil {
		return Mailbox{}, fmt.Errorf("%w: %w", ErrNoMailbox, err)
	}
	mb, err := tx.lookup(name)
	if err != nil {
		return Mailbox{}, err
	}
	if mb == nil {
		return Mailbox{}, ErrNoMailbox
	}
	return *mb, nil
}

// lookup returns the transaction's copy of a mailbox by its checked name, nil if absent.
func (tx *Tx) lookup(name string) (*Mailbox, error) {
	for _, mb := range tx.boxes {
		if mb.Name == name {
			return mb, nil
		}
	}
	mb, err := bstore.QueryTx[Mailbox](tx.b).FilterNonzero(Mailbox{Name: name}).Get()
	if errors.Is(err, bstore.ErrAbsent) {
		return nil, nil //nolint:nilnil // Absence is an answer here.
	} else if err != nil {
		return nil, fmt.Errorf("looking up mailbox %q: %w", name, err)
	}
	if c, ok := tx.boxes[mb.ID]; ok {
		if c.Name == name {
			return c, nil
		}
		return nil, nil //nolint:nilnil // Renamed in this transaction.
	}
	tx.boxes[mb.ID] = &mb
	return &mb, nil
}

// MailboxByID returns a mailbox by its id.
func (tx *Tx) MailboxByID(id int64) (Mailbox, error) {
	mb, err := tx.box(id)
	if err != nil {
		return Mailbox{}, err
	}
	return *mb, nil
}

// Mailboxes returns all mailboxes, Inbox first, the others by name.
func (tx *Tx) Mailboxes() ([]Mailbox, error) {
	list, err := bstore.QueryTx[Mailbox](tx.b).List()
	if err != nil {
		return nil, fmt.Errorf("listing mailboxes: %w", err)
	}
	for i := range list {
		if mb, ok := tx.boxes[list[i].ID]; ok {
			list[i] = *mb
		}
	}
	slices.SortFunc(list, func(a, b Mailbox) int {
		if (a.Name == inbox) != (b.Name == inbox) {
			if a.Name == inbox {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return list, nil
}

// CreateMailbox creates a mailbox and the parents it lacks, and subscribes to
// them. It returns those it made, the named one last. A role is taken from the
// mailbox that has it.
func (tx *Tx) CreateMailbox(name string, use SpecialUse) ([]Mailbox, error) {
	name, err := CheckMailboxName(name)
	if err != nil {
		return nil, err
	}
	if mb, err := tx.lookup(name); err != nil {
		return nil, err
	} else if mb != nil {
		return nil, fmt.Errorf("%w: %q", ErrMailboxExists, name)
	}
	made, err := tx.makeMailbox(name)
	if err != nil {
		return nil, err
	}
	if use != UseNone {
		if err := tx.setUse(made[len(made)-1], use); err != nil {
			return nil, err
		}
	}
	var list []Mailbox
	for _, mb := range made {
		list = append(list, *mb)
	}
	return list, nil
}

// makeMailbox makes a mailbox and its missing parents.
func (tx *Tx) makeMailbox(name string) ([]*Mailbox, error) {
	count, err := bstore.QueryTx[Mailbox](tx.b).Count()
	if err != nil {
		return nil, err
	}
	var made []*Mailbox
	parts := strings.Split(name, "/")
	for i := range parts {
		part := strings.Join(parts[:i+1], "/")
		mb, err := tx.lookup(part)
		if err != nil {
			return nil, err
		}
		if mb != nil {
			continue
		}
		if count+len(made) >= mailboxesMax {
			return nil, fmt.Errorf("%w: account has %d mailboxes", ErrTooMany, mailboxesMax)
		}
		if mb, err = tx.insertMailbox(part); err != nil {
			return nil, err
		}
		made = append(made, mb)
	}
	return made, nil
}

// insertMailbox inserts one mailbox and subscribes to it.
func (tx *Tx) insertMailbox(name string) (*Mailbox, error) {
	modSeq := tx.nextModSeq()
	tx.row.UIDValidity++
	mb := &Mailbox{Name: name, CreateSeq: modSeq, ModSeq: modSeq, UIDValidity: uint32(tx.row.UIDValidity), UIDNext: 1}
	if err := tx.b.Insert(mb); err != nil {
		return nil, fmt.Errorf("inserting mailbox %q: %w", name, err)
	}
	tx.boxes[mb.ID] = mb
	tx.newBoxes[name] = mb.ID
	if err := tx.subscribe(name); err != nil {
		return nil, err
	}
	tx.note(change{kind: MailboxAdded, mailboxID: mb.ID, mailbox: clone(mb)})
	return mb, nil
}

// clone returns a copy for a change, which others read.
func clone(mb *Mailbox) *Mailbox {
	c := *mb
	return &c
}

// SetSpecialUse gives a mailbox a role, or none.
func (tx *Tx) SetSpecialUse(mb *Mailbox, use SpecialUse) error {
	b, err := tx.box(mb.ID)
	if err != nil {
		return err
	}
	err = tx.setUse(b, use)
	*mb = *b
	return err
}

// setUse gives a mailbox a role and takes it from the one that had it.
func (tx *Tx) setUse(mb *Mailbox, use SpecialUse) error {
	list, err := tx.Mailboxes()
	if err != nil {
		return err
	}
	for _, o := range list {
		if use == UseNone || o.Use != use || o.ID == mb.ID {
			continue
		}
		old, err := tx.box(o.ID)
		if err != nil {
			return err
		}
		old.Use = UseNone
		tx.noteUse(old)
	}
	mb.Use = use
	tx.noteUse(mb)
	return nil
}

// noteUse tells sessions that a mailbox has another role, which is an annotation too.
func (tx *Tx) noteUse(mb *Mailbox) {
	tx.changed(mb)
	tx.note(change{kind: MailboxChanged, mailboxID: mb.ID, mailbox: clone(mb)})
	tx.noteAnnotation(mb, UseAnnotation)
}

// DeleteMailbox deletes a mailbox without children. Its messages are gone for
// clients at once; their rows are removed in parts afterwards. Its subscription stays.
func (tx *Tx) DeleteMailbox(name string) error {
	mb, err := tx.existing(name)
	if err != nil {
		return err
	}
	if mb.Name == inbox {
		return ErrInbox
	}
	list, err := tx.Mailboxes()
	if err != nil {
		return err
	}
	for _, o := range list {
		if strings.HasPrefix(o.Name, mb.Name+"/") {
			return fmt.Errorf("%w: %q", ErrHasChildren, o.Name)
		}
	}
	gone := MailboxGone{ID: mb.ID, Name: mb.Name, ModSeq: tx.nextModSeq(), Draining: true}
	if err := tx.b.Insert(&gone); err != nil {
		return fmt.Errorf("deleting mailbox %q: %w", name, err)
	}
	if err := tx.b.Delete(&Mailbox{ID: mb.ID}); err != nil {
		return fmt.Errorf("deleting mailbox %q: %w", name, err)
	}
	if err := tx.removeAnnotations(mb.ID); err != nil {
		return fmt.Errorf("deleting mailbox %q: %w", name, err)
	}
	tx.messages -= mb.Total
	delete(tx.boxes, mb.ID)
	delete(tx.dirty, mb.ID)
	tx.newBoxes[mb.Name] = 0
	tx.erases = true
	tx.note(change{kind: MailboxRemoved, mailboxID: mb.ID, mailbox: clone(mb)})
	return nil
}

// existing returns the transaction's copy of a mailbox that must exist.
func (tx *Tx) existing(name string) (*Mailbox, error) {
	name, err := CheckMailboxName(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoMailbox, err)
	}
	mb, err := tx.lookup(name)
	if err == nil && mb == nil {
		err = ErrNoMailbox
	}
	return mb, err
}

// RenameMailbox renames a mailbox and those below it, and makes parents that the
// new name lacks. Subscriptions stay with their names. For Inbox, its messages
// move into a new mailbox (RFC 9051, section 6.3.6).
func (tx *Tx) RenameMailbox(oldName, newName string) error {
	mb, err := tx.existing(oldName)
	if err != nil {
		return err
	}
	newName, err = CheckMailboxName(newName)
	if err != nil {
		return err
	}
	if o, err := tx.lookup(newName); err != nil {
		return err
	} else if o != nil {
		return fmt.Errorf("%w: %q", ErrMailboxExists, newName)
	}
	if mb.Name == inbox {
		return tx.renameInbox(mb, newName)
	}
	if strings.HasPrefix(newName, mb.Name+"/") {
		return fmt.Errorf("%w: below itself", ErrMailboxName)
	}
	list, err := tx.Mailboxes()
	if err != nil {
		return err
	}
	var move []Mailbox
	for _, o := range list {
		if o.ID != mb.ID && !strings.HasPrefix(o.Name, mb.Name+"/") {
			continue
		}
		name := newName + strings.TrimPrefix(o.Name, mb.Name)
		if _, err := CheckMailboxName(name); err != nil {
			return fmt.Errorf("renaming %q: %w", o.Name, err)
		}
		move = append(move, o)
	}
	if i := strings.LastIndexByte(newName, '/'); i > 0 {
		if _, err := tx.makeMailbox(newName[:i]); err != nil {
			return err
		}
	}
	prefix := mb.Name
	for _, o := range move {
		if err := tx.renameOne(o.ID, newName+strings.TrimPrefix(o.Name, prefix), o.ID != mb.ID); err != nil {
			return err
		}
	}
	return nil
}

// renameOne gives one mailbox another name: for itself, or with the one above it.
func (tx *Tx) renameOne(id int64, name string, withParent bool) error {
	mb, err := tx.box(id)
	if err != nil {
		return err
	}
	old := mb.Name
	mb.Name = name
	tx.changed(mb)
	if err := tx.b.Update(mb); err != nil {
		return fmt.Errorf("renaming mailbox %q to %q: %w", old, name, err)
	}
	tx.newBoxes[old], tx.newBoxes[name] = 0, id
	if err := tx.subscribe(name); err != nil {
		return err
	}
	tx.note(change{kind: MailboxRenamed, mailboxID: id, mailbox: clone(mb), oldName: old, withParent: withParent})
	return nil
}

// renameInbox moves all messages of Inbox to a new mailbox, which gets its annotations
// too.
func (tx *Tx) renameInbox(mb *Mailbox, name string) error {
	made, err := tx.makeMailbox(name)
	if err != nil {
		return err
	}
	to := made[len(made)-1]
	if err := tx.copyAnnotations(mb, to); err != nil {
		return fmt.Errorf("copying annotations: %w", err)
	}
	uids, err := tx.uids(mb.ID)
	if err != nil {
		return err
	}
	_, err = tx.Move(mb, to, uids)
	return err
}

// uids returns the UIDs of a mailbox, ascending.
func (tx *Tx) uids(mailboxID int64) ([]UID, error) {
	var uids []UID
	err := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{MailboxID: mailboxID}).SortAsc("UID").ForEach(func(m Message) error {
		uids = append(uids, m.UID)
		return nil
	})
	return uids, err
}

// Subscribe adds a name to the subscriptions; the mailbox need not exist.
func (tx *Tx) Subscribe(name string) error {
	name, err := CheckMailboxName(name)
	if err != nil {
		return err
	}
	n, err := bstore.QueryTx[Subscription](tx.b).Count()
	if err != nil {
		return err
	}
	if n >= subscriptionsMax {
		return fmt.Errorf("%w: account has %d subscriptions", ErrTooMany, n)
	}
	if err := tx.subscribe(name); err != nil {
		return err
	}
	return tx.noteSubscription(name)
}

// Subscribed tells whether a name is subscribed to.
func (tx *Tx) Subscribed(name string) (bool, error) {
	name, err := CheckMailboxName(name)
	if err != nil {
		return false, err
	}
	err = tx.b.Get(&Subscription{Name: name})
	if errors.Is(err, bstore.ErrAbsent) {
		return false, nil
	}
	return err == nil, err
}

// subscribe adds a subscription if it is missing.
func (tx *Tx) subscribe(name string) error {
	err := tx.b.Get(&Subscription{Name: name})
	if err == nil {
		return nil
	} else if !errors.Is(err, bstore.ErrAbsent) {
		return err
	}
	tx.touch()
	if err := tx.b.Insert(&Subscription{Name: name}); err != nil {
		return err
	}
	tx.note(change{kind: SubscriptionAdded, name: name})
	return nil
}

// Unsubscribe removes a name from the subscriptions. Of a mailbox that exists it
// may be missing.
func (tx *Tx) Unsubscribe(name string) error {
	name, err := CheckMailboxName(name)
	if err != nil {
		return err
	}
	err = tx.b.Get(&Subscription{Name: name})
	if errors.Is(err, bstore.ErrAbsent) {
		mb, err := tx.lookup(name)
		if err == nil && mb == nil {
			err = ErrNotSubscribed
		}
		return err
	} else if err != nil {
		return err
	}
	tx.touch()
	if err := tx.b.Delete(&Subscription{Name: name}); err != nil {
		return err
	}
	tx.note(change{kind: SubscriptionRemoved, name: name})
	return tx.noteSubscription(name)
}

// noteSubscription tells sessions that a mailbox's subscription has changed.
func (tx *Tx) noteSubscription(name string) error {
	mb, err := tx.lookup(name)
	if err != nil || mb == nil {
		return err
	}
	tx.changed(mb)
	tx.note(change{kind: MailboxChanged, mailboxID: mb.ID, mailbox: clone(mb)})
	return nil
}

// Subscriptions returns the subscribed names, sorted.
func (tx *Tx) Subscriptions() ([]string, error) {
	var names []string
	err := bstore.QueryTx[Subscription](tx.b).SortAsc("Name").ForEach(func(s Subscription) error {
		names = append(names, s.Name)
		return nil
	})
	return names, err
}
