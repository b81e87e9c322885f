package imap

// UIDBatches is a parsed UIDBATCHES (RFC 10022).
type UIDBatches struct {
	Size        uint32 // Messages of a batch.
	First, Last uint32 // Numbers of batches, from 1; both 0 for all.
}

// UIDBatches reads the arguments of UIDBATCHES:
//
//	uidbatches = "UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]
func (d *Decoder) UIDBatches() (req UIDBatches) {
	d.SP()
	req.Size = d.NonZero()
	if !d.TakeSP() {
		return req
	}
	req.First = d.NonZero()
	d.Expect(':')
	req.Last = d.NonZero()
	if req.First > req.Last {
		req.First, req.Last = req.Last, req.First
	}
	return req
}
