package junk

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/message"
)

// source parses a message.
func source(t testing.TB, msg string) Source {
	t.Helper()
	r := strings.NewReader(msg)
	part, err := message.Parse(r, r.Size())
	if err != nil && !errors.Is(err, message.ErrMalformed) {
		t.Fatal(err)
	}
	return Source{Content: r, Part: &part}
}

// dedup sorts words and removes those that are there twice.
func (w *Words) dedup() {
	w.sort()
	w.List = slices.CompactFunc(w.List, func(a, b Word) bool { return a.Text == b.Text })
}

// texts returns the words of a message, sorted.
func texts(t testing.TB, s Source, grams Grams) []string {
	t.Helper()
	words, err := ReadWords(s, grams)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, w := range words.List {
		list = append(list, w.Text)
	}
	slices.Sort(list)
	return list
}

func TestReadWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		msg   string
		grams Grams
		want  string
	}{
		{"header fields, by name", "From: Ann Smith <ann@mail.example>\r\nto: bob@list.example\r\nX-Other: nothing here\r\n\r\n", OneGrams,
			"From:example From:mail From:smith To:example To:list"},
		{"all fields that are looked at", "Cc: aaaa\r\nBcc: bbbb\r\nReply-To: dada\r\nSender: eeee\r\nSubject: soso\r\nReturn-Path: <gaga@haha>\r\n\r\n", OneGrams,
			"Bcc:bbbb Cc:aaaa Reply-To:dada Return-Path:gaga Return-Path:haha Sender:eeee Subject:soso"},
		{"encoded words", "Subject: =?iso-8859-1?Q?Gr=FC=DFe?= =?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte("aus Köln")) + "?=\r\n\r\n", OneGrams,
			"Subject:grüßeaus Subject:köln"},
		{"plain text", "Subject: x\r\n\r\nCheap, CHEAP pills!\r\nDon't wait: it's now.\r\n", OneGrams, "cheap don't it's now pills wait"},
		{"apostrophes only inside", "Subject: x\r\n\r\n'quoted' rock'' 'n'roll it’s\r\n", OneGrams, "it's n'roll quoted rock"},
		{"short words and numbers", "Subject: x\r\n\r\na an and 2024 12 100 3com 7up\r\n", OneGrams, "3com 7up and"},
		{"what looks random", "Subject: x\r\n\r\nxkcdqz strengths bcdfg rhythm 1a2b3c deadbeef1 a1b22 ab1234 year2024\r\n", OneGrams, "bcdfg deadbeef1 rhythm strengths"},
		{"two words", "Subject: x\r\n\r\nbuy this now or buy this\r\n", TwoGrams, "buy this|now buy|this now"},
		{"one, two and three words", "Subject: x\r\n\r\nbuy this now\r\n", OneGrams | TwoGrams | ThreeGrams, "buy|buy this|buy this now|now|this|this now"},
		{"another charset", "Content-Type: text/plain; charset=koi8-r\r\n\r\n\xf0\xd2\xc9\xd7\xc5\xd4\r\n", OneGrams, "привет"},
		{"an unknown charset", "Content-Type: text/plain; charset=x-none\r\n\r\ncaf\xe9 bar\r\n", OneGrams, "bar café"},
		{"UTF-16 in base64", "Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\nYwBhAGYA6QA=\r\n", OneGrams, "café"},
		{"Japanese in ISO-2022-JP", "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$BF|K\\8l\x1b(B\r\n", OneGrams, "日本 本語"},
		{"a script without spaces among others", "Subject: x\r\n\r\nbuy 买东西now 好\r\n", OneGrams, "buy now 东西 买东"},
		{"hidden characters in words", "Subject: x\r\n\r\nvia\u200bgra pi\u00adlls\r\n", OneGrams, "pills viagra"},
		{"quoted-printable", "Content-Transfer-Encoding: quoted-printable\r\n\r\nche=\r\nap =70ills\r\n", OneGrams, "cheap pills"},
		{"HTML", "Content-Type: text/html\r\n\r\n<html><head><title>Big offer</title><style>p {color:green}</style></head><body>v<b></b>iagra&nbsp;now<p>one<p>two &eacute;t&eacute;<script>var hidden</script></body>", OneGrams,
			"big now offer one two viagra été"},
		{"HTML attributes", "Content-Type: text/html\r\n\r\n<img src='https://cdn.pix.example/aaa/bbb.png' alt='Cheap pills'><a href=\"mailto:joe@shop.example\" title=here>x</a><meta name=Description content='some text'><meta name=generator content=word>", OneGrams,
			"cdn cheap example here joe pills pix shop some text"},
		{"attributes don't part words", "Content-Type: text/html\r\n\r\nvia<a href=http://shop.example/>gra</a>", OneGrams, "example shop viagra"},
		{"an svg that is not closed", "Content-Type: text/html\r\n\r\n<svg><text>hidden</text><p>shown</p>", OneGrams, "shown"},
		{"a comment", "Content-Type: text/html\r\n\r\nvia<!-- hidden -->gra", OneGrams, "viagra"},
		{"several parts", "Content-Type: multipart/mixed; boundary=x\r\n\r\nbefore\r\n--x\r\n\r\nfirst\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>second\r\n--x\r\nContent-Type: image/png\r\n\r\nnothing\r\n--x\r\nContent-Type: text/csv\r\nContent-Disposition: attachment\r\n\r\nthird\r\n--x--\r\nafter", OneGrams, "first second third"},
		{"parts are no neighbours", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nfirst\r\n--x\r\n\r\nsecond third\r\n--x--\r\n", TwoGrams, "second third"},
		{"a multipart that is none", "Content-Type: multipart/mixed; boundary=x\r\n\r\nonly text\r\n", OneGrams, "only text"},
		{"a message within", "Content-Type: message/rfc822\r\nSubject: outer\r\n\r\nSubject: inner\r\n\r\nwords\r\n", OneGrams, "Subject:inner Subject:outer words"},
		{"an unknown encoding", "Content-Transfer-Encoding: x-none\r\n\r\nwords\r\n", OneGrams, "words"},
		{"nothing", "", OneGrams, ""},
	} {
		got := strings.Join(texts(t, source(t, test.msg), test.grams), " ")
		if strings.Contains(test.want, "|") || test.grams&TwoGrams != 0 {
			got = strings.Join(texts(t, source(t, test.msg), test.grams), "|")
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestReturnPath: the sender of the envelope stands for the field that delivery
// adds.
func TestReturnPath(t *testing.T) {
	t.Parallel()
	s := source(t, "Subject: x\r\n\r\n")
	s.MailFrom = "bounce@lists.example"
	if got := fmt.Sprint(texts(t, s, OneGrams)); got != "[Return-Path:bounce Return-Path:example Return-Path:lists]" {
		t.Errorf("got %s", got)
	}
}

func TestBadType(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"text/plain": false, "Text/HTML; charset=x": false, "multipart/mixed;": false, "text": false, "TEXT; x": false, " application / x ": false,
		"": true, "html": true, "text/": true, "/plain": true, "text plain/x": true, "text/plain/x": true, "\"text\"/plain": true,
	} {
		words, err := ReadWords(source(t, "Content-Type: "+value+"\r\n\r\n"), OneGrams)
		if err != nil || words.BadType != want {
			t.Errorf("%q: got %v, %v, want %v", value, words.BadType, err, want)
		}
	}
	inner := source(t, "Content-Type: message/rfc822\r\n\r\nContent-Type: nonsense\r\n\r\n")
	if words, err := ReadWords(inner, OneGrams); err != nil || !words.BadType {
		t.Errorf("of a message within: got %v, %v", words.BadType, err)
	}
}

// brokenReader fails after some bytes.
type brokenReader struct {
	*strings.Reader
	after int64
}

var errBroken = errors.New("broken")

func (r brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.after {
		return 0, errBroken
	}
	return r.Reader.ReadAt(p, off)
}

func TestReadWordsFails(t *testing.T) {
	t.Parallel()
	s := source(t, "Subject: x\r\n\r\n"+strings.Repeat("some words\r\n", 1000))
	for _, after := range []int64{0, 20, 1000} {
		s.Content = brokenReader{s.Content.(*strings.Reader), after}
		if _, err := ReadWords(s, OneGrams); !errors.Is(err, errBroken) {
			t.Errorf("after %d bytes: got error %v", after, err)
		}
		s.Content = s.Content.(brokenReader).Reader
	}
}

// countingReader counts what is read.
type countingReader struct {
	r    io.ReaderAt
	read int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.read += int64(n)
	return n, err
}

// repeated is content of any size that takes no memory: a head, and then a text
// again and again.
type repeated struct {
	head, text string
	size       int64
}

func (r repeated) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < r.size {
		if off < int64(len(r.head)) {
			n1 := copy(p[n:], r.head[off:])
			n, off = n+n1, off+int64(n1)
			continue
		}
		n1 := copy(p[n:], r.text[(off-int64(len(r.head)))%int64(len(r.text)):])
		n1 = int(min(int64(n1), r.size-off))
		n, off = n+n1, off+int64(n1)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestHostile: whatever is sent, limits hold: of what is read, and of words.
func TestHostile(t *testing.T) {
	t.Parallel()
	const size = 50 << 20
	million := &strings.Builder{}
	for n := range 1_000_000 {
		million.WriteString(benchWord(n) + " ")
	}
	deep := &strings.Builder{}
	for i := range 150 {
		fmt.Fprintf(deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	deep.WriteString("\r\ninnermost\r\n")
	nested := strings.Repeat("Content-Type: message/rfc822\r\nSubject: nested\r\n\r\n", 150)
	for _, test := range []struct {
		name    string
		content io.ReaderAt
		size    int64
		cut     bool
		words   int // At most.
	}{
		{"50 MB of text", repeated{"Subject: x\r\n\r\n", "some words\r\n", size}, size, true, 2},
		{"a word of 50 MB", repeated{"Subject: x\r\n\r\n", "a", size}, size, true, 0},
		{"base64 of nothing", repeated{"Content-Transfer-Encoding: base64\r\n\r\n", "\r\n", size}, size, true, 0},
		{"a tag of 50 MB", repeated{"Content-Type: text/html\r\n\r\n<a ", "href=x ", size}, size, true, 0},
		{"a million tags", repeated{"Content-Type: text/html\r\n\r\n", "<svg><b>", size}, size, true, 0},
		{"links that differ", repeated{"Content-Type: text/html\r\n\r\n", "<a href=http://one.example><a href=http://two.example>", size}, size, true, 3},
		{"a million words", strings.NewReader("Subject: x\r\n\r\n" + million.String()), int64(million.Len()), true, wordsMax},
		{"a subject of a million words", strings.NewReader("Subject: " + million.String()[:500_000] + "\r\n\r\n"), 500_000, true, wordsMax},
		{"150 multiparts within each other", strings.NewReader(deep.String()), int64(deep.Len()), false, 200},
		{"150 messages within each other", strings.NewReader(nested), int64(len(nested)), false, 10},
		{"100,000 parts", repeated{"Content-Type: multipart/mixed; boundary=x\r\n\r\n", "--x\r\n\r\nwords\r\n", 1 << 20}, 1 << 20, true, 1},
	} {
		part, err := message.Parse(test.content, test.size)
		if err != nil && !errors.Is(err, message.ErrMalformed) {
			t.Fatalf("%s: %v", test.name, err)
		}
		c := &countingReader{r: test.content}
		words, err := ReadWords(Source{Content: c, Part: &part}, OneGrams|TwoGrams|ThreeGrams)
		if err != nil || words.Cut != test.cut || len(words.List) > 3*max(1, test.words)+4 || len(words.List) > wordsMax {
			t.Errorf("%s: got %d words, cut %v, %v", test.name, len(words.List), words.Cut, err)
		}
		if most := int64(rawMax + 3*(1<<20)); c.read > most {
			t.Errorf("%s: %d bytes were read, at most %d should be", test.name, c.read, most)
		}
	}
}

// FuzzReadWords checks that words are as they should be, whatever comes.
func FuzzReadWords(f *testing.F) {
	for _, seed := range []string{
		"Subject: =?utf-8?Q?caf=C3=A9?= =?x?B?////?=\r\n\r\nWords it's 'now\xff\r\n",
		"Content-Type: text/html; charset=gb18030\r\n\r\n<p a=b alt='x y'>\x81\x30\x81\x30<svg><div>&#x1F600;&bad<script></scrip><!--\r\n",
		"Content-Type: text/html; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n\r\nPABhAD4A\r\n",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=iso-2022-kr\r\n\r\n\x1b$)C\x0e!!\r\n--x--\r\n",
		"Content-Type: message/rfc822\r\n\r\nContent-Type: x\r\n\r\n日本語ไทย买\r\n",
	} {
		f.Add([]byte(seed), uint8(7))
	}
	f.Fuzz(func(t *testing.T, content []byte, grams uint8) {
		r := bytes.NewReader(content)
		part, _ := message.Parse(r, r.Size())
		s := Source{Content: r, Part: &part}
		words, err := ReadWords(s, Grams(grams)&7)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range words.List {
			if i > 0 && words.List[i-1].key > w.key {
				t.Fatal("words are not in order")
			}
			text := w.Text[strings.IndexByte(w.Text, ':')+1:]
			if parts := strings.Split(text, " "); len(parts) > 3 {
				t.Fatalf("word %q is of %d", w.Text, len(parts))
			}
			if n := len([]rune(text)); n < 2 || n > 3*wordMax+3+3 {
				t.Fatalf("word %q has %d characters", w.Text, n)
			}
			if strings.ToValidUTF8(text, "") != text {
				t.Fatalf("word %q is not UTF-8", w.Text)
			}
		}
		again, err := ReadWords(s, Grams(grams)&7)
		if err != nil || !slices.Equal(words.List, again.List) && !words.Cut {
			t.Fatalf("another time the words are others: %v", err)
		}
		score := Decide(words, make([]Count, len(words.List)), Count{}, Params{})
		if score.Probability < 0 || score.Probability > 1 || len(score.Words) != 0 {
			t.Fatalf("a filter that knows nothing says %+v", score)
		}
	})
}
