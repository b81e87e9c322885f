package message

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// ErrDate means that a date could not be understood. Callers should use the time
// of receipt.
var ErrDate = errors.New("bad date")

// dateSizeMax bounds a date in bytes, comments included.
const dateSizeMax = 500

// ParseDate parses the value of a Date field: RFC 5322, section 3.3, with the
// obsolete forms, and what programs make of it. A bad zone counts as UTC, and a time
// of day that there is not as midnight (RFC 5256, section 2.2).
func ParseDate(s string) (time.Time, error) {
	s = trimSpace(s[:min(len(s), dateSizeMax)])
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d := date{day: -1, year: -1, hour: -1}
	for _, w := range dateWords(s) {
		if !d.word(w) {
			return time.Time{}, ErrDate
		}
	}
	return d.time()
}

// dateWords splits a date, leaving out comments, and white space around colons.
func dateWords(s string) []string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '(')
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		b.WriteByte(' ')
		_, s = splitComment(s[i:])
	}
	b.WriteString(s)
	clock := strings.Split(b.String(), ":")
	for i := range clock {
		clock[i] = trimSpace(clock[i])
	}
	return strings.FieldsFunc(strings.Join(clock, ":"), func(r rune) bool {
		return r == ' ' || r == ',' || r == '\t' || r == '\r' || r == '\n'
	})
}

// date is what is known so far. Day, year and hour are -1 if unknown, month 0.
type date struct {
	day, year      int
	month          time.Month
	hour, min, sec int
	zone           int // Seconds east of UTC.
	zoned          bool
}

// word takes a word into account. It returns false if the date is beyond hope.
func (d *date) word(w string) bool {
	switch c := w[0]; {
	case d.hour >= 0 && (c == '+' || c == '-'):
		d.setZone(w)
		return true
	case '0' <= c && c <= '9' && strings.IndexByte(w, ':') > 0:
		d.clock(w)
		return true
	case '0' <= c && c <= '9' && strings.IndexByte(w, '-') > 0: // 11-Apr-1996
		for part := range strings.SplitSeq(w, "-") {
			if part == "" || !d.word(part) {
				return false
			}
		}
		return true
	case '0' <= c && c <= '9':
		return d.number(w)
	}
	d.name(w)
	return true
}

// number takes a day or a year, whichever is missing.
func (d *date) number(w string) bool {
	n, err := strconv.Atoi(w)
	switch {
	case err != nil || n < 0:
		return false
	case d.day < 0 && len(w) <= 2:
		d.day = n
	case d.year < 0 && len(w) <= 4:
		d.year = n
		switch { // RFC 5322, section 4.3.
		case len(w) <= 2 && n < 50:
			d.year += 2000
		case len(w) <= 3:
			d.year += 1900
		}
	}
	return true
}

// clock takes a time of day: hours, minutes and optional seconds. One that there is
// not is midnight.
func (d *date) clock(w string) {
	if d.hour >= 0 {
		return
	}
	d.hour = 0
	w, _, _ = strings.Cut(w, ".")
	parts := strings.Split(w, ":")
	if len(parts) > 3 {
		return
	}
	values := [3]int{}
	for i, s := range parts {
		n, err := strconv.ParseUint(s, 10, 8)
		if err != nil || n > 60 {
			return
		}
		values[i] = int(n)
	}
	if values[0] <= 23 && values[1] <= 59 {
		d.hour, d.min, d.sec = values[0], values[1], min(values[2], 59) // 60 is a leap second.
	}
}

// setZone takes a numeric zone.
func (d *date) setZone(w string) {
	digits := strings.ReplaceAll(w[1:], ":", "")
	n, err := strconv.ParseUint(digits, 10, 16)
	if d.zoned || err != nil || len(digits) != 4 || n%100 > 59 || n/100 > 23 {
		return
	}
	d.zoned = true
	d.zone = int(n/100*3600 + n%100*60)
	if w[0] == '-' {
		d.zone = -d.zone
	}
}

const (
	monthNames = "janfebmaraprmayjunjulaugsepoctnovdec"
	zoneNames  = "EST EDT CST CDT MST MDT PST PDT "
)

// name takes a month, a zone, or PM. Days of the week don't matter, and unknown
// words are as good as absent.
func (d *date) name(w string) {
	if i := strings.Index(zoneNames, strings.ToUpper(w)+" "); i%4 == 0 && len(w) == 3 && !d.zoned {
		d.zoned = true
		d.zone = (-5 - i/8 + i/4%2) * 3600
		return
	}
	if len(w) >= 3 && d.month == 0 {
		if i := strings.Index(monthNames, strings.ToLower(w[:3])); i >= 0 && i%3 == 0 {
			d.month = time.Month(i/3 + 1)
			return
		}
	}
	switch {
	case strings.EqualFold(w, "pm") && 0 <= d.hour && d.hour < 12:
		d.hour += 12
	case strings.EqualFold(w, "am") && d.hour == 12:
		d.hour = 0
	case len(w) > 3 && d.hour >= 0 && (w[3] == '+' || w[3] == '-'): // GMT+0200
		d.setZone(w[3:])
	}
}

// time puts the parts together. Without a time of day it is midnight.
func (d *date) time() (time.Time, error) {
	if d.day < 1 || d.month == 0 || d.year < 0 {
		return time.Time{}, ErrDate
	}
	zone := time.UTC
	if d.zone != 0 {
		zone = time.FixedZone("", d.zone)
	}
	t := time.Date(d.year, d.month, d.day, max(d.hour, 0), d.min, d.sec, 0, zone)
	if t.Day() != d.day || t.Month() != d.month {
		return time.Time{}, ErrDate // There is no such day.
	}
	return t, nil
}
