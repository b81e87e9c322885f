package metrics

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Panics counts panics by the package they were caught in. Any is a bug.
type Panics struct{ total *prometheus.CounterVec }

// NewPanics registers the counter, with each package at zero: an alert must not
// miss the first.
func NewPanics(reg prometheus.Registerer, pkgs ...string) (*Panics, error) {
	p := &Panics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_panic_total", Help: "Panics that ended a session or a task; each is a bug.",
	}, []string{"pkg"})}
	if err := reg.Register(p.total); err != nil {
		return nil, fmt.Errorf("registering counter of panics: %w", err)
	}
	for _, pkg := range pkgs {
		p.total.WithLabelValues(pkg)
	}
	return p, nil
}

// In returns a function that counts a panic in a package.
func (p *Panics) In(pkg string) func() { return p.total.WithLabelValues(pkg).Inc }

// CountLines returns a handler that passes records to next and counts those that
// are worth an operator's look, by package (attribute "pkg"), as
// mox_logging_level_info_total, _warn_total and _error_total.
func CountLines(reg prometheus.Registerer, next slog.Handler) (slog.Handler, error) {
	l := &lines{next: next, counters: map[slog.Level]*prometheus.CounterVec{}}
	for level, name := range map[slog.Level]string{slog.LevelInfo: "info", slog.LevelWarn: "warn", slog.LevelError: "error"} {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_logging_level_" + name + "_total", Help: "Log lines at level " + name + ".",
		}, []string{"pkg"})
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering counters of log lines: %w", err)
		}
		l.counters[level] = c
	}
	return l, nil
}

// lines is immutable; With makes another.
type lines struct {
	next     slog.Handler
	counters map[slog.Level]*prometheus.CounterVec
	pkg      string
	group    bool // Attributes from here on are in a group.
}

// Enabled asks the next handler.
func (l *lines) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// Handle counts a record and passes it on.
func (l *lines) Handle(ctx context.Context, r slog.Record) error {
	if c, ok := l.counters[r.Level]; ok {
		c.WithLabelValues(l.pkg).Inc()
	}
	return l.next.Handle(ctx, r)
}

// WithAttrs looks for the package.
func (l *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *l
	with.next = l.next.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == "pkg" && !l.group {
			with.pkg = a.Value.String()
		}
	}
	return &with
}

// WithGroup passes on.
func (l *lines) WithGroup(name string) slog.Handler {
	with := *l
	with.next = l.next.WithGroup(name)
	with.group = l.group || name != ""
	return &with
}
