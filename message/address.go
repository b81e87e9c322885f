package message

import "strings"

const (
	// MissingHost is the Host of an address without one, as local users have in
	// old mail. An empty Host would make it the start of a group.
	MissingHost = "missing-host.invalid"

	// missingMailbox is the Mailbox of an address with a name only.
	missingMailbox = "missing-mailbox"

	// addressWordsMax bounds the words of one display name or local part; more are
	// left out.
	addressWordsMax = 1000

	// addressHostMax bounds a domain in bytes, and how far the end of a route or
	// domain-literal is looked for. Domains have at most 255.
	addressHostMax = 1000
)

// ParseAddressList parses addresses and groups (RFC 5322, section 3.4, with its
// obsolete forms), up to addressesMax. What is wrong is read as well as possible
// or left out. Each start of a group has its end.
func ParseAddressList(s string) []Address { return appendAddresses(nil, s, addressesMax) }

func appendAddresses(list []Address, s string, most int) []Address {
	p := addressParser{rest: s, list: list, most: len(list) + most}
	for p.skip(); p.rest != ""; p.skip() {
		if len(p.list)+1 >= p.most {
			break // With room for the end of a group.
		}
		switch p.rest[0] {
		case ',':
			p.rest = p.rest[1:]
		case ';':
			p.rest = p.rest[1:]
			p.endGroup()
		default:
			p.element()
		}
	}
	p.endGroup()
	return p.list
}

// addressParser reads one address or start of a group at a time.
type addressParser struct {
	rest  string
	list  []Address
	most  int
	group bool // Within a group.

	words   []word // Of the address being read.
	comment string // The last comment seen in it.
}

// word is a word of a phrase or local part. Text is without quotes.
type word struct {
	text   string
	quoted bool
}

func (p *addressParser) endGroup() {
	if p.group {
		p.list = append(p.list, Address{})
		p.group = false
	}
}

// skip skips white space and comments.
func (p *addressParser) skip() {
	for {
		p.rest = strings.TrimLeft(p.rest, " \t\r\n")
		if p.rest == "" || p.rest[0] != '(' {
			return
		}
		comment, rest := splitComment(p.rest)
		p.rest = rest
		if comment = trimSpace(comment); comment != "" {
			p.comment = comment
		}
	}
}

// element reads up to the comma or semicolon after an address, or past the colon
// after the name of a group.
func (p *addressParser) element() {
	start := p.rest
	p.comment = ""
	p.readWords()
	switch p.peek() {
	case ':':
		if p.group {
			p.rest = p.rest[1:] // Groups don't nest. What looks like a name is left out.
			return
		}
		p.rest = p.rest[1:]
		if name := p.phrase(p.words); name != "" {
			p.list = append(p.list, Address{Mailbox: name})
			p.group = true
		}
	case '<':
		p.angle(p.phrase(p.words))
	case '@':
		p.bare(start)
	default:
		p.nameOnly()
	}
}

func (p *addressParser) peek() byte {
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

// specials end an atom. The dot and brackets are left in: names and domains have
// them.
const specials = "()<>@,:;\" \t\r\n"

// readWords reads the words before one of the other specials.
func (p *addressParser) readWords() {
	p.words = p.words[:0]
	for p.skip(); p.rest != ""; p.skip() {
		switch c := p.rest[0]; {
		case c == '"':
			text, rest := splitQuoted(p.rest)
			p.addWord(word{text, true})
			p.rest = rest
		case c == ')':
			p.rest = p.rest[1:]
		case strings.IndexByte(specials, c) >= 0:
			return
		default:
			p.addWord(word{p.atom(), false})
		}
	}
}

func (p *addressParser) addWord(w word) {
	if len(p.words) < addressWordsMax {
		p.words = append(p.words, w)
	}
}

// atom reads an atom, or an encoded-word even if it has specials.
func (p *addressParser) atom() string {
	n := 0
	if strings.HasPrefix(p.rest, "=?") {
		_, _, n = scanEncodedWord(p.rest)
	}
	if i := strings.IndexAny(p.rest[n:], specials); i >= 0 {
		n += i
	} else {
		n = len(p.rest)
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return text
}

// phrase joins words to a display name.
func (p *addressParser) phrase(words []word) string {
	if len(words) == 1 {
		return trimSpace(words[0].text)
	}
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.text
	}
	return trimSpace(strings.Join(texts, " "))
}

// localpart joins words to a local part, with quotes if it needs them.
func localpart(words []word) string {
	if len(words) == 1 && !words[0].quoted {
		return words[0].text
	}
	var b strings.Builder
	quote := false
	for _, w := range words {
		b.WriteString(w.text)
		quote = quote || w.quoted
	}
	s := b.String()
	if !quote || isDotAtom(s) {
		return s
	}
	return quoteString(s)
}

// isDotAtom tells if s needs no quotes as a local part. Bytes of 8 bits don't
// (RFC 6532).
func isDotAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`()<>[]:;@\,"`, c) >= 0 {
			return false
		}
	}
	return true
}

// bare reads an address without angle brackets, from its "@". Start is what was
// left before its words.
func (p *addressParser) bare(start string) {
	// In "Jo Smith jo@example.org" only the last word is meant. But the obsolete
	// form has white space around dots.
	split := max(len(p.words)-1, 0)
	for split > 0 && (strings.HasPrefix(p.words[split].text, ".") || strings.HasSuffix(p.words[split-1].text, ".")) {
		split--
	}
	name := p.phrase(p.words[:split])
	mailbox := localpart(p.words[split:])
	p.rest = p.rest[1:]
	host := p.domain()
	if p.skip(); p.peek() == '<' { // An address without quotes as the name.
		p.angle(trimSpace(start[:len(start)-len(p.rest)]))
		return
	}
	p.toSeparator()
	p.add(Address{Name: name, Mailbox: mailbox, Host: host})
}

// domain reads a domain or a domain-literal, leaving out white space and
// comments.
func (p *addressParser) domain() string {
	host := ""
	for p.skip(); p.rest != ""; p.skip() {
		if host != "" && p.rest[0] != '.' && !strings.HasSuffix(host, ".") || strings.IndexByte(specials, p.rest[0]) >= 0 {
			break
		}
		end := -1
		if p.rest[0] == '[' {
			end = strings.IndexByte(p.rest[:min(len(p.rest), addressHostMax)], ']') + 1
		}
		if end <= 0 {
			if end = strings.IndexAny(p.rest, specials); end < 0 {
				end = len(p.rest)
			}
		}
		if len(host)+end <= addressHostMax {
			host += p.rest[:end]
		}
		p.rest = p.rest[end:]
	}
	return host
}

// angle reads an address in angle brackets with an optional route.
func (p *addressParser) angle(name string) {
	p.rest = strings.TrimLeft(p.rest, "<")
	a := Address{Name: name}
	if p.skip(); p.peek() == '@' {
		if i := strings.IndexAny(p.rest[:min(len(p.rest), addressHostMax)], ":>"); i >= 0 && p.rest[i] == ':' {
			a.Adl = trimSpace(p.rest[:i])
			p.rest = p.rest[i+1:]
		}
	}
	p.readWords()
	a.Mailbox = localpart(p.words)
	if p.peek() == '@' {
		p.rest = p.rest[1:]
		a.Host = p.domain()
	}
	p.toAngleEnd()
	p.skip()
	p.toSeparator()
	p.add(a)
}

// toAngleEnd goes past the ">", or to a separator if there is none.
func (p *addressParser) toAngleEnd() {
	if i := strings.IndexAny(p.rest, ">,;"); i >= 0 && p.rest[i] == '>' {
		p.rest = p.rest[i+1:]
	}
}

// toSeparator goes to the comma or semicolon that ends an address.
func (p *addressParser) toSeparator() {
	for p.skip(); p.rest != ""; p.skip() {
		switch p.rest[0] {
		case ',', ';':
			return
		case '"':
			_, p.rest = splitQuoted(p.rest)
		default:
			p.rest = p.rest[1:]
		}
	}
}

// nameOnly adds words that no "@" follows: a local user.
func (p *addressParser) nameOnly() {
	words := p.words
	if c := p.peek(); c == '>' {
		p.rest = p.rest[1:]
	}
	switch len(words) {
	case 0:
	case 1:
		if !words[0].quoted {
			p.add(Address{Mailbox: words[0].text})
			return
		}
		fallthrough
	default:
		p.add(Address{Name: p.phrase(words)})
	}
}

// add adds an address, with what it misses. A comment serves as the name, as it
// did before there were names.
func (p *addressParser) add(a Address) {
	if a.Name == "" {
		a.Name = p.comment
	}
	if a.Mailbox == "" && a.Host == "" && a.Name == "" {
		return
	}
	if a.Mailbox == "" {
		a.Mailbox = missingMailbox
	}
	if a.Host == "" {
		a.Host = MissingHost
	}
	p.list = append(p.list, a)
}
