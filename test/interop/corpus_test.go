package interop

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// corpusMessage is a message that others collected.
type corpusMessage struct {
	name string
	raw  string
}

// corpus returns the messages of ../shared/testdata.
func corpus(t *testing.T) (list []corpusMessage) {
	t.Helper()
	dir := sharedTestdata(t)
	for _, pattern := range []string{"mime-mail-parser/*/*.eml", "mime-mime4j/testmsgs/*.msg"} {
		paths, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, corpusMessage{filepath.Base(path), string(raw)})
		}
	}
	if len(list) != 65 {
		t.Fatalf("got %d messages, want 65", len(list))
	}
	return list
}

// toCRLF returns a message as SMTP can carry it.
func toCRLF(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	if !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// TestCorpus delivers messages that others collected, and appends them as they
// are. None is refused for being odd, and all come back in every form.
func TestCorpus(t *testing.T) {
	t.Parallel()
	messages := corpus(t)
	s := start(t)
	in := s.smtp(t)
	out := s.imap(t, "")
	out.ok("CREATE Raw")
	for _, m := range messages {
		in.deliver(toCRLF(m.raw))
		out.append("Raw", m.raw)
	}
	for _, way := range []struct {
		mailbox string
		sent    func(string) string
	}{
		{"Inbox", toCRLF},
		{"Raw", func(s string) string { return s }},
	} {
		t.Run(way.mailbox, func(t *testing.T) {
			t.Parallel()
			p := s.imap(t, way.mailbox)
			for i, m := range messages {
				t.Run(m.name, func(t *testing.T) {
					p.t = t
					c := &corpusCheck{imapPeer: p, uid: i + 1, sent: way.sent(m.raw)}
					c.all()
				})
			}
			p.t = t
		})
	}
	t.Run("go-imap", func(t *testing.T) {
		t.Parallel()
		for _, mailbox := range []string{"Inbox", "Raw"} {
			corpusGoIMAP(t, s, mailbox, len(messages))
		}
	})
}

// corpusCheck looks at one message in every form.
type corpusCheck struct {
	*imapPeer
	uid  int
	sent string // As it was sent.

	whole  string // BODY[]
	prefix int    // Bytes before what was sent.
}

func (c *corpusCheck) errorf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf(format, args...)
}

// trace has the fields that delivery puts in front.
var trace = regexp.MustCompile(`^Return-Path: .*\r\nDelivered-To: .*\r\nX-Mox-Reason: .*\r\n([ \t].*\r\n)*Received: .*\r\n([ \t].*\r\n)+(\r\n)?$`)

func (c *corpusCheck) all() {
	got := c.fetch(c.uid, "RFC822.SIZE BODY.PEEK[] BODYSTRUCTURE BODY ENVELOPE INTERNALDATE FLAGS")
	c.whole = got["BODY[]"].(string)
	if !strings.HasSuffix(c.whole, c.sent) {
		c.t.Fatalf("BODY[] does not end with what was sent: %q, want %q", c.whole, c.sent)
	}
	c.prefix = len(c.whole) - len(c.sent)
	// Our fields come before what was delivered, with a blank line if it has no
	// header. What was appended is kept as it was.
	if p := c.whole[:c.prefix]; p != "" && !trace.MatchString(p) {
		c.errorf("prefix is %q", p)
	}
	if size := got["RFC822.SIZE"]; size != atom(fmt.Sprint(len(c.whole))) {
		c.errorf("RFC822.SIZE is %v, want %d", size, len(c.whole))
	}
	if env := got["ENVELOPE"].([]any); len(env) != 10 {
		c.errorf("ENVELOPE has %d fields", len(env))
	}
	body := got["BODYSTRUCTURE"].([]any)
	c.top()
	if len(body) > 0 {
		if _, multipart := body[0].([]any); !multipart {
			c.part([]int{1}, body, true, len(c.whole))
		} else {
			c.children(nil, body, len(c.whole))
		}
	}
	if bare := got["BODY"].([]any); !sameBasics(bare, body) {
		c.errorf("BODY %v and BODYSTRUCTURE %v do not agree", bare, body)
	}
	c.searches()
}

// sameBasics reports whether a BODY says what a BODYSTRUCTURE says first.
func sameBasics(bare, full []any) bool {
	if len(bare) > len(full) {
		return false
	}
	for i, v := range bare {
		list, isList := v.([]any)
		other, otherList := full[i].([]any)
		if isList != otherList || !isList && v != full[i] || isList && !sameBasics(list, other) {
			return false
		}
	}
	return true
}

// top looks at the sections of the whole message.
func (c *corpusCheck) top() {
	got := c.fetch(c.uid, "BODY.PEEK[HEADER] BODY.PEEK[TEXT] RFC822.HEADER BODY.PEEK[HEADER.FIELDS (Subject FROM)] BODY.PEEK[HEADER.FIELDS.NOT (Subject FROM)] "+
		"BODY.PEEK[]<0.10> BODY.PEEK[]<3.100000000> BODY.PEEK[]<100000000.5> BODY.PEEK[HEADER]<4.20> BODY.PEEK[TEXT]<1.7> BINARY.PEEK[] BINARY.SIZE[]")
	header, text := got["BODY[HEADER]"].(string), got["BODY[TEXT]"].(string)
	if header+text != c.whole {
		c.errorf("HEADER and TEXT are not the message: %q and %q", header, text)
	}
	if got["RFC822.HEADER"] != header {
		c.errorf("RFC822.HEADER is %q", got["RFC822.HEADER"])
	}
	if got["BINARY[]"] != c.whole || got["BINARY.SIZE[]"] != atom(fmt.Sprint(len(c.whole))) {
		c.errorf("BINARY[] is %q of %v bytes", got["BINARY[]"], got["BINARY.SIZE[]"])
	}
	for name, want := range map[string]string{
		"BODY[]<0>": cut(c.whole, 0, 10), "BODY[]<3>": cut(c.whole, 3, 100000000), "BODY[]<100000000>": "",
		"BODY[HEADER]<4>": cut(header, 4, 20), "BODY[TEXT]<1>": cut(text, 1, 7),
	} {
		if got[name] != want {
			c.errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	var fields, not string
	for name, v := range got {
		switch {
		case strings.HasPrefix(name, "BODY[HEADER.FIELDS ("):
			fields = v.(string)
		case strings.HasPrefix(name, "BODY[HEADER.FIELDS.NOT ("):
			not = v.(string)
		}
	}
	// RFC 9051, section 6.4.5.1: except where the message has no blank line.
	if blankAtEnd.MatchString(header) && (!blankAtEnd.MatchString(fields) || !blankAtEnd.MatchString(not)) {
		c.errorf("HEADER.FIELDS %q, and NOT %q, do not end in a blank line", fields, not)
	}
	if !slices.Equal(sortedLines(fields+not), sortedLines(header)) {
		c.errorf("HEADER.FIELDS %q and NOT %q are not together the header %q", fields, not, header)
	}
	// Again, as marking as read goes another way.
	got = c.fetch(c.uid, "BODY[] RFC822 RFC822.TEXT FLAGS")
	if got["BODY[]"] != c.whole || got["RFC822"] != c.whole || got["RFC822.TEXT"] != text {
		c.errorf("BODY[], RFC822 and RFC822.TEXT are not as before")
	}
	if flags := c.fetch(c.uid, "FLAGS")["FLAGS"]; fmt.Sprint(flags) != `[\Seen]` {
		c.errorf("flags are %v", flags)
	}
}

// blankAtEnd matches a header section. That of a message with bare LF has them
// too, as the message is given out as it came.
var blankAtEnd = regexp.MustCompile(`(^|\n)\r?\n$`)

// cut returns the range of bytes that a partial asks for.
func cut(s string, offset, count int) string {
	offset = min(offset, len(s))
	return s[offset:min(len(s), offset+count)]
}

// sortedLines returns the lines of a header that are not blank.
func sortedLines(s string) (lines []string) {
	for line := range strings.Lines(s) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

func sectionName(path []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(path), " ", "."), "[]")
}

// children looks at the parts of a multipart, whose bytes end at end. They
// follow each other with boundaries between them.
func (c *corpusCheck) children(path []int, body []any, end int) {
	at := c.prefix
	for i, child := range body {
		list, ok := child.([]any)
		if !ok {
			break
		}
		at = c.partAfter(append(slices.Clone(path), i+1), list, at, end)
	}
}

// partAfter looks at a part of a multipart, that must be found at or behind
// at, and returns where it ends.
func (c *corpusCheck) partAfter(path []int, body []any, at, end int) int {
	name := sectionName(path)
	got := c.fetch(c.uid, "BODY.PEEK["+name+"] BODY.PEEK["+name+".MIME]")
	text, ok1 := got["BODY["+name+"]"].(string)
	header, ok2 := got["BODY["+name+".MIME]"].(string)
	if !ok1 || !ok2 {
		c.errorf("part %s is in BODYSTRUCTURE, and there is %v", name, got)
		return at
	}
	from := c.slices(header+text, at)
	if from < 0 && (header != "" || text != c.bytes(c.uid, "BODY.PEEK["+above(path)+"]")) {
		c.errorf("MIME header and body of part %s do not slice the file behind a boundary at or behind %d: %q, %q", name, at, header, text)
		return at
	}
	c.part(path, body, false, end)
	return max(from, at) + len(header) + len(text)
}

// slices returns where text is at or behind at with a boundary before it, and
// -1 if it is nowhere. A multipart that can't be taken apart has no boundary:
// its one part is all of it.
func (c *corpusCheck) slices(text string, at int) int {
	for from := at; ; from++ {
		i := strings.Index(c.whole[from:], text)
		if i < 0 {
			return -1
		}
		from += i
		if strings.Contains(c.whole[at:from], "--") {
			return from
		}
		if from == len(c.whole) {
			return -1
		}
	}
}

// above names the section with the bytes of the multipart that a part is in.
func above(path []int) string {
	if len(path) == 1 {
		return "TEXT"
	}
	return sectionName(path[:len(path)-1])
}

// part looks at a part. Single means that it is the only one of a message that
// is no multipart, and so has no MIME header of its own.
func (c *corpusCheck) part(path []int, body []any, single bool, end int) {
	name := sectionName(path)
	got := c.fetch(c.uid, fmt.Sprintf("BODY.PEEK[%s] BODY.PEEK[%[1]s.MIME] BODY.PEEK[%[1]s]<0.10> BODY.PEEK[%[1]s]<5.6> BODY.PEEK[%[1]s.HEADER] BODY.PEEK[%[1]s.TEXT]", name))
	text, ok := got["BODY["+name+"]"].(string)
	if !ok {
		c.errorf("BODY[%s] is %v", name, got["BODY["+name+"]"])
		return
	}
	mimeHeader, _ := got["BODY["+name+".MIME]"].(string)
	if mimeHeader != "" && !blankAtEnd.MatchString(mimeHeader) && text != "" {
		c.errorf("BODY[%s.MIME] is %q, without a blank line", name, mimeHeader)
	}
	if single && text != c.bytes(c.uid, "BODY.PEEK[TEXT]") && len(path) == 1 {
		c.errorf("BODY[1] is not BODY[TEXT]")
	}
	if got["BODY["+name+"]<0>"] != cut(text, 0, 10) || got["BODY["+name+"]<5>"] != cut(text, 5, 6) {
		c.errorf("partials of BODY[%s]: %q, %q", name, got["BODY["+name+"]<0>"], got["BODY["+name+"]<5>"])
	}
	header, hasHeader := got["BODY["+name+".HEADER]"].(string)
	inner, hasText := got["BODY["+name+".TEXT]"].(string)
	if _, multipart := body[0].([]any); multipart {
		c.children(path, body, end)
		return
	}
	if len(body) < 7 {
		c.errorf("BODYSTRUCTURE of part %s has only %v", name, body)
		return
	}
	if size := body[6]; size != atom(fmt.Sprint(len(text))) {
		c.errorf("BODYSTRUCTURE says that part %s has %v bytes, it has %d", name, size, len(text))
	}
	kind := fmt.Sprintf("%s/%s", body[0], body[1])
	switch nested, isMessage := innerBody(kind, body); {
	case isMessage && !hasHeader && body[5] != "7BIT" && body[5] != "8BIT" && body[5] != "BINARY":
		// Its parts would not be bytes of the file. The grammar wants a structure
		// nevertheless.
	case isMessage:
		if !hasHeader || !hasText || header+inner != text {
			c.errorf("HEADER and TEXT of %s are not its body: %q, %q", name, header, inner)
		}
		if _, multipart := nested[0].([]any); multipart {
			c.children(path, nested, end)
		} else {
			c.part(append(slices.Clone(path), 1), nested, true, end)
		}
	case hasHeader || hasText:
		c.errorf("part %s is %s and has a HEADER %q and TEXT", name, kind, header)
	}
	c.binary(name, fmt.Sprint(body[5]), text)
}

// innerBody returns the structure within a MESSAGE/RFC822.
func innerBody(kind string, body []any) ([]any, bool) {
	if !strings.EqualFold(kind, "message/rfc822") && !strings.EqualFold(kind, "message/global") || len(body) < 9 {
		return nil, false
	}
	nested, ok := body[8].([]any)
	return nested, ok && len(nested) > 0
}

// binary compares a part without its transfer encoding with what Go's own
// decoders make of it, if they take it.
func (c *corpusCheck) binary(name, encoding, text string) {
	c.tags++
	untagged, tagged := c.cmd("UID FETCH %d (BINARY.PEEK[%s] BINARY.SIZE[%[2]s] BINARY.PEEK[%[2]s]<2.5>)", c.uid, name)
	got := map[string]any{}
	for _, r := range untagged {
		if len(r) == 4 && r[2] == atom("FETCH") {
			for list := r[3].([]any); len(list) > 1; list = list[2:] {
				got[string(list[0].(atom))] = list[1]
			}
		}
	}
	if strings.HasPrefix(tagged.text(), "NO [UNKNOWN-CTE]") {
		if slices.Contains([]string{"", "7BIT", "8BIT", "BINARY", "BASE64", "QUOTED-PRINTABLE"}, strings.ToUpper(encoding)) {
			c.errorf("encoding %q of part %s is unknown", encoding, name)
		}
		return
	}
	plain, ok := got["BINARY["+name+"]"].(string)
	if !ok || !strings.HasPrefix(tagged.text(), "OK") {
		c.errorf("BINARY[%s], encoding %q: got %v, %v", name, encoding, got, tagged)
		return
	}
	if size := got["BINARY.SIZE["+name+"]"]; size != atom(fmt.Sprint(len(plain))) {
		c.errorf("BINARY.SIZE[%s] is %v, and %d bytes came", name, size, len(plain))
	}
	if got["BINARY["+name+"]<2>"] != cut(plain, 2, 5) {
		c.errorf("BINARY[%s]<2.5> is %q of %q", name, got["BINARY["+name+"]<2>"], plain)
	}
	want, err := text, error(nil)
	switch strings.ToUpper(encoding) {
	case "BASE64":
		var b []byte
		b, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		want = string(b)
	case "QUOTED-PRINTABLE":
		var b []byte
		b, err = io.ReadAll(quotedprintable.NewReader(strings.NewReader(text)))
		want = string(b)
	}
	if err == nil && plain != want {
		c.errorf("BINARY[%s], encoding %q, is %q, want %q", name, encoding, plain, want)
	}
}

// word is what is looked for in headers and bodies.
var word = regexp.MustCompile(`[A-Za-z]{5,20}`)

// searches finds the message by what is in it.
func (c *corpusCheck) searches() {
	find := func(format string, args ...any) {
		c.t.Helper()
		key := fmt.Sprintf("UID %d ", c.uid) + fmt.Sprintf(format, args...)
		if got := c.search("%s", key); !slices.Equal(got, []int{c.uid}) {
			c.errorf("SEARCH %s: got %v", key, got)
		}
	}
	find("LARGER %d SMALLER %d", len(c.whole)-1, len(c.whole)+1)
	find("SINCE 1-Jan-2000 SEEN NOT DELETED")
	env := c.fetch(c.uid, "ENVELOPE")["ENVELOPE"].([]any)
	if subject, ok := env[1].(string); ok {
		decoded, err := new(mime.WordDecoder).DecodeHeader(subject)
		if err != nil {
			decoded = subject
		}
		if w := word.FindString(decoded); w != "" {
			find("SUBJECT %s TEXT %s HEADER Subject %[1]s", strings.ToUpper(w), strings.ToLower(w))
		}
	}
	if id, ok := env[9].(string); ok && word.MatchString(id) {
		find("HEADER Message-ID %s", word.FindString(id))
	}
	if from, ok := env[2].([]any); ok && len(from) > 0 {
		if mailbox, ok := from[0].([]any)[2].(string); ok && word.MatchString(mailbox) {
			find("FROM %s", word.FindString(mailbox))
		}
	}
	body := c.fetch(c.uid, "BODYSTRUCTURE")["BODYSTRUCTURE"].([]any)
	if len(body) > 6 && body[0] == "TEXT" && (body[5] == "7BIT" || body[5] == "8BIT") {
		if w := word.FindString(c.bytes(c.uid, "BODY.PEEK[1]")); w != "" {
			find("BODY %s", w)
		}
	}
}

// corpusGoIMAP has go-imap parse all messages of a mailbox.
func corpusGoIMAP(t *testing.T, s *server, mailbox string, count int) {
	t.Helper()
	c := goIMAP(t, s, nil)
	if _, err := c.Select(mailbox, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	set := goimap.SeqSet{}
	set.AddRange(1, 0)
	messages, err := c.Fetch(set, &goimap.FetchOptions{
		Envelope: true, Flags: true, InternalDate: true, RFC822Size: true, UID: true,
		BodyStructure: &goimap.FetchItemBodyStructure{Extended: true}, BodySection: []*goimap.FetchItemBodySection{{Peek: true}},
	}).Collect()
	if err != nil || len(messages) != count {
		t.Fatalf("%s: got %d messages, %v, want %d", mailbox, len(messages), err, count)
	}
	for _, m := range messages {
		if m.Envelope == nil || m.BodyStructure == nil {
			t.Errorf("%s: message %d has no envelope or structure: %+v", mailbox, m.UID, m)
			continue
		}
		whole := m.FindBodySection(&goimap.FetchItemBodySection{Peek: true})
		if int64(len(whole)) != m.RFC822Size {
			t.Errorf("%s: message %d has %d bytes, RFC822.SIZE is %d", mailbox, m.UID, len(whole), m.RFC822Size)
		}
		m.BodyStructure.Walk(func(path []int, part goimap.BodyStructure) bool {
			if part.MediaType() == "" {
				t.Errorf("%s: message %d: part %v has no type", mailbox, m.UID, path)
			}
			corpusGoIMAPPart(t, c, m.UID, path, part, whole)
			return true
		})
	}
}

// corpusGoIMAPPart fetches a part as go-imap names it.
func corpusGoIMAPPart(t *testing.T, c *imapclient.Client, uid goimap.UID, path []int, part goimap.BodyStructure, whole []byte) {
	t.Helper()
	single, ok := part.(*goimap.BodyStructureSinglePart)
	if !ok {
		return
	}
	section := &goimap.FetchItemBodySection{Part: path, Peek: true}
	got, err := c.Fetch(goimap.UIDSetNum(uid), &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{section}}).Collect()
	if err != nil || len(got) != 1 {
		t.Fatalf("message %d, part %v: got %d messages, %v", uid, path, len(got), err)
	}
	if b := got[0].FindBodySection(section); int64(len(b)) != int64(single.Size) || !bytes.Contains(whole, b) {
		t.Errorf("message %d, part %v of %d bytes: got %d, %q", uid, path, single.Size, len(b), b)
	}
}
