package imap

import "strings"

// System flags (RFC 9051, section 2.3.2), in the case in which we write them.
const (
	FlagSeen     = `\Seen`
	FlagAnswered = `\Answered`
	FlagFlagged  = `\Flagged`
	FlagDeleted  = `\Deleted`
	FlagDraft    = `\Draft`
	FlagRecent   = `\Recent` // Only RFC 3501 has it; no client can set it.
)

var systemFlags = []string{FlagSeen, FlagAnswered, FlagFlagged, FlagDeleted, FlagDraft, FlagRecent}

// flagsMax bounds the flags one command can name, and keywordMax the length of
// one in bytes.
const (
	flagsMax   = 1000
	keywordMax = 256
)

// Flag reads a flag: one of the system flags, in the case of the constants, or
// a keyword as the client wrote it. A flag with a backslash that is not known is
// refused: no such flag can be set (a server does not list it in PERMANENTFLAGS).
func (d *Decoder) Flag() string {
	if !d.Take('\\') {
		return d.Keyword()
	}
	name := d.Atom()
	for _, f := range systemFlags {
		if strings.EqualFold(f[1:], name) {
			return f
		}
	}
	if d.err == nil {
		d.Fail("unknown flag %+q", `\`+name)
	}
	return ""
}

// Keyword reads a flag without backslash.
func (d *Decoder) Keyword() string {
	s := d.Atom()
	if len(s) > keywordMax {
		d.Fail("keyword longer than %d bytes", keywordMax)
	}
	return s
}

// FlagList reads a parenthesised list of flags, which may be empty.
func (d *Decoder) FlagList() []string {
	var list []string
	d.ListOrEmpty(func() { list = d.addFlag(list) })
	if d.err != nil {
		return nil
	}
	return list
}

// StoreFlags reads what STORE takes: a flag-list, or flags without parentheses
// (store-att-flags of RFC 9051, section 9).
func (d *Decoder) StoreFlags() []string {
	if d.Peek('(') {
		return d.FlagList()
	}
	list := d.addFlag(nil)
	for d.TakeSP() {
		list = d.addFlag(list)
	}
	if d.err != nil {
		return nil
	}
	return list
}

func (d *Decoder) addFlag(list []string) []string {
	if len(list) >= flagsMax {
		d.Fail("more than %d flags", flagsMax)
		return nil
	}
	return append(list, d.Flag())
}
