package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// former brings what a server answers into a form in which it can be compared
// with what another one does: what differs between any two servers is left out
// (texts for people, values of UIDVALIDITY and mod-sequences), and so is what a
// server is free in (the order of items, of flags and of untagged responses, how
// often EXISTS is told, how a string is written).
//
// It knows messages by numbers that do not move: the first that a session is told
// of is 1, whatever goes.
type former struct {
	known []int // By sequence number, less 1.
	next  int
	byUID bool // After ENABLE QRESYNC: what goes is told by its UID.

	modseq   string // The highest that was told.
	validity string // The UIDVALIDITY that was told last.
}

// form returns the responses to a command as sorted lines, with the tagged one at
// the end.
func (f *former) form(untagged []response, tagged response) []string {
	var lines []string
	last := map[string]int{} // Where the flags of a message stand: what was told last holds.
	for _, r := range untagged {
		for _, line := range f.untagged(r) {
			if id, _, ok := strings.Cut(line, " FLAGS "); ok {
				if at, told := last[id]; told {
					lines[at] = line
					continue
				}
				last[id] = len(lines)
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	if len(tagged) < 3 {
		return append(lines, "tagged "+value(tagged))
	}
	return append(lines, fmt.Sprint("tagged ", tagged[1], f.code(fmt.Sprint(tagged[2]))))
}

func (f *former) untagged(r response) []string {
	if len(r) < 2 {
		return []string{value(r)}
	}
	if len(r) > 2 && r[0] == atom("*") {
		if n, err := strconv.Atoi(fmt.Sprint(r[1])); err == nil {
			return f.numbered(n, r)
		}
	}
	name := strings.ToUpper(fmt.Sprint(r[1]))
	switch name {
	case "OK", "NO", "BAD", "BYE":
		return f.status(name, fmt.Sprint(r[2]))
	case "LIST", "LSUB":
		return mailbox(name, r)
	case "FLAGS":
		return []string{"FLAGS " + flags(without(r[2], readyKeywords))}
	case "STATUS":
		return f.statusItems(r)
	case "SEARCH":
		return []string{"SEARCH " + f.found(r[2:])}
	case "ESEARCH":
		return f.esearch(r[2:])
	case "VANISHED":
		return f.vanished(r[2:])
	case "CAPABILITY":
		return nil
	case "ENABLED":
		f.byUID = f.byUID || slices.Contains(r[2:], any(atom("QRESYNC")))
		return []string{fmt.Sprint("ENABLED ", sorted(r[2:]))}
	}
	return []string{name + " " + value(r[2:])}
}

// status is an untagged status response. Without a code it is for people.
func (f *former) status(name, text string) []string {
	code := f.code(text)
	if code == "" && name == "OK" {
		return nil
	}
	return []string{name + code}
}

var (
	codePattern   = regexp.MustCompile(`^\[([^] ]+)( [^]]*)?\]`)
	permanentCode = regexp.MustCompile(`^ \((.*)\)$`)
)

// code returns the response code of a text, with a space before it.
func (f *former) code(text string) string {
	m := codePattern.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	name, args := strings.ToUpper(m[1]), strings.Fields(m[2])
	switch {
	case name == "CAPABILITY" || name == "MAILBOXID" || name == "ALERT" || len(args) == 0 && name == "SERVERBUG":
		return ""
	case name == "PERMANENTFLAGS":
		var list []any
		for flag := range strings.FieldsSeq(permanentCode.ReplaceAllString(m[2], "$1")) {
			list = append(list, atom(flag))
		}
		return " [" + name + " " + flags(without(list, readyKeywords)) + "]"
	case name == "HIGHESTMODSEQ" && len(args) == 1:
		f.highest(args[0])
		return " [HIGHESTMODSEQ M]"
	case name == "UIDVALIDITY" && len(args) == 1:
		f.validity, args = args[0], []string{"V"}
	case name == "BADCHARSET":
		args = nil
	case (name == "APPENDUID" || name == "COPYUID") && len(args) > 1:
		args[0] = "V"
	}
	for i, arg := range args {
		if setPattern.MatchString(arg) {
			args[i] = set(arg)
		}
	}
	return " [" + strings.TrimSpace(name+" "+strings.Join(args, " ")) + "]"
}

func (f *former) highest(modseq string) {
	if len(modseq) > len(f.modseq) || len(modseq) == len(f.modseq) && modseq > f.modseq {
		f.modseq = modseq
	}
}

// numbered is a response about a message, or about how many there are.
func (f *former) numbered(n int, r response) []string {
	switch fmt.Sprint(r[2]) {
	case "EXISTS":
		for len(f.known) < n {
			f.next++
			f.known = append(f.known, f.next)
		}
		if len(f.known) > n {
			return []string{fmt.Sprintf("%d EXISTS, and %d were known", n, len(f.known))}
		}
		return nil // Told of by what follows each command.
	case "RECENT":
		return nil
	}
	if n < 1 || n > len(f.known) {
		return []string{fmt.Sprintf("number %d of %d in %s", n, len(f.known), value(r))}
	}
	id := f.known[n-1]
	switch fmt.Sprint(r[2]) {
	case "EXPUNGE":
		f.known = slices.Delete(f.known, n-1, n)
		return []string{fmt.Sprintf("#%d EXPUNGE", id)}
	case "FETCH":
		return f.fetched(id, r[3].([]any))
	}
	return []string{value(r)}
}

// fetched has a line for each item.
func (f *former) fetched(id int, items []any) (lines []string) {
	if i := slices.Index(items, any(atom("UID"))); f.byUID && i >= 0 && i+1 < len(items) {
		id, _ = strconv.Atoi(fmt.Sprint(items[i+1]))
	}
	for i := 0; i+1 < len(items); i += 2 {
		name, v := strings.ToUpper(fmt.Sprint(items[i])), items[i+1]
		text := value(v)
		switch {
		case name == "FLAGS":
			text = flags(v)
		case name == "MODSEQ":
			if list, ok := v.([]any); ok && len(list) == 1 {
				f.highest(fmt.Sprint(list[0]))
			}
			text = "(M)"
		case name == "BODY" || name == "BODYSTRUCTURE":
			if list, ok := v.([]any); ok {
				text = structure(list)
			}
		case name == "INTERNALDATE": // Of a day below 10: RFC 9051, date-day-fixed.
			text = strings.Replace(text, `" `, `"0`, 1)
		case name == "SAVEDATE" && v != nil:
			text = "date"
		}
		lines = append(lines, fmt.Sprintf("#%d %s %s", id, name, text))
	}
	return lines
}

// mailbox has a line for the name, and one for each attribute, but for those that a
// server may guess.
func mailbox(kind string, r response) []string {
	name := kind + " " + value(r[4])
	lines := []string{name + " separator " + value(r[3])}
	list, _ := r[2].([]any)
	for _, a := range list {
		if a := strings.ToLower(fmt.Sprint(a)); a != `\marked` && a != `\unmarked` {
			lines = append(lines, name+" "+a)
		}
	}
	for _, extended := range r[5:] {
		lines = append(lines, name+" "+value(extended))
	}
	return lines
}

// flags are compared without regard to case, and without \Recent, that a server
// gives to whom it likes.
func flags(v any) string {
	list, _ := v.([]any)
	var names []any
	for _, a := range list {
		if name := strings.ToLower(fmt.Sprint(a)); name != `\recent` {
			names = append(names, atom(name))
		}
	}
	return sorted(names)
}

// readyKeywords are those that we announce in each mailbox. A server may: RFC
// 9051, section 7.3.5.
var readyKeywords = []string{"$forwarded", "$junk", "$notjunk", "$phishing", "$mdnsent"}

// without returns a list of flags without some.
func without(v any, names []string) any {
	list, _ := v.([]any)
	return slices.DeleteFunc(slices.Clone(list), func(flag any) bool { return slices.Contains(names, strings.ToLower(fmt.Sprint(flag))) })
}

// sorted returns values in an order of its own, in parentheses.
func sorted(list []any) string {
	var texts []string
	for _, v := range list {
		texts = append(texts, value(v))
	}
	slices.Sort(texts)
	return "(" + strings.Join(texts, " ") + ")"
}

func (f *former) statusItems(r response) (lines []string) {
	items, _ := r[3].([]any)
	for i := 0; i+1 < len(items); i += 2 {
		name, v := strings.ToUpper(fmt.Sprint(items[i])), value(items[i+1])
		switch name {
		case "HIGHESTMODSEQ":
			f.highest(fmt.Sprint(items[i+1]))
			v = "M"
		case "UIDVALIDITY":
			f.validity, v = fmt.Sprint(items[i+1]), "V"
		case "RECENT":
			continue
		}
		lines = append(lines, fmt.Sprintf("STATUS %s %s %s", value(r[2]), name, v))
	}
	return lines
}

// found has the numbers of SEARCH in order: RFC 9051, section 7.3.4, has none.
func (f *former) found(list []any) string {
	var numbers []int
	text := ""
	for _, v := range list {
		n, err := strconv.Atoi(fmt.Sprint(v))
		if err == nil {
			numbers = append(numbers, n)
		} else {
			text = " (MODSEQ M)"
		}
	}
	slices.Sort(numbers)
	return strings.Trim(fmt.Sprint(numbers), "[]") + text
}

// esearch has a line for each item.
func (f *former) esearch(list []any) (lines []string) {
	uid := ""
	for len(list) > 0 {
		if _, ok := list[0].([]any); ok { // The tag.
			list = list[1:]
			continue
		}
		if list[0] == atom("UID") {
			uid, list = " UID", list[1:]
			continue
		}
		if len(list) < 2 {
			return append(lines, "ESEARCH "+value(list))
		}
		v := value(list[1])
		if a, ok := list[1].(atom); ok && list[0] == atom("ALL") && setPattern.MatchString(string(a)) {
			v = set(string(a))
		}
		if list[0] == atom("MODSEQ") {
			v = "M"
		}
		lines = append(lines, fmt.Sprint("ESEARCH", uid, " ", list[0], " ", v))
		list = list[2:]
	}
	return append(lines, "ESEARCH"+uid)
}

func (f *former) vanished(list []any) (lines []string) {
	kind := "VANISHED"
	if _, ok := list[0].([]any); ok {
		kind, list = "VANISHED (EARLIER)", list[1:]
	}
	for _, v := range list {
		for _, uid := range numbers(fmt.Sprint(v)) {
			lines = append(lines, fmt.Sprintf("%s %d", kind, uid))
		}
	}
	return lines
}

var setPattern = regexp.MustCompile(`^\d+([:,]\d+)*$`)

// numbers returns what a set has, in order. Ranges are small here.
func numbers(text string) (list []int) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(part, ":")
		from, _ := strconv.Atoi(first)
		to := from
		if ok {
			to, _ = strconv.Atoi(last)
		}
		for n := min(from, to); n <= max(from, to) && len(list) < 100000; n++ {
			list = append(list, n)
		}
	}
	return list
}

// set writes a set in one way of many.
func set(text string) string {
	list := numbers(text)
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(list), "[]"), " ", ",")
}

// value writes a value so that only NIL, a string and a list differ.
func value(v any) string {
	switch v := v.(type) {
	case nil:
		return "NIL"
	case []any:
		var parts []string
		for _, sub := range v {
			parts = append(parts, value(sub))
		}
		return "(" + strings.Join(parts, " ") + ")"
	case response:
		return value([]any(v))
	}
	return strconv.Quote(fmt.Sprint(v))
}

// structure writes a BODY or BODYSTRUCTURE: the names of types, encodings and
// parameters have no case, nor have some values; extension data may stop early.
func structure(list []any) string {
	if len(list) == 0 {
		return "()"
	}
	if _, multipart := list[0].([]any); multipart {
		return multipartStructure(list)
	}
	text := "("
	for i, v := range list {
		if i > 0 {
			text += " "
		}
		switch s, isString := v.(string); {
		case isString && (i == 0 || i == 1 || i == 5):
			text += strings.ToUpper(value(s))
		case i == 2:
			text += parameters(v)
		case i == 8 && isMessage(list):
			nested, _ := v.([]any)
			text += structure(nested)
		default:
			text += extension(v)
		}
	}
	return withoutEnd(text)
}

func isMessage(list []any) bool {
	return strings.EqualFold(fmt.Sprint(list[0]), "message") && (strings.EqualFold(fmt.Sprint(list[1]), "rfc822") || strings.EqualFold(fmt.Sprint(list[1]), "global"))
}

func multipartStructure(list []any) string {
	text := "("
	i := 0
	for ; i < len(list); i++ {
		part, ok := list[i].([]any)
		if !ok {
			break
		}
		text += structure(part) + " "
	}
	for j, v := range list[i:] {
		switch j {
		case 0:
			text += strings.ToUpper(value(v))
		case 1:
			text += " " + parameters(v)
		default:
			text += " " + extension(v)
		}
	}
	return withoutEnd(text)
}

// withoutEnd ends a structure, without values at its end that say nothing.
func withoutEnd(text string) string {
	for strings.HasSuffix(text, " NIL") {
		text = strings.TrimSuffix(text, " NIL")
	}
	return text + ")"
}

// parameters are in an order of their own, with names in one case.
func parameters(v any) string {
	list, _ := v.([]any)
	if v == nil || len(list) == 0 {
		return "NIL"
	}
	var pairs []string
	for i := 0; i+1 < len(list); i += 2 {
		name := strings.ToLower(fmt.Sprint(list[i]))
		val := value(list[i+1])
		if name == "charset" {
			if val = strings.ToLower(val); val == `"us-ascii"` {
				continue // RFC 2046, section 4.1.2: as without one.
			}
		}
		pairs = append(pairs, name+"="+val)
	}
	if len(pairs) == 0 {
		return "NIL"
	}
	slices.Sort(pairs)
	return "(" + strings.Join(pairs, " ") + ")"
}

// extension writes extension data: a disposition is a name and parameters.
func extension(v any) string {
	list, ok := v.([]any)
	if !ok || len(list) != 2 {
		return value(v)
	}
	if _, ok := list[1].([]any); !ok && list[1] != nil {
		return value(v)
	}
	return "(" + strings.ToLower(value(list[0])) + " " + parameters(list[1]) + ")"
}
