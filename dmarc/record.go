package dmarc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	// ErrNoRecord means that a text is not a DMARC record, or that there is none at
	// a name, or several, which is the same (RFC 9989, section 4.10).
	ErrNoRecord = errors.New("no DMARC record")

	// ErrPolicy means that a record has no valid policy and no address for reports
	// either: it is there, and nothing follows from it (RFC 9989, section 4.10.1).
	// The message can't be said to pass or fail.
	ErrPolicy = errors.New("DMARC record without valid policy")
)

// Policy is what the owner of a domain wants done with mail that fails.
type Policy string

// The policies, from the mildest. The zero value stands for an absent one.
const (
	None       Policy = "none"
	Quarantine Policy = "quarantine"
	Reject     Policy = "reject"
)

// milder returns the policy one step below, which is applied while the owner is
// testing (RFC 9989, section 4.7, tag "t").
func (p Policy) milder() Policy {
	if p == Reject {
		return Quarantine
	}
	return None
}

// PSD says what a domain with a record is for those below it.
type PSD string

// The values of the tag "psd".
const (
	Unknown      PSD = "u" // The walk tells.
	PublicSuffix PSD = "y" // A domain below which others have theirs.
	Organisation PSD = "n" // The organisational domain of all below it.
)

// Record is a DMARC policy record, RFC 9989, section 4.7.
type Record struct {
	Policy            Policy // Never empty.
	SubdomainPolicy   Policy // Empty if absent, then as Policy.
	NonexistentPolicy Policy // For domains that don't exist. Empty if absent, then as SubdomainPolicy.

	PSD     PSD
	Testing bool // Policies are to be applied one step milder.

	StrictDKIM bool // Only signatures of the very domain count, not of others of its organisation.
	StrictSPF  bool // Likewise.

	AggregateReports []URI    // "rua".
	FailureReports   []URI    // "ruf". We never send such.
	FailureOptions   []string // "fo": of "0", "1", "d", "s". Nil if absent, which means "0".

	// Percent and Interval are of RFC 7489, and gone since. Percent is 100 if
	// absent; with 0, and without the tag "t", Testing is set, which RFC 9989,
	// appendix A.6, has in its place. Other values count as 100. Interval is how
	// often reports are wanted, in seconds, 0 if absent.
	Percent  int
	Interval int64

	// Problems are what was wrong in the text and taken as absent. Unknown tags are
	// not wrong.
	Problems []Problem
}

// Problem is a mistake in a record.
type Problem struct {
	Offset int    // In bytes from the start of the record.
	Tag    string // As written. Empty if what is wrong has none.
	Text   string // What is wrong. It quotes the record.
}

// Error tells what is wrong, and where.
func (p Problem) Error() string {
	if p.Tag == "" {
		return fmt.Sprintf("at offset %d: %s", p.Offset, p.Text)
	}
	return fmt.Sprintf("at offset %d: tag %s: %s", p.Offset, p.Tag, p.Text)
}

// ParseRecord parses a record. What is wrong in it is taken as absent, and noted
// (RFC 9989, section 4.8). The error is ErrNoRecord for a text that doesn't start
// as a record, or ErrPolicy. With the latter there is a Record nevertheless, with
// the policy "none": that, too, has a place in the tree, and authorises reports.
func ParseRecord(text string) (Record, error) {
	rest, ok := cutVersion(text)
	if !ok || len(text) > recordSizeMax {
		return Record{}, ErrNoRecord
	}
	p := recordParser{record: Record{PSD: Unknown, Percent: 100}, seen: map[string]bool{"v": true}}
	for offset := len(text) - len(rest); offset < len(text); {
		part, _, _ := strings.Cut(text[offset:], ";")
		p.tag(part, offset)
		offset += len(part) + len(";")
	}
	return p.end()
}

// cutVersion cuts off the tag that all records start with, and its semicolon. The
// value is the one thing in a record in which case matters.
func cutVersion(text string) (rest string, ok bool) {
	tag, rest, _ := strings.Cut(text, ";")
	name, value, ok := strings.Cut(tag, "=")
	return rest, ok && strings.EqualFold(trimRight(name), "v") && trim(value) == "DMARC1"
}

// trim cuts off the white space that may stand around names and values.
func trim(s string) string      { return strings.Trim(s, " \t") }
func trimRight(s string) string { return strings.TrimRight(s, " \t") }

// recordParser collects what the tags of a record say.
type recordParser struct {
	record   Record
	seen     map[string]bool // Names in lower case.
	policies bool            // A policy has a value that isn't one.

	offset int // Of the value being read.
	name   string
}

// bad notes that the tag being read is wrong.
func (p *recordParser) bad(format string, args ...any) {
	p.record.Problems = append(p.record.Problems, Problem{p.offset, p.name, fmt.Sprintf(format, args...)})
}

// tag reads a tag, with the white space around it.
func (p *recordParser) tag(part string, offset int) {
	p.offset, p.name = offset+len(part)-len(strings.TrimLeft(part, " \t")), ""
	name, value, ok := strings.Cut(part, "=")
	name = trim(name)
	switch {
	case trim(part) == "":
		return // Also at the end, and that is fine.
	case !ok || !isTagName(name):
		p.bad("%+q is not a tag with a value", trim(part))
		return
	}
	p.name = name
	p.offset = offset + len(part) - len(strings.TrimLeft(value, " \t"))
	key := strings.ToLower(name)
	if p.seen[key] {
		p.bad("given again; the first counts")
		return
	}
	if p.value(key, trim(value)) {
		p.seen[key] = true
	}
}

// isTagName tells whether s could be the name of a tag, of this or of a later
// standard.
func isTagName(s string) bool {
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}

// value reads the value of a tag. It returns whether the tag is known.
func (p *recordParser) value(key, value string) bool {
	r := &p.record
	switch key {
	case "p":
		p.policy(&r.Policy, value)
	case "sp":
		p.policy(&r.SubdomainPolicy, value)
	case "np":
		p.policy(&r.NonexistentPolicy, value)
	case "psd":
		if v, ok := p.oneOf(value, "u", "y", "n"); ok {
			r.PSD = PSD(v)
		}
	case "t":
		v, _ := p.oneOf(value, "n", "y")
		r.Testing = v == "y"
	case "adkim":
		v, _ := p.oneOf(value, "r", "s")
		r.StrictDKIM = v == "s"
	case "aspf":
		v, _ := p.oneOf(value, "r", "s")
		r.StrictSPF = v == "s"
	case "rua":
		r.AggregateReports = p.uris(value)
	case "ruf":
		r.FailureReports = p.uris(value)
	case "fo":
		r.FailureOptions = p.failureOptions(value)
	case "pct":
		r.Percent = int(p.number(value, 100, 100))
	case "ri":
		r.Interval = p.number(value, 1<<32-1, 0)
	case "v":
		p.bad("only allowed once, at the start")
	default:
		return false
	}
	return true
}

// oneOf returns a value in lower case if it is one of those allowed.
func (p *recordParser) oneOf(value string, allowed ...string) (string, bool) {
	for _, a := range allowed {
		if strings.EqualFold(value, a) {
			return a, true
		}
	}
	p.bad("%+q is not one of %s", value, strings.Join(allowed, ", "))
	return "", false
}

func (p *recordParser) policy(to *Policy, value string) {
	v, ok := p.oneOf(value, string(None), string(Quarantine), string(Reject))
	*to = Policy(v)
	p.policies = p.policies || !ok
}

// number returns a decimal number up to most, or other if it is none.
func (p *recordParser) number(value string, most uint64, other int64) int64 {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n > most {
		p.bad("%+q is not a number up to %d", value, most)
		return other
	}
	return int64(n) //nolint:gosec // At most 1<<32.
}

// failureOptions reads "fo": each value once, and not both 0 and 1.
func (p *recordParser) failureOptions(value string) (options []string) {
	seen := map[string]bool{}
	for option := range strings.SplitSeq(value, ":") {
		v, ok := p.oneOf(trim(option), "0", "1", "d", "s")
		if !ok {
			return nil
		}
		if seen[v] || v == "0" && seen["1"] || v == "1" && seen["0"] {
			p.bad("%q doesn't go with those before it", v)
			return nil
		}
		seen[v] = true
		options = append(options, v)
	}
	return options
}

// end settles what depends on several tags.
func (p *recordParser) end() (Record, error) {
	r := &p.record
	if r.Percent == 0 && !p.seen["t"] {
		r.Testing = true
	}
	if r.Policy != "" && !p.policies {
		return *r, nil
	}
	if !p.policies {
		p.name, p.offset = "p", 0
		p.bad("missing, taken as none")
	}
	r.Policy, r.SubdomainPolicy, r.NonexistentPolicy = None, "", ""
	if len(r.AggregateReports) == 0 {
		return *r, fmt.Errorf("%w: %w", ErrPolicy, r.Problems[len(r.Problems)-1])
	}
	return *r, nil
}

// forSubdomain returns the policy for a domain below the one with the record.
func (r Record) forSubdomain(exists bool) Policy {
	switch {
	case !exists && r.NonexistentPolicy != "":
		return r.NonexistentPolicy
	case r.SubdomainPolicy != "":
		return r.SubdomainPolicy
	}
	return r.Policy
}

// String returns the text of the record, without what has its default value, and
// without what RFC 9989 has no more: instead of a percentage it has "t".
func (r Record) String() string {
	tags := []string{"v=DMARC1", "p=" + string(r.Policy)}
	add := func(name, value, absent string) {
		if value != absent {
			tags = append(tags, name+"="+value)
		}
	}
	flag := func(set bool, name, value string) {
		if set {
			tags = append(tags, name+"="+value)
		}
	}
	add("sp", string(r.SubdomainPolicy), "")
	add("np", string(r.NonexistentPolicy), "")
	flag(r.PSD != "" && r.PSD != Unknown, "psd", string(r.PSD))
	flag(r.Testing, "t", "y")
	flag(r.StrictDKIM, "adkim", "s")
	flag(r.StrictSPF, "aspf", "s")
	add("rua", joinURIs(r.AggregateReports), "")
	add("ruf", joinURIs(r.FailureReports), "")
	add("fo", strings.Join(r.FailureOptions, ":"), "")
	return strings.Join(tags, "; ")
}
