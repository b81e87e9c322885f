package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/queue"
)

// durationMax bounds durations from outside. Nothing waits for ten years.
const durationMax = 3650 * 24 * time.Hour

// Duration is a duration as people write it: 90m, -1h30m, 2d, 1d12h or 0. Days
// come first and have 24 hours.
type Duration time.Duration

// MarshalText returns it in that form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText parses that form.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := parseDuration(string(text))
	*d = Duration(parsed)
	return err
}

func parseDuration(s string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(s, "-")
	if !negative {
		rest = strings.TrimPrefix(rest, "+")
	}
	d, ok := parseUnsigned(rest)
	if !ok {
		return 0, fmt.Errorf("%q is not a duration, as 90m, 1h30m or 2d", s)
	}
	if d > durationMax {
		return 0, fmt.Errorf("duration %q is more than %d days", s, durationMax/(24*time.Hour))
	}
	if negative {
		d = -d
	}
	return d, nil
}

func parseUnsigned(s string) (d time.Duration, ok bool) {
	if days, rest, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16) // No more fit in durationMax.
		if err != nil {
			return 0, false
		}
		d, s = time.Duration(n)*24*time.Hour, rest
		if s == "" {
			return d, true
		}
	}
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		return 0, false
	}
	more, err := time.ParseDuration(s)
	if err != nil || more > durationMax {
		return durationMax + 1, err == nil
	}
	return d + more, true
}

// When selects by a time relative to now: "<1h" is before the time in an hour,
// ">-2d" after that two days ago. The zero value, "", selects all.
type When struct {
	Side   byte // '<' before, '>' after, 0 for all.
	Offset time.Duration
}

// String returns it in that form.
func (w When) String() string {
	if w.Side == 0 {
		return ""
	}
	return string(w.Side) + w.Offset.String()
}

// MarshalText returns it in that form.
func (w When) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText parses that form.
func (w *When) UnmarshalText(text []byte) error {
	*w = When{}
	if len(text) == 0 {
		return nil
	}
	if text[0] != '<' && text[0] != '>' {
		return fmt.Errorf("%q needs < (before) or > (after) in front of a duration, as <1h or >-2d", text)
	}
	offset, err := parseDuration(string(text[1:]))
	if err != nil {
		return err
	}
	*w = When{text[0], offset}
	return nil
}

func (w When) filter(now time.Time) queue.TimeFilter {
	if w.Side == 0 {
		return queue.TimeFilter{}
	}
	return queue.TimeFilter{At: now.Add(w.Offset), Before: w.Side == '<'}
}
