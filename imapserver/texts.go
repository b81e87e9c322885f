package imapserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/store"
)

// singlesMax is how many messages of a mailbox are looked at one by one before a column
// is filled for all of them: who asks about few should not wait for many.
const singlesMax = 100

// columnReader reads the texts of messages, mostly ascending, from a column as far as
// it has them, else from rows and files.
type columnReader struct {
	r       *searcher
	col     column
	version *store.Column
	missing int  // Messages that came after the version.
	singles int  // Messages read one by one.
	full    bool // The version has all there was, or there can be no column.
	next    int  // Where the next message may be.
	buf     []byte
}

func (r *searcher) columnReader(col column) *columnReader { return &columnReader{r: r, col: col} }

// text returns a message's text: its number in the version, or the text itself if it is
// not there. Neither means it is gone.
func (cr *columnReader) text(ctx context.Context, c *candidate) (number uint32, text []byte, err error) {
	if cr.version == nil {
		cr.version, cr.missing = cr.r.sel.view.ColumnSoFar(cr.col.ColumnSpec)
	}
	number, place, ok := cr.version.Text(c.entry.UID, cr.next)
	cr.next = place + 1
	if ok {
		return number, nil, nil
	}
	if !cr.full && (cr.missing <= singlesMax || cr.singles >= singlesMax) {
		if err := cr.fill(ctx); err != nil {
			return 0, nil, err
		}
		return cr.text(ctx, c)
	}
	cr.singles++
	cr.buf, err = c.text(cr.col, cr.buf[:0])
	return 0, cr.buf, err
}

// fill makes the version one with all messages, if there can be one.
func (cr *columnReader) fill(ctx context.Context) error {
	cr.full = true
	version, err := cr.r.sel.view.Column(ctx, cr.col.ColumnSpec, cr.r.progress)
	switch {
	case errors.Is(err, store.ErrColumnSize):
		return nil
	case err != nil:
		return err
	}
	cr.version = version
	return nil
}

// texts calls give with the text in a column of each message that is there. It is
// valid within the call.
func (r *searcher) texts(ctx context.Context, uids []store.UID, col column, give func(i int, text []byte)) error {
	cr := r.columnReader(col)
	var entries []store.Entry
	at := 0
	for part := range slices.Chunk(uids, entriesBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries = r.sel.view.Entries(part, entries[:0])
		for i := range entries {
			for uids[at] != entries[i].UID {
				at++ // It is gone.
			}
			c := candidate{s: r.s, ctx: ctx, entry: entries[i]}
			number, text, err := cr.text(ctx, &c)
			c.close()
			switch {
			case errors.Is(err, store.ErrExpunged) || errors.Is(err, os.ErrNotExist):
				continue
			case err != nil:
				return fmt.Errorf("message %d: %w", entries[i].UID, err)
			case number > 0:
				text = cr.version.Bytes(number)
			}
			give(at, text)
		}
	}
	return nil
}

// text appends the text of a column to b, without one.
func (c *candidate) text(col column, b []byte) ([]byte, error) {
	if _, err := c.envelope(); err != nil {
		return b, err
	}
	if b, known := col.Text(b, c.structure); known {
		return b, nil
	}
	values, err := c.field(col.field)
	if err != nil {
		return b, err
	}
	return col.from(b, c.structure.Envelope, values), nil
}

// field returns the values of a header field, read from the file.
func (c *candidate) field(name string) ([]string, error) {
	tree, prefix, file, err := c.open()
	if err != nil {
		return nil, err
	}
	h, err := message.ReadHeader(file, tree)
	if err != nil {
		return nil, err
	}
	return append(message.NewHeader(prefix).Values(name), h.Values(name)...), nil
}
