package queue

// Names of the fault points of this package: instants between two steps whose
// order matters when power goes.
const (
	FaultContentWritten = "queue: content written, before it is synced"
	FaultContentSynced  = "queue: content synced, before its directory"
	FaultFilesSynced    = "queue: directories synced, before the commit"
	FaultCommitBefore   = "queue: before the commit"
	FaultCommitAfter    = "queue: after the commit, before anybody is told"
	FaultUnlinkBefore   = "queue: last message of a content retired, before its file is removed"
	FaultUnlinkAfter    = "queue: file of a content removed"
	FaultBackup         = "queue: backup has the rows, before the contents"
)

// Points lists the names of all fault points.
func Points() []string {
	return []string{
		FaultContentWritten, FaultContentSynced, FaultFilesSynced, FaultCommitBefore, FaultCommitAfter,
		FaultUnlinkBefore, FaultUnlinkAfter, FaultBackup,
	}
}
