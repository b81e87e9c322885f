package junk

import (
	"fmt"
	"strings"
	"testing"
)

// trainedFilter returns a filter that has learned a vocabulary.
func trainedFilter(t testing.TB, vocabulary, messages int) *Filter {
	t.Helper()
	f := NewFilter(Memory{}, State{})
	for n := range messages {
		var words Words
		for i := range 300 {
			words.List = append(words.List, NewWord(benchWord((n*7919+i*i*31)%vocabulary)))
		}
		words.dedup()
		if err := f.Train(words, n%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	return f
}

// benchWord returns a word that is like those of a language: of syllables.
func benchWord(n int) string {
	var b strings.Builder
	for range 4 {
		b.WriteByte("bcdfghklmnprstvw"[n%16])
		b.WriteByte("aeiou"[n/16%5])
		n /= 80
	}
	return b.String() + strings.Repeat("a", n%7)
}

// benchText returns so many bytes of text.
func benchText(size int) string {
	var b strings.Builder
	for n := 0; b.Len() < size; n++ {
		fmt.Fprintf(&b, "%s ", benchWord(n*n*31%50_000))
		if n%12 == 11 {
			b.WriteString("\r\n")
		}
	}
	return b.String()
}

func BenchmarkScore(b *testing.B) {
	f := trainedFilter(b, 50_000, 2000)
	s := source(b, "From: <a@example.org>\r\nSubject: a subject\r\n\r\n"+benchText(10<<10))
	b.ReportAllocs()
	for b.Loop() {
		words, err := ReadWords(s, OneGrams)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Score(words, Params{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadWordsHTML(b *testing.B) {
	s := source(b, "Content-Type: text/html\r\n\r\n"+strings.ReplaceAll(benchText(10<<10), "\r\n", "</p>\r\n<p class='x'>"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadWords(s, OneGrams|TwoGrams); err != nil {
			b.Fatal(err)
		}
	}
}
