package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mjl-/mox/message"
)

// ErrNotDSN means that a message is no delivery status notification.
var ErrNotDSN = errors.New("dsn: no delivery status notification")

const (
	// statusSizeMax bounds the part that is read, in bytes. More is passed over.
	statusSizeMax = 1 << 20

	// recipientsMax bounds the recipients that are read. Most notifications are
	// about one.
	recipientsMax = 1000

	// originalSizeMax bounds the header section of the original that is read from a
	// part with a transfer encoding, in bytes. Others are bounded by package message.
	originalSizeMax = 1 << 20
)

// Report is what a notification says. It comes from whoever sent it, and may be
// invented. Fields that are missing or malformed are empty.
type Report struct {
	EnvelopeID      string // As given in the envelope of the message this is about.
	ReportingMTA    string
	ReceivedFromMTA string
	Arrival         time.Time
	FutureRelease   string         // What its sender asked for, "for;3600" or "until;" and a time (RFC 4865).
	Recipients      []Status       // At least one, at most 1000.
	Original        message.Header // Of the message this is about, if it was returned.
}

// Status is what a notification says of one recipient.
type Status struct {
	Final    Address
	Original Address
	Action   Action // One of ours, or empty.
	Code     string // Enhanced status code, "5.1.1".

	RemoteMTA      string // Without type and comment.
	DiagnosticType string // "smtp" for a reply of RemoteMTA. Lower case.
	Diagnostic     string // On one line.
	LastTry        time.Time
	RetryUntil     time.Time
}

// Address is an address as notifications have it.
type Address struct {
	Type string // "rfc822", "utf-8" or anything else. Lower case.
	Text string // Decoded (RFC 6533, section 3), without brackets. Not necessarily an address.
}

// Parse reads the notification that message p is, or returns ErrNotDSN. It is
// lenient, as many notifications are not as they should be. Other errors are of
// reading.
func Parse(r io.ReaderAt, p *message.Part) (*Report, error) {
	if p.Type != "MULTIPART" || p.Subtype != "REPORT" || !isReportType(p.Param("REPORT-TYPE")) {
		return nil, ErrNotDSN
	}
	var report *Report
	for i := range p.Parts {
		part := &p.Parts[i]
		switch {
		case report == nil && part.Type == "MESSAGE" && isReportType(part.Subtype):
			raw, err := readPart(r, part, statusSizeMax)
			if err != nil {
				return nil, fmt.Errorf("reading delivery status: %w", err)
			}
			report = parseStatus(raw)
		case report != nil && isOriginal(part):
			raw, err := readOriginal(r, part)
			if err != nil {
				return nil, fmt.Errorf("reading original of delivery status: %w", err)
			}
			report.Original = message.NewHeader(raw)
			return report, checkReport(report)
		}
	}
	return report, checkReport(report)
}

// checkReport returns ErrNotDSN for a report about nobody.
func checkReport(r *Report) error {
	if r == nil || len(r.Recipients) == 0 {
		return ErrNotDSN
	}
	return nil
}

// isReportType tells whether s is a report-type (RFC 6522, section 3), or the
// subtype of a status. Those of RFC 6533 count the same. It is missing at times.
func isReportType(s string) bool {
	switch strings.ToLower(s) {
	case "", "delivery-status", "global-delivery-status":
		return true
	}
	return false
}

func isOriginal(p *message.Part) bool {
	switch p.Type + "/" + p.Subtype {
	case "TEXT/RFC822-HEADERS", "MESSAGE/RFC822", "MESSAGE/GLOBAL-HEADERS", "MESSAGE/GLOBAL":
		return true
	}
	return false
}

// readPart reads at most size bytes of a part, without its transfer encoding. One
// in an unknown encoding is empty.
func readPart(r io.ReaderAt, p *message.Part, size int64) ([]byte, error) {
	body, err := p.DecodedBody(r)
	if err != nil {
		return nil, nil
	}
	return io.ReadAll(io.LimitReader(body, size))
}

// readOriginal reads the header section of the original.
func readOriginal(r io.ReaderAt, p *message.Part) ([]byte, error) {
	if p.Message == nil {
		return readPart(r, p, originalSizeMax)
	}
	h, err := message.ReadHeader(r, p.Message)
	return h.Raw(), err
}

// parseStatus parses the body of a status. The first group of fields is about the
// message, unless it names a recipient.
func parseStatus(raw []byte) *Report {
	report := &Report{}
	for first := true; len(raw) > 0 && len(report.Recipients) < recipientsMax; {
		h := message.NewHeader(raw)
		raw = raw[len(h.Raw()):]
		if len(bytes.TrimSpace(h.Raw())) == 0 {
			continue // One blank line too many.
		}
		if first {
			report.messageFields(h)
		}
		if s := parseRecipient(h); s.Final.Text != "" || s.Original.Text != "" {
			report.Recipients = append(report.Recipients, s)
		}
		first = false
	}
	return report
}

func (r *Report) messageFields(h message.Header) {
	r.EnvelopeID = value(h, "Original-Envelope-Id")
	r.ReportingMTA = mtaName(value(h, "Reporting-MTA"))
	r.ReceivedFromMTA = mtaName(value(h, "Received-From-MTA"))
	r.Arrival = date(value(h, "Arrival-Date"))
	r.FutureRelease = value(h, "Future-Release-Request")
}

func parseRecipient(h message.Header) Status {
	s := Status{
		Final:      parseAddress(value(h, "Final-Recipient")),
		Original:   parseAddress(value(h, "Original-Recipient")),
		Action:     Action(strings.ToLower(withoutComments(value(h, "Action")))),
		Code:       withoutComments(value(h, "Status")),
		RemoteMTA:  mtaName(value(h, "Remote-MTA")),
		LastTry:    date(value(h, "Last-Attempt-Date")),
		RetryUntil: date(value(h, "Will-Retry-Until")),
	}
	if s.Action.status() == "" {
		s.Action = ""
	}
	if !isStatus(s.Code) {
		s.Code = ""
	}
	s.DiagnosticType, s.Diagnostic = splitType(value(h, "Diagnostic-Code"))
	return s
}

// value returns the value of a field on one line.
func value(h message.Header, name string) string { return oneLine(h.Get(name)) }

// date returns a time, zero if it is none.
func date(s string) time.Time {
	t, err := message.ParseDate(s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// splitType splits a value into its type and the rest. One without type is taken
// as the rest.
func splitType(s string) (kind, rest string) {
	kind, rest, ok := strings.Cut(s, ";")
	kind = strings.ToLower(withoutComments(kind))
	if !ok || !isAtom(kind) {
		return "", s
	}
	return kind, strings.TrimSpace(rest)
}

func mtaName(s string) string {
	_, name := splitType(s)
	return withoutComments(name)
}

func parseAddress(s string) Address {
	kind, text := splitType(s)
	if kind == "utf-8" {
		text = unembed(text)
	}
	text = withoutComments(text)
	if inner, ok := strings.CutPrefix(text, "<"); ok {
		text = strings.TrimSuffix(inner, ">")
	}
	return Address{kind, oneLine(text)}
}

// withoutComments removes comments, which begin outside of quotes. From one
// without end on all is kept, so that parentheses cost no more than their number.
func withoutComments(s string) string {
	var b strings.Builder
	quoted, open := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			b.WriteByte(c)
			i++
		case c == '"':
			quoted = !quoted
		case c == '(' && !quoted && !open:
			if n := commentLen(s[i:]); n > 0 {
				i += n - 1
				continue
			}
			open = true
		}
		b.WriteByte(s[i])
	}
	return strings.TrimSpace(b.String())
}

// commentLen returns the length of the comment s begins with, 0 if it has no end.
func commentLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}
