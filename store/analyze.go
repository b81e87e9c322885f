package store

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/message"
)

// Limits of what is kept of a message.
const (
	messageIDMax  = 512 // Bytes of a Message-ID; what is longer is cut.
	subjectMax    = 512 // Bytes of a base subject.
	referencesMax = 50  // The last of the References are used, so that one message can't cost thousands of look-ups.
)

// Analysis is what the store keeps about a content so that it need not be read
// again: the structure, IMAP's view of it, and what threads are made from.
type Analysis struct {
	Tree          []byte // message.Part in binary form.
	Envelope      []byte
	BodyStructure []byte
	Header        []byte   // What is kept of the header fields, see headerFields.
	MessageID     string   // Canonical, "" if none.
	References    []string // Canonical, nearest ancestor first.
	Subject       string   // Base subject.
	Reply         bool     // The subject says it is a reply or forward.
	DSN           bool
	Preview       string
	HasHeader     bool // If not, the message needs a prefix that ends the header.
}

// Analyze reads a content once and returns what the store keeps about it. It
// never refuses: an odd message has an odd structure. Only reading can fail.
func Analyze(r io.ReaderAt, size int64) (Analysis, error) {
	t := &readTracker{r: r}
	part, _ := message.Parse(t, size) // What was odd about it does not matter here.
	if t.err != nil {
		return Analysis{}, t.err
	}
	a := Analysis{
		Tree:          part.AppendBinary(nil),
		Envelope:      imap.AppendEnvelope(nil, part.Envelope),
		BodyStructure: imap.AppendBodyStructure(nil, &part, true),
		Header:        headerOf(t, &part),
		Preview:       message.Preview(t, &part),
		DSN:           isDSN(&part),
		HasHeader:     part.BodyOffset > part.HeaderOffset,
	}
	if e := part.Envelope; e != nil {
		if ids := message.MessageIDs(e.MessageID); len(ids) > 0 {
			a.MessageID = indexable(ids[0], messageIDMax)
		}
		subject, reply := message.BaseSubject(message.DecodeHeader(e.Subject))
		a.Subject, a.Reply = indexable(subject, subjectMax), reply
		a.References = references(t, &part, e)
	}
	if t.err != nil {
		return Analysis{}, t.err
	}
	return a, nil
}

// references returns the ids of the ancestors, nearest first: those of
// References, or if there are none of In-Reply-To.
func references(r io.ReaderAt, part *message.Part, e *message.Envelope) []string {
	var ids []string
	if h, err := message.ReadHeader(r, part); err == nil {
		ids = message.MessageIDs(strings.Join(h.Values("References"), " "))
	}
	if len(ids) == 0 {
		ids = message.MessageIDs(e.InReplyTo)
	}
	if len(ids) > referencesMax {
		ids = ids[len(ids)-referencesMax:]
	}
	var nearest []string
	for i := len(ids) - 1; i >= 0; i-- {
		nearest = append(nearest, indexable(ids[i], messageIDMax))
	}
	return nearest
}

// isDSN tells whether the message reports about a delivery (RFC 3464).
func isDSN(p *message.Part) bool {
	if p.Type != "MULTIPART" || p.Subtype != "REPORT" {
		return false
	}
	for _, param := range p.Params {
		if strings.EqualFold(param.Name, "report-type") && strings.EqualFold(param.Value, "delivery-status") {
			return true
		}
	}
	return false
}

// indexable returns s without NUL and cut to at most n bytes, as indices of the
// database want strings.
func indexable(s string, n int) string {
	return strings.ReplaceAll(s[:min(len(s), n)], "\x00", "")
}

// key returns a positive number for s, to be indexed in its place: rows stay
// narrow, and an attacker can't choose what shares a key. 0 for "".
func key(s string) int64 {
	if s == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(s))
	return int64(binary.BigEndian.Uint64(sum[:])>>1 | 1)
}

// readTracker remembers an error of reading, to tell it from odd content.
type readTracker struct {
	r   io.ReaderAt
	err error
}

// ReadAt reads from the content.
func (t *readTracker) ReadAt(p []byte, off int64) (int, error) {
	n, err := t.r.ReadAt(p, off)
	if err != nil && err != io.EOF { //nolint:errorlint // ReaderAt returns io.EOF itself.
		t.err = err
	}
	return n, err
}
