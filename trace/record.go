package trace

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A record is one line: the CRC-32C of what comes after it, the keys by which it is
// found, and the event in JSON.
//
//	6cd0d34e |1f0c2a7d|90ab12cd {"time":"2026-11-21T12:00:00Z","kind":"attempted",…}
//
// A line that is damaged or cut is lost alone: the next begins after the next line
// feed, which JSON has none of. And without a server there is still grep.
const (
	checkSize = 8 // Hexadecimal digits.
	keySize   = 1 + 8

	// recordMax bounds a record in bytes. Of longer events the evidence is shortened.
	recordMax = 32 << 10

	// rcptsMax bounds the recipients of a record. An event with more is several.
	rcptsMax = 100
)

// castagnoli is the polynomial of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// key is a hash of something by which events are found. Others that have the same
// are told apart when the event was read.
type key uint32

// Kinds of keys.
const (
	keyID        = "i"
	keyMessageID = "m"
	keyAddress   = "a"
	keyCID       = "c"
	keyGap       = "g"
)

func newKey(kind, value string) key {
	crc := crc32.Update(0, castagnoli, []byte(kind))
	return key(crc32.Update(crc, castagnoli, []byte(value)))
}

func idKey(id int64) key { return newKey(keyID, strconv.FormatInt(id, 10)) }

// append appends the key as a record has it.
func (k key) append(b []byte) []byte {
	b = append(b, '|')
	return hex.AppendEncode(b, binary.BigEndian.AppendUint32(nil, uint32(k)))
}

// TrimMessageID returns a Message-ID without what may be around it.
func TrimMessageID(s string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">")
}

// foldMessageID returns a Message-ID as events have it.
func foldMessageID(s string) string { return cut(TrimMessageID(s), textMax) }

// foldAddress returns an address so that its spellings are the same. Localparts
// differ in case too seldom for that to be looked at.
func foldAddress(s string) string { return strings.ToLower(s) }

// addresses returns those by which an event is found.
func (e *Event) addresses() []string {
	list := []string{e.From, e.Base}
	for _, r := range e.Rcpts {
		list = append(list, r.Address)
	}
	if e.Submission != nil {
		list = append(list, e.Submission.Header)
	}
	if e.Evidence != nil {
		list = append(list, e.Evidence.Header)
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// messageIDs returns that of the message, and of messages about it.
func (e *Event) messageIDs() []string {
	list := []string{e.MessageID}
	if e.Notice != nil {
		list = append(list, e.Notice.MessageID)
	}
	if e.Answer != nil {
		list = append(list, e.Answer.MessageID)
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// ids returns the ids in the queue of messages that it is about.
func (e *Event) ids() []int64 {
	var list []int64
	for _, r := range e.Rcpts {
		list = append(list, r.QueueID)
	}
	if e.Notice != nil {
		list = append(list, e.Notice.QueueID)
	}
	return slices.DeleteFunc(list, func(id int64) bool { return id == 0 })
}

// appendKeys appends the keys of an event, each once.
func (e *Event) appendKeys(keys []key) []key {
	start := len(keys)
	if e.Kind == Gap {
		keys = append(keys, newKey(keyGap, ""))
	}
	for _, id := range e.ids() {
		keys = append(keys, idKey(id))
	}
	for _, s := range e.messageIDs() {
		keys = append(keys, newKey(keyMessageID, s))
	}
	for _, s := range e.addresses() {
		keys = append(keys, newKey(keyAddress, foldAddress(s)))
	}
	if e.CID != 0 {
		keys = append(keys, newKey(keyCID, e.CID.String()))
	}
	slices.Sort(keys[start:])
	return keys[:start+len(slices.Compact(keys[start:]))]
}

// encoder makes records.
type encoder struct {
	buf         bytes.Buffer
	keys        []key // Of all records in buf.
	first, last time.Time
	events      int64

	text  bytes.Buffer // Of one event.
	front []byte       // Its keys.
}

// reset forgets the records, and keeps the room.
func (w *encoder) reset() {
	w.buf.Reset()
	w.keys, w.events, w.first, w.last = w.keys[:0], 0, time.Time{}, time.Time{}
}

// add adds an event, in several records if it has many recipients.
func (w *encoder) add(e *Event) error {
	if len(e.Rcpts) <= rcptsMax {
		return w.record(e)
	}
	var errs []error
	for part := range slices.Chunk(e.Rcpts, rcptsMax) {
		one := *e
		one.Rcpts = part
		errs = append(errs, w.record(&one))
	}
	return errors.Join(errs...)
}

// record adds a record.
func (w *encoder) record(e *Event) error {
	start := len(w.keys)
	err := w.encode(e)
	for _, shorten := range shortenings {
		if err != nil || len(w.front)+w.text.Len() <= recordMax {
			break
		}
		w.keys = w.keys[:start]
		short := shorten.of(e)
		err = w.encode(&short)
	}
	if err != nil {
		return err
	}
	at := w.buf.Len()
	w.buf.WriteString("00000000 ")
	w.buf.Write(w.front)
	w.buf.WriteByte(' ')
	w.buf.Write(w.text.Bytes()) // With its line feed.
	line := w.buf.Bytes()[at:]
	check := crc32.Checksum(line[checkSize+1:len(line)-1], castagnoli)
	hex.Encode(line, binary.BigEndian.AppendUint32(nil, check))
	if w.events++; w.first.IsZero() || e.Time.Before(w.first) {
		w.first = e.Time
	}
	if e.Time.After(w.last) {
		w.last = e.Time
	}
	return nil
}

// encode makes the parts of a record.
func (w *encoder) encode(e *Event) error {
	w.text.Reset()
	j := json.NewEncoder(&w.text)
	j.SetEscapeHTML(false)
	if err := j.Encode(e); err != nil {
		return err
	}
	start := len(w.keys)
	w.keys = e.appendKeys(w.keys)
	w.front = w.front[:0]
	for _, k := range w.keys[start:] {
		w.front = k.append(w.front)
	}
	return nil
}

// parseRecord parses a line without its line feed. It returns false if it is
// damaged.
func parseRecord(line []byte) (e Event, ok bool) {
	text, ok := checkRecord(line)
	if !ok {
		return e, false
	}
	_, text, ok = bytes.Cut(text, []byte(" "))
	if !ok || json.Unmarshal(text, &e) != nil {
		return Event{}, false
	}
	return e, true
}

// checkRecord returns what is behind the check of a line, if that is right.
func checkRecord(line []byte) ([]byte, bool) {
	if len(line) < checkSize+1 || line[checkSize] != ' ' || len(line) > 2*recordMax {
		return nil, false
	}
	var sum [checkSize / 2]byte
	if _, err := hex.Decode(sum[:], line[:checkSize]); err != nil {
		return nil, false
	}
	text := line[checkSize+1:]
	return text, crc32.Checksum(text, castagnoli) == binary.BigEndian.Uint32(sum[:])
}

// recordKeys returns the keys of a line that was checked.
func recordKeys(text []byte, keys []key) []key {
	list, _, _ := bytes.Cut(text, []byte(" "))
	for len(list) >= keySize && list[0] == '|' {
		var k [4]byte
		if _, err := hex.Decode(k[:], list[1:keySize]); err != nil {
			break
		}
		keys = append(keys, key(binary.BigEndian.Uint32(k[:])))
		list = list[keySize:]
	}
	return keys
}
