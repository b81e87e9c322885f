package message

import "strings"

// sortSubjectMax bounds what SortSubject looks at, in bytes: the fields of a header
// are at most as long as the header, and the steps are repeated for each mark.
const sortSubjectMax = 8 << 10

// SortSubject returns the base subject exactly as RFC 5256, section 2.1, has it, in
// UTF-8 and in the case it has, and whether the subject says that the message is a
// reply or forward (section 3, at REFERENCES). S is the value of the header field.
//
// Clients that are not connected find the same with their own copy of the rules. So it
// knows English marks only, while BaseSubject knows those of other languages too.
func SortSubject(s string) (base string, isReply bool) {
	s = oneSpace(truncate(DecodeHeader(truncate(s, 2*sortSubjectMax)), sortSubjectMax)) // Step 1.
	for {
		s = sortTrailers(s, &isReply) // Step 2.
		s = sortLeaders(s, &isReply)  // Steps 3 to 5.
		if len(s) <= len(fwdHeader) || !hasPrefixFold(s, fwdHeader) || s[len(s)-1] != ']' {
			return s, isReply
		}
		s, isReply = s[len(fwdHeader):len(s)-1], true // Step 6.
	}
}

// fwdHeader is subj-fwd-hdr.
const fwdHeader = "[fwd:"

// oneSpace makes single spaces of white space, and of all control characters that end
// lines.
func oneSpace(s string) string {
	isSpace := func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = !isSpace(rune(s[i])) || s[i] == ' ' && (i == 0 || s[i-1] != ' ')
	}
	if plain {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	after := false
	for _, r := range s {
		if isSpace(r) {
			if !after {
				b.WriteByte(' ')
			}
			after = true
			continue
		}
		after = false
		b.WriteRune(r)
	}
	return b.String()
}

// sortTrailers removes subj-trailer as often as it is there.
func sortTrailers(s string, isReply *bool) string {
	const trailer = "(fwd)"
	for {
		s = strings.TrimRight(s, " ")
		if len(s) < len(trailer) || !strings.EqualFold(s[len(s)-len(trailer):], trailer) {
			return s
		}
		s, *isReply = s[:len(s)-len(trailer)], true
	}
}

// sortLeaders removes subj-leader, and each subj-blob after which something is left.
func sortLeaders(s string, isReply *bool) string {
	for {
		s = strings.TrimLeft(s, " ")
		if t, ok := cutRefwd(s); ok {
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

// cutRefwd cuts *subj-blob subj-refwd.
func cutRefwd(s string) (rest string, ok bool) {
	for blob := true; blob; {
		s, blob = cutBlob(s)
	}
	switch {
	case hasPrefixFold(s, "re"):
		s = s[2:]
	case hasPrefixFold(s, "fwd"):
		s = s[3:]
	case hasPrefixFold(s, "fw"):
		s = s[2:]
	default:
		return "", false
	}
	s, _ = cutBlob(strings.TrimLeft(s, " "))
	return strings.CutPrefix(s, ":")
}

// hasPrefixFold tells whether s begins with a word of ASCII, in any case.
func hasPrefixFold(s, word string) bool {
	return len(s) >= len(word) && strings.EqualFold(s[:len(word)], word)
}
