package logfmt

import (
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
)

// Levels below slog.LevelDebug, for what protocols say on the wire.
const (
	LevelTrace     slog.Level = slog.LevelDebug - 4 // The wire, without credentials and message data.
	LevelTraceAuth slog.Level = LevelTrace - 4      // Credentials too.
	LevelTraceData slog.Level = LevelTraceAuth - 4  // Message data too.
)

// levelNames has the names used in config files and logs, most severe first.
var levelNames = []struct {
	name  string
	level slog.Level
}{
	{"error", slog.LevelError},
	{"warn", slog.LevelWarn},
	{"info", slog.LevelInfo},
	{"debug", slog.LevelDebug},
	{"trace", LevelTrace},
	{"traceauth", LevelTraceAuth},
	{"tracedata", LevelTraceData},
}

// ParseLevel returns the level of a name as it is used in config files.
func ParseLevel(name string) (slog.Level, error) {
	for _, l := range levelNames {
		if l.name == name {
			return l.level, nil
		}
	}
	return 0, fmt.Errorf("unknown log level %q, need error, warn, info, debug, trace, traceauth or tracedata", name)
}

// LevelName returns the name of the least severe named level that level
// reaches. ParseLevel understands it.
func LevelName(level slog.Level) string {
	for _, l := range levelNames {
		if level >= l.level {
			return l.name
		}
	}
	return levelNames[len(levelNames)-1].name
}

// Levels holds the least severe level that is logged, for each package that
// has one of its own and for all others. It can be changed while in use, by
// any goroutine; a change holds from the next record on.
type Levels struct {
	current atomic.Pointer[levelSet]
}

// levelSet is immutable.
type levelSet struct {
	other    slog.Level
	packages map[string]slog.Level
}

// NewLevels returns levels with one for all packages.
func NewLevels(level slog.Level) *Levels {
	var l Levels
	l.current.Store(&levelSet{other: level})
	return &l
}

// Default returns the level of packages without one of their own.
func (l *Levels) Default() slog.Level { return l.current.Load().other }

// Packages returns a copy of the levels of packages.
func (l *Levels) Packages() map[string]slog.Level {
	return maps.Clone(l.current.Load().packages)
}

// SetDefault changes the level of packages without one of their own.
func (l *Levels) SetDefault(level slog.Level) {
	l.change(func(s *levelSet) { s.other = level })
}

// SetPackage gives a package a level of its own.
func (l *Levels) SetPackage(pkg string, level slog.Level) {
	l.change(func(s *levelSet) {
		if s.packages == nil {
			s.packages = map[string]slog.Level{}
		}
		s.packages[pkg] = level
	})
}

// ClearPackage makes a package follow the default again.
func (l *Levels) ClearPackage(pkg string) {
	l.change(func(s *levelSet) { delete(s.packages, pkg) })
}

// change swaps in a copy changed by fn, which may be called several times.
func (l *Levels) change(fn func(*levelSet)) {
	for {
		old := l.current.Load()
		next := &levelSet{old.other, maps.Clone(old.packages)}
		fn(next)
		if l.current.CompareAndSwap(old, next) {
			return
		}
	}
}

// of returns the level of one package.
func (l *Levels) of(pkg string) slog.Level {
	s := l.current.Load()
	if len(s.packages) > 0 {
		if level, ok := s.packages[pkg]; ok {
			return level
		}
	}
	return s.other
}
