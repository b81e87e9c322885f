package conformance

import (
	_ "embed" // For the list.
	"fmt"
	"strings"
)

//go:embed rfc9586.txt
var rfc9586Text string

// Facts returns the demands of RFC 9586 as rfc9586.txt has them: it stands in for
// the text.
func Facts() ([]Sentence, error) { return parseFacts(9586, rfc9586Text) }

// parseFacts parses lines as 3 #1 The server answers. Empty lines and those that begin
// with # are left out.
func parseFacts(rfc int, text string) (sentences []Sentence, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s := Sentence{RFC: rfc}
		if _, err := fmt.Sscanf(line, "%s #%d", &s.Section, &s.Ordinal); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		words := strings.SplitN(line, " ", 3)
		if len(words) < 3 {
			return nil, fmt.Errorf("%q: no text", line)
		}
		s.Text = words[2]
		sentences = append(sentences, s)
	}
	return sentences, nil
}
