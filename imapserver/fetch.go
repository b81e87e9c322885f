package imapserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/store"
)

// fetchRequest is a parsed FETCH or UID FETCH.
type fetchRequest struct {
	set   imap.NumSet
	items []imap.FetchItem
	imap.FetchModifiers
}

// parseFetch parses the arguments of FETCH, RFC 9051, section 9, and RFC 7162, section
// 7:
//
//	fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" /
//	        fetch-att / "(" fetch-att *(SP fetch-att) ")") [fetch-modifiers]
func parseFetch(d *imap.Decoder) (req fetchRequest) {
	d.SP()
	req.set = d.NumSet()
	d.SP()
	req.items = d.FetchItems()
	req.FetchModifiers = d.FetchModifiers()
	return req
}

// fetcher answers one FETCH.
type fetcher struct {
	s     *session
	items []imap.FetchItem
	flags *flagWriter

	// What the items need.
	structure bool // Structure rows, for their ready-made texts.
	tree      bool // The parsed structure, to find parts.
	email     bool // Email rows.
	file      bool // The message file, and the prefix to it.
	setsSeen  bool

	unseen  []store.UID // Messages to mark as read.
	failure error       // What the client hears at the end, if a message could not be fetched whole.
}

// fetch answers FETCH (RFC 9051, section 6.4.5).
func (s *session) fetch(ctx context.Context, cmd command, req fetchRequest) (imap.Response, error) {
	if req.Vanished && (!cmd.byUID || !s.qresync) {
		return imap.Response{}, imap.Bad("VANISHED is for UID FETCH after ENABLE QRESYNC")
	}
	if req.Partial != nil && !cmd.byUID {
		return imap.Response{}, imap.Bad("PARTIAL is for UID FETCH")
	}
	uids, err := s.sel.resolve(req.set, cmd.byUID)
	if err != nil {
		return imap.Response{}, err
	}
	if req.Partial != nil {
		from, to := req.Partial.Within(len(uids))
		uids = uids[from:to]
	}
	if req.asksModSeq() {
		s.awareOfModSeq()
	}
	if req.Changed {
		if uids, err = s.changedSince(ctx, req, uids); err != nil {
			return imap.Response{}, err
		}
	}
	if cmd.byUID && !s.uidOnly {
		req.items = withItem(req.items, imap.FetchUID)
	}
	f := &fetcher{s: s, items: req.items, flags: newFlagWriter(s.sel.view)}
	f.plan()
	s.tellKeywords()
	if f.structure || f.email {
		err = f.all(ctx, uids)
	} else {
		err = f.dense(ctx, uids)
	}
	if err != nil {
		return imap.Response{}, fmt.Errorf("fetching %d messages: %w", len(uids), err)
	}
	if err := f.markSeen(ctx); err != nil {
		return imap.Response{}, err
	}
	if f.failure != nil {
		return imap.Response{}, f.failure
	}
	return imap.OK("", "fetched"), nil
}

// withItem returns items with one of a kind in front, if there is none.
func withItem(items []imap.FetchItem, kind imap.FetchKind) []imap.FetchItem {
	if slices.ContainsFunc(items, func(i imap.FetchItem) bool { return i.Kind == kind }) {
		return items
	}
	return append([]imap.FetchItem{{Kind: kind}}, items...)
}

// asksModSeq makes MODSEQ one of the items if the modifier wants that, and tells
// whether it is.
func (req *fetchRequest) asksModSeq() bool {
	if req.Changed {
		req.items = withItem(req.items, imap.FetchModSeq)
	}
	return slices.ContainsFunc(req.items, func(i imap.FetchItem) bool { return i.Kind == imap.FetchModSeq })
}

// changedSince returns those of uids that changed after what the client knows, and
// tells it who is gone, if it wants to know.
func (s *session) changedSince(ctx context.Context, req fetchRequest, uids []store.UID) ([]store.UID, error) {
	if req.Vanished {
		mb, err := s.mailboxByID(ctx, s.sel.mailboxID)
		if err != nil {
			return nil, err
		}
		// "*" is not the last message that is left: the ones after it have gone too.
		known := req.set.Resolve(s.sel.lastUID(&mb))
		if req.set.Saved {
			known = rangesOf(s.sel.saved)
		}
		if err := s.writeVanished(ctx, known, req.Since, 0); err != nil {
			return nil, err
		}
	}
	_, changed := s.unchanged(uids, req.Since)
	return changed, nil
}

// plan finds out what the items need.
func (f *fetcher) plan() {
	for _, item := range f.items {
		switch item.Kind {
		case imap.FetchEnvelope, imap.FetchBodyStructure:
			f.structure = true
		case imap.FetchBody:
			f.structure, f.tree = true, true
		case imap.FetchRFC822:
			f.file = true
		case imap.FetchSection, imap.FetchBinary, imap.FetchBinarySize, imap.FetchRFC822Header, imap.FetchRFC822Text:
			f.file = true
			whole := item.Kind == imap.FetchSection && len(item.Section.Part) == 0 && item.Section.Text == imap.SectionAll
			f.tree = f.tree || !whole
		case imap.FetchThreadID, imap.FetchPreview:
			f.email = true
		case imap.FetchFlags, imap.FetchUID, imap.FetchInternalDate, imap.FetchSize, imap.FetchModSeq, imap.FetchEmailID, imap.FetchSaveDate:
		}
		f.setsSeen = f.setsSeen || item.SetsSeen()
	}
	f.structure = f.structure || f.tree
	f.email = f.email || f.file
	f.setsSeen = f.setsSeen && !f.s.sel.readOnly
	if f.file {
		f.s.level = logfmt.LevelTraceData
	}
}

// dense answers from the array in memory alone.
func (f *fetcher) dense(ctx context.Context, uids []store.UID) error {
	var entries []store.Entry
	number := f.numbers(uids)
	for part := range slices.Chunk(uids, max(1, entriesBatch/(1+len(f.items)/denseItems))) {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries = f.s.sel.view.Entries(part, entries[:0])
		f.s.out.Append(func(b []byte) []byte {
			for i := range entries {
				b = f.s.appendStart(b, number(entries[i].UID), entries[i].UID)
				for n := range f.items {
					b = f.appendDense(b, n, &entries[i])
				}
				b = append(b, ")\r\n"...)
			}
			return b
		})
		if err := f.s.out.Err(); err != nil {
			f.s.lost = err
			return err
		}
	}
	return nil
}

// numbers returns a function that gives the sequence numbers of messages that
// are asked for in ascending order: mostly, each is the one after the last.
func (f *fetcher) numbers(uids []store.UID) func(store.UID) int {
	all := f.s.sel.uids()
	at := 0
	if len(uids) > 0 {
		at, _ = slices.BinarySearch(all, uids[0])
	}
	return func(uid store.UID) int {
		if at >= len(all) || all[at] != uid {
			at, _ = slices.BinarySearch(all, uid)
		}
		at++
		return at
	}
}

// appendDense appends item n if it is one of those in the array.
func (f *fetcher) appendDense(b []byte, n int, e *store.Entry) []byte {
	if n > 0 {
		b = append(b, ' ')
	}
	switch f.items[n].Kind {
	case imap.FetchUID:
		b = strconv.AppendUint(append(b, "UID "...), uint64(e.UID), 10)
	case imap.FetchFlags:
		b = f.flags.append(append(b, "FLAGS "...), *e)
	case imap.FetchSize:
		b = strconv.AppendUint(append(b, "RFC822.SIZE "...), uint64(e.Size), 10)
	case imap.FetchInternalDate:
		b = imap.AppendDateTime(append(b, "INTERNALDATE "...), time.Unix(int64(e.Received), 0).UTC())
	case imap.FetchModSeq:
		b = appendModSeq(b, e)
	case imap.FetchEmailID:
		b = appendObjectID(append(b, "EMAILID "...), emailIDLetter, e.EmailID)
	case imap.FetchSaveDate:
		b = imap.AppendDateTime(append(b, "SAVEDATE "...), time.Unix(int64(e.Saved), 0).UTC())
	case imap.FetchEnvelope, imap.FetchBodyStructure, imap.FetchBody, imap.FetchSection, imap.FetchRFC822,
		imap.FetchRFC822Header, imap.FetchRFC822Text, imap.FetchBinary, imap.FetchBinarySize, imap.FetchThreadID, imap.FetchPreview:
	}
	return b
}

// row is what is read of a message from the database.
type row struct {
	entry     store.Entry
	email     store.Email
	structure store.Structure
	tree      message.Part
	err       error
}

// rowsBytesMax bounds what is read in one transaction in bytes: structures and
// prefixes can be large.
const rowsBytesMax = 4 << 20

// all answers with rows and files. Rows are read in batches, so that no
// transaction is open while the client is written to.
func (f *fetcher) all(ctx context.Context, uids []store.UID) error {
	var entries []store.Entry
	rows := make([]row, 0, structuresBatch)
	number := f.numbers(uids)
	done := 0
	for part := range slices.Chunk(uids, structuresBatch) {
		entries = f.s.sel.view.Entries(part, entries[:0])
		for rest := entries; len(rest) > 0; {
			var err error
			if rows, err = f.read(ctx, rest, rows[:0]); err != nil {
				return err
			}
			for i := range rows {
				f.message(ctx, &rows[i], number(rows[i].entry.UID))
				done++
				f.s.progressQuiet(done, len(uids))
			}
			if err := f.s.out.Err(); err != nil {
				f.s.lost = err
				return err
			}
			rest = rest[len(rows):]
		}
	}
	return nil
}

// read reads the rows of the first of entries, at least of one.
func (f *fetcher) read(ctx context.Context, entries []store.Entry, rows []row) ([]row, error) {
	first := len(rows)
	err := f.s.account.ViewContent(ctx, func(tx *store.Tx) error {
		rows = rows[:first]
		size := 0
		for _, e := range entries {
			rows = append(rows, row{entry: e})
			r := &rows[len(rows)-1]
			if r.err = f.readRow(tx, r); r.err != nil && !errors.Is(r.err, store.ErrExpunged) {
				return r.err
			}
			size += len(r.structure.Tree) + len(r.structure.BodyStructure) + len(r.structure.Envelope) + len(r.email.Prefix)
			if size > rowsBytesMax {
				break
			}
		}
		return nil
	})
	return rows, err
}

func (f *fetcher) readRow(tx *store.Tx, r *row) (err error) {
	if f.structure {
		if r.structure, err = tx.Structure(r.entry.EmailID); err != nil {
			return err
		}
	}
	if f.email {
		if r.email, err = tx.Email(r.entry.EmailID); err != nil {
			return err
		}
	}
	if f.file && f.email && !f.structure && r.email.FileSize > readMax {
		r.structure, err = tx.Structure(r.entry.EmailID) // For what hasNUL looks at.
	}
	return err
}

// message answers for one message. One that can't be read is left out, and the
// reply says so.
func (f *fetcher) message(ctx context.Context, r *row, number int) {
	m := &content{account: f.s.account, row: r}
	defer m.close()
	err := r.err
	if err == nil && f.tree {
		r.tree, err = message.ParsePart(r.structure.Tree)
	}
	if err == nil && f.file {
		err = m.open()
	}
	if err != nil {
		f.fail(ctx, r, err)
		return
	}
	out := f.s.out
	out.Append(func(b []byte) []byte { return f.s.appendStart(b, number, r.entry.UID) })
	for n := range f.items {
		if err := f.item(m, n); err != nil {
			f.fail(ctx, r, err)
		}
	}
	out.Raw(")").CRLF()
	if f.setsSeen && r.entry.Flags()&store.FlagSeen == 0 {
		f.unseen = append(f.unseen, r.entry.UID)
	}
}

// fail remembers a failure for the reply. One that a client can cause is worth
// less than one that is ours.
func (f *fetcher) fail(ctx context.Context, r *row, err error) {
	if f.failure == nil || statusFor(err).Code == "SERVERBUG" {
		f.failure = fmt.Errorf("fetching message %d: %w", r.entry.UID, err)
	}
	if statusFor(err).Code == "SERVERBUG" {
		f.s.log.ErrorContext(ctx, "fetching message", "uid", r.entry.UID, "email", r.entry.EmailID, "err", err)
	}
}

// item writes item n of a message. An error means that NIL was written.
func (f *fetcher) item(m *content, n int) error {
	item, out := f.items[n], f.s.out
	switch item.Kind {
	case imap.FetchUID, imap.FetchFlags, imap.FetchSize, imap.FetchInternalDate, imap.FetchModSeq, imap.FetchEmailID, imap.FetchSaveDate:
		out.Append(func(b []byte) []byte { return f.appendDense(b, n, &m.row.entry) })
		return nil
	case imap.FetchEnvelope, imap.FetchBodyStructure, imap.FetchBody, imap.FetchSection, imap.FetchRFC822,
		imap.FetchRFC822Header, imap.FetchRFC822Text, imap.FetchBinary, imap.FetchBinarySize, imap.FetchThreadID, imap.FetchPreview:
	}
	out.Append(func(b []byte) []byte {
		if n > 0 {
			b = append(b, ' ')
		}
		b = append(item.AppendName(b), ' ')
		switch item.Kind {
		case imap.FetchEnvelope:
			b = append(b, m.row.structure.Envelope...)
		case imap.FetchBodyStructure:
			b = append(b, m.row.structure.BodyStructure...)
		case imap.FetchBody:
			b = imap.AppendBodyStructure(b, &m.row.tree, false)
		case imap.FetchThreadID:
			b = appendObjectID(b, threadIDLetter, m.row.email.ThreadID)
		case imap.FetchPreview:
			b = imap.AppendString(b, m.row.email.Preview, f.s.out.UTF8)
		default:
		}
		return b
	})
	switch item.Kind {
	case imap.FetchSection, imap.FetchRFC822, imap.FetchRFC822Header, imap.FetchRFC822Text:
		return f.section(m, sectionOf(item), item.Partial)
	case imap.FetchBinary:
		return f.binary(m, item)
	case imap.FetchBinarySize:
		return f.binarySize(m, item)
	default:
		return nil
	}
}

// markSeen marks the messages whose bodies were sent as read, all at once, and
// tells the client.
func (f *fetcher) markSeen(ctx context.Context) error {
	for part := range slices.Chunk(f.unseen, storeBatch) {
		result, err := f.s.setFlags(ctx, part, store.FlagChange{Op: store.FlagsAdd, Flags: store.FlagSeen})
		if err != nil {
			return err
		}
		f.s.writeFlags(f.s.sel.view.Entries(uidsOf(result.Entries), nil), true)
	}
	return nil
}
