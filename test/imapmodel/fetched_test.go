package imapmodel

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fetched looks at a FETCH response: whether the client had to be told, and whether
// it is true.
func (s *session) fetched(c *command, r *response) error {
	items, err := r.items()
	if err != nil {
		return err
	}
	m := s.about(r)
	if m == nil {
		return errors.New("the client doesn't know that message")
	}
	_, hasFlags := items["FLAGS"]
	_, hasModSeq := items["MODSEQ"]
	w := c.fetch[m]
	if w == nil && !c.loose && !c.may[m] && s.sel.pending[m] == 0 && !s.sel.again[m] {
		return fmt.Errorf("nothing happened to UID %d", m.uid)
	}
	for name, value := range items {
		if err := s.w.checkItem(m, name, value); err != nil {
			return fmt.Errorf("UID %d: %w", m.uid, err)
		}
	}
	asked := w != nil && !slices.ContainsFunc(w.items, func(name string) bool { _, ok := items[name]; return !ok })
	switch {
	case c.loose:
		return nil
	case asked:
		w.done = true
	case s.condstore && !hasModSeq:
		return errors.New("MODSEQ must be in it")
	}
	if (s.condstore || s.rev2) && !asked && !s.uidOnly && items["UID"].text == "" {
		return errors.New("UID must be in it")
	}
	if hasFlags && flagsOf(items["FLAGS"]) == m.flags {
		s.sel.again[m] = s.sel.again[m] || s.sel.pending[m] > 0
		delete(s.sel.pending, m)
	}
	return nil
}

// about returns the message that a FETCH response is about.
func (s *session) about(r *response) *message {
	if !s.uidOnly {
		return s.sel.told[r.number-1]
	}
	for _, m := range s.sel.told {
		if m.uid == r.number {
			return m
		}
	}
	return nil
}

func flagsOf(n node) string {
	var names []string
	for _, f := range n.list {
		names = append(names, f.text)
	}
	return flagSet(names...)
}

// checkItem compares a data item with the truth. Of what changed within this step,
// what was before is true too.
func (w *world) checkItem(m *message, name string, value node) error {
	switch name {
	case "FLAGS":
		return w.oneOf(m, name, flagsOf(value), func(s state) string { return s.flags })
	case "MODSEQ":
		return w.oneOf(m, name, value.String(), func(s state) string { return "(" + strconv.FormatInt(s.modseq, 10) + ")" })
	case "EMAILID":
		return learned(&m.email.id, name, value)
	case "THREADID":
		return learned(&m.email.thread, name, value)
	case "SAVEDATE":
		return within(&m.saved, name, value.text)
	case "INTERNALDATE":
		return within(&m.received, name, value.text)
	}
	want, ok := m.item(name)
	if !ok {
		return fmt.Errorf("unexpected item %s", name)
	}
	if value.text != want && value.String() != want {
		return fmt.Errorf("%s is %s, want %s", name, value, want)
	}
	return nil
}

// oneOf checks that a value is what it is now, or was within this step.
func (w *world) oneOf(m *message, name, got string, of func(state) string) error {
	if got == of(m.state) || slices.ContainsFunc(w.before[m], func(s state) bool { return got == of(s) }) {
		return nil
	}
	return fmt.Errorf("%s is %q, want %q", name, got, of(m.state))
}

// within checks that a time is one of those that it can be, and from then on is.
func within(limits *[2]int64, name, text string) error {
	at, err := time.Parse(`_2-Jan-2006 15:04:05 -0700`, text)
	if err != nil {
		return err
	}
	if sec := at.Unix(); sec < limits[0] || sec > limits[1] {
		return fmt.Errorf("%s is %d, want %d to %d", name, sec, limits[0], limits[1])
	}
	*limits = [2]int64{at.Unix(), at.Unix()}
	return nil
}

// learned checks that a value is the one that was told before.
func learned(have *string, name string, value node) error {
	if *have == "" {
		*have = value.String()
	}
	if *have != value.String() {
		return fmt.Errorf("%s is %s, and was %s", name, value, *have)
	}
	return nil
}

// item returns what a data item must be.
func (m *message) item(name string) (string, bool) {
	e := m.email
	if partial, rest, ok := strings.Cut(name, "]<"); ok {
		whole, known := m.item(partial + "]")
		at, err := strconv.Atoi(strings.TrimSuffix(rest, ">"))
		return part(whole, at), known && err == nil
	}
	switch name {
	case "UID":
		return strconv.FormatUint(uint64(m.uid), 10), true
	case "RFC822.SIZE":
		return strconv.Itoa(len(e.content)), true
	case "ENVELOPE":
		return e.envelope(), true
	case "BODY[]", "BINARY[]":
		return e.content, true
	case "BODY[HEADER]", "RFC822.HEADER":
		return e.header(), true
	case "BODY[TEXT]", "BODY[1]":
		return e.text(), true
	case "BODY[HEADER.FIELDS (Subject)]":
		return "Subject: " + e.subject + "\r\n\r\n", true
	}
	return "", false
}

// partSize is the size in bytes of the parts of messages that clients ask for.
const partSize = 50

// part returns the part of a text that a client gets.
func part(text string, at int) string {
	at = min(at, len(text))
	return text[at:min(at+partSize, len(text))]
}
