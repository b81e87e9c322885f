package imapserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// statusRequest is a parsed STATUS.
type statusRequest struct {
	name  string
	items []string
}

// statusRow is what STATUS tells of: a mailbox's row, and what has to be looked for.
type statusRow struct {
	*store.Mailbox

	deletedSize int64 // Only if it is asked for.
}

// deletedStorage is the item that is looked for: RFC 9208, section 4.1.4.
const deletedStorage = "DELETED-STORAGE"

// statusItems renders the data items of STATUS.
var statusItems = map[string]func(s *session, mb statusRow) string{
	"MESSAGES":     statusNumber(func(mb statusRow) int64 { return mb.Total }),
	"UIDNEXT":      statusNumber(func(mb statusRow) int64 { return int64(mb.UIDNext) }),
	"UIDVALIDITY":  statusNumber(func(mb statusRow) int64 { return int64(mb.UIDValidity) }),
	"UNSEEN":       statusNumber(func(mb statusRow) int64 { return mb.Unseen }),
	"DELETED":      statusNumber(func(mb statusRow) int64 { return mb.Deleted }),
	"SIZE":         statusNumber(func(mb statusRow) int64 { return mb.Size }),
	deletedStorage: statusNumber(func(mb statusRow) int64 { return mb.deletedSize }),
	"RECENT":       statusNumber(func(statusRow) int64 { return 0 }), // Only RFC 3501 has it.

	"HIGHESTMODSEQ": statusNumber(func(mb statusRow) int64 { return max(1, mb.ModSeq) }), // RFC 7162, section 3.1.7.
	"MAILBOXID":     func(_ *session, mb statusRow) string { return string(appendObjectID(nil, mailboxIDLetter, mb.ID)) },

	// The same for all, RFC 7889, section 4.
	"APPENDLIMIT": func(s *session, _ statusRow) string { return strconv.FormatInt(s.server.opts.AppendSizeMax, 10) },
}

// statusNumber makes an item of a number.
func statusNumber(of func(mb statusRow) int64) func(*session, statusRow) string {
	return func(_ *session, mb statusRow) string { return strconv.FormatInt(of(mb), 10) }
}

// statusItemsMax bounds the items of one STATUS: there is no use for more than
// each once.
const statusItemsMax = 20

// parseStatus parses the arguments of STATUS, RFC 9051, section 9:
//
//	status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"
func parseStatus(d *imap.Decoder) (req statusRequest) {
	d.SP()
	req.name = d.Mailbox()
	d.SP()
	req.items = parseStatusItems(d)
	return req
}

func parseStatusItems(d *imap.Decoder) (items []string) {
	d.List(func() {
		word := d.Word()
		if word == "SIZE" {
			d.Needs("STATUS=SIZE")
		}
		if statusItems[word] == nil {
			d.Fail("unknown STATUS item %+q", word)
		} else if len(items) == statusItemsMax {
			d.Fail("more than %d STATUS items", statusItemsMax)
		}
		items = append(items, word)
	})
	return items
}

func (s *session) status(ctx context.Context, _ command, req statusRequest) (imap.Response, error) {
	s.account.WaitDurable(ctx)
	mb, err := s.mailbox(ctx, req.name)
	if err != nil {
		return imap.Response{}, fmt.Errorf("status of %q: %w", req.name, err)
	}
	s.awareOfStatus(req.items)
	if err := s.writeStatusNow(ctx, &mb, req.items); err != nil {
		return imap.Response{}, fmt.Errorf("status of %q: %w", req.name, err)
	}
	return imap.OK("", "done"), nil
}

// awareOfStatus looks for what makes the client one that wants mod-sequences.
func (s *session) awareOfStatus(items []string) {
	if slices.Contains(items, "HIGHESTMODSEQ") {
		s.awareOfModSeq()
	}
}

// writeStatusNow writes a STATUS response, also with what has to be looked for.
func (s *session) writeStatusNow(ctx context.Context, mb *store.Mailbox, items []string) error {
	row := statusRow{Mailbox: mb}
	if mb.Deleted > 0 && slices.Contains(items, deletedStorage) {
		var err error
		if row.deletedSize, err = s.account.DeletedSize(ctx, mb.ID); err != nil {
			return err
		}
	}
	s.writeStatusRow(row, items)
	return nil
}

// writeStatus writes a STATUS response with items that a mailbox's row has.
func (s *session) writeStatus(mb *store.Mailbox, items []string) {
	s.writeStatusRow(statusRow{Mailbox: mb}, items)
}

func (s *session) writeStatusRow(mb statusRow, items []string) {
	s.out.Raw("* STATUS ").Mailbox(mb.Name)
	for i, item := range items {
		sep := " "
		if i == 0 {
			sep = " ("
		}
		s.out.Raw(sep, item, " ", statusItems[item](s, mb))
	}
	s.out.Raw(")").CRLF()
}
