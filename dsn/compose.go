package dsn

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime/quotedprintable"
	"strings"

	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

const (
	// lineMax bounds a line in bytes without its line break, RFC 5322, section
	// 2.1.1.
	lineMax = 998

	// subjectMax bounds the subject in bytes. It may hold that of the message the
	// notification is about.
	subjectMax = 500

	// nameMax bounds the display name of the sender in bytes.
	nameMax = 200
)

// part is a part of the multipart/report. Its body is as it is sent.
type part struct {
	contentType string
	encoding    string // Of the body; empty for 7bit.
	body        []byte
}

// Compose returns the message with CRLF line ends. With utf8 it is the
// internationalised form of RFC 6533, for a path that has SMTPUTF8 all the way;
// otherwise it is 7-bit, whatever the addresses are, but for the body of what it
// returns if EightBit is set. Either way no line is longer than 998 bytes. The only error is ErrMessage.
//
// The message is to be sent with the null sender.
func (m *Message) Compose(utf8 bool) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	parts := []part{textPart(m.Text, utf8), m.statusPart(utf8)}
	if len(m.Original) > 0 {
		parts = append(parts, m.originalPart(utf8))
	}
	sep := boundary(parts)
	var b bytes.Buffer
	b.Write(m.header(parts, sep, utf8))
	for _, p := range parts {
		var w message.HeaderWriter
		w.Field("Content-Type")
		w.Add(p.contentType)
		if p.encoding != "" {
			w.Field("Content-Transfer-Encoding")
			w.Add(p.encoding)
		}
		fmt.Fprintf(&b, "\r\n--%s\r\n%s\r\n%s", sep, w.Bytes(), p.body)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", sep)
	return b.Bytes(), nil
}

// header returns the header section of the message, without the blank line.
func (m *Message) header(parts []part, boundary string, utf8 bool) []byte {
	name := cut(oneLine(m.FromName), nameMax)
	if name == "" {
		name = "Mail Delivery"
	}
	var w message.HeaderWriter
	w.Field("From")
	w.Add(mailbox(name, m.From, utf8)...)
	w.Field("To")
	w.Add(mailbox("", m.To, utf8)...)
	w.Field("Subject")
	w.Add(text(m.Subject, utf8)...)
	w.Field("Date")
	w.Add(message.FormatDate(m.Date))
	if id := messageID("<"+m.MessageID+">", utf8); id != "" {
		w.Field("Message-ID")
		w.Add(id)
	}
	if id := messageID(m.References, utf8); id != "" {
		w.Field("In-Reply-To")
		w.Add(id)
		w.Field("References")
		w.Add(id)
	}
	w.Field("Auto-Submitted") // RFC 3834, section 3.1.7.
	w.Add("auto-replied")
	w.Field("MIME-Version")
	w.Add("1.0")
	w.Field("Content-Type")
	// Also for the types of RFC 6533, which count as those they stand for (its
	// section 4.4).
	w.Add("multipart/report; report-type=delivery-status;", `boundary="`+boundary+`"`)
	for _, p := range parts {
		if p.encoding == "8bit" {
			w.Field("Content-Transfer-Encoding")
			w.Add("8bit")
			break
		}
	}
	return w.Bytes()
}

// mailbox returns the words of an address in a header field, with a name if it is
// not empty. An address that needs UTF-8 where that is not allowed becomes a group
// without members (RFC 6854 allows that in From too), as RFC 6857 has it: people can
// read it, and nobody can send mail to it. So does one that is too long for a line.
func mailbox(name string, p smtp.Path, utf8 bool) []string {
	address := oneLine(p.XString(utf8))
	if (utf8 || isASCII(address)) && len(address) <= lineMax-len(" <>") {
		if name == "" {
			return []string{"<" + address + ">"}
		}
		return append(phrase(name, utf8), "<"+address+">")
	}
	words := append([]string{"Internationalized", "Address"}, encodeWords(address)...)
	return append(words, "Removed:;")
}

// phrase returns the words of a display name of one line.
func phrase(s string, utf8 bool) []string {
	if !utf8 && !isASCII(s) || strings.Contains(s, "=?") {
		return encodeWords(s)
	}
	return []string{`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`}
}

// text returns the words of unstructured text.
func text(s string, utf8 bool) []string {
	s = cut(oneLine(s), subjectMax)
	if !utf8 && !isASCII(s) || strings.Contains(s, "=?") {
		return encodeWords(s)
	}
	return strings.Fields(s)
}

// messageID returns the first id in s with its brackets, or "" if there is none
// that could be written.
func messageID(s string, utf8 bool) string {
	_, rest, _ := strings.Cut(s, "<")
	id, _, ok := strings.Cut(rest, ">")
	if !ok || id == "" || id != strings.Join(strings.Fields(oneLine(id)), "") || len(id) > lineMax-len(" <>") || !utf8 && !isASCII(id) {
		return ""
	}
	return "<" + id + ">"
}

// textPart returns the part for people.
func textPart(s string, utf8 bool) part {
	var body []byte
	for line := range strings.Lines(s) {
		body = append(body, strings.TrimRight(printable(line), " ")...)
		body = append(body, "\r\n"...)
	}
	const plain = "text/plain; charset="
	switch ascii, long := isASCII(string(body)), hasLongLine(body); {
	case ascii && !long:
		return part{plain + "us-ascii", "", body}
	case utf8 && !long:
		return part{plain + "utf-8", "8bit", body}
	}
	return part{plain + "utf-8", quotedPrintable, encodeQuotedPrintable(body)}
}

const quotedPrintable = "quoted-printable"

// encodeQuotedPrintable encodes lines that end in CRLF.
func encodeQuotedPrintable(body []byte) []byte {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	// Writing to a buffer does not fail.
	_, _ = w.Write(body)
	_ = w.Close()
	return b.Bytes()
}

// boundary returns a boundary that is in none of the parts. It depends on the
// message alone, so that the same one is composed again after a crash.
func boundary(parts []part) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p.body)
	}
	for {
		// No quoted-printable or base64 has "=_" (RFC 2045, section 6.7).
		s := "=_" + hex.EncodeToString(h.Sum(nil)[:16])
		found := false
		for _, p := range parts {
			found = found || bytes.Contains(p.body, []byte(s))
		}
		if !found {
			return s
		}
		h.Write([]byte(s))
	}
}

func hasLongLine(b []byte) bool {
	for line := range bytes.Lines(b) {
		if len(bytes.TrimRight(line, "\r\n")) > lineMax {
			return true
		}
	}
	return false
}
