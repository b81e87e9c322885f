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

// TestStatusBlocklists tells of our addresses in blocklists.
func TestStatusBlocklists(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	got := statusWarnings(admin.Status{Blocklists: []admin.Blocklist{
		{Zone: "a.example", IP: "192.0.2.1", Checked: at},
		{Zone: "a.example", IP: "192.0.2.2", Checked: at, Listed: true, Explanation: "spam seen"},
		{Zone: "a.example", IP: "192.0.2.3", Checked: at, Listed: true},
		{Zone: "b.example", IP: "192.0.2.2", Checked: at, Error: "timeout"},
	}})
	if len(got) != 3 || !strings.HasPrefix(got[0], "192.0.2.2 is in the blocklist a.example, looked up at 2026-01-01") || !strings.HasSuffix(got[0], ": spam seen") ||
		!strings.HasSuffix(got[1], ": it doesn't say why") || got[2] != "the blocklist b.example gives no answer about 192.0.2.2: timeout" {
		t.Errorf("got %q", got)
	}
}
