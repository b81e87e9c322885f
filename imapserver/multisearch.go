package imapserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// multiRequest is a parsed ESEARCH.
type multiRequest struct{ imap.MultiSearch }

// parseMultiSearch parses the arguments of ESEARCH, RFC 7377, section 4.
func parseMultiSearch(d *imap.Decoder) (req multiRequest) {
	d.SP()
	req.MultiSearch = d.MultiSearch()
	return req
}

// multiSearch is an ESEARCH while it runs.
type multiSearch struct {
	s *session
	searching
	boxes    []store.Mailbox // To be searched, as they were at the begin.
	selected bool            // The selected mailbox is one of them.
	done     int             // Messages of the mailboxes that have been searched.
	total    int             // Of all.
}

// multiSearch answers ESEARCH (RFC 7377, section 2): with a response for each mailbox
// in which something is found.
func (s *session) multiSearch(ctx context.Context, cmd command, req multiRequest) (imap.Response, error) {
	if len(req.In) == 0 {
		req.In = []imap.MailboxFilter{{Kind: imap.FilterSelected}}
	}
	if err := s.checkSources(req); err != nil {
		return imap.Response{}, err
	}
	if req.Return == 0 {
		req.Return = imap.ReturnAll
	}
	m := &multiSearch{s: s, searching: searching{cmd: cmd, opts: req.SearchOptions}}
	var err error
	if m.key, err = s.expandFilters(ctx, req.Key); err != nil {
		return imap.Response{}, err
	}
	if req.Return&imap.ReturnUpdate != 0 {
		if err := s.mayUpdate(&m.searching); err != nil {
			return imap.Response{}, err // Before the first response.
		}
	}
	s.byNumber = m.key.Has(imap.SearchSeq)
	s.account.WaitDurable(ctx)
	if err := m.resolve(ctx, req.In); err != nil {
		return imap.Response{}, err
	}
	return imap.OK("", "done"), m.run(ctx)
}

// checkSources refuses what does not go together, RFC 7377, section 2.2.
func (s *session) checkSources(req multiRequest) error {
	selected := func(f imap.MailboxFilter) bool { return f.Kind == imap.FilterSelected }
	switch {
	case s.sel == nil && slices.ContainsFunc(req.In, selected):
		return imap.Bad("no mailbox is selected")
	case s.sel == nil && req.Return&imap.ReturnUpdate != 0:
		return imap.Bad("UPDATE needs a selected mailbox")
	case req.Saves() && slices.ContainsFunc(req.In, func(f imap.MailboxFilter) bool { return !selected(f) }):
		return imap.Bad("SAVE is for the selected mailbox alone")
	case s.sel != nil && s.sel.gone && slices.ContainsFunc(req.In, selected):
		return imap.No("NONEXISTENT", "mailbox was deleted")
	}
	return nil
}

// resolve finds the mailboxes that filters are about, each once. There are no links
// between mailboxes, so that no subtree has a loop.
func (m *multiSearch) resolve(ctx context.Context, filters []imap.MailboxFilter) error {
	var scopes []mailboxScope
	for _, f := range filters {
		scopes = append(scopes, newMailboxScope(f))
	}
	sets := mailboxSets{inboxes: m.s.inboxes()}
	return m.s.account.View(ctx, func(tx *store.Tx) (err error) {
		if sets.subscribed, err = subscribed(tx); err != nil {
			return err
		}
		all, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for i := range all {
			here := m.isSelected(all[i].ID)
			covers := func(c mailboxScope) bool {
				return here && c.kind == imap.FilterSelected || c.covers(all[i].Name, sets)
			}
			if slices.ContainsFunc(scopes, covers) {
				m.boxes = append(m.boxes, all[i])
				m.selected = m.selected || here
				m.total += int(all[i].Total)
			}
		}
		return nil
	})
}

func (m *multiSearch) isSelected(mailboxID int64) bool {
	return m.s.sel != nil && m.s.sel.mailboxID == mailboxID
}

// run searches the mailboxes one after another, so that no more than one of them
// needs memory.
func (m *multiSearch) run(ctx context.Context) error {
	if m.s.sel != nil {
		defer m.s.endContexts(nil)
	}
	if m.opts.Return&imap.ReturnUpdate != 0 && !m.selected {
		m.s.refuseUpdates(&searchContext{tag: m.s.tag}, "the selected mailbox is not searched")
		m.opts.Return &^= imap.ReturnUpdate
	}
	for i := range m.boxes {
		err := m.mailbox(ctx, &m.boxes[i])
		if err != nil && !errors.Is(err, store.ErrNoMailbox) { // It was deleted meanwhile.
			return fmt.Errorf("searching %q: %w", m.boxes[i].Name, err)
		}
		m.done += int(m.boxes[i].Total)
		m.s.progress(m.done, m.total)
	}
	return nil
}

// mailbox searches one mailbox: the selected one as the client knows it, another as it
// is now.
func (m *multiSearch) mailbox(ctx context.Context, mb *store.Mailbox) error {
	if m.isSelected(mb.ID) {
		return m.inSelected(ctx, mb)
	}
	watch := m.s.account.Watch()
	defer watch.Close()
	view, err := watch.Select(ctx, mb.ID)
	if err != nil {
		return err
	}
	r := m.s.searcherOf(&selection{view: view, mailboxID: mb.ID, readOnly: true})
	m.tellProgress(r)
	found, err := r.find(ctx, m.key)
	if err != nil {
		return err
	}
	m.write(mb, r, found)
	return nil
}

// inSelected searches the selected mailbox, which can have its result saved and kept
// true.
func (m *multiSearch) inSelected(ctx context.Context, mb *store.Mailbox) error {
	if err := m.s.prepare(ctx, &m.searching); err != nil {
		return err
	}
	m.tellProgress(m.search)
	found, err := m.search.match(ctx, m.matcher, m.s.sel.uids())
	if err != nil {
		return err
	}
	m.s.save(choose(found, m.opts), m.opts)
	m.write(mb, m.search, found)
	m.about = m.correlator(mb)
	return m.s.keepUpdated(ctx, &m.searching, found)
}

// tellProgress makes a searcher tell its progress as a part of all.
func (m *multiSearch) tellProgress(r *searcher) {
	before := m.done
	r.progress = func(done, _ int) { m.s.progress(before+done, m.total) }
}

// correlator returns what says which mailbox a response is about.
func (m *multiSearch) correlator(mb *store.Mailbox) string {
	b := imap.AppendMailbox([]byte(" MAILBOX "), mb.Name, m.s.out.UTF8)
	return fmt.Sprintf("%s UIDVALIDITY %d", b, mb.UIDValidity)
}

// write writes the response for a mailbox: none if nothing was found, and none if
// that is only saved.
func (m *multiSearch) write(mb *store.Mailbox, r *searcher, found []store.UID) {
	if len(found) == 0 || m.opts.Return == imap.ReturnSave {
		return
	}
	highest := int64(0)
	if m.key.Has("MODSEQ") {
		m.s.awareOfModSeq()
		highest = newestOf(r.sel, choose(found, m.opts))
	}
	m.s.out.Raw(`* ESEARCH (TAG `).String(m.s.tag).Raw(m.correlator(mb), ") UID")
	m.s.writeResults(m.opts, m.s.numbersOf(found, true), highest)
	m.s.out.CRLF()
}
