package imapserver

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// systemFlags are the flags that every mailbox has, as FLAGS lists them.
var systemFlags = strings.Join(store.Flags(1<<31-1).Names(), " ")

// flagNames returns the flags of a mailbox with these keywords.
func flagNames(keywords []string) string {
	if len(keywords) == 0 {
		return systemFlags
	}
	return systemFlags + " " + strings.Join(asRegistered(keywords), " ")
}

// registeredKeywords are keywords that are registered with capitals, as they are
// kept. Clients take them in any case; those that don't know that should.
var registeredKeywords = map[string]string{
	"$important": "$Important",                                     // RFC 8457, section 2.
	"$submitted": "$Submitted", "$submitpending": "$SubmitPending", // RFC 5550, section 5.
}

// asRegistered returns keywords as clients expect them.
func asRegistered(keywords []string) []string {
	names := make([]string, len(keywords))
	for i, kw := range keywords {
		names[i] = cmp.Or(registeredKeywords[kw], kw)
	}
	return names
}

// isFull tells whether a mailbox with so many keywords can have no new ones.
func isFull(keywords int) bool { return keywords >= store.KeywordsMax }

// writePermanent tells which flags the client can change in the selected mailbox. \*
// stands for new keywords (RFC 9051, section 7.1).
func (s *session) writePermanent(keywords []string) {
	permanent := flagNames(keywords)
	switch {
	case s.sel.readOnly:
		permanent = ""
	case !isFull(len(keywords)):
		permanent += ` \*`
	}
	s.out.Response("*", imap.OK("PERMANENTFLAGS ("+permanent+")", "flags that are kept"))
}

// bitKeywordsMax is a number of keywords of a mailbox up to which all are among
// the bits of an entry.
const bitKeywordsMax = 50

// flagWriter renders the flags of messages. It keeps the text for the bits it
// saw, as most messages of a mailbox have one of few combinations.
type flagWriter struct {
	view  *store.Selection
	texts map[uint64]string
	keep  bool // Bits say all about the keywords.

	bits uint64 // Those of text.
	text string
}

func newFlagWriter(view *store.Selection) *flagWriter {
	return &flagWriter{view: view, keep: len(view.AllKeywords()) <= bitKeywordsMax, texts: map[uint64]string{}, bits: 1<<64 - 1}
}

// flagTextsMax bounds the texts that a flagWriter keeps.
const flagTextsMax = 1000

// append appends the flags of e in parentheses.
func (w *flagWriter) append(b []byte, e store.Entry) []byte {
	if e.Bits != w.bits {
		text, ok := w.texts[e.Bits]
		if !ok {
			text = w.render(e)
		}
		w.bits, w.text = e.Bits, text
		if plain := uint64(e.Flags()) == e.Bits; !plain && !w.keep {
			w.bits = 1<<64 - 1
		} else if !ok && len(w.texts) < flagTextsMax {
			w.texts[e.Bits] = text
		}
	}
	return append(b, w.text...)
}

func (w *flagWriter) render(e store.Entry) string {
	names := e.Flags().Names()
	names = append(names, asRegistered(w.view.Keywords(e))...)
	return "(" + strings.Join(names, " ") + ")"
}

// appendStart appends the begin of a response about a message, up to where its items
// follow.
func (s *session) appendStart(b []byte, number int, uid store.UID) []byte {
	b = append(b, "* "...)
	if s.uidOnly {
		return append(strconv.AppendUint(b, uint64(uid), 10), " UIDFETCH ("...)
	}
	return append(strconv.AppendInt(b, int64(number), 10), " FETCH ("...)
}

// appendMessage appends the begin of a response that was not asked for by FETCH, with
// the UID if that is wanted: some clients always do. False if the client doesn't know
// the message.
func (s *session) appendMessage(b []byte, uid store.UID, withUID bool) ([]byte, bool) {
	number, ok := s.sel.number(uid)
	if !ok {
		return b, false
	}
	b = s.appendStart(b, number, uid)
	if (withUID || s.rev2 || s.condstore) && !s.uidOnly {
		b = append(strconv.AppendUint(append(b, "UID "...), uint64(uid), 10), ' ')
	}
	return b, true
}

// writeFlags writes a FETCH response with the flags of each entry.
func (s *session) writeFlags(entries []store.Entry, withUID bool) {
	if len(entries) == 0 {
		return
	}
	s.tellKeywords()
	w := newFlagWriter(s.sel.view)
	for len(entries) > 0 {
		n := min(len(entries), entriesBatch)
		s.out.Append(func(b []byte) []byte {
			for _, e := range entries[:n] {
				var ok bool
				if b, ok = s.appendMessage(b, e.UID, withUID); !ok {
					continue
				}
				b = append(b, "FLAGS "...)
				b = w.append(b, e)
				if s.condstore {
					b = appendModSeq(append(b, ' '), &e)
				}
				b = append(b, ")\r\n"...)
			}
			return b
		})
		entries = entries[n:]
	}
}
