package imap

import (
	"strings"
	"time"
)

// dateTimeFormat is date-time of RFC 9051, section 9, with a day of two
// characters.
const dateTimeFormat = "_2-Jan-2006 15:04:05 -0700"

// AppendDateTime appends t as a quoted date-time, as in INTERNALDATE.
func AppendDateTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.AppendFormat(b, dateTimeFormat)
	return append(b, '"')
}

// DateTime reads a quoted date-time. Unless Pedantic the day may have one digit.
func (d *Decoder) DateTime() time.Time {
	s := d.quoted()
	if d.err != nil {
		return time.Time{}
	}
	layout := dateTimeFormat
	if !d.Pedantic {
		s, layout = strings.TrimLeft(s, " "), "2-Jan-2006 15:04:05 -0700"
	} else if len(s) != len(dateTimeFormat) {
		d.Fail("bad date-time")
		return time.Time{}
	}
	// A leap second, which time.Time has none of, is the second before it.
	t, err := time.Parse(layout, strings.Replace(s, ":60 ", ":59 ", 1))
	if err != nil || !yearOK(t) {
		d.Fail("bad date-time")
		return time.Time{}
	}
	return t
}

// Date is a day, without time and zone: what SEARCH compares.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// DateOf returns the day of t in the zone of t.
func DateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

// Compare returns -1, 0 or 1 for a day before, at and after o.
func (a Date) Compare(o Date) int { return a.Time().Compare(o.Time()) }

// Time returns the first moment of the day in UTC.
func (a Date) Time() time.Time { return time.Date(a.Year, a.Month, a.Day, 0, 0, 0, 0, time.UTC) }

// Append appends the day as SEARCH writes it: 1-Feb-1994.
func (a Date) Append(b []byte) []byte { return a.Time().AppendFormat(b, "2-Jan-2006") }

// Date reads a day, with or without quotes.
func (d *Decoder) Date() Date {
	var s string
	if d.Peek('"') {
		s = d.quoted()
	} else {
		s = d.Atom()
	}
	t, err := time.Parse("2-Jan-2006", s)
	if err != nil || !yearOK(t) {
		d.Fail("bad date")
		return Date{}
	}
	return DateOf(t)
}

// yearOK tells that the year is not zero, which package time accepts.
func yearOK(t time.Time) bool { return t.Year() > 0 }
