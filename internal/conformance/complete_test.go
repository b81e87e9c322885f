package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// complete are the RFCs of which each sentence must be shown or listed.
var complete = []int{9051, 7162, 5465, 5256, 5267, 8474}

// TestComplete checks that each demand of the RFCs is shown by a test or listed,
// and that nothing is said to be shown that isn't there.
func TestComplete(t *testing.T) {
	t.Parallel()
	var sentences []Sentence
	for _, rfc := range complete {
		sentences = append(sentences, readSentences(t, rfc)...)
	}
	checkComplete(t, sentences)
}

// TestFactsComplete does the same for RFC 9586.
func TestFactsComplete(t *testing.T) {
	t.Parallel()
	sentences, err := Facts()
	if err != nil || len(sentences) < 12 {
		t.Fatalf("%d sentences, %v", len(sentences), err)
	}
	checkComplete(t, sentences)
}

func checkComplete(t *testing.T, sentences []Sentence) {
	t.Helper()
	claims, err := Collect(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	exempt, open, err := Lists()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range Check(sentences, claims, exempt, open) {
		t.Error(problem)
	}
}

// readSentences returns those of an RFC. It fails if a keyword of the text is in
// none of them.
func readSentences(t *testing.T, rfc int) []Sentence {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("../../../shared/rfc/rfc%d.txt", rfc))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("skipped: no ../shared/rfc")
	} else if err != nil {
		t.Fatal(err)
	}
	sentences := Sentences(rfc, string(data))
	n := 0
	for _, s := range sentences {
		n += len(keyword.FindAllString(s.Text, -1))
	}
	if want := len(keyword.FindAllString(string(data), -1)); n != want {
		t.Errorf("RFC %d: sentences have %d keywords, the text has %d", rfc, n, want)
	}
	if len(sentences) == 0 || strings.TrimSpace(sentences[0].Text) == "" {
		t.Errorf("RFC %d: no sentences", rfc)
	}
	return sentences
}
