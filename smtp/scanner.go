package smtp

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mjl-/mox/dns"
)

// scanner takes apart the text of a command or address. Its error is sticky:
// after the first one all methods return zero values.
type scanner struct {
	s        string
	pos      int
	tolerant bool // Accept what is against the RFCs, common and unambiguous.
	err      error
}

func (sc *scanner) fail(format string, args ...any) {
	if sc.err == nil {
		sc.err = fmt.Errorf(format, args...)
	}
}

// peek returns the next byte, or 0 at the end.
func (sc *scanner) peek() byte {
	if sc.err != nil || sc.pos == len(sc.s) {
		return 0
	}
	return sc.s[sc.pos]
}

// try takes c if it is next.
func (sc *scanner) try(c byte) bool {
	if sc.err != nil || sc.pos == len(sc.s) || sc.s[sc.pos] != c {
		return false
	}
	sc.pos++
	return true
}

func (sc *scanner) take(c byte) {
	if !sc.try(c) {
		sc.fail("expected %q at %+q", c, clip(sc.s[sc.pos:]))
	}
}

// keyword takes word, in any case.
func (sc *scanner) keyword(word string) {
	if n := sc.pos + len(word); sc.err == nil && n <= len(sc.s) && strings.EqualFold(sc.s[sc.pos:n], word) {
		sc.pos = n
		return
	}
	sc.fail("expected %s", word)
}

// while takes the longest text whose bytes all satisfy is.
func (sc *scanner) while(is func(c byte) bool) string {
	start := sc.pos
	for sc.err == nil && sc.pos < len(sc.s) && is(sc.s[sc.pos]) {
		sc.pos++
	}
	return sc.s[start:sc.pos]
}

// end checks that nothing is left.
func (sc *scanner) end() {
	if sc.err == nil && sc.pos < len(sc.s) {
		sc.fail("unexpected text at %+q", clip(sc.s[sc.pos:]))
	}
}

// clip shortens text from a peer for an error.
func clip(s string) string {
	if len(s) > 32 {
		return s[:32]
	}
	return s
}

// localpart takes a Dot-string or Quoted-string.
func (sc *scanner) localpart() Localpart {
	var text string
	if sc.peek() == '"' {
		text = sc.quoted()
	} else {
		text = sc.while(func(c byte) bool { return isAtext(c) || c == '.' })
		// Some providers gave out addresses with dots at odd places.
		if text == "" || !sc.tolerant && !isDotString(text) {
			sc.fail("localpart %+q", clip(text))
		}
	}
	if !sc.tolerant && len(text) > localpartSizeMax {
		sc.fail("localpart of %d bytes, more than %d", len(text), localpartSizeMax)
	}
	if !utf8.ValidString(text) {
		sc.fail("localpart is not UTF-8")
	}
	if sc.err != nil {
		return ""
	}
	return Localpart(text)
}

// quoted takes a Quoted-string and returns what it means.
func (sc *scanner) quoted() string {
	sc.take('"')
	var b strings.Builder
	for sc.err == nil {
		sc.chunk(&b)
		switch {
		case sc.try('"'):
			return b.String()
		case sc.try('\\'):
			if c := sc.peek(); c < ' ' || c >= 0x7f {
				sc.fail("escape in quoted string")
			} else {
				b.WriteByte(c)
				sc.pos++
			}
		default:
			sc.fail("quoted string")
		}
	}
	return ""
}

// chunk takes text within quotes that stands for itself.
func (sc *scanner) chunk(b *strings.Builder) {
	b.WriteString(sc.while(func(c byte) bool { return c >= ' ' && c != 0x7f && c != '"' && c != '\\' }))
}

// domain takes a domain, until a character that can't be in one.
func (sc *scanner) domain() dns.Domain {
	text := sc.while(func(c byte) bool { return isAtext(c) || c == '.' })
	if sc.err != nil {
		return dns.Domain{}
	}
	d, err := dns.ParseDomain(text)
	if err != nil {
		sc.err = err
	}
	return d
}

// ipDomain takes a domain or an address literal.
func (sc *scanner) ipDomain() dns.IPDomain {
	if !sc.try('[') {
		return dns.IPDomain{Domain: sc.domain()}
	}
	text := sc.while(func(c byte) bool { return c != ']' })
	sc.take(']')
	if sc.err != nil {
		return dns.IPDomain{}
	}
	ip, err := parseAddressLiteral(text)
	if err != nil {
		sc.err = err
	}
	return dns.IPDomain{IP: ip}
}

// path takes a Reverse-path or Forward-path. The null path and postmaster
// without domain are left to the caller to refuse.
func (sc *scanner) path() Path {
	start := sc.pos
	bracket := sc.try('<')
	if !bracket && !sc.tolerant {
		sc.fail("expected < before the address")
	}
	p := sc.inPath(bracket)
	if bracket {
		sc.take('>')
	}
	if sc.pos-start > pathSizeMax {
		sc.fail("address of %d bytes, more than %d", sc.pos-start, pathSizeMax)
	}
	if sc.err != nil {
		return Path{}
	}
	return p
}

func (sc *scanner) inPath(bracket bool) Path {
	if bracket && sc.peek() == '>' {
		return Path{}
	}
	if sc.peek() == '@' {
		sc.sourceRoute()
	}
	p := Path{Localpart: sc.localpart()}
	if bracket && sc.peek() == '>' {
		if !strings.EqualFold(string(p.Localpart), "postmaster") {
			sc.fail("address without domain")
		}
		return p
	}
	sc.take('@')
	p.IPDomain = sc.ipDomain()
	return p
}

// sourceRoute takes the hosts of an obsolete source route, which is to be
// accepted and ignored (RFC 5321, section 4.1.1.3 and appendix C).
func (sc *scanner) sourceRoute() {
	for {
		sc.take('@')
		sc.ipDomain()
		if !sc.try(',') {
			break
		}
	}
	sc.take(':')
}

// param is an ESMTP parameter of MAIL or RCPT.
type param struct {
	name, value string // Name in upper case.
	hasValue    bool
}

var errParam = errors.New("parameter")

// params takes the parameters up to the end, RFC 5321, section 4.1.2.
func (sc *scanner) params() []param {
	var params []param
	for sc.try(' ') {
		if sc.tolerant {
			sc.while(func(c byte) bool { return c == ' ' })
			if sc.pos == len(sc.s) {
				break
			}
		}
		p := param{name: strings.ToUpper(sc.while(isKeyword))}
		if sc.try('=') {
			p.hasValue = true
			p.value = sc.while(func(c byte) bool { return c > ' ' && c != '=' && c != 0x7f })
		}
		if p.name == "" || p.name[0] == '-' || p.hasValue && p.value == "" {
			sc.fail("%w at %+q", errParam, clip(sc.s[sc.pos:]))
		}
		for _, other := range params {
			if other.name == p.name {
				sc.fail("%w %s given twice", errParam, p.name)
			}
		}
		if len(params) == paramsMax {
			sc.fail("%w: more than %d", errParam, paramsMax)
		}
		if sc.err != nil {
			return nil
		}
		params = append(params, p)
	}
	sc.end()
	return params
}

func isKeyword(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
}
