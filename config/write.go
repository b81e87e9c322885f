package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// docsWidth is how long lines of documentation are, in bytes after their tabs.
const docsWidth = 80

// errForm means that a value does not fit the form of the files, which has no
// quoting.
var errForm = errors.New("a value does not fit the form of the file")

// FormatStatic returns the text of mox.conf for s, without comments, that
// ParseStatic reads as s.
func FormatStatic(s Static) ([]byte, error) { return format(StaticName, s) }

// FormatDynamic returns the text of domains.conf for d, without comments, that
// ParseDynamic reads as d.
func FormatDynamic(d Dynamic) ([]byte, error) { return format(DynamicName, d) }

// format writes, and reads again: there are names and texts that cannot be
// written.
func format[T any](file string, value T) ([]byte, error) {
	var w writer
	w.fields(reflect.ValueOf(value), 0, false)
	if w.err == nil {
		w.err = readsAs(file, w.text.Bytes(), value)
	}
	if w.err != nil {
		return nil, fmt.Errorf("composing %s: %w", file, w.err)
	}
	return w.text.Bytes(), nil
}

// readsAs returns an error if text is not read as value.
func readsAs[T any](file string, text []byte, value T) error {
	again, _, problems := parse[T](file, text)
	if err := problems.err(); err != nil {
		return fmt.Errorf("%w: %w", errForm, err)
	}
	if !same(reflect.ValueOf(again), reflect.ValueOf(value)) {
		return errForm
	}
	return nil
}

// writer writes settings in the form that package sconf reads. That has a writer
// too, but one that loses digits and what is explicitly false.
type writer struct {
	text bytes.Buffer
	docs bool // Each setting has its documentation above.
	err  error
}

func (w *writer) line(depth int, text string) {
	w.text.WriteString(strings.Repeat("\t", depth) + text + "\n")
}

// fields writes the settings of a struct, without optional ones that say nothing.
// With some there is a line at least: without any it could not be read.
func (w *writer) fields(v reflect.Value, depth int, some bool) {
	before := w.text.Len()
	for f, value := range v.Fields() {
		if !omitted(f, value) {
			w.doc(f, depth)
			w.value(f.Name+":", value, depth)
		}
	}
	if some && w.text.Len() == before {
		w.value(v.Type().Field(0).Name+":", v.Field(0), depth)
	}
}

// omitted tells whether a setting is left out.
func omitted(f reflect.StructField, value reflect.Value) bool {
	return isOptional(f) && isZero(value)
}

func isOptional(f reflect.StructField) bool { return f.Tag.Get("sconf") == "optional" }

// value writes a value after its key, or the dash of a list.
func (w *writer) value(key string, v reflect.Value, depth int) {
	if text, ok := plain(v); ok {
		if strings.ContainsAny(text, "\r\n") {
			w.err = errForm
		}
		w.line(depth, key+" "+text)
		return
	}
	w.line(depth, key)
	switch v.Kind() {
	case reflect.Pointer:
		w.fields(v.Elem(), depth+1, true)
	case reflect.Struct:
		w.fields(v, depth+1, true)
	case reflect.Slice:
		for i := range v.Len() {
			w.value("-", v.Index(i), depth+1)
		}
	case reflect.Map:
		for _, key := range sortedKeys(v) {
			w.entry(key.String(), v.MapIndex(key), depth+1)
		}
	default:
		w.err = fmt.Errorf("%w: %v", errForm, v.Type())
	}
	if (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0 {
		w.err = fmt.Errorf("%w: %s must not be empty", errForm, key)
	}
}

// entry writes an entry of a map. A struct that says nothing is "nil".
func (w *writer) entry(key string, v reflect.Value, depth int) {
	if isNil(v) {
		w.line(depth, key+": nil")
		return
	}
	w.value(key+":", v, depth)
}

// isNil tells whether an entry of a map is written as "nil".
func isNil(v reflect.Value) bool {
	if v.Kind() != reflect.Struct {
		return false
	}
	for f, value := range v.Fields() {
		if !omitted(f, value) {
			return false
		}
	}
	return true
}

// plain returns the text of a value that fits one line, false for others.
func plain(v reflect.Value) (string, bool) {
	if v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() != reflect.Struct {
		v = v.Elem()
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return d.String(), true
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), true
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case reflect.Int, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), true
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64), true
	default:
		return "", false
	}
}

// doc writes the documentation of a setting, with an empty line above. Three line
// ends in a row separate what is about the file.
func (w *writer) doc(f reflect.StructField, depth int) {
	text := strings.TrimSpace(f.Tag.Get("sconf-doc") + markDoc(f))
	if isOptional(f) {
		text = strings.TrimSpace(text + " (optional)")
	}
	if !w.docs || text == "" {
		return
	}
	if w.text.Len() > 0 {
		w.text.WriteString("\n")
	}
	for i, section := range strings.Split(text, "\n\n\n") {
		if i > 0 {
			w.text.WriteString("\n\n")
		}
		line := "#"
		for _, word := range strings.Fields(section) {
			if len(line)+1+len(word) > docsWidth {
				w.line(depth, line)
				line = "#"
			}
			line += " " + word
		}
		w.line(depth, line)
	}
}
