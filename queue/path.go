package queue

import (
	"fmt"
	"strings"

	"github.com/mjl-/mox/smtp"
)

// Path returns the parsed form of a path in a row, the zero value for the null path.
func Path(s string) (smtp.Path, error) {
	if s == "" {
		return smtp.Path{}, nil
	}
	r, err := smtp.ParseRcptTo("TO:<"+s+">", smtp.ParseOptions{})
	if err != nil {
		return smtp.Path{}, fmt.Errorf("parsing path %+q: %w", s, err)
	}
	return r.Path, nil
}

// domainOf returns what Message.Domain holds for a path.
func domainOf(p smtp.Path) string { return p.IPDomain.XString(false) }

// textMax bounds texts for lists, in bytes.
const textMax = 200

// cut returns s without control characters, at most max bytes of it.
func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
