package main

import (
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/admin"
)

// TestStatusWarnings tells of a configuration that can't be used.
func TestStatusWarnings(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	s := admin.Status{Config: &admin.ConfigStatus{Loaded: at}}
	if got := statusWarnings(s); len(got) != 0 {
		t.Errorf("without problem: got %q", got)
	}
	s.Config.Problem, s.Config.Since = "reloading configuration:\ndomains.conf:1: X: unknown setting", at
	got := strings.Join(statusWarnings(s), "|")
	if !strings.HasPrefix(got, "the configuration on disk is not in use, since 2026-01-01") || !strings.HasSuffix(got, ":\n\tdomains.conf:1: X: unknown setting") {
		t.Errorf("with a problem: got %q", got)
	}
}
