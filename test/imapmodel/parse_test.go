package imapmodel

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// node is a value in a response: an atom or string, or a list.
type node struct {
	text   string // NIL is an atom.
	quoted bool   // It was a string.
	list   []node
	isList bool
}

// response is what the server sends at a time.
type response struct {
	text   string // All of it, without the last CRLF.
	tag    string // "*" if it is untagged, "+" if it asks for more.
	number uint32 // In front of the name, as in "* 3 EXISTS".
	name   string
	code   string // Of OK, NO, BAD, BYE and PREAUTH, without brackets.
	args   []node
}

var errSyntax = errors.New("response is not in the grammar")

// parseResponse parses a response with its literals.
func parseResponse(text string) (*response, error) {
	r := &response{text: text}
	var rest string
	r.tag, rest, _ = strings.Cut(text, " ")
	if r.tag == "+" {
		return r, nil
	}
	word, after, _ := strings.Cut(rest, " ")
	if n, err := strconv.ParseUint(word, 10, 32); err == nil {
		r.number, rest = uint32(n), after
		word, after, _ = strings.Cut(rest, " ")
	}
	r.name = word
	switch word {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		if strings.HasPrefix(after, "[") {
			end := strings.IndexByte(after, ']')
			if end < 0 {
				return nil, fmt.Errorf("%w: %q", errSyntax, text)
			}
			r.code = after[1:end]
		}
		return r, nil
	}
	p := parser{rest: after}
	for p.rest != "" && p.err == nil {
		r.args = append(r.args, p.node())
		p.space()
	}
	if p.err != nil {
		return nil, fmt.Errorf("%w: %q", p.err, text)
	}
	return r, nil
}

// parser reads values. After an error it returns nothing.
type parser struct {
	rest string
	err  error
}

func (p *parser) fail() { p.err, p.rest = errSyntax, "" }

// space reads what stands between values.
func (p *parser) space() {
	if p.rest == "" || p.rest[0] == ')' || p.rest[0] == '(' {
		return
	}
	if p.rest[0] != ' ' || p.rest == " " {
		p.fail()
		return
	}
	p.rest = p.rest[1:]
}

func (p *parser) node() node {
	switch {
	case p.rest == "":
		p.fail()
		return node{}
	case p.rest[0] == '(':
		return p.list()
	case p.rest[0] == '"':
		return p.quoted()
	case p.rest[0] == '{' || strings.HasPrefix(p.rest, "~{"):
		return p.literal()
	}
	return p.atom()
}

func (p *parser) list() node {
	n := node{isList: true}
	p.rest = p.rest[1:]
	for p.err == nil && !strings.HasPrefix(p.rest, ")") {
		n.list = append(n.list, p.node())
		p.space()
	}
	if p.err == nil {
		p.rest = p.rest[1:]
	}
	return n
}

func (p *parser) quoted() node {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			return node{text: b.String(), quoted: true}
		case '\\':
			i++
			if i < len(p.rest) {
				b.WriteByte(p.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	p.fail()
	return node{}
}

func (p *parser) literal() node {
	head, after, ok := strings.Cut(strings.TrimPrefix(p.rest, "~"), "}\r\n")
	size, err := strconv.Atoi(strings.TrimPrefix(head, "{"))
	if !ok || err != nil || size > len(after) {
		p.fail()
		return node{}
	}
	p.rest = after[size:]
	return node{text: after[:size], quoted: true}
}

// atom reads up to a space or parenthesis. Within brackets both belong to it, as in
// BODY[HEADER.FIELDS (Subject)].
func (p *parser) atom() node {
	deep := 0
	for i := range len(p.rest) {
		switch c := p.rest[i]; {
		case c == '[':
			deep++
		case c == ']':
			deep--
		case deep == 0 && (c == ' ' || c == '(' || c == ')'):
			return p.cut(i)
		}
	}
	return p.cut(len(p.rest))
}

func (p *parser) cut(n int) node {
	a := node{text: p.rest[:n]}
	if n == 0 {
		p.fail()
		return node{}
	}
	p.rest = p.rest[n:]
	return a
}

// String writes a node so that it can be compared.
func (n node) String() string {
	switch {
	case n.isList:
		parts := make([]string, len(n.list))
		for i, e := range n.list {
			parts[i] = e.String()
		}
		return "(" + strings.Join(parts, " ") + ")"
	case n.quoted:
		return strconv.Quote(n.text)
	}
	return n.text
}

// codeWords returns the words of the response code, if it is this one.
func (r *response) codeWords(name string) ([]string, bool) {
	words := strings.Split(r.code, " ")
	return words[1:], words[0] == name
}

// items returns the data items of a FETCH response by name.
func (r *response) items() (map[string]node, error) {
	if len(r.args) != 1 || !r.args[0].isList || len(r.args[0].list)%2 != 0 {
		return nil, fmt.Errorf("%w: %q", errSyntax, r.text)
	}
	items := map[string]node{}
	for pair := range slices.Chunk(r.args[0].list, 2) {
		if _, ok := items[pair[0].text]; ok {
			return nil, fmt.Errorf("item %s comes twice: %q", pair[0].text, r.text)
		}
		items[pair[0].text] = pair[1]
	}
	return items, nil
}

// setMax bounds the numbers of one set: more than a test has messages.
const setMax = 100_000

// parseSet returns the numbers of a set without "*", in its order.
func parseSet(text string) ([]uint32, error) {
	var list []uint32
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, ":")
		a, err := parseNumber(from)
		b := a
		if isRange && err == nil {
			b, err = parseNumber(to)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: set %q", errSyntax, text)
		case b < a || b-a > setMax:
			return nil, fmt.Errorf("range %s descends or is too long", part)
		}
		for n := uint64(a); n <= uint64(b); n++ {
			list = append(list, uint32(n))
		}
	}
	return list, nil
}

// parseNumber parses a number above zero.
func parseNumber(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%w: number %q", errSyntax, text)
	}
	return uint32(n), nil
}

// formatSet writes ascending numbers as a set.
func formatSet(numbers []uint32) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		part := strconv.FormatUint(uint64(numbers[i]), 10)
		if j > i {
			part += ":" + strconv.FormatUint(uint64(numbers[j]), 10)
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
