package imapserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// searchRequest is a parsed SEARCH or UID SEARCH.
type searchRequest struct{ imap.Search }

// parseSearch parses the arguments of SEARCH, RFC 9051, section 9:
//
//	search = "SEARCH" [search-return-opts] SP search-program
func parseSearch(d *imap.Decoder) (req searchRequest) {
	d.SP()
	req.Search = d.Search()
	return req
}

// bindSearch is bind for commands that can save what they find. One that asks for
// it and fails with NO empties the saved result, RFC 9051, section 6.4.4.1, also if
// it is its arguments that are refused.
func bindSearch[T interface{ Saves() bool }](
	parse func(*imap.Decoder) T,
	run func(*session, context.Context, command, T) (imap.Response, error),
) handler {
	return func(s *session, ctx context.Context, cmd command, d *imap.Decoder) (resp imap.Response, err error) {
		req := parse(d)
		if err = d.End(); err == nil {
			resp, err = run(s, ctx, cmd, req)
		}
		if err != nil && req.Saves() && s.sel != nil && statusFor(err).Type == "NO" {
			s.sel.saved = nil
		}
		return resp, err
	}
}

// search answers SEARCH (RFC 9051, section 6.4.4).
func (s *session) search(ctx context.Context, cmd command, req searchRequest) (imap.Response, error) {
	if req.Return == 0 {
		req.Return = imap.ReturnAll
	}
	return s.runSearch(ctx, &searching{cmd: cmd, opts: req.SearchOptions, key: req.Key})
}

// runSearch searches the selected mailbox, and sorts what it finds if that is asked
// for.
func (s *session) runSearch(ctx context.Context, g *searching) (resp imap.Response, err error) {
	if g.key, err = s.expandFilters(ctx, g.key); err != nil {
		return imap.Response{}, err
	}
	s.byNumber = g.key.Has(imap.SearchSeq) // Also UID SEARCH: RFC 7162, section 3.2.10.2.
	defer s.endContexts(nil)
	if err := s.prepare(ctx, g); err != nil {
		return imap.Response{}, err
	}
	found, err := g.search.match(ctx, g.matcher, s.sel.uids())
	if err != nil {
		return imap.Response{}, fmt.Errorf("searching: %w", err)
	}
	order := found
	if g.by != nil {
		if order, err = g.search.sorted(ctx, found, g.by); err != nil {
			return imap.Response{}, err
		}
	}
	chosen := choose(order, g.opts)
	s.save(chosen, g.opts)
	s.writeFound(g, order, s.highestOf(chosen, g.key))
	if err := s.keepUpdated(ctx, g, found); err != nil {
		return imap.Response{}, err
	}
	return imap.OK("", "done"), nil
}

// writeFound writes the response for what was found: it depends on the command, on
// whether there were result options, and for SEARCH on what the client has enabled.
func (s *session) writeFound(g *searching, found []store.UID, highest int64) {
	switch {
	case g.opts.Extended || g.by == nil && s.rev2:
		s.writeESearch(g.cmd, g.opts, found, highest)
	case g.by == nil:
		s.writeSearch(g.cmd, found, highest)
	default:
		s.writeSort(g.cmd, found, highest)
	}
}

// save makes messages what "$" stands for, if that is asked for.
func (s *session) save(chosen []store.UID, o imap.SearchOptions) {
	if o.Saves() {
		s.sel.saved = chosen
	}
}

// highestOf returns the mod-sequence that is to be told of messages that a search
// with MODSEQ chose (RFC 7162, sections 3.1.6 and 3.1.10), 0 for none.
func (s *session) highestOf(chosen []store.UID, key imap.SearchKey) int64 {
	if !key.Has("MODSEQ") {
		return 0
	}
	s.awareOfModSeq()
	return s.newest(chosen)
}

// find returns the messages that fulfil a key, ascending.
func (r *searcher) find(ctx context.Context, key imap.SearchKey) ([]store.UID, error) {
	m, err := r.compile(ctx, key)
	if err != nil {
		return nil, err
	}
	found, err := r.match(ctx, m, r.sel.uids())
	if err != nil {
		return nil, fmt.Errorf("searching: %w", err)
	}
	return found, nil
}

// choose returns those of the messages found, in whatever order, that the answer is
// about, ascending: all, unless only a part and the ends are asked for. They are
// what "$" stands for afterwards (RFC 5182, section 2.4, and RFC 9394, section 3.2).
func choose(found []store.UID, o imap.SearchOptions) []store.UID {
	const few = imap.ReturnMin | imap.ReturnMax | imap.ReturnPartial
	if len(found) > 0 && o.Return&few != 0 && o.Return&(imap.ReturnAll|imap.ReturnCount) == 0 {
		found = chooseFew(found, o)
	}
	if !slices.IsSorted(found) {
		found = slices.Sorted(slices.Values(found))
	}
	return slices.Compact(found)
}

func chooseFew(found []store.UID, o imap.SearchOptions) []store.UID {
	var few []store.UID
	if o.Return&imap.ReturnMin != 0 {
		few = append(few, found[0])
	}
	if o.Return&imap.ReturnPartial != 0 {
		from, to := o.Partial.Within(len(found))
		few = append(few, found[from:to]...)
	}
	if o.Return&imap.ReturnMax != 0 {
		few = append(few, found[len(found)-1])
	}
	return few
}

// numbersOf returns what the client is to see of messages, in the same order: UIDs
// or sequence numbers.
func (s *session) numbersOf(uids []store.UID, byUID bool) []uint32 {
	out := make([]uint32, 0, len(uids))
	for _, uid := range uids {
		if byUID {
			out = append(out, uint32(uid))
		} else if n, ok := s.sel.number(uid); ok {
			out = append(out, uint32(n))
		}
	}
	return out
}

// writeSearch writes the response of RFC 3501, with a mod-sequence if there is one
// (RFC 7162, section 3.1.6).
func (s *session) writeSearch(cmd command, found []store.UID, highest int64) {
	numbers := s.numbersOf(found, cmd.byUID)
	s.out.Raw("* SEARCH")
	for part := range slices.Chunk(numbers, entriesBatch) {
		s.out.Append(func(b []byte) []byte {
			for _, n := range part {
				b = strconv.AppendUint(append(b, ' '), uint64(n), 10)
			}
			return b
		})
	}
	if highest > 0 && len(numbers) > 0 {
		s.out.Raw(" (MODSEQ ").Num(highest).Raw(")")
	}
	s.out.CRLF()
}

// writeESearch writes the response of RFC 4731, likewise. If only SAVE was asked for
// there is none. What was found is in the order that was asked for.
func (s *session) writeESearch(cmd command, o imap.SearchOptions, found []store.UID, highest int64) {
	if o.Return == imap.ReturnSave {
		return
	}
	numbers := s.numbersOf(found, cmd.byUID)
	s.out.Raw(`* ESEARCH (TAG `).String(s.tag).Raw(")")
	if cmd.byUID {
		s.out.Raw(" UID")
	}
	s.writeResults(o, numbers, highest)
	s.out.CRLF()
}

// writeResults writes the items of an ESEARCH response.
func (s *session) writeResults(o imap.SearchOptions, numbers []uint32, highest int64) {
	some := len(numbers) > 0
	if some && o.Return&imap.ReturnMin != 0 {
		s.out.Raw(" MIN ").Num(int64(numbers[0]))
	}
	if some && o.Return&imap.ReturnMax != 0 {
		s.out.Raw(" MAX ").Num(int64(numbers[len(numbers)-1]))
	}
	if some && o.Return&imap.ReturnAll != 0 {
		s.out.Append(func(b []byte) []byte { return imap.AppendNums(append(b, " ALL "...), numbers) })
	}
	if o.Return&imap.ReturnPartial != 0 {
		s.out.Append(func(b []byte) []byte { return appendPartial(b, o.Partial, numbers) })
	}
	if o.Return&imap.ReturnCount != 0 {
		s.out.Raw(" COUNT ").Num(int64(len(numbers)))
	}
	if some && highest > 0 {
		s.out.Raw(" MODSEQ ").Num(highest)
	}
}

// appendPartial appends the item PARTIAL, RFC 9394, section 3.1.
func appendPartial(b []byte, p imap.PartialRange, numbers []uint32) []byte {
	b = append(p.Append(append(b, " PARTIAL ("...)), ' ')
	from, to := p.Within(len(numbers))
	if from == to {
		return append(b, "NIL)"...)
	}
	return append(imap.AppendNums(b, numbers[from:to]), ')')
}
