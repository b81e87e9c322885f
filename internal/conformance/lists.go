package conformance

import (
	"cmp"
	_ "embed" // For the lists.
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Entry is a line of exempt.txt or open.txt: a sentence that no test shows.
type Entry struct {
	RFC     int
	Section string
	Ordinal int
	Begin   string // How the sentence begins, so that a wrong number is noticed.
	Reason  string // Why a server can't violate it, or what is missing.
	Where   string // File and line.
}

var entryRegexp = regexp.MustCompile(`^([0-9]+) (\S+) #([0-9]+) ("(?:[^"\\]|\\.)*"): (\S.*)$`)

// ParseList parses lines as 9051 6.3.2 #2 "The server MUST": reason. Empty lines and
// those that begin with # are left out. The name is for Entry.Where.
func ParseList(name, data string) (entries []Entry, err error) {
	n := 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		e, err := parseEntry(line)
		e.Where = fmt.Sprintf("%s:%d", name, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Where, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func parseEntry(line string) (Entry, error) {
	m := entryRegexp.FindStringSubmatch(line)
	if m == nil {
		return Entry{}, fmt.Errorf(`want rfc section #n "first words": reason, not %s`, line)
	}
	rfc, err1 := strconv.Atoi(m[1])
	ordinal, err2 := strconv.Atoi(m[3])
	begin, err3 := strconv.Unquote(m[4])
	return Entry{RFC: rfc, Section: m[2], Ordinal: ordinal, Begin: begin, Reason: m[5]}, cmp.Or(err1, err2, err3)
}

// place names a sentence.
type place struct {
	rfc     int
	section string
	ordinal int
}

// Check compares sentences with what is shown and what is listed, and returns what
// is wrong, in order. Claims and entries of RFCs without sentences aren't looked at.
func Check(sentences []Sentence, claims []Claim, exempt, open []Entry) (problems []string) {
	texts := map[place]string{}
	known := map[int]bool{}
	for _, s := range sentences {
		texts[place{s.RFC, s.Section, s.Ordinal}] = s.Text
		known[s.RFC] = true
	}
	found := map[place]string{}
	for _, c := range claims {
		for _, n := range c.Ordinals {
			p := place{c.RFC, c.Section, n}
			if _, ok := texts[p]; !ok && known[c.RFC] {
				problems = append(problems, fmt.Sprintf("%s: RFC %d has no sentence #%d with MUST in section %s", c.Where, c.RFC, n, c.Section))
			}
			found[p] = c.Where
		}
	}
	for _, e := range slices.Concat(exempt, open) {
		p := place{e.RFC, e.Section, e.Ordinal}
		switch text, ok := texts[p]; {
		case !known[e.RFC]:
			continue
		case !ok || !strings.HasPrefix(text, e.Begin):
			problems = append(problems, fmt.Sprintf("%s: no such sentence; the text is %q", e.Where, text))
		case found[p] != "":
			problems = append(problems, fmt.Sprintf("%s: stands at %s too", e.Where, found[p]))
		}
		found[p] = e.Where
	}
	for _, s := range sentences {
		if found[place{s.RFC, s.Section, s.Ordinal}] == "" {
			problems = append(problems, fmt.Sprintf("neither shown nor listed: %s: %s", s, s.Text))
		}
	}
	return problems
}

//go:embed exempt.txt
var exemptText string

//go:embed open.txt
var openText string

// Lists returns exempt.txt, what a server can't violate, and open.txt, what no test
// shows yet.
func Lists() (exempt, open []Entry, err error) {
	exempt, err1 := ParseList("exempt.txt", exemptText)
	open, err2 := ParseList("open.txt", openText)
	return exempt, open, cmp.Or(err1, err2)
}
