package admin

import (
	"cmp"
	"time"
)

// Blocklist is what a list of addresses that send spam has said about an address of
// ours.
type Blocklist struct {
	Zone    string    `json:"zone"` // The name of the list.
	IP      string    `json:"ip"`
	Checked time.Time `json:"checked"`
	Listed  bool      `json:"listed"`

	Explanation string `json:"explanation,omitempty"` // Of the list, printable ASCII.
	Error       string `json:"error,omitempty"`       // It gave no answer, so Listed is not known.
}

// Compare orders by list, then address.
func (b Blocklist) Compare(other Blocklist) int {
	return cmp.Or(cmp.Compare(b.Zone, other.Zone), cmp.Compare(b.IP, other.IP))
}
