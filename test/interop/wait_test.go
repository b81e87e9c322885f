package interop

import "time"

// eventually waits until ok returns true, and returns whether it did within the
// time that all must be done in.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}
