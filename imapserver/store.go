package imapserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// storeRequest is a parsed STORE or UID STORE.
type storeRequest struct {
	set    imap.NumSet
	op     store.FlagOp
	silent bool
	flags  []string
}

// storeItems are the data items of STORE.
var storeItems = map[string]struct {
	op     store.FlagOp
	silent bool
}{
	"FLAGS": {store.FlagsReplace, false}, "FLAGS.SILENT": {store.FlagsReplace, true},
	"+FLAGS": {store.FlagsAdd, false}, "+FLAGS.SILENT": {store.FlagsAdd, true},
	"-FLAGS": {store.FlagsRemove, false}, "-FLAGS.SILENT": {store.FlagsRemove, true},
}

// parseStore parses the arguments of STORE, RFC 9051, section 9:
//
//	store = "STORE" SP sequence-set SP store-att-flags
//	store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP
//	                  (flag-list / (flag *(SP flag)))
func parseStore(d *imap.Decoder) (req storeRequest) {
	d.SP()
	req.set = d.NumSet()
	d.SP()
	word := d.Word()
	item, ok := storeItems[word]
	if !ok {
		d.Fail("unknown STORE item %+q", word)
	}
	req.op, req.silent = item.op, item.silent
	d.SP()
	req.flags = d.StoreFlags()
	return req
}

// storeBatch is the number of messages changed in one transaction.
const storeBatch = 10_000

// store changes flags (RFC 9051, section 6.4.6). Its client gets the new flags
// at once; the change feed leaves out what the session did itself.
func (s *session) store(ctx context.Context, cmd command, req storeRequest) (imap.Response, error) {
	if err := s.checkWritable(); err != nil {
		return imap.Response{}, err
	}
	flags, keywords, err := store.ParseFlags(req.flags)
	if err != nil {
		return imap.Response{}, err
	}
	uids, err := s.sel.resolve(req.set, cmd.byUID)
	if err != nil {
		return imap.Response{}, err
	}
	there := 0
	for part := range slices.Chunk(uids, storeBatch) {
		entries, err := s.setFlags(ctx, part, store.FlagChange{Op: req.op, Flags: flags, Keywords: keywords})
		if err != nil {
			return imap.Response{}, err
		}
		there += len(entries)
		if !req.silent {
			s.writeFlags(s.sel.view.Entries(uidsOf(entries), nil), cmd.byUID)
		}
	}
	if there < len(uids) && !cmd.byUID {
		return imap.Response{}, store.ErrExpunged
	}
	return imap.OK("", "stored"), nil
}

// setFlags changes flags of messages of the selected mailbox, and returns those
// that are there.
func (s *session) setFlags(ctx context.Context, uids []store.UID, change store.FlagChange) ([]store.Entry, error) {
	var result store.FlagResult
	err := s.account.UpdateFrom(ctx, s.watch, func(tx *store.Tx) error {
		mb, err := tx.MailboxByID(s.sel.mailboxID)
		if err != nil {
			return err
		}
		result, err = tx.SetFlags(&mb, uids, change)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("setting flags of %d messages: %w", len(uids), err)
	}
	return result.Entries, nil
}

func uidsOf(entries []store.Entry) []store.UID {
	uids := make([]store.UID, len(entries))
	for i := range entries {
		uids[i] = entries[i].UID
	}
	return uids
}
