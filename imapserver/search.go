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

// search answers SEARCH (RFC 9051, section 6.4.4).
func (s *session) search(ctx context.Context, cmd command, req searchRequest) (imap.Response, error) {
	if req.Return == 0 {
		req.Return = imap.ReturnAll
	}
	s.byNumber = req.Key.Has(imap.SearchSeq) // Also UID SEARCH: RFC 7162, section 3.2.10.2.
	found, err := s.searcher().find(ctx, req.Key)
	if err != nil {
		if req.Return&imap.ReturnSave != 0 && statusFor(err).Type == "NO" {
			s.sel.saved = nil // RFC 5182, section 2.1.
		}
		return imap.Response{}, err
	}
	if req.Return&imap.ReturnSave != 0 {
		s.sel.saved = toSave(found, req.Return)
	}
	highest := int64(0)
	if req.Key.Has("MODSEQ") {
		s.awareOfModSeq()
		highest = s.newest(toSave(found, req.Return)) // RFC 7162, section 3.1.10, as with SAVE.
	}
	switch {
	case req.Extended || s.rev2:
		s.writeESearch(cmd, req, found, highest)
	default:
		s.writeSearch(cmd, found, highest)
	}
	return imap.OK("", "done"), nil
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

// toSave returns which of the messages found "$" stands for afterwards (RFC
// 5182, section 2.4): all, unless only the ends were asked for.
func toSave(found []store.UID, options imap.SearchReturn) []store.UID {
	if len(found) == 0 || options&(imap.ReturnAll|imap.ReturnCount) != 0 {
		return found
	}
	first, last := found[0], found[len(found)-1]
	switch options & (imap.ReturnMin | imap.ReturnMax) {
	case imap.ReturnMin:
		return []store.UID{first}
	case imap.ReturnMax:
		return []store.UID{last}
	case imap.ReturnMin | imap.ReturnMax:
		return slices.Compact([]store.UID{first, last})
	}
	return found
}

// numbersOf returns what the client is to see of messages: UIDs or sequence
// numbers, both ascending.
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
// there is none.
func (s *session) writeESearch(cmd command, req searchRequest, found []store.UID, highest int64) {
	if req.Return == imap.ReturnSave {
		return
	}
	numbers := s.numbersOf(found, cmd.byUID)
	s.out.Raw(`* ESEARCH (TAG `).String(s.tag).Raw(")")
	if cmd.byUID {
		s.out.Raw(" UID")
	}
	if len(numbers) > 0 {
		if req.Return&imap.ReturnMin != 0 {
			s.out.Raw(" MIN ").Num(int64(numbers[0]))
		}
		if req.Return&imap.ReturnMax != 0 {
			s.out.Raw(" MAX ").Num(int64(numbers[len(numbers)-1]))
		}
		if req.Return&imap.ReturnAll != 0 {
			s.out.Raw(" ALL ")
			s.out.Append(func(b []byte) []byte { return imap.AppendNums(b, numbers) })
		}
	}
	if req.Return&imap.ReturnCount != 0 {
		s.out.Raw(" COUNT ").Num(int64(len(numbers)))
	}
	if highest > 0 && len(numbers) > 0 {
		s.out.Raw(" MODSEQ ").Num(highest)
	}
	s.out.CRLF()
}
