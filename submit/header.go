package submit

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
)

const (
	// headerSizeMax bounds the header section in bytes. Beyond 1 MiB the sender is
	// not sending mail.
	headerSizeMax = 1 << 20

	// headerFirst is how much is read at first to find the end of the header, in
	// bytes. Most are smaller.
	headerFirst = 8 << 10

	// fieldsMax bounds the fields of a header. A client writes a few dozen.
	fieldsMax = 1000

	// lineMax bounds a line of the header in bytes, without CRLF (RFC 5322, section
	// 2.1.1), if we are pedantic: longer ones get through most of the time.
	lineMax = 998

	// subjectMax bounds the subject in lists of the queue, in bytes.
	subjectMax = 200

	// messageIDMax bounds a Message-ID that is given to the queue, in bytes: it
	// goes into References of notifications.
	messageIDMax = 500

	// randomSize is that of a Message-ID's random part, in bytes.
	randomSize = 16
)

// malformed returns an error for a message that is not one (RFC 6409, section 6.3).
func malformed(format string, args ...any) *smtp.Error {
	return refuse(ErrMessage, smtp.CodeTransactionFailed, smtp.DetailMedia, format, args...)
}

// readHeader returns the header section that content begins with, including its
// blank line if it has one.
func readHeader(content io.ReaderAt, size int64) (message.Header, error) {
	for n := int64(headerFirst); ; n *= 2 {
		n = min(n, size, headerSizeMax+1)
		raw := make([]byte, n)
		if got, err := content.ReadAt(raw, 0); got < len(raw) {
			return message.Header{}, fmt.Errorf("reading header: %w", err)
		}
		h := message.NewHeader(raw)
		switch {
		case int64(len(h.Raw())) > headerSizeMax:
			return message.Header{}, refuse(ErrMessage, smtp.CodeTooLarge, smtp.DetailMessageTooBig, "header is larger than %d bytes", headerSizeMax)
		case int64(len(h.Raw())) < n || n == size:
			return h, nil
		}
	}
}

// checkForm returns an error for a header that others could read in another way
// than we do: each line must belong to a field.
func checkForm(h message.Header, pedantic bool) error {
	fields, size := 0, 0
	for f := range h.Fields() {
		fields++
		size += len(f.Raw)
		if pedantic && hasLongLine(f.Raw) {
			return malformed("header field %+q has a line of more than %d bytes", f.Name, lineMax)
		}
	}
	switch rest := h.Raw()[size:]; {
	case fields > fieldsMax:
		return malformed("header has more than %d fields", fieldsMax)
	case fields == 0:
		return malformed("message has no header")
	case len(rest) > 0 && string(rest) != "\r\n":
		return malformed("header has a line that is not part of a field")
	case message.CountReceived(h) > screen.ReceivedMax:
		return refuse(ErrMessage, smtp.CodeMailboxPermanent, smtp.DetailLoop, "message is going in circles")
	}
	return nil
}

func hasLongLine(raw []byte) bool {
	for line := range strings.SplitSeq(string(raw), "\r\n") {
		if len(line) > lineMax {
			return true
		}
	}
	return false
}

// oneAddress returns the address of a field that must be there once, with one
// address.
func oneAddress(h message.Header, name string) (smtp.Address, error) {
	if n := h.Count(name); n != 1 {
		return smtp.Address{}, malformed("message needs one %s header field, not %d", name, n)
	}
	list := message.ParseAddressList(h.Get(name))
	if len(list) != 1 || list[0].Host == "" {
		return smtp.Address{}, malformed("%s header field needs one address", name)
	}
	a, err := smtp.ParseAddress(list[0].Mailbox + "@" + list[0].Host)
	if err != nil {
		return smtp.Address{}, malformed("address in %s header field: %v", name, err)
	}
	return a, nil
}

// additions returns the fields that a message lacks (RFC 6409, section 8).
func additions(h message.Header, hostname dns.Domain, random io.Reader, now time.Time) ([]byte, error) {
	var w message.HeaderWriter
	if h.Get("Date") == "" {
		w.Field("Date")
		w.Add(message.FormatDate(now))
	}
	if h.Get("Message-ID") == "" {
		var b [randomSize]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return nil, fmt.Errorf("making Message-ID: %w", err)
		}
		w.Field("Message-ID")
		w.Add("<" + base64.RawURLEncoding.EncodeToString(b[:]) + "@" + hostname.ASCII + ">")
	}
	return w.Bytes(), nil
}

// edit returns the header with fields in front of it, and without those that
// drop tells.
func edit(h message.Header, added []byte, drop func(message.Field) bool) []byte {
	raw := h.Raw()
	out := make([]byte, 0, len(added)+len(raw))
	out = append(out, added...)
	size := 0
	for f := range h.Fields() {
		size += len(f.Raw)
		if !drop(f) {
			out = append(out, f.Raw...)
		}
	}
	return append(out, raw[size:]...)
}

// dropper returns which fields don't leave our house: hidden recipients, what
// only servers write, and what is there without saying anything, in place of
// which we add one that does.
func dropper(hostname dns.Domain, dropSender bool) func(message.Field) bool {
	return func(f message.Field) bool {
		switch strings.ToLower(f.Name) {
		case "bcc", "resent-bcc", "return-path":
			return true
		case "sender":
			return dropSender
		case "date", "message-id":
			return f.Value() == ""
		case "authentication-results":
			return isOurs(f.Value(), hostname)
		}
		return false
	}
}

// isOurs tells whether an Authentication-Results field claims to be from us (RFC
// 8601, section 5): a user could tell our readers anything that way.
func isOurs(value string, hostname dns.Domain) bool {
	id, _, _ := strings.Cut(value, ";")
	for word := range strings.FieldsFuncSeq(id, func(c rune) bool { return c <= ' ' || strings.ContainsRune(`"()`, c) }) {
		if strings.EqualFold(word, hostname.ASCII) || strings.EqualFold(word, hostname.Name()) {
			return true
		}
	}
	return false
}

// messageID returns the first id of a Message-ID field as it is written, with
// brackets, or "" if it has none that can be referred to.
func messageID(value string) string {
	start := strings.IndexByte(value, '<')
	if start < 0 {
		return ""
	}
	value = value[start:]
	end := strings.IndexByte(value, '>')
	if end < 2 || end >= messageIDMax {
		return ""
	}
	id := value[:end+1]
	if strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c == 0x7f || c == utf8.RuneError }) {
		return ""
	}
	return id
}

// subject returns a Subject as a person reads it, cut.
func subject(value string) string {
	s := message.DecodeHeader(value)
	if len(s) <= subjectMax {
		return s
	}
	cut := subjectMax
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}
