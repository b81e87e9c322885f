package message

import "strings"

const (
	// messageIDSizeMax bounds a Message-ID in bytes. Longer ones are left out:
	// they could not be looked up.
	messageIDSizeMax = 512

	// messageIDsMax bounds the ids taken from one field. Of more, the last are
	// taken, since they are the nearest ancestors.
	messageIDsMax = 1000
)

// MessageIDs returns the ids in a Message-ID, References or In-Reply-To field,
// in order, in a canonical form for comparing: without brackets, white space and
// needless quotes, ASCII letters in lower case. Words between ids don't count,
// except in a field without brackets those with an "@".
func MessageIDs(s string) []string {
	var ids []string
	found := false
	for rest := s; ; {
		i := strings.IndexByte(rest, '<')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		end := strings.IndexAny(rest, "<>")
		if end < 0 {
			break
		}
		if rest[end] == '>' {
			found = true
			ids = appendMessageID(ids, rest[:end])
			end++
		}
		rest = rest[end:]
	}
	if !found {
		for w := range strings.FieldsSeq(s) {
			if strings.IndexByte(w, '@') > 0 {
				ids = appendMessageID(ids, strings.Trim(w, "<>,;"))
			}
		}
	}
	return ids[max(len(ids)-messageIDsMax, 0):]
}

// ThreadIDs returns the ids in a Message-ID, References or In-Reply-To field as the
// threads of RFC 5256, section 3, want them: only what has the form of a msg-id, with
// needless quotes removed, in the case it is written in. Several fields of a name are
// given as one.
func ThreadIDs(s string) []string {
	var ids []string
	for {
		_, rest, ok := strings.Cut(s, "<")
		if !ok {
			return ids[max(len(ids)-messageIDsMax, 0):]
		}
		end := strings.IndexAny(rest, "<>")
		if end < 0 {
			return ids[max(len(ids)-messageIDsMax, 0):]
		}
		if s = rest[end:]; s[0] == '<' {
			continue
		}
		if id := rest[:end]; len(id) <= 2*messageIDSizeMax {
			id = normalMessageID(id)
			if at := strings.LastIndexByte(id, '@'); at > 0 && at < len(id)-1 && len(id) <= messageIDSizeMax {
				ids = append(ids, id)
			}
		}
	}
}

// appendMessageID adds the canonical form of id, unless nothing is left of it.
func appendMessageID(ids []string, id string) []string {
	if len(id) > 2*messageIDSizeMax {
		return ids
	}
	id = canonicalMessageID(id)
	if id == "" || len(id) > messageIDSizeMax {
		return ids
	}
	return append(ids, id)
}

func canonicalMessageID(id string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, normalMessageID(id))
}

// normalMessageID returns an id without white space and needless quotes.
func normalMessageID(id string) string {
	id = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == '<' || r == '>' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(id, "\uFFFD"))
	left, right := id, ""
	if i := strings.LastIndexByte(id, '@'); i >= 0 {
		left, right = id[:i], id[i:]
	}
	if content, ok := quotedLocal(left); ok && isDotAtom(content) {
		left = content
	}
	return left + right
}

// quotedLocal returns the content of s if the whole of it is a quoted-string.
func quotedLocal(s string) (content string, ok bool) {
	if len(s) < 2 || s[0] != '"' {
		return "", false
	}
	content, rest := splitQuoted(s)
	return content, rest == "" && s[len(s)-1] == '"'
}
