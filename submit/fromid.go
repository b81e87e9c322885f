package submit

import (
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

// fromIDBytes are what a FromID is made of: 128 bits, that nobody can guess.
const fromIDBytes = 16

// fromIDEncoding is base32 in lower case: other servers may change the case of an
// address, and "-" can be a separator.
var fromIDEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// senders gives each recipient a sender of its own, if the user has logged in so that
// it is wanted. An id that the client has put behind the separator itself is taken for
// the only recipient. The null sender has none, nor a domain without separator.
func (m *submission) senders() error {
	p := m.t.Peer
	from, ok := m.t.MailFrom.Address()
	if !ok || !m.c.UsesFromID(p.Account, p.Login) {
		return nil
	}
	base, id := m.c.SplitFromID(from)
	room := m.c.FromIDRoom(base)
	switch {
	case len(m.to) == 1 && id != "":
		m.base, m.fromIDs = base, []string{id}
		return nil
	case !m.c.HasFromID(base):
		return nil
	case room < config.FromIDSizeMin:
		return refuse(ErrSender, smtp.CodeMailboxPermanent, smtp.DetailBadSenderSyntax, "%+q is too long for an id behind it, as your login address asks for", base.String())
	}
	for range m.to {
		var b [fromIDBytes]byte
		if _, err := io.ReadFull(m.s.opts.Rand, b[:]); err != nil {
			return fmt.Errorf("making id of a sender: %w", err)
		}
		m.fromIDs = append(m.fromIDs, strings.ToLower(fromIDEncoding.EncodeToString(b[:]))[:room])
	}
	m.base = base
	return nil
}

// sender sets the sender of the recipient at index i.
func (m *submission) sender(to *queue.NewRcpt, i int) {
	if m.fromIDs != nil {
		to.FromID = m.fromIDs[i]
		to.MailFrom = m.c.WithFromID(m.base, to.FromID).Path()
	}
}

// usedBefore turns the error for an id that was used into a refusal.
func usedBefore(err error) error {
	if !errors.Is(err, queue.ErrFromID) {
		return err
	}
	return refuse(ErrFromID, smtp.CodeMailboxPermanent, smtp.DetailBadSenderSyntax, "the id behind the separator in the address of the sender was used before: choose another, or none")
}
