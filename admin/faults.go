package admin

// Names of the fault points of this package: instants between two steps of
// removing an account whose order matters when power goes.
const (
	FaultRemoveConfig = "admin: removed account not configured any more, before its removal is noted"
	FaultRemoveMarked = "admin: removal of account noted, before anything of it goes"
	FaultRemoveKeys   = "admin: messages and keys of removed account gone, before its data"
	FaultRemoveErased = "admin: files of removed account erased, before that is noted"
)

// Points lists the names of all fault points.
func Points() []string {
	return []string{FaultRemoveConfig, FaultRemoveMarked, FaultRemoveKeys, FaultRemoveErased}
}
