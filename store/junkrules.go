package store

import (
	"regexp"
	"strings"
)

// JunkRules is what the configuration of an account says about marking messages as
// junk or not.
type JunkRules struct {
	// Automatic is whether messages are marked by the mailbox that they come to. Its
	// name in lower case is compared with the expressions, in their order; nil is
	// absent. If exactly two are there, the third class is for all the rest.
	Automatic              bool
	Junk, Neutral, NotJunk *regexp.Regexp

	KeepRejects bool // Rejects stay until the user removes them.
}

// mark returns the flag that a mailbox gives to messages, none for a neutral one.
// ok is false if there is no rule for it.
func (r *JunkRules) mark(mb *Mailbox) (flag Flags, ok bool) {
	if mb.Use == UseJunk {
		return FlagJunk, true
	}
	if !r.Automatic {
		return 0, false
	}
	name := strings.ToLower(mb.Name)
	classes := []struct {
		match *regexp.Regexp
		flag  Flags
	}{{r.Junk, FlagJunk}, {r.Neutral, 0}, {r.NotJunk, FlagNotJunk}}
	absent := 0
	for _, c := range classes {
		if c.match == nil {
			absent++
			flag = c.flag
		} else if c.match.MatchString(name) {
			return c.flag, true
		}
	}
	if absent != 1 {
		return 0, false
	}
	return flag, true
}

// arriving returns the flags of a message that comes into a mailbox from outside.
// One that comes marked stays as it is.
func (r *JunkRules) arriving(mb *Mailbox, flags Flags) Flags {
	if flags&junkFlags != 0 {
		return flags
	}
	mark, _ := r.mark(mb)
	return flags | mark
}

// moving returns the flags of a message that comes from another mailbox.
//
// A neutral mailbox takes away what the other one has marked by itself, not what
// the user has. Throwing away what is marked says nothing new about it.
func (r *JunkRules) moving(from, to *Mailbox, flags Flags) Flags {
	mark, ok := r.mark(to)
	if !ok || to.Use == UseTrash && flags&junkFlags != 0 {
		return flags
	}
	if mark == 0 {
		if before, _ := r.mark(from); flags&junkFlags != before {
			return flags
		}
	}
	return flags&^junkFlags | mark
}
