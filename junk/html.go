package junk

import (
	"bytes"
	"io"
	"net/url"
	"slices"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// breakoutElements end an svg element that was not closed, as they do where the
// message is shown: else it would hide all that follows from here alone.
var breakoutElements = []string{
	"b", "big", "blockquote", "body", "br", "center", "code", "dd", "div", "dl", "dt", "em", "embed", "h1", "h2", "h3", "h4", "h5", "h6",
	"head", "hr", "i", "img", "li", "listing", "menu", "meta", "nobr", "ol", "p", "pre", "ruby", "s", "small", "span", "strong", "strike",
	"sub", "sup", "table", "tt", "u", "ul", "var",
}

// inlineElements don't separate words: "v<b></b>iagra" is read as one.
var inlineElements = []string{"a", "abbr", "b", "big", "em", "font", "i", "s", "small", "span", "strong", "sub", "sup", "tt", "u", "wbr"}

// textAttributes are shown or read to people.
var textAttributes = []string{"alt", "title", "aria-label", "placeholder", "summary"}

// linkAttributes name other places: the name of the host says who.
var linkAttributes = []string{"href", "src", "action", "background"}

// metaNames are those of meta elements whose content is text.
var metaNames = []string{"description", "keywords", "subject", "author", "og:title", "og:description", "og:site_name", "twitter:title", "twitter:description"}

// linkMax bounds a link that is looked at, in bytes. Longer ones have data in them.
const linkMax = 4096

// html reads the words of an HTML text: what is shown, what stands for pictures,
// and where links go.
func (w *reader) html(r io.Reader) {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(htmlTokenMax)
	h := htmlReader{w: w}
	for !w.tokens.full {
		switch kind := z.Next(); kind {
		case html.ErrorToken:
			w.cut = w.cut || z.Err() == html.ErrBufferExceeded //nolint:errorlint // The tokenizer returns it itself.
			h.readAsides()
			return
		case html.TextToken:
			if h.skipped == "" {
				w.chars(z.Text())
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			h.start(z, kind == html.StartTagToken)
		case html.EndTagToken:
			name, _ := z.TagName()
			h.separate(string(name))
			if string(name) == h.skipped {
				h.skipped = ""
			}
		}
	}
}

// chars reads text.
func (w *reader) chars(text []byte) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		w.tokens.char(r)
		text = text[n:]
	}
}

// htmlReader reads one HTML text.
type htmlReader struct {
	w       *reader
	skipped string   // The element that we are in whose content is not text of the message.
	asides  []string // Texts of attributes: read after the text, so as not to part its words.
}

// start reads a start tag.
func (h *htmlReader) start(z *html.Tokenizer, open bool) {
	tag, more := z.TagName()
	name := string(tag)
	h.separate(name)
	if h.skipped == "svg" && slices.Contains(breakoutElements, name) {
		h.skipped = ""
	}
	if h.skipped != "" {
		return
	}
	if open && (name == "script" || name == "style" || name == "svg") {
		h.skipped = name
	}
	if more {
		h.attributes(z, name)
	}
}

// separate ends a word before or after an element that separates words.
func (h *htmlReader) separate(element string) {
	if !slices.Contains(inlineElements, element) {
		h.w.tokens.end()
	}
}

// attributes takes the attributes of a tag.
func (h *htmlReader) attributes(z *html.Tokenizer, element string) {
	var metaName, metaContent string
	for more := true; more; {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch name := string(key); {
		case slices.Contains(textAttributes, name):
			h.aside(string(value))
		case slices.Contains(linkAttributes, name):
			h.aside(linkHost(value))
		case element == "meta" && (name == "name" || name == "property"):
			metaName = string(bytes.ToLower(value))
		case element == "meta" && name == "content":
			metaContent = string(value)
		}
	}
	if slices.Contains(metaNames, metaName) {
		h.aside(metaContent)
	}
}

// aside notes a text that is not part of the one being read. Many links go to the
// same host.
func (h *htmlReader) aside(s string) {
	if n := len(h.asides); s != "" && (n == 0 || h.asides[n-1] != s) {
		h.asides = append(h.asides, s)
	}
}

func (h *htmlReader) readAsides() {
	for _, s := range h.asides {
		h.w.tokens.begin("", wordMin)
		h.w.chars([]byte(s))
	}
}

// linkHost returns the host of a link, or the address of a mailto link.
func linkHost(link []byte) string {
	if len(link) > linkMax {
		return ""
	}
	u, err := url.Parse(string(bytes.TrimSpace(link)))
	switch {
	case err != nil:
		return ""
	case u.Scheme == "mailto":
		return u.Opaque
	}
	return u.Hostname()
}
