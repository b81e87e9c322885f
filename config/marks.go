package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"
)

// ErrLater is the problem of a setting for something that this version doesn't
// do yet.
var ErrLater = errors.New("not supported by this version yet")

// Marks are values of the tag "mox" of settings for what the program doesn't do
// yet. Documentation says so too. When it is built, the mark goes.
const (
	// markLater makes a setting a problem unless it has its zero value.
	markLater = "later"

	// markAlways is on settings to turn something off that isn't there: any value
	// is taken, and it is always off.
	markAlways = "always"
)

// markDoc returns what documentation says about the mark of a setting.
func markDoc(f reflect.StructField) string {
	switch f.Tag.Get("mox") {
	case markLater:
		return " Not supported by this version yet."
	case markAlways:
		return " Always so in this version."
	}
	return ""
}

// later tells whether a setting is marked so.
func later(f reflect.StructField) bool { return f.Tag.Get("mox") == markLater }

// marked refuses settings that are marked. What is below one isn't named again.
func (c *checker) marked(s scope, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			c.marked(s, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			c.marked(s.item(i), v.Index(i))
		}
	case reflect.Map:
		for _, key := range sortedKeys(v) {
			c.marked(s.in(key.String()), v.MapIndex(key))
		}
	case reflect.Struct:
		for f, value := range v.Fields() {
			switch {
			case isZero(value): // As most are.
			case later(f):
				s.in(f.Name).is(ErrLater)
			default:
				c.marked(s.in(f.Name), value)
			}
		}
	default: // A plain value.
	}
}

// sortedKeys returns the keys of a map with strings for keys.
func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return keys
}

// isZero tells whether a setting says no more than one that is absent.
func isZero(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		for _, field := range v.Fields() {
			if !isZero(field) {
				return false
			}
		}
		return true
	default:
		return v.IsZero()
	}
}

// same tells whether two values of one type say the same: an empty list or map is
// an absent one.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		return a.IsNil() == b.IsNil() && (a.IsNil() || same(a.Elem(), b.Elem()))
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for key, value := range a.Seq2() {
			if other := b.MapIndex(key); !other.IsValid() || !same(value, other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || a.Float() != a.Float() && b.Float() != b.Float() //nolint:staticcheck // What is not a number.
	default:
		return a.Equal(b)
	}
}
