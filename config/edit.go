package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

// EditDynamic returns text changed such that ParseDynamic reads it as d. Settings
// that stay keep their lines, with the comments above them, and their order; new
// ones come last where they belong; those that go take their comments with them.
// Where that can't be done, as when text is not a domains.conf, it is that of
// FormatDynamic.
func EditDynamic(text []byte, d Dynamic) ([]byte, error) {
	edited, err := edit(DynamicName, text, d)
	if err != nil {
		return FormatDynamic(d)
	}
	return edited, nil
}

func edit[T any](file string, text []byte, value T) ([]byte, error) {
	old, _, problems := parse[T](file, text)
	if err := problems.err(); err != nil {
		return nil, err
	}
	root := parseEntries(strings.ReplaceAll(string(text), "\r\n", "\n"))
	ed := editor{}
	ed.fields(root, reflect.ValueOf(old), reflect.ValueOf(value), 0)
	if ed.err != nil {
		return nil, ed.err
	}
	edited := []byte(root.text())
	if bytes.Contains(text, []byte("\r\n")) {
		edited = bytes.ReplaceAll(edited, []byte("\n"), []byte("\r\n"))
	}
	return edited, readsAs(file, edited, value)
}

// editor changes entries. Its methods get the old value, as the entry has it, and
// the new one.
type editor struct{ err error }

// fail notes that the entry is not as expected, or the value can't be written.
func (ed *editor) fail(format string, args ...any) {
	ed.err = fmt.Errorf(format, args...)
}

// fields changes the settings of a struct, which are at a depth.
func (ed *editor) fields(e *entry, old, value reflect.Value, depth int) {
	last := -1 // Index of the setting before, as the type has them.
	for f, v := range value.Fields() {
		i := e.index(f.Name)
		switch {
		case i >= 0 && same(old.FieldByIndex(f.Index), v):
		case i >= 0 && omitted(f, v):
			e.remove(i)
			if i <= last {
				last--
			}
			continue
		case i >= 0:
			ed.value(e.children[i], f.Name+":", old.FieldByIndex(f.Index), v, depth)
		case omitted(f, v):
			continue
		default:
			i = len(e.children)
			if last >= 0 {
				i = last + 1
			}
			e.insert(i, ed.write(func(w *writer) { w.value(f.Name+":", v, depth) }))
			e.children[i].key = f.Name
		}
		last = i
	}
}

// write returns the lines of what is written.
func (ed *editor) write(fn func(w *writer)) []string {
	var w writer
	fn(&w)
	if w.err != nil {
		ed.err = w.err
	}
	lines := strings.Split(strings.TrimSuffix(w.text.String(), "\n"), "\n")
	return lines
}

// value changes a setting that has changed. Key is how its line begins.
func (ed *editor) value(e *entry, key string, old, v reflect.Value, depth int) {
	if _, ok := plain(v); ok {
		e.line = ed.write(func(w *writer) { w.value(key, v, depth) })[0]
		return
	}
	if v.Kind() == reflect.Pointer {
		if old.IsNil() || v.IsNil() {
			ed.fail("setting %s comes or goes", key)
			return
		}
		old, v = old.Elem(), v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		ed.fields(e, old, v, depth+1)
	case reflect.Map:
		ed.entries(e, old, v, depth+1)
	case reflect.Slice:
		ed.items(e, old, v, depth+1)
	default:
		ed.fail("setting %s has no form", key)
	}
	if len(e.children) == 0 {
		ed.fail("setting %s is empty", key)
	}
}

// entries changes the entries of a map.
func (ed *editor) entries(e *entry, old, value reflect.Value, depth int) {
	for _, key := range sortedKeys(old) {
		v := value.MapIndex(key)
		if v.IsValid() && same(old.MapIndex(key), v) {
			continue // Most are, and looking them up takes time.
		}
		switch i := e.index(key.String()); {
		case i < 0:
			ed.fail("key %q is not in the text", key)
			return
		case v.IsValid():
			ed.entry(e.children[i], key.String(), old.MapIndex(key), v, depth)
		default:
			e.remove(i)
		}
	}
	for _, key := range sortedKeys(value) {
		if !old.MapIndex(key).IsValid() {
			e.insert(len(e.children), ed.write(func(w *writer) { w.entry(key.String(), value.MapIndex(key), depth) }))
		}
	}
}

// entry changes an entry of a map, which is "nil" if it says nothing. Comments
// within stay in any case.
func (ed *editor) entry(e *entry, key string, old, v reflect.Value, depth int) {
	if _, ok := plain(v); !ok && isNil(v) {
		for len(e.children) > 0 {
			e.remove(0)
		}
		e.line = ed.write(func(w *writer) { w.entry(key, v, depth) })[0]
		return
	}
	if len(e.children) == 0 {
		e.line = ed.write(func(w *writer) { w.entry(key, v, depth) })[0]
	}
	ed.value(e, key+":", old, v, depth)
}

// items changes the items of a list. Those that stay are found again, in order.
func (ed *editor) items(e *entry, old, value reflect.Value, depth int) {
	if len(e.children) != old.Len() {
		ed.fail("the list has %d items in the text, and %d when it is read", len(e.children), old.Len())
		return
	}
	start := 0 // Of what is not the same.
	for start < min(old.Len(), value.Len()) && same(old.Index(start), value.Index(start)) {
		start++
	}
	end := 0 // Items after it.
	for end < min(old.Len(), value.Len())-start && same(old.Index(old.Len()-1-end), value.Index(value.Len()-1-end)) {
		end++
	}
	n := value.Len() - end
	if old.Len() == value.Len() && old.Type().Elem().Kind() == reflect.Struct {
		for i := start; i < n; i++ {
			if !same(old.Index(i), value.Index(i)) {
				ed.value(e.children[i], "-", old.Index(i), value.Index(i), depth)
			}
		}
		return
	}
	from, left := start, old.Len()-end // In old, those not yet looked at.
	i := start                         // In the text.
	for ; n > start; start++ {
		item := value.Index(start)
		found := from
		for found < left && !same(old.Index(found), item) {
			found++
		}
		if found == left {
			e.insert(i, ed.write(func(w *writer) { w.value("-", item, depth) }))
			i++
			continue
		}
		for ; from < found; from++ {
			e.remove(i)
		}
		from++
		i++
	}
	for ; from < left; from++ {
		e.remove(i)
	}
}
