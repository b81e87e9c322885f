package config

import (
	"slices"
	"strings"
)

// entry is a setting in the text of a file with all that is around it, so that
// settings can be changed and the rest stays. For the format it knows no more than
// indentation: what it makes is read again before it is used.
type entry struct {
	above    []string // Empty lines and comments before the line.
	line     string   // With its tabs. Empty for the file itself.
	key      string   // Of a struct or map; "-" in a list.
	children []*entry
	below    []string // Comments that are indented as the children are, after the last of them.
}

// parseEntries returns the file as an entry without line.
func parseEntries(text string) *entry {
	root := &entry{}
	open := []*entry{root} // By depth of their children.
	var pending []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		content := strings.TrimLeft(line, "\t")
		if content == "" && line == "" || strings.HasPrefix(strings.TrimSpace(line), "#") {
			pending = append(pending, line)
			continue
		}
		depth := min(len(line)-len(content), len(open)-1)
		e := &entry{above: attach(open, pending, depth), line: line, key: "-"}
		if !strings.HasPrefix(content, "-") {
			e.key, _, _ = strings.Cut(content, ":")
		}
		pending = nil
		open = append(open[:depth+1], e)
		open[depth].children = append(open[depth].children, e)
	}
	attach(open, pending, -1)
	return root
}

// attach gives comments that are indented deeper than what comes next to the
// entries that are open there, and returns the others.
func attach(open []*entry, pending []string, depth int) (above []string) {
	if owner := open[0]; depth >= 0 && len(owner.children) == 0 {
		return pending // Nothing is open.
	}
	owner, start := len(open)-1, 0
	for i, line := range pending {
		if line == "" {
			continue
		}
		tabs := len(line) - len(strings.TrimLeft(line, "\t"))
		if tabs <= depth {
			break
		}
		// The text must come out in its order, so what follows is never deeper.
		owner = min(owner, tabs)
		open[owner].below = append(open[owner].below, pending[start:i+1]...)
		start = i + 1
	}
	if depth < 0 { // The end of the file.
		open[0].below = append(open[0].below, pending[start:]...)
		return nil
	}
	return pending[start:]
}

// appendText appends the entry to lines.
func (e *entry) appendText(lines []string) []string {
	lines = append(lines, e.above...)
	if e.line != "" {
		lines = append(lines, e.line)
	}
	for _, child := range e.children {
		lines = child.appendText(lines)
	}
	return append(lines, e.below...)
}

// text returns the entry as text, each line with its end.
func (e *entry) text() string {
	lines := e.appendText(nil)
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// index returns where a child is, -1 if there is none.
func (e *entry) index(key string) int {
	return slices.IndexFunc(e.children, func(child *entry) bool { return child.key == key })
}

// remove removes a child with the comment right above it. Comments with an empty
// line after them are about more, as a heading, and stay.
func (e *entry) remove(i int) {
	above := e.children[i].above
	keep := len(above)
	for keep > 0 && above[keep-1] != "" {
		keep--
	}
	for keep > 0 && above[keep-1] == "" {
		keep-- // The line between is not needed any more.
	}
	kept := above[:keep]
	e.children = slices.Delete(e.children, i, i+1)
	if i < len(e.children) {
		e.children[i].above = slices.Concat(kept, e.children[i].above)
	} else {
		e.below = slices.Concat(kept, e.below)
	}
}

// insert puts new lines, of one setting, before the child at i. If the settings
// around are separated by empty lines, so is the new one.
func (e *entry) insert(i int, lines []string) {
	child := &entry{line: lines[0], below: lines[1:]}
	for _, other := range e.children[min(1, len(e.children)):] {
		if len(other.above) > 0 && other.above[0] == "" && i > 0 {
			child.above = []string{""}
			break
		}
	}
	e.children = slices.Insert(e.children, i, child)
}
