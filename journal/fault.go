package journal

// Names of the fault points, in the order in which they are come by. An error
// there acts as one of the step that follows.
const (
	FaultOpenBeforeRewrite = "journal: open, before the last batch is written again"
	FaultOpenBeforeZero    = "journal: open, before the rest of the segment is zeroed"
	FaultOpenAfterSync     = "journal: open, after the log is durable"

	FaultSegmentBeforeSync    = "journal: segment made, before its header is synced"
	FaultSegmentBeforeDirSync = "journal: segment made, before its directory is synced"
	FaultSegmentBeforeBegin   = "journal: segment begun, before its first sequence is synced"
	FaultSegmentAfterBegin    = "journal: segment begun, before its first record"

	FaultBatchBeforeWrite = "journal: batch, before it is written"
	FaultBatchBeforeSync  = "journal: batch, written and not synced"
	FaultBatchAfterSync   = "journal: batch, synced and not answered"

	FaultFileBeforeSync    = "journal: file added, before it is synced"
	FaultFileBeforeDirSync = "journal: file added, before its directory is synced"

	FaultRemoveBefore  = "journal: segments removed, before the first"
	FaultRemoveBetween = "journal: segments removed, segment gone and its files not"
	FaultRemoveAfter   = "journal: segments removed, all gone"
)

// Points lists the names of all fault points.
func Points() []string {
	return []string{
		FaultOpenBeforeRewrite, FaultOpenBeforeZero, FaultOpenAfterSync,
		FaultSegmentBeforeSync, FaultSegmentBeforeDirSync, FaultSegmentBeforeBegin, FaultSegmentAfterBegin,
		FaultBatchBeforeWrite, FaultBatchBeforeSync, FaultBatchAfterSync,
		FaultFileBeforeSync, FaultFileBeforeDirSync,
		FaultRemoveBefore, FaultRemoveBetween, FaultRemoveAfter,
	}
}
