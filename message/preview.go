package message

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

const (
	// PreviewMax bounds a preview in characters.
	PreviewMax = 256

	// previewReadMax bounds what is read of one part, in bytes of text. The style
	// sheet before the text of a newsletter can have 100 KiB.
	previewReadMax = 256 << 10

	// previewPartsMax bounds the parts that are tried.
	previewPartsMax = 5

	// previewLineMax bounds a line of plain text in bytes.
	previewLineMax = 64 << 10
)

// Preview returns the start of what a person wrote in the message, at most
// PreviewMax characters on one line: without quoted text, signatures and markup.
// It is empty if there is nothing, or it can't be read.
func Preview(r io.ReaderAt, p *Part) string {
	w := previewer{r: r, left: previewPartsMax}
	return w.part(p)
}

type previewer struct {
	r    io.ReaderAt
	left int // Parts that may still be tried.
}

// part returns the preview of the first part with text, preferring plain text
// among alternatives.
func (w *previewer) part(p *Part) string {
	switch {
	case w.left <= 0 || p.Disposition == "ATTACHMENT":
		return ""
	case p.Type == "TEXT" && (p.Subtype == "PLAIN" || p.Subtype == "HTML"):
		w.left--
		text := io.LimitReader(p.Text(w.r), previewReadMax)
		if p.Subtype == "HTML" {
			return previewHTML(text)
		}
		return previewPlain(text)
	case p.Type == "MULTIPART" && len(p.Parts) == 0:
		opaque := p.Opaque()
		return w.part(&opaque)
	}
	isPlain := func(c *Part) bool { return c.Type == "TEXT" && c.Subtype == "PLAIN" }
	if p.Subtype == "ALTERNATIVE" {
		for i := range p.Parts {
			if isPlain(&p.Parts[i]) {
				if s := w.part(&p.Parts[i]); s != "" {
					return s
				}
			}
		}
	}
	for i := range p.Parts {
		if p.Subtype == "ALTERNATIVE" && isPlain(&p.Parts[i]) {
			continue
		}
		if s := w.part(&p.Parts[i]); s != "" {
			return s
		}
	}
	return ""
}

// previewText collects text with white space collapsed. Characters that are not
// seen are left out: newsletters pad their previews with them.
type previewText struct {
	b     strings.Builder
	count int  // Characters in b.
	space bool // White space is due.
}

// add adds s. It returns false if there is no room for more.
func (t *previewText) add(s string) bool {
	for _, r := range s {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			t.space = t.count > 0
			continue
		case unicode.Is(unicode.Cf, r) || r == '\u034F' || r == '\u00AD' || r == utf8.RuneError:
			continue
		}
		need := 1
		if t.space {
			need = 2
		}
		if t.count+need > PreviewMax {
			return false
		}
		if t.space {
			t.b.WriteByte(' ')
		}
		t.b.WriteRune(r)
		t.count += need
		t.space = false
	}
	return true
}

func previewPlain(r io.Reader) string {
	var t previewText
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, previewLineMax)
	held := "" // A line with a colon, which may introduce a quote.
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, ">") {
			held = ""
			continue
		}
		if line == "-- " {
			break
		}
		if trimSpace(line) == "" && held != "" {
			continue
		}
		if !t.add(held) {
			break
		}
		t.space = t.count > 0
		if held = ""; strings.HasSuffix(trimSpace(line), ":") {
			held = line
			continue
		}
		if !t.add(line) {
			return t.b.String()
		}
		t.space = t.count > 0
	}
	t.add(held)
	return t.b.String()
}

// hiddenElements have content that is not text of the message, or is quoted.
var hiddenElements = []string{"head", "title", "style", "script", "svg", "template", "noscript", "blockquote"}

// inlineElements don't separate words.
var inlineElements = []string{"a", "abbr", "b", "big", "em", "font", "i", "s", "small", "span", "strong", "sub", "sup", "tt", "u", "wbr"}

func previewHTML(r io.Reader) string {
	var t previewText
	z := html.NewTokenizer(r)
	z.SetMaxBuf(previewReadMax)
	var hidden []string // Hidden elements we are in.
	for {
		switch z.Next() {
		case html.ErrorToken:
			return t.b.String()
		case html.TextToken:
			if len(hidden) == 0 && !t.add(html.UnescapeString(string(z.Raw()))) {
				return t.b.String()
			}
		case html.StartTagToken:
			name := tagName(z)
			// A body starts what is seen even if the head was not closed.
			if name == "body" {
				hidden = hidden[:0]
			} else if slices.Contains(hiddenElements, name) && len(hidden) < depthMax {
				hidden = append(hidden, name)
			}
			t.separate(name)
		case html.EndTagToken:
			name := tagName(z)
			if i := slices.Index(hidden, name); i >= 0 {
				hidden = hidden[:i]
			}
			t.separate(name)
		case html.SelfClosingTagToken:
			t.separate(tagName(z))
		}
	}
}

func tagName(z *html.Tokenizer) string {
	name, _ := z.TagName()
	return string(name)
}

// separate makes sure that text before and after an element does not run
// together.
func (t *previewText) separate(element string) {
	if !slices.Contains(inlineElements, element) {
		t.space = t.count > 0
	}
}
