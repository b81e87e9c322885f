package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// UID is the unique identifier of a message in its mailbox. It is given in
// ascending order and never again (RFC 9051, section 2.3.1.1).
type UID uint32

// uidMax is the last UID that can be given: UIDNEXT must fit in 32 bits too.
const uidMax = 1<<32 - 2

// Flags are the system flags of a message, and the keywords that we treat as
// such, as bits. Other keywords are apart.
type Flags uint32

// The system flags. The values are those on disk.
const (
	FlagSeen Flags = 1 << iota
	FlagAnswered
	FlagFlagged
	FlagDeleted
	FlagDraft
	FlagForwarded
	FlagJunk
	FlagNotJunk
	FlagPhishing
	FlagMDNSent

	flagBits = 10
	flagsAll = 1<<flagBits - 1
)

// flagNames are the names of the bits, in the order of the bits.
var flagNames = [flagBits]string{
	`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`,
	"$Forwarded", "$Junk", "$NotJunk", "$Phishing", "$MDNSent",
}

// Names returns the names of the flags, as IMAP writes them.
func (f Flags) Names() []string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// ParseFlag returns the bit for the name of a system flag in any case, and
// whether there is one. "NonJunk", "NotJunk" and "Junk" are what mail programs write, as Thunderbird.
func ParseFlag(name string) (Flags, bool) {
	for i, n := range flagNames {
		if strings.EqualFold(n, name) {
			return 1 << i, true
		}
	}
	switch {
	case strings.EqualFold(name, "nonjunk"), strings.EqualFold(name, "notjunk"):
		return FlagNotJunk, true
	case strings.EqualFold(name, "junk"):
		return FlagJunk, true
	}
	return 0, false
}

// A message's keywords are bits too, numbered by their place in the list of its
// mailbox, which only grows. What comes after keywordBits is kept by name.
const (
	keywordBits  = 52
	bitMore      = 1 << (flagBits + keywordBits) // The row has keywords in More.
	KeywordsMax  = 500                           // Keywords in use per mailbox: each is in every FLAGS response.
	keywordBytes = 100                           // Longest keyword, in bytes.
)

// ErrKeyword means a name can't be a keyword, or the mailbox has too many. The
// text is fit for the user.
var ErrKeyword = errors.New("store: keyword not possible")

// ParseKeyword returns the form in which a keyword is kept: lower case. It
// fails for what can't be an IMAP atom and for the names of system flags.
func ParseKeyword(name string) (string, error) {
	if name == "" || len(name) > keywordBytes {
		return "", fmt.Errorf("%w: length of keyword must be 1 to %d", ErrKeyword, keywordBytes)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return "", fmt.Errorf("%w: character %q in keyword", ErrKeyword, c)
		}
	}
	if _, ok := ParseFlag(name); ok {
		return "", fmt.Errorf("%w: %s is a system flag", ErrKeyword, name)
	}
	return strings.ToLower(name), nil
}

// ParseFlags splits flag names as a client gives them into system flags and
// keywords, the latter sorted and without duplicates. `\Recent` is ignored: it
// can't be set (RFC 3501, section 2.3.2).
func ParseFlags(names []string) (Flags, []string, error) {
	var flags Flags
	var keywords []string
	for _, name := range names {
		if f, ok := ParseFlag(name); ok {
			flags |= f
			continue
		}
		if strings.EqualFold(name, `\recent`) {
			continue
		}
		kw, err := ParseKeyword(name)
		if err != nil {
			return 0, nil, err
		}
		keywords = append(keywords, kw)
	}
	slices.Sort(keywords)
	return flags, slices.Compact(keywords), nil
}

// bitsFor returns the bits and the names beyond them for flags and keywords in
// a mailbox, adding to the mailbox's list what it does not have. It reports
// whether the list grew.
func (mb *Mailbox) bitsFor(flags Flags, keywords []string) (bits int64, more []string, grew bool, err error) {
	bits = int64(flags & flagsAll)
	for _, kw := range keywords {
		i := slices.Index(mb.Keywords, kw)
		if i < 0 {
			if len(mb.Keywords) >= KeywordsMax {
				return 0, nil, false, fmt.Errorf("%w: mailbox has %d already", ErrKeyword, KeywordsMax)
			}
			i = len(mb.Keywords)
			mb.Keywords = append(slices.Clip(mb.Keywords), kw)
			grew = true
		}
		if i < keywordBits {
			bits |= 1 << (flagBits + i)
		} else {
			more = append(more, kw)
		}
	}
	if len(more) > 0 {
		bits |= bitMore
	}
	return bits, more, grew, nil
}

// keywordsOf returns the keywords that bits and more stand for in a mailbox
// whose list is all.
func keywordsOf(all []string, bits int64, more []string) []string {
	var keywords []string
	for i := range min(len(all), keywordBits) {
		if bits&(1<<(flagBits+i)) != 0 {
			keywords = append(keywords, all[i])
		}
	}
	return append(keywords, more...)
}

// SpecialUse is the role of a mailbox (RFC 6154), as a bit. A mailbox has one
// or none, and a role has one mailbox.
type SpecialUse uint8

// The roles.
const (
	UseNone    SpecialUse = 0
	UseArchive SpecialUse = 1 << iota >> 1
	UseDrafts
	UseJunk
	UseSent
	UseTrash
	UseImportant // RFC 8457. Here it says only where a client looks.
)

// useNames are the attributes of the roles.
var useNames = []struct {
	use  SpecialUse
	name string
}{
	{UseArchive, `\Archive`}, {UseDrafts, `\Drafts`}, {UseJunk, `\Junk`}, {UseSent, `\Sent`}, {UseTrash, `\Trash`},
	{UseImportant, `\Important`},
}

// String returns the attribute as IMAP writes it, or "".
func (u SpecialUse) String() string {
	for _, n := range useNames {
		if n.use == u {
			return n.name
		}
	}
	return ""
}

// ParseSpecialUse returns the role for an attribute in any case.
func ParseSpecialUse(name string) (SpecialUse, bool) {
	for _, n := range useNames {
		if strings.EqualFold(n.name, name) {
			return n.use, true
		}
	}
	return UseNone, false
}
