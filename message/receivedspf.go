package message

import (
	"net/netip"
	"strings"
)

// ReceivedSPF is what a Received-SPF field says (RFC 7208, section 9.1). Empty
// parts are left out.
type ReceivedSPF struct {
	Result       string // As "pass".
	Comment      string // For people.
	ClientIP     netip.Addr
	EnvelopeFrom string // Address in MAIL FROM, or postmaster at Hello for the null path.
	Hello        string // Name or address literal of EHLO.
	Problem      string // Of the evaluation, if there was one.
	Receiver     string // Our host name.
	Identity     string // "mailfrom" or "helo".
	Mechanism    string // That matched, "default" if none did.
}

// ReceivedSPF adds a Received-SPF field.
func (w *HeaderWriter) ReceivedSPF(r ReceivedSPF) {
	w.Field("Received-SPF")
	w.Add(r.Result)
	w.Add(commentWords(r.Comment)...)
	ip := ""
	if r.ClientIP.IsValid() {
		ip = r.ClientIP.Unmap().WithZone("").String()
	}
	var pairs []string
	for _, kv := range [][2]string{
		{"client-ip", ip},
		{"envelope-from", r.EnvelopeFrom},
		{"helo", r.Hello},
		{"problem", r.Problem},
		{"receiver", r.Receiver},
		{"identity", r.Identity},
		{"mechanism", r.Mechanism},
	} {
		if kv[1] != "" {
			pairs = append(pairs, kv[0]+"="+dotAtomOrQuoted(kv[1]))
		}
	}
	w.Join(";", pairs...)
}

// dotAtomOrQuoted returns s as a dot-atom if it is one, else quoted (RFC 5322,
// section 3.2).
func dotAtomOrQuoted(s string) string {
	s = authText(s)
	for atom := range strings.SplitSeq(s, ".") {
		if !isAtom(atom) {
			return quoteString(s)
		}
	}
	return s
}

// isAtom tells whether s is of atext in ASCII, RFC 5322, section 3.2.3.
func isAtom(s string) bool {
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
			return false
		}
	}
	return s != ""
}
