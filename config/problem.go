package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Names of the two files, in problems.
const (
	StaticName  = "mox.conf"
	DynamicName = "domains.conf"
)

// Problem is one mistake in the configuration.
type Problem struct {
	File string // StaticName or DynamicName.
	Line int    // From 1; 0 if unknown, as for something that is missing.
	Path string // Of the setting, as Listeners.public.IPs[0]; empty for the file.
	Err  error
}

// Error returns the problem with its place, on one line.
func (p *Problem) Error() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	if p.Path != "" {
		s += ": " + p.Path
	}
	return s + ": " + p.Err.Error()
}

// Unwrap returns the error without its place.
func (p *Problem) Unwrap() error { return p.Err }

// Problems is the error of functions that look at a whole configuration: all
// mistakes they found, in the order of files and lines.
type Problems []*Problem

// Error returns all problems, each on a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single problems.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// malformed tells whether a file could not be read to its end, so that what it
// would have said is missing.
func (ps Problems) malformed() bool {
	return slices.ContainsFunc(ps, func(p *Problem) bool { return !errors.Is(p, ErrUnknown) })
}

// err returns nil for no problems, so that no caller returns an empty list that
// isn't nil.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	ps.sort()
	return ps
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b *Problem) int {
		if a.File != b.File {
			return -cmp.Compare(a.File, b.File) // mox.conf, then domains.conf.
		}
		return cmp.Compare(a.Line, b.Line)
	})
}

// locate sets the lines of problems that have none, from the places of settings
// in the text of their file. Something missing is at the setting around it.
func (ps Problems) locate(file string, lines map[string]int) {
	for _, p := range ps {
		if p.File != file || p.Line > 0 {
			continue
		}
		for path := p.Path; path != ""; path = parent(path) {
			if line, ok := lines[path]; ok {
				p.Line = line
				break
			}
		}
	}
}

// parent returns path up to its last dot or bracket.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}
