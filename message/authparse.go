package message

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrAuthResults means that a part of an Authentication-Results field was left
// out, since it is not as RFC 8601 wants it, or that all of it was.
var ErrAuthResults = errors.New("malformed Authentication-Results")

// ParseAuthResults parses the value of an Authentication-Results field. What many
// write is understood, though it isn't in the grammar: values that should have been
// quoted, properties without a type, and a semicolon at the end. Other malformed
// results are left out as a whole, and the first of them is in the error.
func ParseAuthResults(value string) (AuthResults, error) {
	if len(value) > authResultsSizeMax {
		return AuthResults{}, fmt.Errorf("%w: %d bytes", ErrAuthResults, len(value))
	}
	p := authParser{rest: value, size: len(value)}
	id, ok := p.id()
	if !ok {
		return AuthResults{}, p.bad("who says it")
	}
	a := AuthResults{ID: id}
	var first error
	for p.rest != "" {
		p.rest = p.rest[1:] // The semicolon.
		m, err := p.result()
		if len(a.Methods) == authMethodsMax {
			return a, p.bad("end, there are too many results")
		}
		switch {
		case err != nil && first == nil:
			first = err
		case err == nil && m.Method != "":
			a.Methods = append(a.Methods, m)
		}
		if err != nil {
			p.skipResult()
		}
	}
	return a, first
}

// authParser reads a field from left to right.
type authParser struct {
	rest    string
	size    int
	comment string // Comments seen since it was taken, with a space between.
}

func (p *authParser) bad(want string) error {
	return fmt.Errorf("%w: at offset %d: need %s", ErrAuthResults, p.size-len(p.rest), want)
}

// cfws skips white space and comments, which are kept.
func (p *authParser) cfws() {
	for {
		p.rest = strings.TrimLeft(p.rest, " \t\r\n")
		if p.rest == "" || p.rest[0] != '(' {
			return
		}
		var text string
		text, p.rest = splitComment(p.rest)
		p.comment = authText(p.comment + " " + unescape(text))
	}
}

// take returns the comments that were seen, in front of those known already.
func (p *authParser) take(known string) string {
	text := authText(known + " " + p.comment)
	p.comment = ""
	return text
}

// unescape removes the backslashes of quoted pairs.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// id reads what comes before the first semicolon: who says it, and maybe a version.
// It is not ok for a version that we don't know, and where a result stands in its
// place, as some servers write it.
func (p *authParser) id() (string, bool) {
	p.cfws()
	id := p.value(";")
	p.cfws()
	if p.rest != "" && p.rest[0] != ';' {
		if p.keyword() != authVersion {
			return "", false
		}
		p.cfws()
	}
	p.comment = ""
	return id, id != "" && !strings.Contains(id, "=") && (p.rest == "" || p.rest[0] == ';')
}

// value reads a quoted-string, one that is the local part of an address, or
// whatever comes before white space or a character of ends.
func (p *authParser) value(ends string) string {
	quoted := strings.HasPrefix(p.rest, `"`)
	local := ""
	if quoted {
		local, p.rest = splitQuoted(p.rest)
		if !strings.HasPrefix(p.rest, "@") {
			return authText(local)
		}
		local = quoteString(local)
	}
	n := strings.IndexAny(p.rest, ends+" \t\r\n(")
	if n < 0 {
		n = len(p.rest)
	}
	text := local + p.rest[:n]
	p.rest = p.rest[n:]
	return authText(text)
}

// keyword reads letters, digits, hyphens and underscores, and returns them in lower
// case.
func (p *authParser) keyword() string {
	n := 0
	for n < len(p.rest) && n < authKeywordMax {
		c := p.rest[n]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			break
		}
		n++
	}
	word := strings.ToLower(p.rest[:n])
	p.rest = p.rest[n:]
	return word
}

// next reads a character if it is the next one.
func (p *authParser) next(c byte) bool {
	p.cfws()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	p.cfws()
	return true
}

// atEnd tells whether a result ends here.
func (p *authParser) atEnd() bool {
	p.cfws()
	return p.rest == "" || p.rest[0] == ';'
}

// skipResult skips to the next semicolon that is not in a comment or quoted.
func (p *authParser) skipResult() {
	for !p.atEnd() {
		if p.rest[0] == '"' {
			_, p.rest = splitQuoted(p.rest)
		} else {
			p.rest = p.rest[1:]
		}
	}
	p.comment = ""
}

// result reads a result up to its semicolon. It is the zero AuthMethod where there
// is none: for "none", and for nothing at all.
func (p *authParser) result() (m AuthMethod, err error) {
	if p.atEnd() {
		p.comment = ""
		return m, nil
	}
	if m.Method = p.keyword(); m.Method == "" {
		return m, p.bad("a method")
	}
	if m.Method == "none" && p.atEnd() {
		p.comment = ""
		return AuthMethod{}, nil
	}
	if p.next('/') {
		if m.Version, err = strconv.Atoi(p.keyword()); err != nil || m.Version < 1 {
			return m, p.bad("the version of a method")
		}
	}
	if !p.next('=') {
		return m, p.bad("=")
	}
	if m.Result = p.keyword(); m.Result == "" {
		return m, p.bad("a result")
	}
	for !p.atEnd() {
		m.addComment(p)
		if err := p.prop(&m); err != nil {
			return m, err
		}
	}
	m.addComment(p)
	return m, nil
}

// addComment gives the comments that were seen to what they follow.
func (m *AuthMethod) addComment(p *authParser) {
	if n := len(m.Props); n > 0 {
		m.Props[n-1].Comment = p.take(m.Props[n-1].Comment)
	} else {
		m.Comment = p.take(m.Comment)
	}
}

// prop reads a reason or a property.
func (p *authParser) prop(m *AuthMethod) error {
	prop := AuthProp{Name: p.keyword()}
	if p.next('.') {
		prop.Type, prop.Name = prop.Name, p.keyword()
		if prop.Type == "" {
			return p.bad("the type of a property")
		}
	}
	if prop.Name == "" {
		return p.bad("the name of a property")
	}
	if !p.next('=') {
		return p.bad("=")
	}
	prop.Value = p.value(";")
	switch {
	case prop.Type == "" && prop.Name == "reason":
		m.Reason = prop.Value
	case len(m.Props) == authPropsMax:
		return p.bad("fewer properties")
	default:
		m.Props = append(m.Props, prop)
	}
	return nil
}
