package mtasts

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/mox/dns"
)

// version begins each record, and is in each policy.
const version = "STSv1"

// idSizeMax bounds the id of a record in bytes (RFC 8461, section 3.1).
const idSizeMax = 32

// Record says that a domain has a policy.
type Record struct {
	ID string // Another one means another policy. Letters and digits.
}

// String returns the text of the record.
func (r Record) String() string { return "v=" + version + "; id=" + r.ID + ";" }

// ParseRecord parses a record, without regard to fields that are not known. The
// error is ErrNoRecord for a text that does not begin as a record, or wraps a
// *SyntaxError and ErrRecord.
func ParseRecord(text string) (Record, error) {
	offset, ok := cutVersion(text)
	if !ok {
		return Record{}, ErrNoRecord
	}
	p := recordParser{}
	for more := true; more; {
		offset += leadingSpace(text[offset:])
		if offset == len(text) {
			break // After a semicolon at the end.
		}
		var field string
		field, _, more = strings.Cut(text[offset:], ";")
		size := len(field)
		if more {
			field = strings.TrimRight(field, " \t")
		}
		if err := p.field(field, offset); err != nil {
			return Record{}, err
		}
		offset += size + len(";")
	}
	if !p.hasID {
		return Record{}, recordError(len(text), "it has no id")
	}
	return p.record, nil
}

// cutVersion returns where the fields of a record begin.
func cutVersion(text string) (offset int, ok bool) {
	rest, ok := strings.CutPrefix(text, "v="+version)
	if !ok {
		return 0, false
	}
	rest = rest[leadingSpace(rest):]
	return len(text) - len(rest) + len(";"), strings.HasPrefix(rest, ";")
}

// leadingSpace returns the number of bytes of white space at the start of s.
func leadingSpace(s string) int { return len(s) - len(strings.TrimLeft(s, " \t")) }

type recordParser struct {
	record Record
	hasID  bool
}

// field reads a field. Of two with the same name the first counts.
func (p *recordParser) field(field string, offset int) error {
	name, value, ok := strings.Cut(field, "=")
	if !ok || !isName(name) {
		return recordError(offset, "%s is not a name with a value", quote(field))
	}
	offset += len(name) + len("=")
	if name != "id" || p.hasID {
		return checkExtension(value, offset)
	}
	if other := func(c rune) bool { return c >= 0x80 || !alphanumeric(byte(c)) }; value == "" || len(value) > idSizeMax || strings.ContainsFunc(value, other) {
		return recordError(offset, "id %s is not 1 to %d letters and digits", quote(value), idSizeMax)
	}
	p.record.ID, p.hasID = value, true
	return nil
}

// checkExtension checks the value of a field that is not known.
func checkExtension(value string, offset int) error {
	for i, c := range []byte(value) {
		if c <= ' ' || c >= 0x7f || c == '=' {
			return recordError(offset+i, "character %+q in a value", rune(c))
		}
	}
	if value == "" {
		return recordError(offset, "no value")
	}
	return nil
}

// recordError returns an error about what is at an offset of a record.
func recordError(offset int, format string, args ...any) error {
	return &SyntaxError{Column: offset + 1, Text: fmt.Sprintf(format, args...), kind: ErrRecord}
}

// quotedMax bounds what errors repeat of a text from others, in bytes.
const quotedMax = 100

// quote returns the beginning of s for an error, in printable ASCII.
func quote(s string) string {
	if len(s) > quotedMax {
		return fmt.Sprintf("%+q...", s[:quotedMax])
	}
	return fmt.Sprintf("%+q", s)
}

// Found is a record as DNS has it.
type Found struct {
	Record    Record
	Text      string // Empty if there is none, or several.
	Name      string // Absolute name that has it: other than asked for if that is an alias.
	Authentic bool   // DNSSEC protects the record, or that there is none.
}

// LookupRecord looks up the record of a domain. Aliases are followed, by the
// resolver. With ErrNoRecord and ErrRecord it is certain that there is none that
// counts; other errors are those of the resolver, and say nothing about the domain.
func LookupRecord(ctx context.Context, r dns.Resolver, domain dns.Domain) (Found, error) {
	texts, result, err := r.LookupTXT(ctx, "_mta-sts."+domain.Absolute())
	found := Found{Name: result.Name, Authentic: result.Authentic}
	switch {
	case dns.IsNone(err), errors.Is(err, dns.ErrName): // A name too long for DNS has no records.
		return found, fmt.Errorf("%w: %w", ErrNoRecord, err)
	case err != nil:
		return Found{}, fmt.Errorf("looking for an MTA-STS record: %w", err)
	}
	var records []string
	for _, text := range texts {
		if _, ok := cutVersion(text); ok {
			records = append(records, text)
		}
	}
	switch len(records) {
	case 0:
		return found, ErrNoRecord
	case 1:
		found.Text = records[0]
		found.Record, err = ParseRecord(found.Text)
		return found, err
	}
	return found, fmt.Errorf("%w: there are %d, and none counts", ErrNoRecord, len(records))
}
