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

// statusItems renders the data items of STATUS from a mailbox's row.
var statusItems = map[string]func(s *session, mb *store.Mailbox) string{
	"MESSAGES":    statusNumber(func(mb *store.Mailbox) int64 { return mb.Total }),
	"UIDNEXT":     statusNumber(func(mb *store.Mailbox) int64 { return int64(mb.UIDNext) }),
	"UIDVALIDITY": statusNumber(func(mb *store.Mailbox) int64 { return int64(mb.UIDValidity) }),
	"UNSEEN":      statusNumber(func(mb *store.Mailbox) int64 { return mb.Unseen }),
	"DELETED":     statusNumber(func(mb *store.Mailbox) int64 { return mb.Deleted }),
	"SIZE":        statusNumber(func(mb *store.Mailbox) int64 { return mb.Size }),
	"RECENT":      statusNumber(func(*store.Mailbox) int64 { return 0 }), // Only RFC 3501 has it.

	"HIGHESTMODSEQ": statusNumber(func(mb *store.Mailbox) int64 { return max(1, mb.ModSeq) }), // RFC 7162, section 3.1.7.
	"MAILBOXID":     func(_ *session, mb *store.Mailbox) string { return string(appendObjectID(nil, mailboxIDLetter, mb.ID)) },

	// The same for all, RFC 7889, section 4.
	"APPENDLIMIT": func(s *session, _ *store.Mailbox) string { return strconv.FormatInt(s.server.opts.AppendSizeMax, 10) },
}

// statusNumber makes an item of a number.
func statusNumber(of func(mb *store.Mailbox) int64) func(*session, *store.Mailbox) string {
	return func(_ *session, mb *store.Mailbox) string { return strconv.FormatInt(of(mb), 10) }
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
	s.writeStatus(&mb, req.items)
	return imap.OK("", "done"), nil
}

// awareOfStatus looks for what makes the client one that wants mod-sequences.
func (s *session) awareOfStatus(items []string) {
	if slices.Contains(items, "HIGHESTMODSEQ") {
		s.awareOfModSeq()
	}
}

func (s *session) writeStatus(mb *store.Mailbox, items []string) {
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
