package webhook

import (
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mjl-/mox/message"
)

const (
	// TextMax bounds Incoming.Text and Incoming.HTML, in bytes each.
	TextMax = 1 << 20

	// addressesMax bounds the addresses of one field, and idsMax the ids.
	addressesMax = 1000
	idsMax       = 1000

	// partsMax bounds the parts in a structure. More are left out.
	partsMax = 1000

	// paramsMax bounds the parameters of a part.
	paramsMax = 100

	// valueMax bounds a subject, an address, a name, an id and the value of a
	// parameter, in bytes.
	valueMax = 4096
)

// Compose returns what there is to tell of a message. p is its structure, with
// offsets in content. Automated of meta is set. It fails only if reading fails.
func Compose(content io.ReaderAt, p *message.Part, meta IncomingMeta) (Incoming, error) {
	h, err := message.ReadHeader(content, p)
	if err != nil {
		return Incoming{}, err
	}
	in := Incoming{
		Version: Version, Subject: bounded(message.DecodeHeader(h.Get("Subject"))),
		MessageID: first(ids(h.Get("Message-ID"))), InReplyTo: first(ids(h.Get("In-Reply-To"))), References: ids(h.Get("References")),
		Meta: meta,
	}
	for name, list := range map[string]*[]NameAddress{"From": &in.From, "To": &in.To, "Cc": &in.CC, "Bcc": &in.BCC, "Reply-To": &in.ReplyTo} {
		for _, value := range h.Values(name) {
			*list = appendAddresses(*list, value)
		}
	}
	in.Date = parseDate(h.Get("Date"))
	in.Meta.Automated = automated(h, p, meta.MailFrom)
	c := composer{content: content, left: partsMax}
	if in.Structure, err = c.structure(p); err != nil {
		return Incoming{}, err
	}
	if err := c.texts(p, &in); err != nil {
		return Incoming{}, err
	}
	return in, nil
}

// composer reads the parts of a message.
type composer struct {
	content io.ReaderAt
	left    int // Parts that there is room for.
}

// structure returns the structure of a part.
func (c *composer) structure(p *message.Part) (Structure, error) {
	c.left--
	s := Structure{
		ContentType: strings.ToLower(p.Type + "/" + p.Subtype), ContentTypeParams: map[string]string{}, ContentID: bounded(p.ID),
		ContentDisposition: strings.ToLower(p.Disposition), Filename: bounded(p.Filename()), Parts: []Structure{},
	}
	for _, param := range p.Params {
		if len(s.ContentTypeParams) == paramsMax {
			break
		}
		name := strings.ToLower(strings.TrimSuffix(param.Name, "*"))
		if _, ok := s.ContentTypeParams[name]; !ok {
			s.ContentTypeParams[bounded(name)] = bounded(p.Param(strings.ToUpper(name)))
		}
	}
	var err error
	if s.DecodedSize, err = c.size(p); err != nil {
		return s, err
	}
	parts := p.Parts
	if p.Message != nil {
		parts = []message.Part{*p.Message}
	}
	for i := range parts {
		if c.left <= 0 {
			break
		}
		part, err := c.structure(&parts[i])
		if err != nil {
			return s, err
		}
		s.Parts = append(s.Parts, part)
	}
	return s, nil
}

// size returns the size of a body without its transfer encoding. Of one that isn't
// known it is that of the body as it is.
func (c *composer) size(p *message.Part) (int64, error) {
	switch p.Encoding {
	case "BASE64", "QUOTED-PRINTABLE":
	default:
		return p.Size(), nil
	}
	body, err := p.DecodedBody(c.content)
	if errors.Is(err, message.ErrUnknownEncoding) {
		return p.Size(), nil
	} else if err != nil {
		return 0, err
	}
	return io.Copy(io.Discard, body)
}

// texts sets the first text of each kind that is not an attachment.
func (c *composer) texts(p *message.Part, in *Incoming) (err error) {
	switch {
	case p.Disposition == "ATTACHMENT":
	case p.Type == "TEXT" && p.Subtype == "PLAIN" && in.Text == "":
		in.Text, err = c.text(p)
	case p.Type == "TEXT" && p.Subtype == "HTML" && in.HTML == "":
		in.HTML, err = c.text(p)
	case p.Type == "MULTIPART" && len(p.Parts) == 0:
		opaque := p.Opaque()
		return c.texts(&opaque, in)
	case p.Type == "MULTIPART":
		for i := range p.Parts {
			if err := c.texts(&p.Parts[i], in); err != nil {
				return err
			}
		}
	}
	return err
}

// text returns the begin of a text, with lines that end with LF.
func (c *composer) text(p *message.Part) (string, error) {
	// As much more is read as line ends can take.
	b, err := io.ReadAll(io.LimitReader(p.Text(c.content), 2*TextMax))
	if err != nil {
		return "", err
	}
	return cut(strings.ReplaceAll(string(b), "\r\n", "\n"), TextMax), nil
}

// appendAddresses adds the addresses of a header field, without groups.
func appendAddresses(list []NameAddress, value string) []NameAddress {
	for _, a := range message.ParseAddressList(value) {
		if len(list) == addressesMax {
			break
		}
		if a.Host == "" {
			continue
		}
		address := a.Mailbox + "@" + a.Host
		if a.Host == message.MissingHost {
			address = ""
		}
		list = append(list, NameAddress{bounded(message.DecodeHeader(a.Name)), bounded(address)})
	}
	return list
}

// parseDate returns a date that JSON can have (RFC 3339), nil if it is none.
func parseDate(value string) *time.Time {
	date, err := message.ParseDate(value)
	if err == nil {
		_, err = date.MarshalJSON()
	}
	if err != nil {
		return nil
	}
	return &date
}

// ids returns the ids in a header field as they are written, with angle brackets and
// without white space. Of too many the last are returned: they are the nearest.
func ids(value string) (list []string) {
	for {
		_, rest, ok := strings.Cut(value, "<")
		if !ok {
			return list[max(0, len(list)-idsMax):]
		}
		id, after, ok := strings.Cut(rest, ">")
		if !ok {
			return list[max(0, len(list)-idsMax):]
		}
		id = strings.Join(strings.Fields(id[strings.LastIndexByte(id, '<')+1:]), "")
		if id != "" && len(id) <= valueMax {
			list = append(list, "<"+strings.ToValidUTF8(id, "\uFFFD")+">")
		}
		value = after
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// automated tells whether a message is from a program or a list.
func automated(h message.Header, p *message.Part, mailFrom string) bool {
	if mailFrom == "" || p.Type == "MULTIPART" && p.Subtype == "REPORT" {
		return true
	}
	for _, name := range []string{"List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "Precedence"} {
		if h.Count(name) > 0 {
			return true
		}
	}
	for _, value := range h.Values("Auto-Submitted") {
		// RFC 3834, section 5: a keyword, then parameters.
		keyword, _, _ := strings.Cut(value, ";")
		keyword, _, _ = strings.Cut(keyword, "(")
		if !strings.EqualFold(strings.TrimSpace(keyword), "no") {
			return true
		}
	}
	return false
}

// bounded returns s as valid UTF-8, and not too long.
func bounded(s string) string { return cut(strings.ToValidUTF8(s, "\uFFFD"), valueMax) }

// cut returns at most so many bytes of s, of whole characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
