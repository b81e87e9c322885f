package trace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Check looks at the files of a log, and changes nothing. Problems are what is wrong
// with them; the error is why not all could be looked at. A log that is in use may
// be checked: the end of its last segments may be missing, as after a crash.
func Check(ctx context.Context, dir string) (problems []error, err error) {
	for _, name := range seriesNames {
		s := &series{dir: dir, name: name}
		logs, indexes, err := s.list()
		if err != nil {
			return problems, fmt.Errorf("checking traces: %w", err)
		}
		for _, seq := range sorted(logs) {
			if err := ctx.Err(); err != nil {
				return problems, err
			}
			found, err := s.check(seq, indexes[seq])
			if errors.Is(err, fs.ErrNotExist) {
				continue // It was too old meanwhile.
			} else if err != nil {
				return problems, fmt.Errorf("checking traces: %w", err)
			}
			problems = append(problems, found...)
		}
	}
	return problems, nil
}

// check looks at one segment.
func (s *series) check(seq int64, indexed bool) (problems []error, err error) {
	name := segmentName(s.name, seq)
	b, err := readSegment(s.dir, s.name, seq)
	if err != nil {
		return nil, err
	}
	found := scan(b)
	if found.damaged > 0 {
		problems = append(problems, fmt.Errorf("%s: lines that are damaged: %d", name+logSuffix, found.damaged))
	}
	if !indexed {
		return problems, nil
	}
	text, err := os.ReadFile(filepath.Join(s.dir, name+indexSuffix))
	if err != nil {
		return problems, err
	}
	seg, keys, err := parseIndex(text)
	if err != nil {
		return append(problems, fmt.Errorf("%s: %w", name+indexSuffix, err)), nil
	}
	if seg.size != int64(len(b)) || found.damaged == 0 && slices.ContainsFunc(found.keys, func(k key) bool { return !keys.has(k) }) {
		problems = append(problems, fmt.Errorf("%s: not the index of its segment", name+indexSuffix))
	}
	return problems, nil
}
