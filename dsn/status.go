package dsn

import (
	"net/netip"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

// diagnosticMax bounds a diagnostic in bytes. RFC 5321, section 4.5.3.1.5, has
// 512 for one line of a reply.
const diagnosticMax = 4096

// statusPart returns the part for programs, RFC 3464, section 2. It is of the
// internationalised type only if it needs to be (RFC 6533, section 4.4).
func (m *Message) statusPart(utf8 bool) part {
	body := m.messageFields(utf8)
	for _, r := range m.Recipients {
		body = append(body, "\r\n"...)
		body = append(body, r.fields(utf8)...)
	}
	if isASCII(string(body)) {
		return part{"message/delivery-status", "", body}
	}
	return part{"message/global-delivery-status", "8bit", body}
}

// fieldWriter writes fields of a status. Values that are empty make no field.
type fieldWriter struct {
	message.HeaderWriter
	utf8 bool
}

// text adds a field with words of prefix, which is ours, and of s, which is not.
func (w *fieldWriter) text(name, prefix, s string) {
	s = cut(oneLine(s), diagnosticMax)
	if s == "" {
		return
	}
	if !w.utf8 {
		s = toASCII(s)
	}
	w.Field(name)
	w.Add(prefix)
	w.Add(strings.Fields(s)...)
}

// word adds a field with s as one word, so that no white space in it is changed.
func (w *fieldWriter) word(name, prefix, s string) {
	if s == "" {
		return
	}
	w.Field(name)
	w.Add(prefix)
	w.Add(s)
}

func (w *fieldWriter) date(name string, t time.Time) {
	if !t.IsZero() {
		w.word(name, "", message.FormatDate(t))
	}
}

// messageFields returns the per-message fields, RFC 3464, section 2.2.
func (m *Message) messageFields(utf8 bool) []byte {
	w := fieldWriter{utf8: utf8}
	if id := oneLine(m.EnvelopeID); utf8 {
		w.word("Original-Envelope-Id", "", id)
	} else {
		w.word("Original-Envelope-Id", "", toASCII(id))
	}
	w.word("Reporting-MTA", "dns;", m.ReportingMTA.ASCII)
	w.text("Received-From-MTA", "dns;", m.ReceivedFromMTA)
	w.date("Arrival-Date", m.Arrival)
	w.word("Future-Release-Request", "", oneLine(m.FutureRelease))
	return w.Bytes()
}

// fields returns the per-recipient fields, RFC 3464, section 2.3.
func (r *Recipient) fields(utf8 bool) []byte {
	w := fieldWriter{utf8: utf8}
	if kind, address, ok := originalRecipient(r.Original, utf8); ok {
		w.word("Original-Recipient", kind+";", address)
	}
	kind, address := finalRecipient(r.Final, utf8)
	w.word("Final-Recipient", kind+";", address)
	w.word("Action", "", string(r.Action))
	w.word("Status", "", r.status())
	w.word("Remote-MTA", "dns;", remoteMTA(r.RemoteMTA, r.RemoteIP))
	w.text("Diagnostic-Code", "smtp;", r.Diagnostic)
	w.date("Last-Attempt-Date", r.LastTry)
	if r.Action == Delayed {
		w.date("Will-Retry-Until", r.RetryUntil)
	}
	return w.Bytes()
}

func (r *Recipient) status() string {
	if isStatus(r.Status) {
		return r.Status
	}
	return r.Action.status()
}

// isStatus tells whether s is an enhanced status code: three numbers without
// leading zeros, of 1, 3 and 3 digits (RFC 3464, section 2.3.4), the first of
// which is 2, 4 or 5 (RFC 3463, section 2).
func isStatus(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return false
	}
	for _, p := range parts[1:] {
		if len(p) < 1 || len(p) > 3 || p[0] == '0' && len(p) > 1 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// finalRecipient returns an address with its type.
func finalRecipient(p smtp.Path, utf8 bool) (kind, address string) {
	address = oneLine(p.XString(utf8))
	if isASCII(address) {
		return "rfc822", address
	}
	return "utf-8", addressUTF8(address, utf8)
}

// addressUTF8 returns the form of an address of type utf-8 (RFC 6533, section 3):
// utf-8-addr-xtext, or utf-8-address where UTF-8 is allowed.
func addressUTF8(address string, utf8 bool) string {
	switch {
	case !utf8:
		return embed(address, isQChar)
	case strings.Contains(address, `\x{`): // Not to be taken for an encoding.
		return embed(address, func(r rune) bool { return r != '\\' })
	}
	return address
}

// originalRecipient returns the parts of an ORCPT. One that is malformed is left
// out, since others compare it with what they sent.
func originalRecipient(s string, utf8 bool) (kind, address string, ok bool) {
	kind, address, ok = strings.Cut(s, ";")
	address = oneLine(address)
	if !ok || !isAtom(kind) || address == "" {
		return "", "", false
	}
	if strings.EqualFold(kind, "utf-8") {
		return kind, addressUTF8(oneLine(unembed(address)), utf8), true
	}
	if !utf8 {
		address = toASCII(address)
	}
	return kind, address, true
}

// isAtom tells whether s is an atom as types are, RFC 3464, section 2.1.2.
func isAtom(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>[]:;@\,."`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// remoteMTA returns the name of a host with its address as a comment. An address
// alone is a literal (RFC 3461, section 9.3).
func remoteMTA(name dns.Domain, ip string) string {
	addr, err := netip.ParseAddr(ip)
	addr = addr.WithZone("")
	switch {
	case name.IsZero() && err == nil:
		return dns.IPDomain{IP: addr}.XString(false)
	case name.IsZero():
		return ""
	case err != nil:
		return name.ASCII
	}
	return name.ASCII + " (" + addr.String() + ")"
}
