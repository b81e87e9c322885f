package imapserver

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// threadRequest is a parsed THREAD or UID THREAD.
type threadRequest struct{ imap.Thread }

// parseThread parses the arguments of THREAD, RFC 5256, section 5:
//
//	thread = "THREAD" SP thread-alg SP search-criteria
func parseThread(d *imap.Decoder) (req threadRequest) {
	d.SP()
	req.Thread = d.Thread()
	return req
}

// thread answers THREAD (RFC 5256, section 3).
func (s *session) thread(ctx context.Context, cmd command, req threadRequest) (imap.Response, error) {
	if s.disabled("THREAD=" + req.Algorithm) {
		return imap.Response{}, imap.Bad("unknown THREAD algorithm %+q", req.Algorithm)
	}
	var err error
	if req.Key, err = s.expandFilters(ctx, req.Key); err != nil {
		return imap.Response{}, err
	}
	s.byNumber = req.Key.Has(imap.SearchSeq)
	r := s.searcher()
	found, err := r.find(ctx, req.Key)
	if err != nil {
		return imap.Response{}, err
	}
	if req.Key.Has("MODSEQ") {
		s.awareOfModSeq()
	}
	list, err := r.threadMessages(ctx, found, req.Algorithm)
	if err != nil {
		return imap.Response{}, fmt.Errorf("threading: %w", err)
	}
	f := orderedSubject
	if req.Algorithm == imap.ThreadReferences {
		f = byReferences
	}
	s.writeThread(f(list), s.numbersOf(found, cmd.byUID))
	return imap.OK("", "done"), nil
}

// threadMessages returns what an algorithm needs of messages.
func (r *searcher) threadMessages(ctx context.Context, uids []store.UID, algorithm string) ([]threadMessage, error) {
	list := make([]threadMessage, len(uids))
	sent, err := r.sentValues(ctx, uids)
	if err != nil {
		return nil, err
	}
	if err := r.subjects(ctx, uids, list); err != nil {
		return nil, err
	}
	for i := range list {
		list[i].sent = sent[i]
	}
	if algorithm == imap.ThreadOrderedSubject {
		return list, nil
	}
	var refs []uint64 // Of many messages: fewer allocations.
	return list, r.texts(ctx, uids, threadColumn(), func(i int, text []byte) {
		if cap(refs)-len(refs) < len(text)/8 {
			refs = make([]uint64, 0, max(len(text)/8, refsPiece))
		}
		refs = list[i].setReferences(text, refs)
	})
}

// refsPiece is how many references are allocated at once.
const refsPiece = 4096

// setReferences takes a text of threadColumn. The references are put into what is left of
// refs, which is returned behind them.
func (m *threadMessage) setReferences(text []byte, refs []uint64) []uint64 {
	if len(text) < 9 {
		return refs
	}
	m.isReply, m.id = text[0] != 0, binary.BigEndian.Uint64(text[1:])
	from := len(refs)
	for text = text[9:]; len(text) >= 8; text = text[8:] {
		refs = append(refs, binary.BigEndian.Uint64(text))
	}
	m.refs = refs[from:len(refs):len(refs)]
	return refs[len(refs):]
}

// subjects sets numbers that stand for the messages' base subjects.
func (r *searcher) subjects(ctx context.Context, uids []store.UID, list []threadMessage) error {
	numbers := map[string]int64{"": 0}
	return r.texts(ctx, uids, baseColumn(), func(i int, text []byte) {
		number, ok := numbers[string(text)]
		if !ok {
			number = int64(len(numbers))
			numbers[string(text)] = number
		}
		list[i].subject = number
	})
}

// writeThread writes the response of RFC 5256, section 4. Numbers are those of the
// messages of the forest.
func (s *session) writeThread(f *forest, numbers []uint32) {
	s.out.Raw("* THREAD")
	w := newThreadWriter(f, numbers)
	for i, root := range f.roots() {
		s.out.Append(func(b []byte) []byte {
			if i == 0 {
				b = append(b, ' ')
			}
			return w.append(b, root)
		})
	}
	s.out.CRLF()
}

// threadWriter writes trees. Children are in the order of their sent dates.
type threadWriter struct {
	f        *forest
	numbers  []uint32
	begins   []int32 // Of each node's children in children; one more at the end.
	children []int32
}

// newThreadWriter finds the children of all nodes, by going through the messages in their
// order once.
func newThreadWriter(f *forest, numbers []uint32) *threadWriter {
	n := len(f.parents)
	w := &threadWriter{f: f, numbers: numbers, begins: make([]int32, n+len(f.dummies)+1)}
	ordered := make([]int32, n)
	for i, place := range f.places {
		ordered[place] = int32(i)
		if p := f.parents[i]; p >= 0 {
			w.begins[p+1]++
		}
	}
	for i := 1; i < len(w.begins); i++ {
		w.begins[i] += w.begins[i-1]
	}
	w.children = make([]int32, w.begins[len(w.begins)-1])
	next := append([]int32(nil), w.begins...)
	for _, i := range ordered {
		if p := f.parents[i]; p >= 0 {
			w.children[next[p]] = i
			next[p]++
		}
	}
	return w
}

// append appends a thread-list. It does not call itself for children, since there is no
// limit to how deep they may be.
func (w *threadWriter) append(b []byte, root int32) []byte {
	const end = -1
	todo := []int32{root}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at == end {
			b = append(b, ')')
			continue
		}
		b = append(b, '(')
		todo = append(todo, end)
		var children []int32
		for { // A member, its only child, and so on.
			children = w.children[w.begins[at]:w.begins[at+1]]
			if !w.f.isDummy(at) {
				b = strconv.AppendUint(b, uint64(w.numbers[at]), 10)
				if len(children) > 0 {
					b = append(b, ' ')
				}
			}
			if len(children) != 1 {
				break
			}
			at = children[0]
		}
		for i := len(children) - 1; i >= 0; i-- {
			todo = append(todo, children[i])
		}
	}
	return b
}
