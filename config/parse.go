package config

import (
	"bytes"
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mjl-/sconf"
)

// ErrUnknown is the problem of a setting that doesn't exist.
var ErrUnknown = errors.New("unknown setting")

// ParseStatic reads mox.conf. The error, if any, is Problems.
func ParseStatic(text []byte) (Static, error) {
	s, _, problems := parse[Static](StaticName, text)
	return s, problems.err()
}

// ParseDynamic reads domains.conf. The error, if any, is Problems.
func ParseDynamic(text []byte) (Dynamic, error) {
	d, lines, problems := parse[Dynamic](DynamicName, text)
	completeAddresses(&d, lines)
	return d, problems.err()
}

// parse reads one file, also returning the lines of its settings by path. After
// settings that don't exist it goes on, so that all are reported at once; after
// other mistakes in the form of a file nothing more can be said about it.
func parse[T any](file string, text []byte) (T, map[string]int, Problems) {
	var value T
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return value, nil, Problems{{File: file, Err: errors.New("not a text in UTF-8")}}
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	s := newScanner(reflect.TypeFor[T]())
	known := s.scan(string(text))
	var problems Problems
	for _, u := range s.unknown {
		problems = append(problems, &Problem{File: file, Line: u.line, Path: u.path, Err: ErrUnknown})
	}
	if err := sconf.Parse(strings.NewReader(known), &value); err != nil {
		problems = append(problems, syntaxProblem(file, err))
	}
	return value, s.lines, problems
}

// sconfError is how package sconf writes its errors: path, line, text.
var sconfError = regexp.MustCompile(`(?s)^:([0-9]+): (.*)$`)

func syntaxProblem(file string, err error) *Problem {
	p := &Problem{File: file, Err: err}
	if m := sconfError.FindStringSubmatch(err.Error()); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Err = errors.New(m[2])
	}
	return p
}

// scanner finds the places of settings, and those that don't exist. It knows
// just enough of the format for that; package sconf parses.
type scanner struct {
	stack   []level
	lines   map[string]int // By path.
	unknown []place
}

// level is where the scanner is in the tree of settings.
type level struct {
	path  string
	typ   reflect.Type // Of the value, nil inside of what is unknown.
	items int          // Of a list, seen so far.
}

type place struct {
	path string
	line int
}

func newScanner(t reflect.Type) *scanner {
	return &scanner{stack: []level{{typ: t}}, lines: map[string]int{}}
}

// scan returns text with comments in place of what is unknown.
func (s *scanner) scan(text string) string {
	var known strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		n++
		content := strings.TrimLeft(line, "\t")
		depth := len(line) - len(content)
		content = strings.TrimSuffix(content, "\n")
		if content == "" || strings.HasPrefix(strings.TrimSpace(content), "#") || s.line(depth, content, n) {
			known.WriteString(line)
		} else {
			known.WriteString("#\n")
		}
	}
	return known.String()
}

// line takes one line in and returns whether it is known. Lines that are wrong
// in their form are left to package sconf.
func (s *scanner) line(depth int, content string, n int) bool {
	if depth >= len(s.stack) {
		return s.stack[len(s.stack)-1].typ != nil // Too deep, or text below a plain value.
	}
	s.stack = s.stack[:depth+1]
	in := &s.stack[depth]
	if in.typ == nil {
		return false
	}
	if in.typ.Kind() == reflect.Slice {
		next := level{path: in.path + "[" + strconv.Itoa(in.items) + "]", typ: element(in.typ)}
		in.items++
		s.add(next, n)
		return true
	}
	key, _, ok := strings.Cut(content, ":")
	if !ok || strings.HasPrefix(key, " ") {
		return true
	}
	next := level{path: key}
	if in.path != "" {
		next.path = in.path + "." + key
	}
	switch in.typ.Kind() {
	case reflect.Map:
		next.typ = element(in.typ)
	case reflect.Struct:
		f, ok := in.typ.FieldByName(key)
		if !ok {
			s.unknown = append(s.unknown, place{next.path, n})
			s.add(next, n)
			return false
		}
		next.typ = element(reflect.SliceOf(f.Type))
	default:
		return true
	}
	s.add(next, n)
	return true
}

func (s *scanner) add(l level, n int) {
	if _, ok := s.lines[l.path]; !ok {
		s.lines[l.path] = n
	}
	s.stack = append(s.stack, l)
}

// element returns the type of the elements of a map or list, without pointer.
func element(t reflect.Type) reflect.Type {
	t = t.Elem()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
