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
	since  int64 // If conditional: only messages that have not changed after it.
	op     store.FlagOp
	silent bool
	flags  []string

	conditional bool
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

// parseStore parses the arguments of STORE, RFC 9051, section 9, and RFC 7162, section
// 7:
//
//	store = "STORE" SP sequence-set SP [store-modifiers SP] store-att-flags
//	store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP
//	                  (flag-list / (flag *(SP flag)))
func parseStore(d *imap.Decoder) (req storeRequest) {
	d.SP()
	req.set = d.NumSet()
	d.SP()
	req.since, req.conditional = d.Unchanged()
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
	change := store.FlagChange{Op: req.op, Flags: flags, Keywords: keywords, UnchangedSince: req.since}
	var modified []store.UID
	if req.conditional {
		s.awareOfModSeq()
		uids, modified = s.unchanged(uids, req.since)
	}
	there := 0
	for part := range slices.Chunk(uids, storeBatch) {
		result, err := s.setFlags(ctx, part, change)
		if err != nil {
			return imap.Response{}, err
		}
		there += len(result.Entries) + len(result.Modified)
		modified = append(modified, result.Modified...)
		s.answerStore(cmd, req, result)
	}
	return s.stored(cmd, modified, there == len(uids))
}

// answerStore tells what messages have now. A client that was told of mod-sequences
// is told of new ones also if it wants no flags: RFC 7162, section 3.1.3.
func (s *session) answerStore(cmd command, req storeRequest, result store.FlagResult) {
	entries := s.sel.view.Entries(uidsOf(result.Entries), nil)
	switch {
	case !req.silent:
		s.writeFlags(entries, cmd.byUID)
	case s.condstore:
		s.writeModSeqs(entries)
	}
}

// stored returns the reply, with the messages that were left alone because they had
// changed: their flags the client is told, so that it need not ask.
func (s *session) stored(cmd command, modified []store.UID, all bool) (imap.Response, error) {
	code := ""
	if len(modified) > 0 {
		slices.Sort(modified)
		s.writeFlags(s.sel.view.Entries(modified, nil), true)
		code = string(imap.AppendNums([]byte("MODIFIED "), s.numbersOf(modified, cmd.byUID)))
	}
	if !all && !cmd.byUID {
		if code == "" {
			return imap.Response{}, store.ErrExpunged
		}
		return imap.Response{}, imap.No(code, "some messages are gone, others have changed")
	}
	if code != "" {
		return imap.OK(code, "some messages have changed"), nil
	}
	return imap.OK("", "stored"), nil
}

// setFlags changes flags of messages of the selected mailbox.
func (s *session) setFlags(ctx context.Context, uids []store.UID, change store.FlagChange) (store.FlagResult, error) {
	result, err := s.account.SetFlags(ctx, s.watch, s.sel.mailboxID, uids, change)
	if err != nil {
		return store.FlagResult{}, fmt.Errorf("setting flags of %d messages: %w", len(uids), err)
	}
	return result, nil
}

func uidsOf(entries []store.Entry) []store.UID {
	uids := make([]store.UID, len(entries))
	for i := range entries {
		uids[i] = entries[i].UID
	}
	return uids
}
