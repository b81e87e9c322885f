package store

import (
	"fmt"
	"math"
)

// flagsForm is the first byte of a record of flags, in the place of the version of a
// delivery.
const flagsForm = 64

// flagsRecord is a change of flags in a mailbox as it is in the journal: what messages
// have after it.
type flagsRecord struct {
	mailboxID int64
	modSeq    int64 // Of the change.
	runs      []flagRun
}

// flagRun is n messages with UIDs that follow each other, and the same bits.
type flagRun struct {
	first UID
	n     uint32
	bits  int64
}

// isFlags says whether the item is a change of flags, not a delivery.
func (it *item) isFlags() bool { return it.flags > 0 }

// flagRuns returns the runs of entries, which are ascending.
func flagRuns(entries []Entry) (runs []flagRun) {
	for _, e := range entries {
		if n := len(runs); n > 0 {
			last := &runs[n-1]
			if last.first+UID(last.n) == e.UID && last.bits == int64(e.Bits) {
				last.n++
				continue
			}
		}
		runs = append(runs, flagRun{e.UID, 1, int64(e.Bits)})
	}
	return runs
}

// messages returns the number of messages of the changes.
func (r *record) messages() (n int) {
	for _, c := range r.changes {
		for _, run := range c.runs {
			n += int(run.n)
		}
	}
	return n
}

// encodeFlags returns the bytes of a record of flags.
func (r *record) encodeFlags() [][]byte {
	e := enc(make([]byte, 0, 128))
	e.uint(flagsForm)
	e.string(r.rcpts[0].accountID)
	e.string(r.rcpts[0].account)
	e.uint(uint64(len(r.changes)))
	for _, c := range r.changes {
		e.uint(uint64(c.mailboxID))
		e.uint(uint64(c.modSeq))
		e.uint(uint64(len(c.runs)))
		next := uint64(0)
		for _, run := range c.runs {
			e.uint(uint64(run.first) - next)
			e.uint(uint64(run.n))
			e.uint(uint64(run.bits))
			next = uint64(run.first) + uint64(run.n)
		}
	}
	return [][]byte{e}
}

// decodeFlags reads what encodeFlags wrote, after the form.
func (r *record) decodeFlags(d *dec) error {
	rcpt := recordRcpt{accountID: d.string(), account: d.string()}
	r.rcpts = []recordRcpt{rcpt}
	r.changes = []flagsRecord{}
	total := uint64(0)
	for range d.count() {
		c := flagsRecord{mailboxID: int64(d.uint()), modSeq: int64(d.uint())}
		next := uint64(0)
		for range d.count() {
			first := next + d.uint()
			n := d.uint()
			bits := int64(d.uint())
			if d.err == nil && (n == 0 || first == 0 || first > math.MaxUint32 || n > math.MaxUint32 || first+n > math.MaxUint32) {
				d.err = fmt.Errorf("%w: %d messages from UID %d", errRecord, n, first)
			}
			if total += n; total > flagsRecordMax {
				d.err = fmt.Errorf("%w: more than %d messages", errRecord, flagsRecordMax)
			}
			if d.err != nil {
				return d.err
			}
			c.runs = append(c.runs, flagRun{UID(first), uint32(n), bits})
			next = first + n
		}
		r.changes = append(r.changes, c)
	}
	switch {
	case d.err != nil:
		return d.err
	case len(d.b) != 0:
		return fmt.Errorf("%w: %d bytes after the end", errRecord, len(d.b))
	case len(r.changes) == 0:
		return fmt.Errorf("%w: no change of flags", errRecord)
	case len(r.file) > 0:
		return fmt.Errorf("%w: change of flags with a file", errRecord)
	}
	return nil
}

// flagsRecordMax bounds the messages of a record, as a check on its bytes.
const flagsRecordMax = groupMax * flagsLogMax

// count reads a number of things that have at least a byte each.
func (d *dec) count() uint64 {
	n := d.uint()
	if d.err == nil && n > uint64(len(d.b)) {
		d.err = fmt.Errorf("%w: list of %d, %d bytes left", errRecord, n, len(d.b))
	}
	if d.err != nil {
		return 0
	}
	return n
}

// checkFlags returns what is wrong with a record of flags by itself.
func (r *record) checkFlags() error {
	for _, c := range r.changes {
		if c.mailboxID <= 0 || c.modSeq <= 0 || len(c.runs) == 0 {
			return fmt.Errorf("it changes flags in mailbox %d, by mod-sequence %d", c.mailboxID, c.modSeq)
		}
	}
	return nil
}
