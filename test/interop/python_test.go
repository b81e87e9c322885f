package interop

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPython runs the scripts in testdata, which use Python's own libraries.
// Each has a server of its own.
func TestPython(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"smtp_session.py", "imap_session.py", "email_roundtrip.py"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			python := tool(t, "python3")
			s := start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, python, "-B", filepath.Join("testdata", script), s.ip, portSMTP, portIMAP, portIMAPS, s.cert())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", script, err, out)
			}
		})
	}
}
