package store

import (
	"errors"
	"fmt"

	"github.com/mjl-/bstore"
)

// Name is what LIST tells of a name.
type Name struct {
	Mailbox    *Mailbox // Nil if there is no such mailbox.
	Subscribed bool
	Children   bool // Mailboxes are below it.
}

// Name looks up a name, at the same cost however many mailboxes there are.
func (tx *Tx) Name(name string) (Name, error) {
	var n Name
	mb, err := tx.Mailbox(name)
	switch {
	case err == nil:
		n.Mailbox = &mb
	case !errors.Is(err, ErrNoMailbox):
		return n, err
	}
	err = tx.b.Get(&Subscription{Name: name})
	if err != nil && !errors.Is(err, bstore.ErrAbsent) {
		return n, fmt.Errorf("looking up subscription of %q: %w", name, err)
	}
	n.Subscribed = err == nil
	// "0" is the byte after "/".
	n.Children, err = bstore.QueryTx[Mailbox](tx.b).FilterGreater("Name", name+"/").FilterLess("Name", name+"0").Limit(1).Exists()
	if err != nil {
		return n, fmt.Errorf("looking for mailboxes below %q: %w", name, err)
	}
	return n, nil
}
