package imapmodel

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// planted are mistakes that a server could make. What matches is changed in responses,
// each time or, if it is rare that it shows, sometimes.
var planted = []struct {
	name    string
	pattern string
	change  func(match string) []string // What comes instead of the response.
}{
	{"a removal is not told", `^\* \d+ EXPUNGE$`, lost},
	{"a removal is told twice", `^\* \d+ EXPUNGE$`, twice},
	{"the number of a removal is wrong", `^\* \d+ EXPUNGE$`, add(1)},
	{"a removal is told before flags", `^\* \d+ FETCH \(`, func(text string) []string { return []string{"* 1 EXPUNGE", text} }},
	{"a removal is not told by UID", `^\* VANISHED \d`, lost},
	{"a removal too many is told by UID", `^\* VANISHED \d+$`, replace(`\d+`, func(n int) string { return strconv.Itoa(n) + "," + strconv.Itoa(n+1) })},
	{"a removal is told by number to who wants UIDs", `^\* VANISHED \d`, func(string) []string { return []string{"* 1 EXPUNGE"} }},
	{"who comes back is not told who went", `^\* VANISHED \(EARLIER\)`, lost},
	{"who comes back is told that all went", `^\* VANISHED \(EARLIER\)`, func(string) []string { return []string{"* VANISHED (EARLIER) 1:1000"} }},
	{"new messages are not told", `^\* [1-9]\d* EXISTS$`, lost},
	{"there are fewer messages", `^\* [2-9]\d* EXISTS$`, add(-1)},
	{"there are more messages", `^\* \d+ EXISTS$`, add(1)},
	{"what FETCH has is not told", `^\* \d+ (UID)?FETCH \(`, lost},
	{"flags are for another message", `^\* [2-9]\d* (UID)?FETCH \(`, add(-1)},
	{"a UID is wrong", `FETCH \(UID \d+`, replace(`UID \d+`, func(n int) string { return "UID " + strconv.Itoa(n+1) })},
	{"a flag is missing", `FLAGS \(\\\w+`, func(text string) []string {
		return []string{regexp.MustCompile(`(FETCH .*FLAGS \()\\\w+ ?`).ReplaceAllString(text, "$1")}
	}},
	{"a keyword is not announced", `^\* FLAGS .* k1`, func(text string) []string { return []string{strings.Replace(text, " k1", "", 1)} }},
	{"a mod-sequence is too high", `MODSEQ \(\d+\)`, replace(`MODSEQ \(\d+`, func(n int) string { return "MODSEQ (" + strconv.Itoa(n+1) })},
	{"a mod-sequence is too low", `MODSEQ \(\d\d+\)`, replace(`MODSEQ \(\d+`, func(n int) string { return "MODSEQ (" + strconv.Itoa(n-1) })},
	{"more is promised than was told", `HIGHESTMODSEQ \d+`, replace(`HIGHESTMODSEQ \d+`, func(n int) string { return "HIGHESTMODSEQ " + strconv.Itoa(n+1) })},
	{"it is not told that removals are held back", `which can't be told now$`, lost},
	{"copies have other UIDs", `COPYUID \d+ \S+ \d+`, replace(`\d+\]`, func(n int) string { return strconv.Itoa(n+1) + "]" })},
	{"an appended message has another UID", `APPENDUID`, replace(`\d+\]`, func(n int) string { return strconv.Itoa(n+1) + "]" })},
	{"it is not told what was modified", `\[MODIFIED `, replaceText(`\[MODIFIED [^\]]*\]`, "")},
	{"a message that was found is missing", `^\* SEARCH.* \d+$`, replaceText(` \d+$`, "")},
	{"more was found than there is", `^\* ESEARCH .* COUNT`, replace(`COUNT \d+`, func(n int) string { return "COUNT " + strconv.Itoa(n+1) })},
	{"the first one found is another", `^\* ESEARCH .* MIN`, replace(`MIN \d+`, func(n int) string { return "MIN " + strconv.Itoa(n+1) })},
	{"a body has other bytes", `needle`, replaceText("needle", "Needle")},
	{"a body is another's", `Body \d+ with`, replace(`Body \d+`, func(n int) string { return "Body " + strconv.Itoa(n^1) })},
	{"an envelope is another's", `ENVELOPE`, replace(`subject \d+`, func(n int) string { return "subject " + strconv.Itoa(n^1) })},
	{"a size is wrong", `RFC822.SIZE`, replace(`SIZE \d+`, func(n int) string { return "SIZE " + strconv.Itoa(n+1) })},
	{"STATUS counts wrong", `^\* STATUS`, replace(`UNSEEN \d+`, func(n int) string { return "UNSEEN " + strconv.Itoa(n+1) })},
	{"a change in another mailbox is not told", `^\* STATUS \S+ \(MESSAGES \d+ UIDNEXT \d+ UIDVALIDITY \d+ UNSEEN \d+( HIGHESTMODSEQ \d+)?\)$`, lost},
	{"a mailbox is missing", `^\* LIST .* "/" Archive`, lost},
	{"UIDNEXT is too low", `UIDNEXT \d+`, replace(`UIDNEXT \d+`, func(n int) string { return "UIDNEXT " + strconv.Itoa(n-1) })},
	{"UIDVALIDITY changed", `UIDVALIDITY \d+`, replace(`UIDVALIDITY \d+`, func(n int) string { return "UIDVALIDITY " + strconv.Itoa(n+1) })},
	{"the mailbox that was open is not closed", `\[CLOSED\]`, lost},
	{"a failure is taken for success", `^\S+ NO `, replaceText(`^(\S+) NO (\[[^\]]*\])?`, "$1 OK ")},
}

func lost(string) []string       { return nil }
func twice(text string) []string { return []string{text, text} }

// add returns what adds to the first number.
func add(n int) func(string) []string {
	return replace(`\d+`, func(old int) string { return strconv.Itoa(old + n) })
}

// replace returns what writes the first match of a pattern anew, by the number in it.
func replace(pattern string, with func(n int) string) func(string) []string {
	re, digits := regexp.MustCompile(pattern), regexp.MustCompile(`\d+`)
	return func(text string) []string {
		at := re.FindStringIndex(text)
		if at == nil {
			return []string{text}
		}
		n, err := strconv.Atoi(digits.FindString(strings.TrimPrefix(text[at[0]:at[1]], "RFC822.")))
		if err != nil {
			return []string{text}
		}
		return []string{text[:at[0]] + with(n) + text[at[1]:]}
	}
}

func replaceText(pattern, with string) func(string) []string {
	re := regexp.MustCompile(pattern)
	return func(text string) []string { return []string{re.ReplaceAllString(text, with)} }
}

// plantedAfter is the number of responses that may be wrong and are not: mistakes are
// rare, and to find the first is easy.
const plantedAfter = 5

// TestPlantedMistakesAreFound plants mistakes into what clients receive: the model must
// notice each.
func TestPlantedMistakesAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := &runner{t: t, dir: dir}
	for _, p := range planted {
		re := regexp.MustCompile(p.pattern)
		r.tamper = func() func(string) []string {
			seen := 0
			return func(text string) []string {
				if !re.MatchString(text) {
					return []string{text}
				}
				if seen++; seen <= plantedAfter {
					return []string{text}
				}
				return p.change(text)
			}
		}
		var f *failure
		for seed := uint64(1); seed <= 3 && f == nil; seed++ {
			f = r.try(newSteps(seed, worldSteps))
		}
		if f == nil {
			t.Errorf("not found: %s", p.name)
		} else {
			t.Logf("%s: after %d steps: %v", p.name, len(f.steps), f.err)
		}
	}
}
