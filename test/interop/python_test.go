package interop

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPython runs the scripts in testdata, which use Python's own libraries.
// Each has servers of its own, one that is tolerant and one that is not: these
// libraries keep to the protocols.
func TestPython(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"smtp_session.py", "imap_session.py", "imap_compress.py", "email_roundtrip.py"} {
		for _, flags := range [][]string{nil, {"-pedantic"}} {
			t.Run(script+strings.Join(flags, ""), func(t *testing.T) {
				t.Parallel()
				python := tool(t, "python3")
				s := start(t, flags...)
				ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
				defer cancel()
				cmd := exec.CommandContext(ctx, python, "-B", filepath.Join("testdata", script), s.ip, portSMTP, portIMAP, portIMAPS, s.cert())
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", script, err, out)
				}
			})
		}
	}
}
