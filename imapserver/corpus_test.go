package imapserver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mjl-/mox/message"
)

// corpusSize is the number of messages of both corpora.
const corpusSize = 65

// corpus returns the messages of published MIME corpora, by name. They are not
// part of the repository; the test is skipped where they are absent.
func corpus(t *testing.T) map[string][]byte {
	t.Helper()
	const dir = "../../shared/testdata"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("skipped: no ../shared/testdata")
	}
	files := map[string][]byte{}
	for _, pattern := range []string{"mime-mail-parser/*/*.eml", "mime-mail-parser/*/*/*.eml", "mime-mime4j/*.msg", "mime-mime4j/*/*.msg"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[strings.ReplaceAll(strings.TrimPrefix(filepath.ToSlash(name), dir+"/"), "/", "-")] = data
		}
	}
	if len(files) != corpusSize {
		t.Fatalf("%d messages, want %d", len(files), corpusSize)
	}
	return files
}

// TestCorpus appends messages of all kinds as they are, and fetches each in
// every form. Whatever is wrong with them, the bytes are the same and parts are
// slices of them.
func TestCorpus(t *testing.T) {
	t.Parallel()
	files := corpus(t)
	e := newEnv(t, nil)
	defer e.stop()
	e.start()
	c := newClient(t, e.dialLogin())
	c.ok("SELECT INBOX")
	n := 0
	for name, data := range files {
		if len(data) == 0 {
			continue
		}
		c.ok("APPEND INBOX {%d+}\r\n%s", len(data), data)
		n++
		body := c.section(n, "")
		prefix, ok := bytes.CutSuffix(body, data)
		if !ok || len(bytes.TrimSpace(prefix)) > 0 {
			t.Errorf("%s: fetched %d bytes of %d", name, len(body), len(data))
			continue
		}
		if whole := append(c.section(n, "HEADER"), c.section(n, "TEXT")...); !bytes.Equal(whole, body) {
			t.Errorf("%s: header and text are not the message", name)
		}
		tree, err := message.Parse(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Logf("%s: %v", name, err)
		}
		c.parts(t, name, n, data, &tree, "")
		c.ok("FETCH %d (ENVELOPE BODYSTRUCTURE BODY BINARY.PEEK[] BINARY.SIZE[] RFC822.SIZE RFC822.HEADER BODY.PEEK[HEADER.FIELDS.NOT (Subject)])", n)
		c.command("FETCH %d (BINARY.PEEK[1] BINARY.SIZE[1])", n) // May be in an unknown encoding.
	}
	c.ok("SEARCH TEXT absent BODY absent FROM absent SENTSINCE 1-Jan-2000")
	if e.panics > 0 {
		t.Errorf("%d panics", e.panics)
	}
}

// parts checks the parts of a message against the offsets of the tree.
func (c *client) parts(t *testing.T, name string, n int, data []byte, p *message.Part, path string) {
	if p.Message != nil && path != "" {
		if got := c.section(n, path+".HEADER"); !bytes.Equal(got, data[p.Message.HeaderOffset:p.Message.BodyOffset]) {
			t.Errorf("%s: header of %s is %q", name, path, got)
		}
		c.parts(t, name, n, data, p.Message, path)
		return
	}
	if path != "" {
		path += "."
	}
	for i := range p.Parts {
		sub := &p.Parts[i]
		number := path + strconv.Itoa(i+1)
		if got := c.section(n, number); !bytes.Equal(got, data[sub.BodyOffset:sub.EndOffset]) {
			t.Errorf("%s: part %s is %q", name, number, got)
		}
		if got := c.section(n, number+".MIME"); !bytes.Equal(got, data[sub.HeaderOffset:sub.BodyOffset]) {
			t.Errorf("%s: MIME header of %s is %q", name, number, got)
		}
		c.parts(t, name, n, data, sub, number)
	}
}

// section returns a section of a message.
func (c *client) section(n int, section string) []byte {
	c.t.Helper()
	lines := c.ok("FETCH %d BODY.PEEK[%s]", n, section)
	head := fmt.Sprintf("%d FETCH (BODY[%s] ", n, section)
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, head); ok {
			_, rest, _ = strings.Cut(rest, "\r\n")
			return []byte(strings.TrimSuffix(rest, ")"))
		}
	}
	c.t.Fatalf("no %s in %q", head, lines)
	return nil
}
