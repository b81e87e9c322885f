package message

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// subjectSizeMax bounds what BaseSubject looks at, in bytes, so that its result
// can be indexed.
const subjectSizeMax = 500

// replyMarks are the words before a colon with which mail programs mark replies
// and forwards, in lower case. RFC 5256 knows the English ones, but without the
// others a thread ends where a program in another language joins it.
var replyMarks = []string{
	"re", "fw", "fwd",
	"antw", "aw", "wg", // German, Dutch.
	"doorst",               // Dutch.
	"sv", "vb", "vs", "vl", // Swedish, Danish, Norwegian, Finnish.
	"tr",               // French, Turkish.
	"rv", "enc", "res", // Spanish, Portuguese.
	"rif", "odp", "pd", // Italian, Polish.
	"ynt", "ilt", // Turkish.
	"回复", "答复", "转发", "回覆", "轉寄", "返信", "転送", // Chinese, Japanese.
}

// BaseSubject returns the subject that all messages of a thread have, in lower
// case (RFC 5256, section 2.1), and whether s is marked as a reply or forward.
// S is the value of the header field. A subject with a NUL has no base.
func BaseSubject(s string) (base string, isReply bool) {
	if strings.IndexByte(s, 0) >= 0 {
		return "", false
	}
	// Step 1. Lower case now: the rest is without regard to case.
	s = strings.ToLower(strings.Join(strings.Fields(decodeSubject(s)), " "))
	s = truncate(s, subjectSizeMax)
	for {
		s = trimTrailers(s, &isReply) // Step 2.
		s = trimLeaders(s, &isReply)  // Steps 3 to 5.
		inner, ok := strings.CutPrefix(s, "[fwd:")
		if ok {
			inner, ok = strings.CutSuffix(inner, "]")
		}
		if !ok {
			return s, isReply
		}
		s, isReply = strings.Trim(inner, " "), true // Step 6.
	}
}

// decodeSubject is DecodeHeader for no more than could matter.
func decodeSubject(s string) string { return DecodeHeader(truncate(s, 20*subjectSizeMax)) }

// truncate cuts s at n bytes, not within a character.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimRight(s[:n], " ")
}

func trimTrailers(s string, isReply *bool) string {
	for {
		s = strings.TrimRight(s, " ")
		t, ok := strings.CutSuffix(s, "(fwd)")
		if !ok {
			return s
		}
		s, *isReply = t, true
	}
}

// trimLeaders removes reply marks, and blobs if something is left.
func trimLeaders(s string, isReply *bool) string {
	for {
		s = strings.TrimLeft(s, " ")
		if t, ok := cutReply(s); ok {
			s, *isReply = t, true
			continue
		}
		t, ok := cutBlob(s)
		if !ok || t == "" {
			return s
		}
		s = t
	}
}

// cutReply cuts blobs followed by a reply mark, with a blob of its own, and a
// colon.
func cutReply(s string) (rest string, ok bool) {
	for blob := true; blob; {
		s, blob = cutBlob(s)
	}
	end := strings.IndexAny(s, " [:：")
	if end < 0 || !slices.Contains(replyMarks, s[:end]) {
		return "", false
	}
	s = strings.TrimLeft(s[end:], " ")
	s, _ = cutBlob(s)
	if rest, ok = strings.CutPrefix(s, ":"); ok {
		return rest, true
	}
	return strings.CutPrefix(s, "：")
}

// cutBlob cuts text in brackets and the space after it.
func cutBlob(s string) (rest string, ok bool) {
	if s == "" || s[0] != '[' {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]") + 1
	if end == 0 || s[end] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[end+1:], " "), true
}
