package imap

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// mailboxNameMax bounds a mailbox name in bytes, as decoded.
const mailboxNameMax = 1024

// utf7 is the base64 of modified UTF-7: "," instead of "/", no padding, and no
// bits left over that are not zero.
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// Mailbox reads a mailbox name and returns it in UTF-8. INBOX is returned as
// the client wrote it; the store knows that its case does not matter.
func (d *Decoder) Mailbox() string { return d.mailboxName(d.AString()) }

// ListMailbox reads the name or pattern of LIST: an astring that may also have
// wildcards without quotes.
func (d *Decoder) ListMailbox() string {
	if d.Peek('"') || d.Peek('{') {
		return d.mailboxName(d.String())
	}
	s := d.takeWhile(func(c byte) bool { return d.isBareChar(c) || c == '%' || c == '*' })
	if s == "" {
		d.Fail("expected mailbox pattern")
	}
	return d.mailboxName(s)
}

func (d *Decoder) mailboxName(s string) string {
	if len(s) > mailboxNameMax {
		d.Fail("mailbox name longer than %d bytes", mailboxNameMax)
		return ""
	}
	name, ok := s, utf8.ValidString(s)
	if ok && !d.UTF8 {
		name, ok = d.fromUTF7(s)
	}
	if !ok {
		d.Fail("mailbox name is not in the encoding of the session")
		return ""
	}
	return name
}

// fromUTF7 decodes the name of a session without UTF-8. Unless Pedantic a name
// that can't be modified UTF-7 is taken as it is: it has one meaning only.
func (d *Decoder) fromUTF7(s string) (string, bool) {
	name, ok := DecodeUTF7(s)
	if !ok && !d.Pedantic {
		return s, true
	}
	return name, ok
}

// DecodeUTF7 decodes modified UTF-7 (RFC 3501, section 5.1.3). It refuses
// encodings that another encoder would have written differently, so that each
// name has one form, and bytes outside of printable ASCII.
func DecodeUTF7(s string) (name string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i]
		if c < 0x20 || c > 0x7e {
			return "", false
		}
		if c != '&' {
			b.WriteByte(c)
			i++
			continue
		}
		n := strings.IndexByte(s[i:], '-')
		if n < 0 {
			return "", false
		}
		shifted := s[i+1 : i+n]
		i += n + 1
		if shifted == "" {
			b.WriteByte('&')
			continue
		}
		if i < len(s) && s[i] == '&' && !strings.HasPrefix(s[i:], "&-") {
			return "", false // Two runs that should be one.
		}
		text, ok := decodeShifted(shifted)
		if !ok {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// decodeShifted decodes what is between "&" and "-".
func decodeShifted(s string) (string, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return "", false // The decoder passes over them.
	}
	raw, err := utf7.DecodeString(s)
	if err != nil || len(raw)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	var b strings.Builder
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i+1 == len(units) {
				return "", false
			}
			i++
			if r = utf16.DecodeRune(r, rune(units[i])); r == utf8.RuneError {
				return "", false
			}
		}
		if r >= 0x20 && r <= 0x7e {
			return "", false // Printable ASCII must not be shifted.
		}
		b.WriteRune(r)
	}
	return b.String(), true
}

// AppendUTF7 appends a name in UTF-8 as modified UTF-7.
func AppendUTF7(b []byte, name string) []byte {
	for i := 0; i < len(name); {
		c := name[i]
		if c == '&' {
			b = append(b, "&-"...)
			i++
			continue
		}
		if isPlain(c) {
			b = append(b, c)
			i++
			continue
		}
		j := i
		for j < len(name) && !isPlain(name[j]) {
			j++
		}
		b = appendShifted(b, name[i:j])
		i = j
	}
	return b
}

// isPlain tells the bytes that modified UTF-7 writes as themselves, and "&".
func isPlain(c byte) bool { return c >= 0x20 && c <= 0x7e }

func appendShifted(b []byte, s string) []byte {
	units := utf16.Encode([]rune(s))
	raw := make([]byte, 0, 2*len(units))
	for _, u := range units {
		raw = append(raw, byte(u>>8), byte(u))
	}
	b = append(b, '&')
	b = utf7.AppendEncode(b, raw)
	return append(b, '-')
}

// AppendMailbox appends the name of a mailbox, as astring, in UTF-8 or
// modified UTF-7. The name "Inbox" and the start of names below it are written
// "INBOX": clients look for that case.
func AppendMailbox(b []byte, name string, utf8OK bool) []byte {
	if rest, ok := strings.CutPrefix(name, "Inbox"); ok && (rest == "" || rest[0] == '/') {
		name = "INBOX" + rest
	}
	if !utf8OK {
		name = string(AppendUTF7(nil, name))
	}
	return AppendAString(b, name, utf8OK)
}
