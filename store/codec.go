package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mjl-/mox/journal"
)

// Types of records in the journal.
const recordDelivery = 1

// recordVersion is the first byte of a delivery record. Those of version 1, which
// have no announce, are read too.
const recordVersion = 2

// recipientsMax bounds the recipients of a record, as a check on its bytes; SMTP
// has its own, lower limit.
const recipientsMax = 10_000

// errRecord means the bytes of a record that passed its checksum are not those
// of a delivery that this version knows.
var errRecord = errors.New("store: malformed delivery record")

// record is a delivery as it is in the journal.
type record struct {
	seq      uint64
	inline   []byte            // The content, unless it is in file.
	file     []journal.FileRef // One or none.
	size     int64             // Of the content.
	crc      uint32            // Of the content.
	analysis Analysis
	facts    Facts // Without what is per recipient.
	received time.Time
	rcpts    []recordRcpt

	// A record of flags has nothing else, and its account as the only recipient.
	changes []flagsRecord

	contentPath string // Where the content is, if not in the journal any more.
	shared      *sharedContent
	left        atomic.Int32 // Accounts that have still to apply it.
}

// recordRcpt is one recipient of a record.
type recordRcpt struct {
	accountID, account string
	mailboxID          int64 // 0: not known when it was accepted.
	mailbox            string
	emailID, messageID int64 // Reserved.
	prefix             []byte
	flags              Flags
	keywords           []string
	key                string // For the hand-over from the queue.
	rcptTo, reason     string
	forwarded, list    bool
	forwardDKIM        string
	verdict            []byte
	destined           string
	reject             bool
	contentKey         int64 // Of a reject, as in Reject.
	announce           bool  // Somebody is to be told of it.
}

// encode returns the record's bytes in parts, so that the content need not be
// copied.
func (r *record) encode() [][]byte {
	if r.changes != nil {
		return r.encodeFlags()
	}
	head := enc(make([]byte, 0, 16))
	head.uint(recordVersion)
	head.uint(uint64(len(r.inline)))
	tail := enc(make([]byte, 0, 512+len(r.analysis.Tree)+len(r.analysis.Envelope)+len(r.analysis.BodyStructure)+256*len(r.rcpts)))
	tail.uint(uint64(r.size))
	tail.uint(uint64(r.crc))
	tail.time(r.received)
	r.facts.encode(&tail)
	r.analysis.encode(&tail)
	tail.uint(uint64(len(r.rcpts)))
	for i := range r.rcpts {
		r.rcpts[i].encode(&tail)
	}
	return [][]byte{head, r.inline, tail}
}

// decodeRecord reads the record that an entry of the journal holds. It refers
// to the entry's bytes.
func decodeRecord(e *journal.Entry) (*record, error) {
	if e.Type != recordDelivery {
		return nil, fmt.Errorf("%w: record type %d", errRecord, e.Type)
	}
	r := &record{seq: e.Seq, file: e.Files, shared: &sharedContent{}}
	d := dec{b: e.Data}
	version := d.uint()
	if d.err == nil && version == flagsForm {
		if err := r.decodeFlags(&d); err != nil {
			return nil, err
		}
		return r, nil
	}
	if d.err == nil && (version < 1 || version > recordVersion) {
		return nil, fmt.Errorf("%w: version %d", errRecord, version)
	}
	r.inline = d.bytes()
	r.size = int64(d.uint())
	r.crc = uint32(d.uint())
	r.received = d.time()
	r.facts.decode(&d)
	r.analysis.decode(&d)
	n := d.uint()
	if n > recipientsMax {
		return nil, fmt.Errorf("%w: %d recipients", errRecord, n)
	}
	for range n {
		var rcpt recordRcpt
		rcpt.decode(&d, version)
		r.rcpts = append(r.rcpts, rcpt)
	}
	switch {
	case d.err != nil:
		return nil, d.err
	case len(d.b) != 0:
		return nil, fmt.Errorf("%w: %d bytes after the end", errRecord, len(d.b))
	case len(r.file) > 1, len(r.file) == 0 && r.size != int64(len(r.inline)), len(r.file) == 1 && r.size != r.file[0].Size:
		return nil, fmt.Errorf("%w: content does not have its size", errRecord)
	}
	return r, nil
}

func (r *recordRcpt) encode(e *enc) {
	e.string(r.accountID)
	e.string(r.account)
	e.uint(uint64(r.mailboxID))
	e.string(r.mailbox)
	e.uint(uint64(r.emailID))
	e.uint(uint64(r.messageID))
	e.bytes(r.prefix)
	e.uint(uint64(r.flags))
	e.strings(r.keywords)
	e.string(r.key)
	e.string(r.rcptTo)
	e.string(r.reason)
	e.bool(r.forwarded)
	e.bool(r.list)
	e.string(r.forwardDKIM)
	e.bytes(r.verdict)
	e.string(r.destined)
	e.bool(r.reject)
	e.uint(uint64(r.contentKey))
	e.bool(r.announce)
}

func (r *recordRcpt) decode(d *dec, version uint64) {
	r.accountID = d.string()
	r.account = d.string()
	r.mailboxID = int64(d.uint())
	r.mailbox = d.string()
	r.emailID = int64(d.uint())
	r.messageID = int64(d.uint())
	r.prefix = d.bytes()
	r.flags = Flags(d.uint())
	r.keywords = d.strings()
	r.key = d.string()
	r.rcptTo = d.string()
	r.reason = d.string()
	r.forwarded = d.bool()
	r.list = d.bool()
	r.forwardDKIM = d.string()
	r.verdict = d.bytes()
	r.destined = d.string()
	r.reject = d.bool()
	r.contentKey = int64(d.uint())
	r.announce = version > 1 && d.bool()
}

func (f *Facts) encode(e *enc) {
	e.string(f.RemoteIP)
	e.string(f.LocalIP)
	e.string(f.EHLO)
	e.string(f.MailFrom)
	e.uint(uint64(f.TLSVersion))
	e.uint(uint64(f.TLSCipher))
	e.bool(f.SMTPUTF8)
	e.uint(uint64(f.CID))
	e.string(f.HelloDomain)
	e.bool(f.HelloVerified)
	e.bool(f.MailFromVerified)
	e.string(f.From)
	e.string(f.FromOrg)
	e.uint(uint64(f.Validation))
	e.strings(f.DKIM)
}

func (f *Facts) decode(d *dec) {
	f.RemoteIP = d.string()
	f.LocalIP = d.string()
	f.EHLO = d.string()
	f.MailFrom = d.string()
	f.TLSVersion = uint16(d.uint())
	f.TLSCipher = uint16(d.uint())
	f.SMTPUTF8 = d.bool()
	f.CID = int64(d.uint())
	f.HelloDomain = d.string()
	f.HelloVerified = d.bool()
	f.MailFromVerified = d.bool()
	f.From = d.string()
	f.FromOrg = d.string()
	f.Validation = int(d.uint())
	f.DKIM = d.strings()
}

func (a *Analysis) encode(e *enc) {
	e.bytes(a.Tree)
	e.bytes(a.Envelope)
	e.bytes(a.BodyStructure)
	e.bytes(a.Header)
	e.string(a.MessageID)
	e.strings(a.References)
	e.string(a.Subject)
	e.bool(a.Reply)
	e.bool(a.DSN)
	e.string(a.Preview)
	e.bool(a.HasHeader)
}

func (a *Analysis) decode(d *dec) {
	a.Tree = d.bytes()
	a.Envelope = d.bytes()
	a.BodyStructure = d.bytes()
	a.Header = d.bytes()
	a.MessageID = d.string()
	a.References = d.strings()
	a.Subject = d.string()
	a.Reply = d.bool()
	a.DSN = d.bool()
	a.Preview = d.string()
	a.HasHeader = d.bool()
}

// enc appends values: numbers as varints, strings with their length before them.
type enc []byte

func (e *enc) uint(v uint64)   { *e = binary.AppendUvarint(*e, v) }
func (e *enc) bytes(v []byte)  { e.uint(uint64(len(v))); *e = append(*e, v...) }
func (e *enc) string(v string) { e.uint(uint64(len(v))); *e = append(*e, v...) }

func (e *enc) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *enc) strings(v []string) {
	e.uint(uint64(len(v)))
	for _, s := range v {
		e.string(s)
	}
}

// time keeps nanoseconds since 1970; the zero time is 0.
func (e *enc) time(v time.Time) {
	if v.IsZero() {
		e.uint(0)
		return
	}
	e.uint(uint64(v.UnixNano()))
}

// dec reads what enc wrote. After the first error all values are zero.
type dec struct {
	b   []byte
	err error
}

func (d *dec) uint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.err = fmt.Errorf("%w: bad number", errRecord)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes returns a part of the record, not a copy; nil if empty.
func (d *dec) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.err = fmt.Errorf("%w: field of %d bytes, %d left", errRecord, n, len(d.b))
	}
	if d.err != nil || n == 0 {
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *dec) string() string { return string(d.bytes()) }
func (d *dec) bool() bool     { return d.uint() != 0 }

func (d *dec) strings() []string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.err = fmt.Errorf("%w: list of %d, %d bytes left", errRecord, n, len(d.b))
	}
	if d.err != nil || n == 0 {
		return nil
	}
	v := make([]string, n)
	for i := range v {
		v[i] = d.string()
	}
	return v
}

func (d *dec) time() time.Time {
	v := d.uint()
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(v))
}
