package smtp

import (
	"errors"
	"strconv"
	"strings"

	"github.com/mjl-/mox/dns"
)

const (
	// paramsMax is the number of parameters one command may have. There are
	// about ten that a server could know.
	paramsMax = 20

	// helloSizeMax is the longest EHLO argument in bytes that is kept when it
	// is not a name. RFC 5321, section 4.5.3.1.2.
	helloSizeMax = 255
)

// ParseOptions says what a server lets pass.
type ParseOptions struct {
	// Tolerant accepts deviations that are common and can't be misunderstood:
	// spaces around the address, missing brackets, EHLO names that are none.
	Tolerant bool

	// Extensions are those that are announced. Parameters of others are not known.
	Extensions Extensions
}

// ParseCommand splits a line into its verb, in upper case, and its arguments. A
// line without a verb of letters has an empty verb.
func ParseCommand(line string) (verb, args string) {
	end := strings.IndexByte(line, ' ')
	if end < 0 {
		end = len(line)
	} else {
		args = line[end+1:]
	}
	for i := range end {
		if c := line[i] | 0x20; c < 'a' || c > 'z' {
			return "", line
		}
	}
	return strings.ToUpper(line[:end]), args
}

// Hello is the argument of EHLO and HELO.
type Hello struct {
	Name dns.IPDomain // Zero if Text is neither a name nor an address literal.
	Text string       // As given, printable ASCII.
}

// ParseEHLO parses the argument of EHLO: a domain or an address literal. The
// tolerant accept any word, since many clients don't know their name.
func ParseEHLO(args string, opts ParseOptions) (Hello, error) {
	if opts.Tolerant {
		args = strings.TrimSpace(args)
	}
	sc := scanner{s: args}
	name := sc.ipDomain()
	sc.end()
	if sc.err == nil && isASCII(args) {
		return Hello{Name: name, Text: args}, nil
	}
	if !opts.Tolerant || !isPrintable(args) || len(args) > helloSizeMax {
		return Hello{}, Errorf(CodeBadParameter, DetailBadArguments, "want a domain or an address literal").Because(sc.err)
	}
	return Hello{Text: args}, nil
}

// ParseHELO parses the argument of HELO, a domain. Literals are accepted too:
// RFC 2821 allowed them.
func ParseHELO(args string, opts ParseOptions) (Hello, error) { return ParseEHLO(args, opts) }

// MailFrom is a parsed MAIL.
type MailFrom struct {
	Path     Path
	Size     int64  // SIZE, RFC 1870. -1 if not given.
	Body     string // "7BIT", "8BITMIME", or "" if not given. RFC 6152.
	SMTPUTF8 bool   // RFC 6531.
	Auth     string // AUTH, decoded; "<>" if unknown, "" if not given. RFC 4954, section 5.

	RequireTLS bool // REQUIRETLS, RFC 8689.
	Hold       Hold
	DSN        MailDSN
}

// ParseMailFrom parses the arguments of MAIL:
//
//	"FROM:" Reverse-path [SP Mail-parameters]
//
// All errors are *Error.
func ParseMailFrom(args string, opts ParseOptions) (MailFrom, error) {
	sc := scanner{s: args, tolerant: opts.Tolerant}
	m := MailFrom{Size: -1, Path: sc.pathArg("FROM:")}
	if sc.err == nil && m.Path.IPDomain.IsZero() && !m.Path.IsZero() {
		sc.fail("address without domain")
	}
	if sc.err != nil {
		return MailFrom{}, syntaxError(sc.err, DetailBadSenderSyntax)
	}
	unicode := !isASCII(args[:sc.pos])
	params := sc.params()
	if sc.err != nil {
		return MailFrom{}, syntaxError(sc.err, DetailBadArguments)
	}
	for _, p := range params {
		if err := m.set(p, opts.Extensions); err != nil {
			return MailFrom{}, err
		}
	}
	if unicode && !m.SMTPUTF8 {
		return MailFrom{}, Errorf(CodeBadAddress, DetailUTF8AddressRefused, "address needs the SMTPUTF8 parameter")
	}
	return m, nil
}

// set sets the field for a parameter.
func (m *MailFrom) set(p param, have Extensions) error {
	var ok bool
	switch p.name {
	case "SIZE":
		m.Size, ok = parseNumber(p.value)
	case "BODY":
		m.Body = strings.ToUpper(p.value)
		ok = m.Body == "7BIT" || m.Body == "8BITMIME"
	case "SMTPUTF8":
		m.SMTPUTF8, ok = true, !p.hasValue
	case "AUTH":
		m.Auth, ok = parseXtext(p.value)
	default:
		var known bool
		if known, ok = m.setExtension(p, have); !known {
			return p.unknown()
		}
	}
	if !ok {
		return p.bad()
	}
	return nil
}

// setExtension does the same for the parameters of Extensions.
func (m *MailFrom) setExtension(p param, have Extensions) (known, ok bool) {
	switch {
	case p.name == "REQUIRETLS" && have.RequireTLS:
		m.RequireTLS, ok = true, !p.hasValue
	case p.name == "HOLDFOR" && have.FutureRelease && m.Hold.IsZero():
		m.Hold, ok = parseHoldFor(p.value)
	case p.name == "HOLDUNTIL" && have.FutureRelease && m.Hold.IsZero():
		m.Hold, ok = parseHoldUntil(p.value)
	case (p.name == "HOLDFOR" || p.name == "HOLDUNTIL") && have.FutureRelease:
		ok = false // There is one already.
	case p.name == "RET" && have.DSN:
		m.DSN.Return = strings.ToUpper(p.value)
		ok = m.DSN.Return == "FULL" || m.DSN.Return == "HDRS"
	case p.name == "ENVID" && have.DSN:
		m.DSN.EnvelopeID, ok = parseEnvelopeID(p.value)
	default:
		return false, false
	}
	return true, ok
}

// unknown returns the error for a parameter that we don't have.
func (p param) unknown() *Error {
	return Errorf(CodeUnknownParam, DetailBadArguments, "parameter %s not known", p.name)
}

// bad returns the error for a value.
func (p param) bad() *Error {
	return Errorf(CodeBadParameter, DetailBadArguments, "value of parameter %s", p.name)
}

// RcptTo is a parsed RCPT.
type RcptTo struct {
	Path    Path
	Unicode bool // The path was given with characters beyond ASCII, so the transaction must have SMTPUTF8.
	DSN     RcptDSN
}

// ParseRcptTo parses the arguments of RCPT:
//
//	"TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters]
//
// All errors are *Error.
func ParseRcptTo(args string, opts ParseOptions) (RcptTo, error) {
	sc := scanner{s: args, tolerant: opts.Tolerant}
	r := RcptTo{Path: sc.pathArg("TO:")}
	if sc.err == nil && r.Path.IsZero() {
		sc.fail("empty address")
	}
	if sc.err != nil {
		return RcptTo{}, syntaxError(sc.err, DetailBadDestSyntax)
	}
	r.Unicode = !isASCII(args[:sc.pos])
	params := sc.params()
	if sc.err != nil {
		return RcptTo{}, syntaxError(sc.err, DetailBadArguments)
	}
	for _, p := range params {
		if err := r.set(p, opts.Extensions); err != nil {
			return RcptTo{}, err
		}
	}
	return r, nil
}

// set sets the field for a parameter.
func (r *RcptTo) set(p param, have Extensions) error {
	var ok bool
	switch {
	case p.name == "NOTIFY" && have.DSN:
		r.DSN.Notify, ok = ParseNotify(p.value)
	case p.name == "ORCPT" && have.DSN:
		r.DSN.Original, ok = parseOriginal(p.value)
	default:
		return p.unknown()
	}
	if !ok {
		return p.bad()
	}
	return nil
}

// Chunk is a parsed BDAT, RFC 3030, section 2.
type Chunk struct {
	Size int64 // Bytes that follow the line.
	Last bool
}

// ParseBDAT parses the arguments of BDAT: a size, and LAST for the last chunk.
// All errors are *Error, and leave unknown how many bytes follow.
func ParseBDAT(args string, opts ParseOptions) (Chunk, error) {
	if opts.Tolerant {
		args = strings.TrimSpace(args)
	}
	size, last, more := strings.Cut(args, " ")
	c := Chunk{Last: more && strings.EqualFold(last, "LAST")}
	var ok bool
	if c.Size, ok = parseNumber(size); !ok || more && !c.Last {
		return Chunk{}, Errorf(CodeBadParameter, DetailBadArguments, "want the size of the chunk, and LAST for the last one")
	}
	return c, nil
}

// pathArg takes a keyword and a path.
func (sc *scanner) pathArg(keyword string) Path {
	if sc.tolerant {
		sc.while(func(c byte) bool { return c == ' ' })
	}
	sc.keyword(keyword)
	if sc.tolerant {
		sc.while(func(c byte) bool { return c == ' ' })
	}
	return sc.path()
}

// syntaxError returns the Error for an error of the scanner.
func syntaxError(err error, detail string) *Error {
	if errors.Is(err, dns.ErrDomain) {
		return Errorf(CodeBadParameter, detail, "invalid domain name in address").Because(err)
	}
	return Errorf(CodeBadParameter, detail, "%v", err)
}

// parseNumber parses 1 to 20 digits, as SIZE has (RFC 1870, section 4). Numbers
// beyond 63 bits become the largest, which is too large for everything.
func parseNumber(s string) (int64, bool) {
	if s == "" || len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64) // On overflow the largest number.
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

// parseXtext decodes xtext of RFC 3461, section 4.
func parseXtext(s string) (string, bool) {
	if !strings.Contains(s, "+") {
		return s, s != ""
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b = append(b, s[i])
			continue
		}
		if i+3 > len(s) || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(c))
		i += 2
	}
	return string(b), true
}

// isPrintable returns whether s is a word of printable ASCII.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
