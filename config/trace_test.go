package config

import (
	"strings"
	"testing"
	"time"
)

func TestTrace(t *testing.T) {
	t.Parallel()
	month := 30 * 24 * time.Hour
	for _, tc := range []struct {
		name    string
		trace   Trace
		want    Trace
		problem string // Part of it, empty if all is well.
	}{
		{"nothing set", Trace{}, Trace{month, 1 << 30}, ""},
		{"all set", Trace{time.Hour, 1 << 20}, Trace{time.Hour, 1 << 20}, ""},
		{"nothing kept", Trace{KeepFor: -1}, Trace{0, 1 << 30}, ""},
		{"minutes", Trace{KeepFor: time.Hour - 1}, Trace{}, "Trace.KeepFor: need 1h0m0s to"},
		{"for ever", Trace{KeepFor: 11 * 365 * 24 * time.Hour}, Trace{}, "Trace.KeepFor"},
		{"too little room", Trace{MaxSize: 1<<20 - 1}, Trace{}, "Trace.MaxSize: need 1048576 to"},
		{"too much room", Trace{MaxSize: 64<<30 + 1}, Trace{}, "Trace.MaxSize"},
		{"less than no room", Trace{MaxSize: -1}, Trace{}, "Trace.MaxSize"},
	} {
		config := &Config{Static: Static{Trace: tc.trace}}
		c := &checker{config: config}
		c.trace()
		got := ""
		if err := c.problems.err(); err != nil {
			got = err.Error()
		}
		if got != "" && tc.problem == "" || !strings.Contains(got, tc.problem) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.problem)
		}
		if tc.problem == "" && config.Trace() != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.name, config.Trace(), tc.want)
		}
	}
}
