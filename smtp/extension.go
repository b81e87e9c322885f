package smtp

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// HoldMax is the longest time that a message may be held, RFC 4865. It is announced.
	HoldMax = 60 * 24 * time.Hour

	// envelopeIDSizeMax and originalSizeMax bound values as given, in bytes. RFC 3461,
	// sections 4.4 and 4.2.
	envelopeIDSizeMax = 100
	originalSizeMax   = 500
)

// Extensions are those whose parameters ask something of who delivers the message
// in the end. A server that doesn't announce one refuses its parameters as unknown.
type Extensions struct {
	RequireTLS    bool // RFC 8689.
	FutureRelease bool // RFC 4865.
	DSN           bool // RFC 3461.
}

// Hold is the parameter of FUTURERELEASE: HOLDFOR or HOLDUNTIL. Zero: none.
type Hold struct {
	For   time.Duration // More than zero, at most HoldMax.
	Until time.Time     // In UTC. It may be in the past, or too far away.
}

// IsZero returns whether the message need not be held.
func (h Hold) IsZero() bool { return h == Hold{} }

// String returns what is asked for as the field Future-Release-Request of
// notifications has it (section 5.1.2), "" if nothing is.
func (h Hold) String() string {
	switch {
	case h.For > 0:
		return fmt.Sprintf("for;%d", int64(h.For/time.Second))
	case !h.Until.IsZero():
		return "until;" + h.Until.Format(time.RFC3339Nano)
	}
	return ""
}

// Time returns when a message that comes at now may be sent. The error is for the
// peer: the time is past, or too far away.
func (h Hold) Time(now time.Time) (time.Time, error) {
	at := h.Until
	switch {
	case h.For > 0:
		at = now.Add(h.For)
	case at.After(now.Add(HoldMax)):
		return time.Time{}, Errorf(CodeBadParameter, DetailBadArguments, "HOLDUNTIL is more than %d days ahead", HoldMax/(24*time.Hour))
	case !at.After(now):
		return time.Time{}, Errorf(CodeTransactionFailed, DetailBadArguments, "HOLDUNTIL is past")
	}
	return at, nil
}

// MailDSN is what a sender asks for about notifications of a message, RFC 3461.
type MailDSN struct {
	Return     string // RET: "FULL", "HDRS", or "" if not given.
	EnvelopeID string // ENVID, decoded: printable ASCII and spaces. "" if not given.
}

// Params returns the parameters for MAIL, each with a space in front.
func (d MailDSN) Params() string {
	s := ""
	if d.Return != "" {
		s += " RET=" + d.Return
	}
	if d.EnvelopeID != "" {
		s += " ENVID=" + formatXtext(d.EnvelopeID)
	}
	return s
}

// RcptDSN is what he asks for about notifications for one recipient.
type RcptDSN struct {
	Notify Notify

	// Original is ORCPT, decoded: a type of address, ";", and an address as the sender
	// gave it. Printable, and ASCII unless the type is "utf-8" (RFC 6533). "" if not given.
	Original string
}

// Params returns the parameters for RCPT, each with a space in front. Without utf8
// they are ASCII. An original recipient whose encoded form would be longer than
// servers must take is left out.
func (d RcptDSN) Params(utf8 bool) string {
	s := ""
	if d.Notify != "" {
		s += " NOTIFY=" + string(d.Notify)
	}
	typ, address, _ := strings.Cut(d.Original, ";")
	if strings.EqualFold(typ, "utf-8") {
		address = formatUnitext(address, utf8)
	} else {
		address = formatXtext(address)
	}
	if original := typ + ";" + address; d.Original != "" && len(original) <= originalSizeMax {
		s += " ORCPT=" + original
	}
	return s
}

// Notify says when the sender wants to be notified, the value of NOTIFY in upper
// case: "NEVER", or of "SUCCESS", "FAILURE" and "DELAY" some in this order, with
// commas. It is "" if not given.
type Notify string

// NotifyNever is for senders who want no notification.
const NotifyNever Notify = "NEVER"

// has returns whether an event is asked for.
func (n Notify) has(event string) bool {
	for e := range strings.SplitSeq(string(n), ",") {
		if e == event {
			return true
		}
	}
	return false
}

// OnSuccess returns whether the sender is to be told of a delivery.
func (n Notify) OnSuccess() bool { return n.has("SUCCESS") }

// OnFailure returns whether he is to be told of a failure. That is so too if he
// has not asked for anything (section 4.1).
func (n Notify) OnFailure() bool { return n == "" || n.has("FAILURE") }

// OnDelay is the same for a delay.
func (n Notify) OnDelay() bool { return n == "" || n.has("DELAY") }

// ParseNotify parses the value of NOTIFY, in upper and lower case and any order. It
// returns false for what is none.
func ParseNotify(s string) (Notify, bool) {
	if strings.EqualFold(s, string(NotifyNever)) {
		return NotifyNever, true
	}
	asked := map[string]bool{"SUCCESS": false, "FAILURE": false, "DELAY": false}
	for e := range strings.SplitSeq(strings.ToUpper(s), ",") {
		if twice, ok := asked[e]; !ok || twice {
			return "", false
		}
		asked[e] = true
	}
	var events []string
	for _, e := range []string{"SUCCESS", "FAILURE", "DELAY"} {
		if asked[e] {
			events = append(events, e)
		}
	}
	return Notify(strings.Join(events, ",")), true
}

// parseHoldFor parses seconds: one to nine digits, not beginning with 0.
func parseHoldFor(s string) (Hold, bool) {
	n, ok := parseNumber(s)
	if !ok || len(s) > 9 || s[0] == '0' || n > int64(HoldMax/time.Second) {
		return Hold{}, false
	}
	return Hold{For: time.Duration(n) * time.Second}, true
}

// parseHoldUntil parses a time in UTC (RFC 3339), as with a "Z" at its end.
func parseHoldUntil(s string) (Hold, bool) {
	t, err := time.Parse(time.RFC3339, strings.ToUpper(s))
	if _, offset := t.Zone(); err != nil || offset != 0 || t.IsZero() {
		return Hold{}, false
	}
	return Hold{Until: t.UTC()}, true
}

// parseEnvelopeID parses the value of ENVID.
func parseEnvelopeID(s string) (string, bool) {
	id, ok := parseXtext(s)
	return id, ok && len(s) <= envelopeIDSizeMax && isText(id) && isASCII(id)
}

// parseOriginal parses the value of ORCPT: an address type, ";" and an address.
func parseOriginal(s string) (string, bool) {
	typ, text, ok := strings.Cut(s, ";")
	if !ok || len(s) > originalSizeMax || typ == "" || !isASCII(typ) || strings.Trim(typ, atextASCII) != "" {
		return "", false
	}
	address, ok := parseXtext(text)
	if !ok || !isText(address) || !isASCII(address) && !strings.EqualFold(typ, "utf-8") {
		return "", false
	}
	return typ + ";" + address, true
}

// formatXtext is the reverse of parseXtext.
func formatXtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// formatUnitext returns an address of the type "utf-8" as a parameter can have it:
// what can't stand there becomes an EmbeddedUnicodeChar, and without utf8 all that is
// not ASCII does. RFC 6533, section 3. Those that are there already stay.
func formatUnitext(s string, utf8 bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\\' && strings.HasPrefix(s[i:], `\x{`):
			b.WriteRune(r)
		case r <= ' ', r == '+', r == '=', r == '\\', r == 0x7f, r > 0x7f && !utf8:
			fmt.Fprintf(&b, `\x{%02X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// atextASCII are the characters of atoms, RFC 5322, section 3.2.3.
const atextASCII = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~"

// isText returns whether s is UTF-8 without control characters.
func isText(s string) bool {
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return utf8.ValidString(s)
}
