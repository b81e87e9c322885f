package conformance

import (
	"fmt"
	"regexp"
	"strings"
)

// Sentence is one in which an RFC demands something.
type Sentence struct {
	RFC     int
	Section string
	Ordinal int    // Among such sentences of the section, from 1.
	Text    string // With single spaces.
}

var (
	// heading is the first line of a section. The other lines of an RFC's text are
	// indented, but for what pages have around them and grammar in old ones.
	heading = regexp.MustCompile(`^((?:[0-9]+|BASE|[A-Z])(?:\.[0-9A-Z]+)*)\.?\s{1,4}[A-Z"]`)

	// appendix is a heading too, and so is a line of words without a number.
	appendix     = regexp.MustCompile(`^Appendix ([A-Z])\.`)
	unnumbered   = regexp.MustCompile(`^([A-Z][a-z]+)(?:['’]?s?'? [A-Za-z]+)*$`)
	pageFooter   = regexp.MustCompile(`\[Page [0-9]+\]$`)
	pageHeader   = regexp.MustCompile(`^RFC [0-9]+ .*[0-9]{4}$`)
	keyword      = regexp.MustCompile(`\b(?:MUST|SHALL|REQUIRED)\b`)
	sentenceEnd  = regexp.MustCompile(`[.?!]["')]*\s+["'(\[\\]*[A-Z]`)
	ruleOfABNF   = regexp.MustCompile(`^\s*[A-Za-z0-9-]+\s+=/?\s`)
	commentAlone = regexp.MustCompile(`^\s*;`)
)

// Sentences returns the sentences of an RFC's text that have an upper-case MUST,
// SHALL or REQUIRED, also with NOT, in order.
func Sentences(rfc int, text string) []Sentence {
	s := splitter{rfc: rfc, section: "0"}
	for _, line := range unpaged(text) {
		s.line(line)
	}
	s.endParagraph()
	return s.sentences
}

// unpaged returns the lines of a text without what separates its pages. A paragraph
// that goes on on the next page stays whole.
func unpaged(text string) (lines []string) {
	between := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \r\n\f")
		line = strings.TrimLeft(line, "\f\ufeff")
		switch {
		case pageFooter.MatchString(line):
			for len(lines) > 0 && lines[len(lines)-1] == "" {
				lines = lines[:len(lines)-1]
			}
			between = true
		case between && (line == "" || pageHeader.MatchString(line)):
		case between:
			if len(lines) > 0 && strings.ContainsAny(lines[len(lines)-1][len(lines[len(lines)-1])-1:], ".:") {
				lines = append(lines, "")
			}
			between = false
			lines = append(lines, line)
		default:
			lines = append(lines, line)
		}
	}
	return lines
}

// splitter goes through lines and keeps where it is.
type splitter struct {
	rfc       int
	section   string
	ordinal   int
	paragraph []string
	sentences []Sentence
}

func (s *splitter) line(line string) {
	if section := sectionOf(line); section != "" {
		s.endParagraph()
		s.section, s.ordinal = section, 0
		return
	}
	if line == "" {
		s.endParagraph()
		return
	}
	s.paragraph = append(s.paragraph, line)
}

// sectionOf returns what section a line begins, or "".
func sectionOf(line string) string {
	for _, re := range []*regexp.Regexp{heading, appendix, unnumbered} {
		if m := re.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return ""
}

func (s *splitter) endParagraph() {
	lines := s.paragraph
	s.paragraph = nil
	if isGrammar(lines) {
		for _, comment := range grammarComments(lines) {
			s.add(comment)
		}
		return
	}
	s.add(strings.Join(lines, " "))
}

// isGrammar tells whether lines are ABNF.
func isGrammar(lines []string) bool {
	for _, line := range lines {
		if ruleOfABNF.MatchString(line) || commentAlone.MatchString(line) {
			return true
		}
	}
	return false
}

// grammarComments returns the comments of ABNF, those of following lines as one.
func grammarComments(lines []string) (comments []string) {
	current := ""
	for _, line := range lines {
		before, comment, ok := strings.Cut(line, ";")
		if strings.TrimSpace(before) != "" && current != "" || !ok {
			comments = append(comments, current)
			current = ""
		}
		current += " " + comment
	}
	return append(comments, current)
}

// add takes the sentences of a paragraph.
func (s *splitter) add(paragraph string) {
	text := strings.Join(strings.Fields(strings.ReplaceAll(" "+paragraph, " | ", " ")), " ")
	for text != "" {
		sentence := text
		if at := sentenceEnd.FindStringIndex(text); at != nil {
			sentence = text[:at[0]+1+len(closing.FindString(text[at[0]+1:]))]
		}
		text = strings.TrimSpace(text[len(sentence):])
		if keyword.MatchString(sentence) {
			s.ordinal++
			s.sentences = append(s.sentences, Sentence{s.rfc, s.section, s.ordinal, sentence})
		}
	}
}

// closing is what can stand between the end of a sentence and the space behind it.
var closing = regexp.MustCompile(`^["')]*`)

// String is how a sentence is named in lists.
func (s Sentence) String() string {
	return fmt.Sprintf("%d %s #%d %q", s.RFC, s.Section, s.Ordinal, firstWords(s.Text))
}

// firstWords returns at most eight words of a sentence.
func firstWords(text string) string {
	const count = 8
	words := strings.Fields(text)
	return strings.Join(words[:min(count, len(words))], " ")
}
