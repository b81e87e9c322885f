package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

// mailLineMax bounds a line of a message in bytes, without CRLF. RFC 5322, section
// 2.1.1.
const mailLineMax = 998

// displayNameMax bounds the name of a sender in bytes.
const displayNameMax = 200

// composedMessage is a message as it is submitted.
type composedMessage struct {
	from     smtp.Path
	to       []smtp.Path
	text     []byte // Header and body, with CRLF.
	eightBit bool
	smtputf8 bool // The header needs it.
	dsn      smtp.MailDSN
	notify   smtp.Notify
}

// mailField is a field of a header.
type mailField struct {
	name string // As written.
	raw  []byte // With folding and the last CRLF.
}

func (f mailField) is(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, f.name) })
}

func (f mailField) value() string { return message.Field{Name: f.name, Raw: f.raw}.Value() }

// outgoing is a message that is being composed.
type outgoing struct {
	config *config.SubmitClient
	flags  sendmailFlags
	fields []mailField
	body   []byte
	to     []smtp.Path
	add    message.HeaderWriter
}

// composeSendmail makes what a program has written a message for the server.
func composeSendmail(c *config.SubmitClient, f sendmailFlags, raw []byte, now time.Time) (*composedMessage, error) {
	o := outgoing{config: c, flags: f}
	o.fields, o.body = splitMail(crlf(raw))
	if err := o.recipients(); err != nil {
		return nil, err
	}
	o.header(now)
	if err := o.lines(); err != nil {
		return nil, err
	}
	m := &composedMessage{to: o.to, text: o.add.Bytes(), dsn: f.dsn, notify: f.notify}
	for _, field := range o.fields {
		m.text = append(m.text, field.raw...)
	}
	m.smtputf8 = !isASCII(m.text)
	m.text = append(append(m.text, "\r\n"...), o.body...)
	m.eightBit = !isASCII(m.text)
	if !f.nullSender {
		m.from = c.From.Path()
	}
	return m, nil
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf })
}

// crlf returns text with CRLF in the place of all kinds of line ends. A CR alone is
// one too: programs that show progress write it, and it could not be sent.
func crlf(text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/32)
	for len(text) > 0 {
		i := bytes.IndexAny(text, "\r\n")
		if i < 0 {
			return append(out, text...)
		}
		out = append(append(out, text[:i]...), "\r\n"...)
		if bytes.HasPrefix(text[i:], []byte("\r\n")) {
			i++
		}
		text = text[i+1:]
	}
	return out
}

// splitMail takes a message apart. The header ends at a blank line, or before the
// first line that can't be in one, so that a text without header is all body.
func splitMail(text []byte) (fields []mailField, body []byte) {
	if bytes.HasPrefix(text, []byte("From ")) {
		text = text[lineEnd(text):] // Of a mailbox file.
	}
	for len(text) > 0 {
		n := lineEnd(text)
		line := text[:n]
		switch name := fieldName(line); {
		case string(line) == "\r\n":
			return fields, text[n:]
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			last := &fields[len(fields)-1]
			last.raw = append(last.raw, line...)
		case name == "":
			return fields, text
		default:
			fields = append(fields, mailField{name, slices.Clone(line)})
		}
		text = text[n:]
	}
	for i := range fields {
		if !bytes.HasSuffix(fields[i].raw, []byte("\r\n")) {
			fields[i].raw = append(fields[i].raw, "\r\n"...)
		}
	}
	return fields, nil
}

// lineEnd returns the length of the first line of text, with its CRLF.
func lineEnd(text []byte) int {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

// fieldName returns the name of the field that begins on a line, empty if none does.
func fieldName(line []byte) string {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || bytes.ContainsFunc(line[:i], func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return ""
	}
	return string(line[:i])
}

// recipients sets to, from the arguments and with -t from the header.
func (o *outgoing) recipients() error {
	for _, arg := range o.flags.to {
		if err := o.addArgument(arg); err != nil {
			return err
		}
	}
	if o.flags.fromHeader {
		for _, f := range o.recipientFields() {
			for _, a := range message.ParseAddressList(f.value()) {
				if err := o.addAddress(a); err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
			}
		}
	}
	switch {
	case len(o.to) == 0:
		return errors.New("no recipients")
	case len(o.to) > sendmailRcptsMax:
		return fmt.Errorf("%d recipients, more than %d", len(o.to), sendmailRcptsMax)
	}
	return nil
}

// recipientFields returns the fields that -t is about. In a message that is sent
// again, those for that (RFC 5322, section 3.6.6).
func (o *outgoing) recipientFields() (fields []mailField) {
	for _, names := range [][]string{{"Resent-To", "Resent-Cc", "Resent-Bcc"}, {"To", "Cc", "Bcc"}} {
		for _, f := range o.fields {
			if f.is(names...) {
				fields = append(fields, f)
			}
		}
		if len(fields) > 0 {
			return fields
		}
	}
	return nil
}

// addArgument adds a recipient from the command line: an address, the name of a
// local user, or a list as in a header.
func (o *outgoing) addArgument(arg string) error {
	if a, err := smtp.ParseAddress(arg); err == nil {
		o.addPath(a.Path())
		return nil
	}
	list := message.ParseAddressList(arg)
	if len(list) == 0 {
		return fmt.Errorf("%q is not a recipient", arg)
	}
	for _, a := range list {
		if err := o.addAddress(a); err != nil {
			return err
		}
	}
	return nil
}

// addAddress adds a recipient from a header.
func (o *outgoing) addAddress(a message.Address) error {
	switch {
	case a.Host == "": // Begin or end of a group.
		return nil
	case a.Host != message.MissingHost:
		address, err := smtp.ParseAddress(a.Mailbox + "@" + a.Host)
		if err != nil {
			return fmt.Errorf("recipient %q: %w", a.Mailbox+"@"+a.Host, err)
		}
		o.addPath(address.Path())
		return nil
	case a.Name != "":
		return fmt.Errorf("recipient %q has no address", a.Name)
	case o.config.DefaultDestination.IsZero():
		return fmt.Errorf("recipient %q has no domain, and there is no DefaultDestination in the configuration", a.Mailbox)
	}
	o.addPath(o.config.DefaultDestination.Path())
	return nil
}

func (o *outgoing) addPath(p smtp.Path) {
	if !slices.Contains(o.to, p) {
		o.to = append(o.to, p)
	}
}

// header completes the header.
func (o *outgoing) header(now time.Time) {
	secret := slices.ContainsFunc(o.fields, func(f mailField) bool { return f.is("Bcc") })
	// Return-Path is for the last server (RFC 5321, section 4.4), X-Moxsubmit fields
	// are ours in messages that failed.
	o.remove("From", "Bcc", "Resent-Bcc", "Return-Path", failedField, failedRcptsField)
	o.add.Field("From")
	o.add.Add(mailboxWords(o.flags.name, o.config.From)...)
	if !o.has("To") && !o.has("Cc") {
		o.add.Field("To")
		if len(o.to) == 1 && !secret {
			o.add.Add(addressText(o.to[0]))
		} else {
			o.add.Add("undisclosed-recipients:;") // They need not know of each other.
		}
	}
	if !o.has("Date") {
		o.add.Field("Date")
		o.add.Add(message.FormatDate(now))
	}
	if !o.has("Message-ID") {
		o.add.Field("Message-ID")
		o.add.Add("<" + strings.ToLower(rand.Text()) + "@" + o.config.From.Domain.ASCII + ">")
	}
	if r := o.config.RequireTLS; r != nil {
		o.remove("TLS-Required")
		if !*r {
			o.add.Field("TLS-Required") // RFC 8689, section 5.
			o.add.Add("No")
		}
	}
	o.subject()
}

func (o *outgoing) has(name string) bool {
	return slices.ContainsFunc(o.fields, func(f mailField) bool { return f.is(name) })
}

func (o *outgoing) remove(names ...string) {
	o.fields = slices.DeleteFunc(o.fields, func(f mailField) bool { return f.is(names...) })
}

// subject encodes subjects that are not ASCII, as RFC 2047 has it: without, only
// servers with SMTPUTF8 could take the message.
func (o *outgoing) subject() {
	for i, f := range o.fields {
		if f.is("Subject") && !isASCII(f.raw) && utf8.Valid(f.raw) {
			var w message.HeaderWriter
			w.Field(f.name)
			w.Add(strings.Fields(mime.QEncoding.Encode("utf-8", f.value()))...)
			o.fields[i].raw = w.Bytes()
		}
	}
}

// mailboxWords returns an address with a name before it, which is cut if it is
// longer than names are.
func mailboxWords(name string, a smtp.Address) []string {
	address := "<" + addressText(a.Path()) + ">"
	name = strings.ToValidUTF8(name[:min(len(name), displayNameMax)], "")
	switch {
	case name == "":
		return []string{address}
	case !isASCII([]byte(name)):
		return append(strings.Fields(mime.QEncoding.Encode("utf-8", name)), address)
	}
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	return []string{quoted, address}
}

// addressText returns an address for a header: in ASCII if it can be.
func addressText(p smtp.Path) string { return p.XString(!p.IsASCII()) }

// lines sees to it that no line is longer than mail allows. Text can be encoded;
// for the rest we can't tell what it is.
func (o *outgoing) lines() error {
	for _, f := range o.fields {
		if longLine(f.raw) {
			return fmt.Errorf("header field %s has a line of more than %d bytes", f.name, mailLineMax)
		}
	}
	if !longLine(o.body) {
		return nil
	}
	if !o.isText() {
		return fmt.Errorf("message has a line of more than %d bytes, and is not a plain text that could be encoded", mailLineMax)
	}
	return o.encode()
}

func longLine(text []byte) bool {
	for line := range bytes.Lines(text) {
		if len(bytes.TrimRight(line, "\r\n")) > mailLineMax {
			return true
		}
	}
	return false
}

func (o *outgoing) get(name string) string {
	for _, f := range o.fields {
		if f.is(name) {
			return f.value()
		}
	}
	return ""
}

// isText returns whether the body is text that is not encoded yet.
func (o *outgoing) isText() bool {
	switch strings.ToLower(o.get("Content-Transfer-Encoding")) {
	case "", "7bit", "8bit", "binary":
	default:
		return false
	}
	if !o.has("Content-Type") {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(o.get("Content-Type"))
	return err == nil && strings.HasPrefix(mediaType, "text/")
}

// encode makes the body quoted-printable (RFC 2045, section 6.7).
func (o *outgoing) encode() error {
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	if _, err := w.Write(o.body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if !o.has("MIME-Version") {
		o.add.Field("MIME-Version")
		o.add.Add("1.0")
	}
	if !o.has("Content-Type") {
		charset := "unknown-8bit" // RFC 1428.
		if utf8.Valid(o.body) {
			charset = "utf-8"
		}
		o.add.Field("Content-Type")
		o.add.Add("text/plain; charset=" + charset)
	}
	o.remove("Content-Transfer-Encoding")
	o.add.Field("Content-Transfer-Encoding")
	o.add.Add("quoted-printable")
	o.body = out.Bytes()
	return nil
}
