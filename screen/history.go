package screen

import "time"

// KeepMax is the most messages of a History that decisions look at, for each
// kind: see Reputation levels in the spec.
func KeepMax(k Kind) int {
	switch k {
	case FromAddress:
		return 2
	case FromDomain, FromOrg:
		return 20
	}
	return 50
}

// Classified is a message of a sender that its reader has marked.
type Classified struct {
	At        time.Time // When it was received.
	Junk      bool
	Localpart uint32 // Hash of the localpart in From, to tell different ones apart; 0 if not known.
}

// History is the reputation of a Key: messages that were marked as junk or not,
// newest received first, KeepMax of them.
type History struct {
	Recent  []Classified
	Junk    int64 // Sums over all, also those that are not in Recent any more.
	NotJunk int64
}

// Histories has what an account knows of a sender, by key; absent for nothing. It
// has both forms of the keys about From, validated and not.
type Histories map[Key]History
