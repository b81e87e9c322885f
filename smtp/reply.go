package smtp

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// replyLineMax is the longest line of a reply in bytes, without CRLF. RFC 5321,
// section 4.5.3.1.5.
const replyLineMax = 510

// AppendReply appends a reply to b, with enhanced before each line of its text
// unless it is empty. A "\n" in text begins a new line, as does a line that
// would be too long. Characters that could disturb a terminal or be taken for a
// line end are replaced.
func AppendReply(b []byte, code int, enhanced, text string) []byte {
	room := replyLineMax - len("250 ")
	if enhanced != "" {
		room -= len(enhanced) + 1
	}
	for {
		line, rest, more := strings.Cut(text, "\n")
		if len(line) > room {
			cut := wrapAt(line, room)
			line, rest, more = text[:cut], text[cut:], true
			rest = strings.TrimPrefix(rest, " ")
		}
		b = strconv.AppendInt(b, int64(code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if enhanced != "" {
			b = append(append(b, enhanced...), ' ')
		}
		b = append(appendPrintable(b, line), "\r\n"...)
		if !more {
			return b
		}
		text = rest
	}
}

// wrapAt returns where to cut a line so that at most room bytes come before:
// at the last space if there is one, never within a character.
func wrapAt(line string, room int) int {
	if i := strings.LastIndexByte(line[:room+1], ' '); i > 0 {
		return i
	}
	for i := room; i > room-utf8.UTFMax; i-- {
		if utf8.RuneStart(line[i]) {
			return i
		}
	}
	return room
}

// appendPrintable appends s with "?" for each byte of control characters and
// of what is not UTF-8.
func appendPrintable(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				c = '?'
			}
			b = append(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r < 0xa0 || r == 0x2028 || r == 0x2029 {
			b = append(b, "????"[:n]...)
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return b
}
