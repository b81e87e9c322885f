package message

import (
	"strconv"
	"strings"

	"github.com/mjl-/mox/dns"
)

const (
	// authMethodsMax and authPropsMax bound what is taken from one field.
	authMethodsMax = 200
	authPropsMax   = 50

	// authKeywordMax bounds a name of a method, result or property in bytes.
	authKeywordMax = 64

	// authTextMax bounds a value, reason or comment in bytes. Longer ones are cut.
	// Quoted, with what stands around it, each still fits a line.
	authTextMax = 300

	// authResultsSizeMax bounds a field that is parsed, in bytes.
	authResultsSizeMax = 64 << 10
)

// authVersion is the one version of the field that there is.
const authVersion = "1"

// AuthResults is an Authentication-Results field, RFC 8601: what a server found
// out about the origin of a message.
type AuthResults struct {
	ID      string // authserv-id: who says it, for us our host name.
	Methods []AuthMethod
}

// AuthMethod is the result of one method, as "spf" or "dkim".
type AuthMethod struct {
	Method  string // In lower case.
	Version int    // Of the method; 0 if not told, which means 1.
	Result  string // In lower case.
	Comment string // For people.
	Reason  string
	Props   []AuthProp
}

// AuthProp is what a result is about: for the type "header" and the name "d" the
// "header.d" of DKIM.
type AuthProp struct {
	Type    string // In lower case. Empty in fields that don't keep to the RFC.
	Name    string // In lower case.
	Value   string
	Comment string
}

// AuthDomain returns a property with a domain: in A-labels, which all understand,
// with the readable form in a comment if that may have 8 bits (RFC 8616, section 5).
func AuthDomain(typ, name string, d dns.Domain, utf8 bool) AuthProp {
	p := AuthProp{Type: typ, Name: name, Value: d.ASCII}
	if utf8 {
		p.Comment = d.Unicode
	}
	return p
}

// Prop returns the value of a property, "" if there is none.
func (m AuthMethod) Prop(typ, name string) string {
	for _, p := range m.Props {
		if p.Type == typ && p.Name == name {
			return p.Value
		}
	}
	return ""
}

// AuthResults adds an Authentication-Results field. Long texts are cut.
func (w *HeaderWriter) AuthResults(a AuthResults) {
	w.Field("Authentication-Results")
	w.AuthResultsValue(a)
}

// AuthResultsValue adds the value of an Authentication-Results field to the field
// that was started, for those that have it within another.
func (w *HeaderWriter) AuthResultsValue(a AuthResults) {
	words := []string{authValue(a.ID)}
	if len(a.Methods) == 0 {
		words[0] += ";"
		words = append(words, "none")
	}
	for _, m := range a.Methods {
		words[len(words)-1] += ";"
		words = append(words, m.words()...)
	}
	w.Add(words...)
}

// words returns what stands in a field for a method, as pieces between which it
// may be folded.
func (m AuthMethod) words() []string {
	method := m.Method
	if m.Version != 0 {
		method += "/" + strconv.Itoa(m.Version)
	}
	words := append([]string{method + "=" + m.Result}, commentWords(m.Comment)...)
	if m.Reason != "" {
		words = append(words, "reason="+authValue(m.Reason))
	}
	for _, p := range m.Props {
		name := p.Name
		if p.Type != "" {
			name = p.Type + "." + name
		}
		words = append(words, name+"="+authValue(p.Value))
		words = append(words, commentWords(p.Comment)...)
	}
	return words
}

// authText makes a text from a peer fit for a field: without control characters,
// of one line, with single spaces, and not too long.
func authText(s string) string {
	s = clean(strings.Join(strings.Fields(strings.ToValidUTF8(s, "\ufffd")), " "))
	return truncate(strings.Join(strings.Fields(s), " "), authTextMax)
}

// commentWords returns a comment in pieces between which it may be folded.
func commentWords(text string) []string {
	if text = authText(text); text == "" {
		return nil
	}
	return strings.Split(comment(text), " ")
}

// authValue returns a value as it stands in a field: as it is if the grammar has
// it so, else quoted.
func authValue(s string) string {
	s = authText(s)
	local, domain, address := strings.Cut(s, "@")
	if isMIMEToken(s) || address && (local == "" || isMIMEToken(local)) && isHostname(domain) {
		return s
	}
	return quoteString(s)
}

// isMIMEToken tells whether s is a token, RFC 2045, section 5.1.
func isMIMEToken(s string) bool {
	token, rest := mimeToken(s)
	return token != "" && rest == "" && isASCII(s)
}

// isHostname tells whether s looks like a domain name in ASCII.
func isHostname(s string) bool {
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return s != "" && s[0] != '.' && s[len(s)-1] != '.'
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// quoteString returns s as a quoted-string, RFC 5322, section 3.2.4.
func quoteString(s string) string {
	return `"` + escape(s, `\"`) + `"`
}

// AuthResultsID returns who wrote an Authentication-Results field, in lower case
// and A-labels if it is a name, or "" for other fields and where that can't be told.
//
// Of fields in a message only those with our own host name that are in the part of
// the header that we have added ourselves are ours. Others with our name are forged
// (RFC 8601, section 5): see ForgedAuthResults.
func AuthResultsID(f Field) string {
	if !strings.EqualFold(f.Name, "Authentication-Results") {
		return ""
	}
	p := authParser{rest: f.Value()}
	p.cfws()
	return authServer(p.value(";"))
}

// authServer returns the form of an authserv-id that is compared.
func authServer(id string) string {
	if d, err := dns.ParseDomain(strings.TrimSuffix(id, ".")); err == nil {
		return d.ASCII
	}
	return strings.ToLower(id)
}

// ForgedAuthResults returns how many Authentication-Results fields of a message
// that came from elsewhere have our host name.
func ForgedAuthResults(h Header, host dns.Domain) int {
	n := 0
	for f := range h.Fields() {
		if AuthResultsID(f) == host.ASCII {
			n++
		}
	}
	return n
}
