// Package logfmt writes log records as lines of key=value pairs, with a level
// for each package of the program:
//
//	t=2026-11-20T20:11:46.120Z l=info m="message delivered" pkg=receive cid=1a2b account=mox took=1.2ms
//
// It decides only what a line looks like and whether it is written. Where lines
// go, and what is worth a line, is up to its callers: package system makes the
// one handler of a process, and the servers log through the *slog.Logger they
// are given.
//
// A logger says whose it is with an attribute, log.With("pkg", "smtpserver").
// The value of an attribute "cid" is a connection id, printed in hexadecimal.
package logfmt

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// valueMax bounds one value, in bytes before quoting: a stack fits, a
	// message that someone logs by mistake doesn't fill the disk.
	valueMax = 16 * 1024

	// keepMax bounds the buffers kept for the next line, in bytes.
	keepMax = 4 * 1024

	timeFormat = "2006-01-02T15:04:05.000Z07:00"
)

// New returns a handler that writes each record as one line, in one call of
// w.Write, one at a time. Times are in UTC.
func New(w io.Writer, levels *Levels) slog.Handler {
	return &handler{out: &output{w: w}, levels: levels}
}

// handler is immutable; With makes another.
type handler struct {
	out    *output
	levels *Levels
	pkg    string
	attrs  []byte // Formatted already, each with a space before it.
	group  string // Prefix of keys, with a dot at its end, or empty.
}

// output is shared by a handler and all made from it.
type output struct {
	buffers sync.Pool // Of *[]byte.

	mu sync.Mutex // One line at a time.
	w  io.Writer
}

// Enabled tells whether a record of this level would be written.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.levels.of(h.pkg)
}

// WithAttrs returns a handler that adds attributes to each line. They are
// formatted here, once.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = slices.Clip(with.attrs)
	for _, a := range attrs {
		if h.group == "" && a.Key == "pkg" {
			with.pkg = a.Value.String()
			continue
		}
		with.attrs = appendAttr(with.attrs, h.group, a)
	}
	return &with
}

// WithGroup returns a handler that prefixes the keys of what follows.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.group += name + "."
	return &with
}

// Handle writes a record.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	buf, _ := h.out.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	line := h.appendLine((*buf)[:0], r)

	h.out.mu.Lock()
	_, err := h.out.w.Write(line)
	h.out.mu.Unlock()

	if cap(line) <= keepMax {
		*buf = line
		h.out.buffers.Put(buf)
	}
	if err != nil {
		return fmt.Errorf("writing log: %w", err)
	}
	return nil
}

func (h *handler) appendLine(b []byte, r slog.Record) []byte {
	if !r.Time.IsZero() {
		b = append(b, "t="...)
		b = r.Time.UTC().AppendFormat(b, timeFormat)
		b = append(b, ' ')
	}
	b = append(b, "l="...)
	b = append(b, LevelName(r.Level)...)
	b = append(b, " m="...)
	b = appendString(b, r.Message)
	if h.pkg != "" {
		b = append(b, " pkg="...)
		b = appendString(b, h.pkg)
	}
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.group, a)
		return true
	})
	return append(b, '\n')
}

// appendAttr appends a space, key, equal sign and value; for a group its
// members, with its name as prefix. Attributes without key and value, and
// empty groups, are left out, as slog.Handler asks.
func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if a.Key == "" && v.Kind() == slog.KindAny && v.Any() == nil {
		return b
	}
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			b = appendAttr(b, prefix, member)
		}
		return b
	}
	b = append(b, ' ')
	b = appendKey(b, prefix)
	b = appendKey(b, a.Key)
	b = append(b, '=')
	if a.Key == "cid" && v.Kind() == slog.KindInt64 {
		return strconv.AppendInt(b, v.Int64(), 16)
	}
	return appendValue(b, v)
}

// appendKey appends a key with an underscore for what would end it.
func appendKey(b []byte, key string) []byte {
	for _, c := range key {
		if needsQuote(c) {
			c = '_'
		}
		b = utf8.AppendRune(b, c)
	}
	return b
}

func appendValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindFloat64:
		return strconv.AppendFloat(b, v.Float64(), 'g', -1, 64)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindDuration:
		return append(b, roundDuration(v.Duration()).String()...)
	case slog.KindTime:
		return v.Time().UTC().AppendFormat(b, time.RFC3339Nano)
	case slog.KindString:
		return appendString(b, v.String())
	}
	if raw, ok := v.Any().([]byte); ok {
		return appendString(b, string(raw[:min(len(raw), valueMax+1)]))
	}
	return appendString(b, v.String())
}

// roundDuration keeps about four digits: more is noise, and longer to read.
func roundDuration(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for n := d.Abs(); n >= 10_000; n /= 10 {
		unit *= 10
	}
	return d.Round(unit)
}

// appendString appends s, quoted as in Go if it is not a plain word, and cut if
// it is longer than valueMax.
func appendString(b []byte, s string) []byte {
	cut := len(s) > valueMax
	if cut {
		s = s[:valueMax]
	}
	if !cut && isWord(s) {
		return append(b, s...)
	}
	b = strconv.AppendQuote(b, s)
	if cut {
		b = append(b, "..."...)
	}
	return b
}

func isWord(s string) bool {
	for _, c := range s {
		if needsQuote(c) {
			return false
		}
	}
	return s != ""
}

// needsQuote is true for what would end a value, and for what doesn't print.
// Invalid UTF-8 comes here as RuneError.
func needsQuote(c rune) bool {
	return c <= ' ' || c == '=' || c == '"' || c == '\\' || c == utf8.RuneError || c >= 0x7f && !unicode.IsPrint(c)
}
