package atomicfile

import (
	"path/filepath"
	"testing"
)

func TestFree(t *testing.T) {
	t.Parallel()
	if n, err := Free(t.TempDir()); err != nil || n <= 0 {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if _, err := Free(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("got no error for a directory that is not there")
	}
}
