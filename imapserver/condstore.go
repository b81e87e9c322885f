package imapserver

import (
	"slices"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// awareOfModSeq notes that the client wants mod-sequences with all flags from now
// on: that is so after the first command that has to do with them (RFC 7162, section
// 3.1).
func (s *session) awareOfModSeq() {
	if s.condstore {
		return
	}
	s.condstore = true
	if s.sel != nil && !s.sel.gone {
		s.writeHighest("mod-sequences come with flags from now on")
	}
}

// writeHighest tells up to where the client has been told what changed.
func (s *session) writeHighest(text string) {
	s.out.Response("*", imap.OK(s.highest(), "%s", text))
}

// highest returns the response code.
func (s *session) highest() string {
	// A mailbox that nothing ever happened to has 0, which the grammar does not have.
	return "HIGHESTMODSEQ " + strconv.FormatInt(max(1, s.sel.view.HighestModSeq()), 10)
}

// appendModSeq appends the mod-sequence of a message.
func appendModSeq(b []byte, e *store.Entry) []byte {
	b = strconv.AppendInt(append(b, "MODSEQ ("...), max(1, e.ModSeq), 10)
	return append(b, ')')
}

// writeModSeqs tells a client that asked for silence what the mod-sequences of
// messages are now: it would take them for changed by somebody else.
func (s *session) writeModSeqs(entries []store.Entry) {
	for part := range slices.Chunk(entries, entriesBatch) {
		s.out.Append(func(b []byte) []byte {
			for i := range part {
				var ok bool
				if b, ok = s.appendMessage(b, part[i].UID, true); ok {
					b = append(appendModSeq(b, &part[i]), ")\r\n"...)
				}
			}
			return b
		})
	}
}

// newest returns the highest mod-sequence of messages.
func (s *session) newest(uids []store.UID) int64 { return newestOf(s.sel, uids) }

// newestOf returns the highest mod-sequence of messages of a mailbox that need not be
// selected.
func newestOf(sel *selection, uids []store.UID) (highest int64) {
	var entries []store.Entry
	for part := range slices.Chunk(uids, entriesBatch) {
		entries = sel.view.Entries(part, entries[:0])
		for i := range entries {
			highest = max(highest, entries[i].ModSeq)
		}
	}
	return max(1, highest)
}

// unchanged divides messages into those without a change after since, and the
// others: RFC 7162, section 3.1.3. What another session does at the same time is
// looked at again when they are written.
func (s *session) unchanged(uids []store.UID, since int64) (same, modified []store.UID) {
	var entries []store.Entry
	for part := range slices.Chunk(uids, entriesBatch) {
		entries = s.sel.view.Entries(part, entries[:0])
		for i := range entries {
			if entries[i].ModSeq > since {
				modified = append(modified, entries[i].UID)
			} else {
				same = append(same, entries[i].UID)
			}
		}
	}
	return same, modified
}
