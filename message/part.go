package message

import "strings"

// Param is a parameter of a MIME header field. Name is in upper case. Sections
// (RFC 2231) are joined. The value of a parameter with a charset is decoded to
// UTF-8, and its name then ends in "*", as RFC 9051, section 7.5.2 wants it.
type Param struct{ Name, Value string }

// Address is one address of a header field, in the form of IMAP's ENVELOPE.
// Encoded-words in Name are kept. The start of a group has its name in Mailbox
// and no Host; the end of a group has neither.
type Address struct {
	Name    string
	Adl     string // Source route, obsolete.
	Mailbox string // Localpart, quoted if it must be.
	Host    string
}

// Envelope has the header fields of a message that IMAP's ENVELOPE shows.
// Strings are unfolded but otherwise as in the header.
type Envelope struct {
	Date      string
	Subject   string
	From      []Address
	Sender    []Address
	ReplyTo   []Address
	To        []Address
	Cc        []Address
	Bcc       []Address
	InReplyTo string
	MessageID string
}

// Part is a message, or a part of one. Offsets are bytes in the message file:
// the header, including its blank line, is [HeaderOffset,BodyOffset), and the
// body [BodyOffset,EndOffset). Parts and Message lie within the body.
type Part struct {
	HeaderOffset, BodyOffset, EndOffset int64

	Lines int64 // Line breaks in the body; for TEXT, MESSAGE, and a MULTIPART without Parts.

	Type, Subtype     string // Upper case, with defaults applied: never empty after Parse.
	Params            []Param
	ID                string
	Description       string
	Encoding          string // Content-Transfer-Encoding, upper case. Empty means 7BIT.
	MD5               string
	Disposition       string // Upper case, without its parameters.
	DispositionParams []Param
	Language          []string
	Location          string

	Envelope *Envelope // Of the message itself and of nested messages; nil for other parts.
	Parts    []Part    // Of a multipart.
	Message  *Part     // Of MESSAGE/RFC822 and MESSAGE/GLOBAL, unless encoded.

	NUL bool // There are bytes of value 0, anywhere in what was parsed. Only the top part says so.
}

// Param returns the value of a Content-Type parameter, or "". Name is in upper
// case. A value with a charset is preferred.
func (p *Part) Param(name string) string { return paramValue(p.Params, name) }

// Filename returns the name the sender gave the part, decoded to UTF-8, or "".
// It is for showing and may hold anything, slashes too.
func (p *Part) Filename() string {
	for _, v := range []string{
		paramValue(p.DispositionParams, "FILENAME"),
		p.Param("NAME"),
	} {
		if v != "" {
			return DecodeHeader(v)
		}
	}
	return ""
}

func paramValue(params []Param, name string) string {
	value := ""
	for _, p := range params {
		if p.Name == name && value == "" {
			value = p.Value
		}
		if n, ok := strings.CutSuffix(p.Name, "*"); ok && n == name {
			return p.Value
		}
	}
	return value
}

// Size returns the size of the body in bytes, in its transfer encoding.
func (p *Part) Size() int64 { return p.EndOffset - p.BodyOffset }

// isMessage tells if the body is a message (RFC 2046, section 5.2.1, and RFC
// 6532, section 3.7).
func (p *Part) isMessage() bool {
	return p.Type == "MESSAGE" && (p.Subtype == "RFC822" || p.Subtype == "GLOBAL")
}

// Opaque returns the body of a multipart that could not be taken apart, as one
// part of plain text. RFC 9051 demands that each multipart has a part, and the
// reader should be able to see what is there.
func (p *Part) Opaque() Part {
	return Part{
		HeaderOffset: p.BodyOffset,
		BodyOffset:   p.BodyOffset,
		EndOffset:    p.EndOffset,
		Lines:        p.Lines,
		Type:         "TEXT",
		Subtype:      "PLAIN",
		Params:       []Param{{"CHARSET", "US-ASCII"}},
	}
}

// Find returns the part of message p that an IMAP section names with numbers
// (RFC 9051, section 6.4.5.1). No numbers give p itself.
//
// A message that is not a multipart has one part, 1, with the body of the
// message; it is returned with the header of the message as its own. For the
// specifiers HEADER and TEXT after numbers, see the Message of the part found.
func (p *Part) Find(path []int) (*Part, bool) {
	whole := true // p is a message, not a body part: its parts are yet to be numbered.
	for _, n := range path {
		if !whole && p.Message != nil {
			p, whole = p.Message, true
		}
		switch {
		case p.Type == "MULTIPART" && len(p.Parts) == 0 && n == 1:
			opaque := p.Opaque()
			p = &opaque
		case p.Type == "MULTIPART" && n >= 1 && n <= len(p.Parts):
			p = &p.Parts[n-1]
		case p.Type != "MULTIPART" && whole && n == 1:
		default:
			return nil, false
		}
		whole = false
	}
	return p, true
}
