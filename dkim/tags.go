package dkim

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// tagsMax bounds the tags of one list. Fifteen are known.
	tagsMax = 100

	// listMax bounds the items of a list in a tag, such as the names of signed fields.
	listMax = 1000
)

// Tags is a tag list, RFC 6376, section 3.2.
type Tags struct{ list []tag }

type tag struct{ name, value string }

// ParseTags parses a tag list, which may be folded. A name that is there twice
// makes it invalid. It may have UTF-8, as RFC 8616 allows.
func ParseTags(s string) (Tags, error) {
	var tags Tags
	if !utf8.ValidString(s) {
		return Tags{}, fmt.Errorf("invalid UTF-8")
	}
	s = trimSpace(strings.ReplaceAll(s, "\r\n", ""))
	s = strings.TrimSuffix(s, ";")
	for spec := range strings.SplitSeq(s, ";") {
		if len(tags.list) == tagsMax {
			return Tags{}, fmt.Errorf("more than %d tags", tagsMax)
		}
		name, value, ok := strings.Cut(spec, "=")
		t := tag{trimSpace(name), trimSpace(value)}
		switch {
		case !ok:
			return Tags{}, fmt.Errorf("%q is not a tag", shorten(spec))
		case !isTagName(t.name):
			return Tags{}, fmt.Errorf("%q is not a name of a tag", shorten(t.name))
		case strings.ContainsFunc(t.value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			return Tags{}, fmt.Errorf("control character in tag %s", t.name)
		}
		if _, ok := tags.Get(t.name); ok {
			return Tags{}, fmt.Errorf("tag %s is there twice", t.name)
		}
		tags.list = append(tags.list, t)
	}
	return tags, nil
}

// Get returns the value of a tag, without white space around it.
func (t Tags) Get(name string) (value string, ok bool) {
	for _, tag := range t.list {
		if tag.name == name {
			return tag.value, true
		}
	}
	return "", false
}

// trimSpace removes the white space that may be around names and values.
func trimSpace(s string) string { return strings.Trim(s, " \t") }

// shorten cuts text from outside for an error.
func shorten(s string) string {
	const textMax = 100 // Bytes.
	if len(s) > textMax {
		return s[:textMax] + "..."
	}
	return s
}

func isTagName(s string) bool {
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case 'a' <= c && c <= 'z' && s[i] != '@':
		case i > 0 && (s[i] == '_' || s[i] >= '0' && s[i] <= '9'):
		default:
			return false
		}
	}
	return s != ""
}

// reader reads values of a tag list. After the first mistake, which it keeps, it
// returns zero values.
type reader struct {
	tags Tags
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// required returns a value that must be there, and not be empty.
func (r *reader) required(name string) string {
	value, _ := r.tags.Get(name)
	if value == "" {
		r.fail("no tag %s", name)
	}
	return value
}

// base64 returns a value that must be there, not empty, decoded.
func (r *reader) base64(name string) []byte {
	b, err := decodeBase64(r.required(name))
	if err != nil {
		r.fail("tag %s: %w", name, err)
	}
	return b
}

// decodeBase64 decodes what may have white space in it.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, " \t") {
		s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' }), "")
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

// list returns the items of a value separated by colons, nil without the tag. An
// empty item is none of any use, but is there in practice.
func (r *reader) list(name string) []string {
	value, ok := r.tags.Get(name)
	if !ok {
		return nil
	}
	var items []string
	for item := range strings.SplitSeq(value, ":") {
		item = trimSpace(item)
		if strings.ContainsAny(item, " \t") {
			r.fail("tag %s has an item %q", name, shorten(item))
			return nil
		}
		if len(items) == listMax {
			r.fail("tag %s has more than %d items", name, listMax)
			return nil
		}
		items = append(items, item)
	}
	return items
}

// number returns a value of digits, -1 without the tag.
func (r *reader) number(name string) int64 {
	value, ok := r.tags.Get(name)
	if !ok {
		return -1
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		r.fail("tag %s: %q is not a number in range", name, shorten(value))
	}
	return int64(n) //nolint:gosec // It has 63 bits.
}

// time returns a value in seconds of Unix time, the zero time without the tag.
func (r *reader) time(name string) time.Time {
	// RFC 6376, section 3.5, wants twelve digits, and more taken for infinity.
	const secondsMax = 999_999_999_999
	n := r.number(name)
	if n < 0 {
		return time.Time{}
	}
	return time.Unix(min(n, secondsMax), 0).UTC()
}

// quotedPrintable decodes a value as in RFC 6376, section 2.11.
func (r *reader) quotedPrintable(name string) string {
	value, _ := r.tags.Get(name)
	if !strings.ContainsAny(value, " \t=") {
		return value
	}
	b := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case ' ', '\t':
		case '=':
			var n uint64
			err := strconv.ErrSyntax
			if i+3 <= len(value) {
				n, err = strconv.ParseUint(value[i+1:i+3], 16, 8)
			}
			if err != nil {
				r.fail("tag %s: bad encoding", name)
				return ""
			}
			b = append(b, byte(n))
			i += 2
		default:
			b = append(b, c)
		}
	}
	if !utf8.Valid(b) {
		r.fail("tag %s: invalid UTF-8", name)
		return ""
	}
	return string(b)
}

// appendQuoted appends text as in RFC 6376, section 2.11. UTF-8 stays as it is if
// allowed (RFC 8616, section 5).
func appendQuoted(b []byte, text string, utf8Allowed bool) []byte {
	for i := range len(text) {
		c := text[i]
		if c > ' ' && c < 0x7f && c != ';' && c != '=' || c >= 0x80 && utf8Allowed {
			b = append(b, c)
		} else {
			b = fmt.Appendf(b, "=%02X", c)
		}
	}
	return b
}
