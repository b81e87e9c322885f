package queue

// Names of the fault points of this package: instants between two steps whose
// order matters when power goes.
const (
	FaultContentWritten = "queue: content written"
	FaultContentSync    = "queue: content handed to Add, before it is synced"
	FaultContentSynced  = "queue: content synced, not its directory"
	FaultDirsSynced     = "queue: directories of new contents synced"
	FaultCommitBefore   = "queue: before the commit"
	FaultCommitAfter    = "queue: after the commit, contents may not be synced"
	FaultSettled        = "queue: commit and contents on disk, before anybody is told"
	FaultUnlinkBefore   = "queue: last message of a content retired, before its file is removed"
	FaultUnlinkAfter    = "queue: file of a content removed"
	FaultBackup         = "queue: backup has the rows, before the contents"
)

// Points lists the names of all fault points.
func Points() []string {
	return []string{
		FaultContentWritten, FaultContentSync, FaultContentSynced, FaultDirsSynced, FaultCommitBefore, FaultCommitAfter,
		FaultSettled, FaultUnlinkBefore, FaultUnlinkAfter, FaultBackup,
	}
}
