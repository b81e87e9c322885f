package dmarc

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/mjl-/mox/smtp"
)

// URI is where reports are to be sent, RFC 9989, section 4.6.
type URI struct {
	// Text is the URI as in the record, without size.
	Text string

	// Address is that of a "mailto:" URI, and zero for all others. Those are to be
	// ignored: there is no way to send to them.
	Address smtp.Address

	// SizeMax is the size in bytes, after compression, of the largest report that is
	// wanted; 0 for no limit. Of RFC 7489, section 6.2; RFC 9989 lets it be ignored.
	SizeMax int64
}

// units are the powers of 1024 for the letters after a size.
var units = map[byte]uint{'k': 10, 'm': 20, 'g': 30, 't': 40}

var errURI = errors.New("invalid URI")

// ParseURI parses a URI as in a record, with the size of RFC 7489 after a "!".
// What is neither "mailto:" nor wrong is returned without an Address.
func ParseURI(text string) (URI, error) {
	text, size, limited := strings.Cut(text, "!")
	u := URI{Text: text}
	if limited {
		n, err := parseSize(size)
		if err != nil {
			return URI{}, err
		}
		u.SizeMax = n
	}
	if strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ',' || c == ';' }) {
		return URI{}, fmt.Errorf("%w: character that must be encoded", errURI)
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil || parsed.Scheme == "":
		return URI{}, fmt.Errorf("%w: %+q", errURI, text)
	case parsed.Scheme != "mailto": // In lower case already.
		return u, nil
	}
	address, err := url.PathUnescape(parsed.Opaque)
	if err != nil {
		return URI{}, fmt.Errorf("%w: %+q", errURI, text)
	}
	if u.Address, err = smtp.ParseAddress(address); err != nil {
		return URI{}, fmt.Errorf("%w: %w", errURI, err)
	}
	return u, nil
}

// parseSize parses a number of bytes, with a letter for a larger unit.
func parseSize(s string) (int64, error) {
	digits := s
	shift := uint(0)
	if n := len(s); n > 0 {
		if unit, ok := units[s[n-1]|0x20]; ok {
			digits, shift = s[:n-1], unit
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift || n == 0 {
		return 0, fmt.Errorf("%w: size %+q", errURI, s)
	}
	return int64(n << shift), nil //nolint:gosec // Checked above.
}

// String returns the URI as it stands in a record, with its size.
func (u URI) String() string {
	if u.SizeMax == 0 {
		return u.Text
	}
	size, unit := u.SizeMax, ""
	for _, letter := range "kmgt" {
		if size%1024 != 0 {
			break
		}
		size, unit = size/1024, string(letter)
	}
	return u.Text + "!" + strconv.FormatInt(size, 10) + unit
}

func joinURIs(uris []URI) string {
	texts := make([]string, len(uris))
	for i, u := range uris {
		texts[i] = u.String()
	}
	return strings.Join(texts, ",")
}

// uris reads a list of URIs. Those that are wrong are left out.
func (p *recordParser) uris(value string) (uris []URI) {
	start := p.offset
	at := start
	for text := range strings.SplitSeq(value, ",") {
		p.offset = at + len(text) - len(strings.TrimLeft(text, " \t"))
		at += len(text) + len(",")
		if len(uris) == urisMax {
			p.bad("more than %d addresses", urisMax)
			break
		}
		u, err := ParseURI(trim(text))
		if err != nil {
			p.bad("%v", err)
			continue
		}
		uris = append(uris, u)
	}
	return uris
}
