package logfmt

import (
	"io"
	"log/slog"
	"testing"
)

func TestLevelNames(t *testing.T) {
	t.Parallel()
	for _, l := range levelNames {
		level, err := ParseLevel(l.name)
		if err != nil || level != l.level {
			t.Errorf("ParseLevel(%q): got %v, %v, want %v", l.name, level, err, l.level)
		}
		if got := LevelName(l.level); got != l.name {
			t.Errorf("LevelName(%v): got %q, want %q", l.level, got, l.name)
		}
	}
	for _, name := range []string{"", "Info", "fatal", "0"} {
		if level, err := ParseLevel(name); err == nil {
			t.Errorf("ParseLevel(%q): got %v, want an error", name, level)
		}
	}
	if got := LevelName(slog.LevelInfo + 1); got != "info" {
		t.Errorf("a level between two names: got %q, want info", got)
	}
	if got := LevelName(LevelTraceData - 1); got != "tracedata" {
		t.Errorf("a level below all names: got %q, want tracedata", got)
	}
}

// TestLevels changes levels under loggers that exist already.
func TestLevels(t *testing.T) {
	t.Parallel()
	levels := NewLevels(slog.LevelInfo)
	other := slog.New(New(io.Discard, levels))
	smtp := other.With("cid", 1).With("pkg", "smtpserver")
	for _, step := range []struct {
		name        string
		change      func()
		other, smtp slog.Level // Least severe that is enabled.
	}{
		{"at first all have the default", func() {}, slog.LevelInfo, slog.LevelInfo},
		{"one package is more verbose", func() { levels.SetPackage("smtpserver", LevelTrace) }, slog.LevelInfo, LevelTrace},
		{"the default doesn't touch it", func() { levels.SetDefault(slog.LevelError) }, slog.LevelError, LevelTrace},
		{"an unknown package touches nobody", func() { levels.SetPackage("x", LevelTraceData) }, slog.LevelError, LevelTrace},
		{"it follows the default again", func() { levels.ClearPackage("smtpserver") }, slog.LevelError, slog.LevelError},
	} {
		step.change()
		for _, l := range levelNames {
			if got, want := other.Enabled(t.Context(), l.level), l.level >= step.other; got != want {
				t.Errorf("%s: other at %s: got %v, want %v", step.name, l.name, got, want)
			}
			if got, want := smtp.Enabled(t.Context(), l.level), l.level >= step.smtp; got != want {
				t.Errorf("%s: smtpserver at %s: got %v, want %v", step.name, l.name, got, want)
			}
		}
	}
	packages := levels.Packages()
	if len(packages) != 1 || packages["x"] != LevelTraceData || levels.Default() != slog.LevelError {
		t.Errorf("got packages %v, default %v", packages, levels.Default())
	}
	packages["y"] = slog.LevelInfo
	if len(levels.Packages()) != 1 {
		t.Error("the map returned is not a copy")
	}
}
