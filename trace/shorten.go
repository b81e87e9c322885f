package trace

import (
	"reflect"
	"strings"
	"unicode/utf8"
)

// shortenings are the bounds on texts in bytes, and on lists, of events that are too
// large: the first with which they are not is taken. The last is enough for any.
var shortenings = []shortening{{1000, 50}, {300, 10}, {50, 1}}

type shortening struct{ text, list int }

// of returns an event with its texts and lists cut. What it shares with e is not
// changed.
func (s shortening) of(e *Event) Event {
	out := *e
	s.shorten(reflect.ValueOf(&out).Elem())
	return out
}

// shorten cuts what is in v, which may be set, and copies what it leads to.
func (s shortening) shorten(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(cut(v.String(), s.text))
	case reflect.Pointer:
		if !v.IsNil() {
			p := reflect.New(v.Type().Elem())
			p.Elem().Set(v.Elem())
			s.shorten(p.Elem())
			v.Set(p)
		}
	case reflect.Slice:
		n := min(v.Len(), s.list)
		list := reflect.MakeSlice(v.Type(), n, n)
		reflect.Copy(list, v)
		for i := range n {
			s.shorten(list.Index(i))
		}
		v.Set(list)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() { // Those of time.Time can't.
				s.shorten(f)
			}
		}
	default: // Of a fixed size.
	}
}

// textMax bounds a text that comes from the header of a message, in bytes.
const textMax = 300

// Clip returns a text from the header of a message as an event may have it: bounded,
// and by itself, so that the event does not keep the whole header in memory.
func Clip(s string) string { return strings.Clone(cut(s, textMax)) }

// cut shortens a text to at most n bytes and a mark that it was.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
