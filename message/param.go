package message

import (
	"slices"
	"strconv"
	"strings"
)

// parseContentType parses a Content-Type. It is not ok without both a type and
// a subtype, as RFC 2045, section 5.1 demands.
func parseContentType(s string) (typ, subtype string, params []Param, ok bool) {
	typ, s = mimeToken(skipComments(s))
	s = skipComments(s)
	if typ == "" || s == "" || s[0] != '/' {
		return "", "", nil, false
	}
	subtype, s = mimeToken(skipComments(s[1:]))
	if subtype == "" {
		return "", "", nil, false
	}
	return strings.ToUpper(typ), strings.ToUpper(subtype), parseParams(s), true
}

// parseDisposition parses a Content-Disposition (RFC 2183). A missing type with
// parameters is taken as an attachment.
func parseDisposition(s string) (string, []Param) {
	token, rest := mimeToken(skipComments(s))
	params := parseParams(rest)
	if token == "" && len(params) > 0 {
		token = "ATTACHMENT"
	}
	return strings.ToUpper(token), params
}

// mimeToken splits off a token of RFC 2045, section 5.1. Bytes of 8 bits are let
// through.
func mimeToken(s string) (token, rest string) {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// skipComments skips white space and comments. What follows a comment without
// end is comment.
func skipComments(s string) string {
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" || s[0] != '(' {
			return s
		}
		_, s = splitComment(s)
	}
}

// splitComment splits off the comment s starts with, and returns what is
// between its parentheses.
func splitComment(s string) (comment, rest string) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:]
			}
		}
	}
	return s[1:], ""
}

// splitQuoted splits off the quoted-string s starts with, and returns its
// content. One without end goes to the end.
func splitQuoted(s string) (content, rest string) {
	end := 1
	escaped := false
	for end < len(s) && s[end] != '"' {
		if s[end] == '\\' && end+1 < len(s) {
			escaped = true
			end++
		}
		end++
	}
	content, rest = s[1:end], s[min(end+1, len(s)):]
	if !escaped {
		return content, rest
	}
	b := make([]byte, 0, len(content))
	for i := 0; i < len(content); i++ {
		if content[i] == '\\' && i+1 < len(content) {
			i++
		}
		b = append(b, content[i])
	}
	return string(b), rest
}

// parseParams parses parameters up to paramsMax, each preceded by a semicolon.
// Values that should have been quoted are accepted.
func parseParams(s string) []Param {
	var params []Param
	extended := false
	for len(params) < paramsMax {
		i := strings.IndexByte(s, ';')
		if i < 0 {
			break
		}
		var name string
		name, s = mimeToken(skipComments(s[i+1:]))
		if s = skipComments(s); name == "" || s == "" || s[0] != '=' {
			continue
		}
		var value string
		value, s = paramText(skipComments(s[1:]))
		params = append(params, Param{strings.ToUpper(name), value})
		extended = extended || strings.IndexByte(name, '*') >= 0
	}
	if extended {
		return joinParams(params)
	}
	return params
}

// paramText splits off the value of a parameter.
func paramText(s string) (value, rest string) {
	if s != "" && s[0] == '"' {
		return splitQuoted(s)
	}
	end := strings.IndexByte(s, ';')
	if end < 0 {
		end = len(s)
	}
	value, rest = s[:end], s[end:]
	if i := strings.IndexByte(value, '('); i > 0 && isSpace(value[i-1]) {
		value = value[:i]
	}
	return trimSpace(value), rest
}

// section is one piece of a parameter, RFC 2231, sections 3 and 4.
type section struct {
	base     string
	number   int // -1 for a parameter in one piece.
	extended bool
	value    string
}

// parseSection takes a parameter name apart; not ok if it is an ordinary one.
func parseSection(p Param) (s section, ok bool) {
	name, extended := strings.CutSuffix(p.Name, "*")
	base, digits, numbered := strings.Cut(name, "*")
	s = section{base, -1, extended, p.Value}
	if numbered {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || len(digits) > 1 && digits[0] == '0' {
			return section{}, false
		}
		s.number = int(n)
	}
	return s, base != "" && (numbered || extended)
}

// joinParams puts sections together and decodes charsets (RFC 2231). The whole
// takes the place of its first section. Sections after a gap are left out.
func joinParams(params []Param) []Param {
	groups := map[string][]section{}
	for _, p := range params {
		if s, ok := parseSection(p); ok {
			groups[s.base] = append(groups[s.base], s)
		}
	}
	joined := params[:0]
	for _, p := range params {
		s, ok := parseSection(p)
		if !ok {
			joined = append(joined, p)
			continue
		}
		if group := groups[s.base]; group != nil {
			joined = append(joined, joinSections(group))
			groups[s.base] = nil
		}
	}
	return joined
}

func joinSections(group []section) Param {
	slices.SortStableFunc(group, func(a, b section) int { return a.number - b.number })
	if i := slices.IndexFunc(group, func(s section) bool { return s.number >= 0 }); i > 0 {
		group = group[:1] // A parameter in one piece is preferred to one in sections.
	}
	charset, extended := "", false
	var value []byte
	next := max(group[0].number, 0)
	for _, s := range group {
		if s.number >= 0 && s.number != next {
			continue
		}
		next++
		if !s.extended {
			value = append(value, s.value...)
			continue
		}
		text := s.value
		if s.number <= 0 {
			if parts := strings.SplitN(text, "'", 3); len(parts) == 3 {
				charset, text = parts[0], parts[2]
			}
		}
		extended = true
		value = appendPercentDecoded(value, text)
		if s.number < 0 {
			break
		}
	}
	if extended {
		return Param{group[0].base + "*", decodeCharset(charset, value)}
	}
	return Param{group[0].base, string(value)}
}

func appendPercentDecoded(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
			if hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return b
}

// hexDigit returns the value of a hexadecimal digit, -1 if it is none.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
