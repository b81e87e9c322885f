package queue

import "github.com/mjl-/mox/journal"

// Names of the fault points of this package: instants between two steps whose
// order matters when power goes.
const (
	FaultContentWritten = "queue: content written"
	FaultContentSynced  = "queue: large content synced, not its directory"
	FaultFiled          = "queue: content of a message in the log written to its file"
	FaultFileSynced     = "queue: content of a message in the log synced"
	FaultCommitBefore   = "queue: before the commit"
	FaultCommitAfter    = "queue: after the commit, before anybody is told"
	FaultUnlinkBefore   = "queue: last message of a content retired, before its file is removed"
	FaultUnlinkAfter    = "queue: file of a content removed"
	FaultBackup         = "queue: backup has the rows, before the contents"
)

// Points lists the names of all fault points of the package itself.
func Points() []string {
	return []string{
		FaultContentWritten, FaultContentSynced, FaultFiled, FaultFileSynced, FaultCommitBefore, FaultCommitAfter,
		FaultUnlinkBefore, FaultUnlinkAfter, FaultBackup,
	}
}

// LogPoint returns the name that a fault point of package journal has in the log of
// the queue.
func LogPoint(point string) string { return logFaults + point }

// LogPoints lists the names of the fault points of the log, which has no files
// beside it.
func LogPoints() []string {
	var points []string
	for _, p := range journal.Points() {
		if p != journal.FaultFileBeforeSync && p != journal.FaultFileBeforeDirSync {
			points = append(points, LogPoint(p))
		}
	}
	return points
}
