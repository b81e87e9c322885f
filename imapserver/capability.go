package imapserver

import (
	"slices"
	"strings"
)

// disabled reports whether a capability, named in upper case, is switched off for
// the account that is logged in.
func (s *session) disabled(name string) bool { return slices.Contains(s.off, name) }

// offered reports whether a capability, as it is announced, is not switched off. A
// name that has a value is also switched off without it: APPENDLIMIT for
// APPENDLIMIT=1000.
func (s *session) offered(name string) bool {
	if len(s.off) == 0 {
		return true
	}
	name = strings.ToUpper(name)
	kind, _, _ := strings.Cut(name, "=")
	return !s.disabled(name) && !s.disabled(kind)
}
