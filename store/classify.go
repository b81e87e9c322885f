package store

// Class is how a message counts in reputations, and for the junk filter.
type Class int8

// The classes.
const (
	Unclassified Class = iota // Neither, or both: its reader has not decided.
	ClassJunk
	ClassNotJunk
)

// junkFlags are the flags that classify.
const junkFlags = FlagJunk | FlagNotJunk

// classOf returns the class that flags stand for.
func classOf(f Flags) Class {
	switch f & junkFlags {
	case FlagJunk:
		return ClassJunk
	case FlagNotJunk:
		return ClassNotJunk
	}
	return Unclassified
}
