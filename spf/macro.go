package spf

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// partsMax bounds the number of right-hand parts in a macro: no value has more.
	// RFC 7208, section 7.3, asks for at least 127.
	partsMax = 1000

	// nameSizeMax bounds what a domain expands to, in bytes without a dot at the end
	// (section 7.3).
	nameSizeMax = 253
)

// The letters of macros: for all places, and those for explanations only.
const (
	macroLetters       = "slodiphv"
	explanationLetters = "crt"
	macroDelimiters    = ".-+,/_="
)

// DomainSpec is a domain with macros, RFC 7208, section 7.1.
type DomainSpec struct {
	text  string
	parts []part
}

// IsZero returns whether there is no domain.
func (d DomainSpec) IsZero() bool { return d.text == "" }

// String returns the domain as it stands in the record.
func (d DomainSpec) String() string { return d.text }

// part is literal text, or a macro.
type part struct {
	literal string // What it expands to. For a macro with a letter it is empty.
	coded   bool   // The literal was written as a macro: "%%", "%_" or "%-".

	letter     byte   // In lower case.
	escape     bool   // The letter was in upper case: the value is escaped as in URLs.
	rights     int    // How many of the last parts to use, 0 for all.
	reverse    bool   // After splitting.
	delimiters string // Empty: ".".
}

// parseDomainSpec parses a domain, which must end in a macro or in a label that can
// be a top level domain.
func parseDomainSpec(t term) (DomainSpec, error) {
	parts, err := parseMacros(t, false)
	if err != nil {
		return DomainSpec{}, err
	}
	if len(parts) == 0 {
		return DomainSpec{}, t.errorf("no domain")
	}
	if last := parts[len(parts)-1]; last.letter == 0 && !last.coded {
		name := strings.TrimSuffix(last.literal, ".")
		if dot := strings.LastIndexByte(name, '.'); dot < 0 || !isTopLabel(name[dot+1:]) {
			return DomainSpec{}, t.errorf("domain %+q ends neither in a top level domain nor in a macro", t.text)
		}
	}
	return DomainSpec{t.text, parts}, nil
}

// isTopLabel returns whether a label can be a top level domain: it is not a number.
func isTopLabel(s string) bool {
	number := true
	for i := range len(s) {
		switch c := s[i]; {
		case isAlpha(c), c == '-' && i > 0 && i < len(s)-1:
			number = false
		case !isDigit(c):
			return false
		}
	}
	return !number
}

// parseMacros parses visible characters and macros. Explanations may have spaces
// and more letters.
func parseMacros(t term, explanation bool) ([]part, error) {
	var parts []part
	for i := 0; i < len(t.text); {
		if t.text[i] == '%' {
			p, size, err := parseMacro(t.from(i), explanation)
			if err != nil {
				return nil, err
			}
			parts = append(parts, p)
			i += size
			continue
		}
		start := i
		for i < len(t.text) && t.text[i] != '%' {
			if c := t.text[i]; c <= ' ' && (c != ' ' || !explanation) || c >= 0x7f {
				return nil, t.from(i).errorf("character %+q", t.text[i:i+1])
			}
			i++
		}
		parts = append(parts, part{literal: t.text[start:i]})
	}
	return parts, nil
}

// parseMacro parses the macro that t begins with, and returns its size in bytes.
func parseMacro(t term, explanation bool) (p part, size int, err error) {
	for _, coded := range []struct{ text, literal string }{{"%%", "%"}, {"%_", " "}, {"%-", "%20"}} {
		if strings.HasPrefix(t.text, coded.text) {
			return part{literal: coded.literal, coded: true}, len(coded.text), nil
		}
	}
	end := strings.IndexByte(t.text, '}')
	if !strings.HasPrefix(t.text, "%{") || end < 0 {
		return part{}, 0, t.errorf("a %% that begins no macro")
	}
	p, err = parseExpand(t, t.text[2:end], explanation)
	return p, end + 1, err
}

// parseExpand parses what stands in the braces of a macro: letter, transformers
// and delimiters.
func parseExpand(t term, s string, explanation bool) (part, error) {
	if s == "" {
		return part{}, t.errorf("macro without letter")
	}
	p := part{letter: s[0] | 0x20, escape: s[0]&0x20 == 0}
	switch {
	case !isAlpha(s[0]) || strings.IndexByte(macroLetters+explanationLetters, p.letter) < 0:
		return part{}, t.errorf("unknown macro %+q", s)
	case !explanation && strings.IndexByte(explanationLetters, p.letter) >= 0:
		return part{}, t.errorf("macro %+q outside of an explanation", s)
	}
	digits := 1
	for digits < len(s) && isDigit(s[digits]) {
		digits++
	}
	if digits > 1 {
		n, err := strconv.Atoi(s[1:digits])
		if err == nil && n == 0 {
			return part{}, t.errorf("macro %+q uses no parts", s)
		}
		if p.rights = n; err != nil {
			p.rights = partsMax // The number has too many digits.
		}
		p.rights = min(p.rights, partsMax)
	}
	rest := s[digits:]
	if rest != "" && rest[0]|0x20 == 'r' {
		p.reverse, rest = true, rest[1:]
	}
	if p.delimiters = rest; strings.Trim(rest, macroDelimiters) != "" {
		return part{}, t.errorf("delimiter in macro %+q", s)
	}
	return p, nil
}

// transform returns what a macro makes of the value of its letter (section 7.3).
func (p part) transform(value string) string {
	if p.rights > 0 || p.reverse || p.delimiters != "" {
		delimiters := p.delimiters
		if delimiters == "" {
			delimiters = "."
		}
		parts := splitAny(value, delimiters)
		if p.reverse {
			slices.Reverse(parts)
		}
		if p.rights > 0 && p.rights < len(parts) {
			parts = parts[len(parts)-p.rights:]
		}
		value = strings.Join(parts, ".")
	}
	if p.escape {
		// Unreserved characters are those of RFC 3986, as section 7.3 has it; only for
		// spaces QueryEscape differs.
		value = strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
	}
	return value
}

// splitAny splits at each of the delimiters. Parts may be empty.
func splitAny(s, delimiters string) (parts []string) {
	for {
		i := strings.IndexAny(s, delimiters)
		if i < 0 {
			return append(parts, s)
		}
		parts, s = append(parts, s[:i]), s[i+1:]
	}
}

// expand returns parts with the values of macros, of which only the last max bytes
// matter, or the first if it is negative. A value is at most some hundred bytes, so
// memory is bounded by that however many macros there are.
func expand(parts []part, value func(letter byte) string, max int) string {
	var b []byte
	for _, p := range parts {
		if p.letter == 0 {
			b = append(b, p.literal...)
		} else {
			b = append(b, p.transform(value(p.letter))...)
		}
		if max < 0 && len(b) >= -max {
			return string(b[:-max])
		}
		if max > 0 && len(b) > 2*max {
			b = slices.Delete(b, 0, len(b)-max)
		}
	}
	return string(b)
}

// truncate removes labels on the left until the name is not too long (section 7.3).
func truncate(name string) string {
	for len(name) > nameSizeMax {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			break // No name at all; a resolver says so.
		}
		name = rest
	}
	return name
}
