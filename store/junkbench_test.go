package store

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/message"
)

// BenchmarkJunkScore scores a message of 10 KiB against a filter that knows 40,000
// words, in its file.
func BenchmarkJunkScore(b *testing.B) {
	_, a := testAccount(b, withJunk)
	word := func(n int) string {
		return fmt.Sprintf("%cor%cal%cim", 'a'+n%26, 'a'+n/26%26, 'a'+n/676%26) + strings.Repeat("e", n%5)
	}
	text := func(seed, words int) string {
		var t strings.Builder
		for i := range words {
			t.WriteString(word((seed*7919+i*i*31)%40_000) + " ")
		}
		return t.String()
	}
	if err := a.junk.open(b.Context(), junk.OneGrams); err != nil {
		b.Fatal(err)
	}
	for n := range 20 {
		lessons := make([]lesson, 50)
		for i := range lessons {
			content := junkMail(n, text(n*50+i, 800))
			part, err := message.Parse(bytes.NewReader(content), int64(len(content)))
			if err != nil {
				b.Fatal(err)
			}
			lessons[i].now = Trained{EmailID: int64(n*50 + i + 1), Junk: i%2 == 0, NotJunk: i%2 > 0}
			if lessons[i].words, err = junk.ReadWords(junk.Source{Content: bytes.NewReader(content), Part: &part}, junk.OneGrams); err != nil {
				b.Fatal(err)
			}
		}
		if err := a.junk.use(b.Context(), func(db *junkDB) error { return db.learn(b.Context(), lessons) }); err != nil {
			b.Fatal(err)
		}
	}
	content := junkMail(1, text(77, 1000))
	part, err := message.Parse(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if s, err := a.JunkScore(b.Context(), junk.Source{Content: bytes.NewReader(content), Part: &part}); err != nil || s.Trained.Junk != 500 {
			b.Fatal(s, err)
		}
	}
}
