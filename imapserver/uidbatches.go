package imapserver

import (
	"context"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// uidBatchesMax bounds the batches of one response. A client with smaller batches
// asks for some of them at a time.
const uidBatchesMax = 100_000

func parseUIDBatches(d *imap.Decoder) imap.UIDBatches { return d.UIDBatches() }

// uidBatches tells which ranges of UIDs have the same number of messages, so that a
// client can fetch in even pieces (RFC 10022).
func (s *session) uidBatches(_ context.Context, _ command, req imap.UIDBatches) (imap.Response, error) {
	batches := batchUIDs(s.sel.uids(), req)
	if len(batches) > uidBatchesMax {
		return imap.Response{}, imap.No("LIMIT", "there are more than %d batches: ask for larger ones, or for some of them", uidBatchesMax)
	}
	s.out.Raw("* UIDBATCHES (TAG ").String(s.tag).Raw(")")
	s.out.Append(func(b []byte) []byte {
		sep := byte(' ')
		for _, r := range batches {
			b = strconv.AppendUint(append(b, sep), uint64(r.highest), 10)
			b = strconv.AppendUint(append(b, ':'), uint64(r.lowest), 10)
			sep = ','
		}
		return b
	})
	s.out.CRLF()
	return imap.OK("", "done"), nil
}

// uidBatch is a range of UIDs.
type uidBatch struct{ highest, lowest store.UID }

// batchUIDs divides ascending UIDs, from the highest down, and returns the batches that
// are asked for, up to one more than there may be. Only the last of all is smaller.
func batchUIDs(uids []store.UID, req imap.UIDBatches) (batches []uidBatch) {
	size, first, last := int64(req.Size), int64(req.First), int64(req.Last)
	if last == 0 {
		first, last = 1, int64(len(uids))
	}
	for n := first; n <= last && len(batches) <= uidBatchesMax; n++ {
		end := int64(len(uids)) - (n-1)*size
		if end <= 0 {
			break
		}
		batches = append(batches, uidBatch{uids[end-1], uids[max(0, end-size)]})
	}
	return batches
}
