package sim

import (
	"os"
	"testing"

	"github.com/mjl-/mox/atomicfile"
)

// memoryDir is a file system in memory where there is one, and memoryFree is what
// must be free there in bytes. Processes are killed here and computers are not, so
// that nothing is learned from a disk that takes its time to sync.
const (
	memoryDir  = "/dev/shm"
	memoryFree = 2 << 30
)

func TestMain(m *testing.M) {
	if free, err := atomicfile.Free(memoryDir); err == nil && free >= memoryFree && os.Getenv("TMPDIR") == "" {
		if err := os.Setenv("TMPDIR", memoryDir); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
