package store

// Names of the fault points of this package: instants between two steps whose
// order matters when power goes.
const (
	FaultStageSync    = "store: staged file written, before it is synced"
	FaultFilesSynced  = "store: new files synced, before the commit"
	FaultFilePlaced   = "store: applied file has its name, before the commit"
	FaultApplied      = "store: record applied in the transaction, before the commit"
	FaultCommitBefore = "store: before the commit"
	FaultCommitAfter  = "store: after the commit, before it is published"
	FaultCleanSynced  = "store: account files synced, before segments are removed"
	FaultEraseUnlink  = "store: erased file unlinked, before its rows are removed"
	FaultTrainCounted = "store: words of messages counted, before their training rows are removed"
	FaultTrainBuilt   = "store: junk filter made, before it takes its place"
	FaultBackup       = "store: backup has the accounts, before the journal"
	FaultRemoveShut   = "store: removed account closed, before its directory is moved"
	FaultRemoveMoved  = "store: directory of removed account moved, before its kept deliveries go"
	FaultRemoveErase  = "store: removed account gone, before its files are erased"
)

// Points lists the names of all fault points.
func Points() []string {
	return []string{
		FaultStageSync, FaultFilesSynced, FaultFilePlaced, FaultApplied, FaultCommitBefore, FaultCommitAfter,
		FaultCleanSynced, FaultEraseUnlink, FaultTrainCounted, FaultTrainBuilt, FaultBackup, FaultRemoveShut, FaultRemoveMoved, FaultRemoveErase,
	}
}
