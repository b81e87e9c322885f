package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var oddEscape = regexp.MustCompile(`\\x([0-9a-f]{2})`)

// oddMessages returns messages that are odd in one way each, of ours. Their lines
// end in CRLF; \xff is a byte, \blank an empty line at the start, and \end leaves
// out the line end.
func oddMessages(t *testing.T) (list []corpusMessage) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "oddmessages.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.SplitSeq("\n"+string(data), "\n== ") {
		name, raw, ok := strings.Cut(text, "\n")
		if !ok || text == "" {
			continue
		}
		raw = oddEscape.ReplaceAllStringFunc(raw, func(m string) string {
			var b byte
			_, _ = fmt.Sscanf(m, `\x%02x`, &b) // It matched.
			return string([]byte{b})
		})
		raw = strings.ReplaceAll(strings.ReplaceAll(raw, `\\`, `\`), `\blank`, "")
		raw = strings.TrimSuffix(strings.ReplaceAll(raw, "\n", "\r\n")+"\r\n", "\\end\r\n")
		list = append(list, corpusMessage{name, raw})
	}
	return list
}

// fill appends messages to a mailbox of both, an hour apart.
func (p *pair) fill(mailbox string, messages []corpusMessage) {
	p.judge.t.Helper()
	p.send("fill", "CREATE "+mailbox)
	at := time.Date(2020, 3, 1, 22, 30, 0, 0, time.UTC)
	for _, m := range messages {
		p.send(m.name, fmt.Sprintf("APPEND %s %q {%d+}\r\n%s", mailbox, at.Format("02-Jan-2006 15:04:05 -0700"), len(m.raw), m.raw))
		at = at.Add(time.Hour)
	}
	p.send("fill", "SELECT "+mailbox)
}

// sweepItems are what is fetched of each message.
var sweepItems = []string{
	"ENVELOPE", "BODYSTRUCTURE", "BODY", "RFC822.SIZE", "BODY.PEEK[]", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]", "RFC822.HEADER", "INTERNALDATE",
	"BODY.PEEK[HEADER.FIELDS (SUBJECT From absent)]", "BODY.PEEK[HEADER.FIELDS.NOT (Subject FROM)]", "BODY.PEEK[HEADER.FIELDS (Nothing)]",
	"BODY.PEEK[]<0.20>", "BODY.PEEK[]<10.1000000>", "BODY.PEEK[]<10000000.5>", "BODY.PEEK[HEADER]<3.7>", "BODY.PEEK[TEXT]<2.5>",
	"BODY.PEEK[1]", "BODY.PEEK[1.MIME]", "BODY.PEEK[2]", "BODY.PEEK[1.1]", "BODY.PEEK[1.HEADER]", "BODY.PEEK[1.TEXT]", "BODY.PEEK[9]", "BODY.PEEK[9.MIME]", "BODY.PEEK[1.9]",
	"BINARY.PEEK[1]", "BINARY.SIZE[1]", "BINARY.PEEK[1]<1.4>", "BINARY.PEEK[9]", "BINARY.PEEK[]",
}

// sweep fetches everything there is of each message of a mailbox.
func (p *pair) sweep(messages []corpusMessage) {
	p.judge.t.Helper()
	for i, m := range messages {
		for _, item := range sweepItems {
			p.send(m.name, fmt.Sprintf("FETCH %d (%s)", i+1, item))
		}
		for _, path := range p.ours.paths(i + 1) {
			items := fmt.Sprintf("BODY.PEEK[%[1]s] BODY.PEEK[%[1]s.MIME] BODY.PEEK[%[1]s]<1.9>", path)
			p.send(m.name, fmt.Sprintf("FETCH %d (%s)", i+1, items))
			for _, item := range []string{"BODY.PEEK[%s.HEADER]", "BODY.PEEK[%s.TEXT]", "BODY.PEEK[%s.HEADER.FIELDS (Subject)]", "BINARY.PEEK[%s]", "BINARY.SIZE[%s]"} {
				p.send(m.name, fmt.Sprintf("FETCH %d (%s)", i+1, fmt.Sprintf(item, path)))
			}
		}
		p.send(m.name, fmt.Sprintf("FETCH %d (RFC822 RFC822.TEXT FLAGS)", i+1))
	}
}

// paths returns the numbers of all parts below the top of a message.
func (s *seat) paths(n int) (list []string) {
	untagged, _ := s.peer.cmd("FETCH %d BODYSTRUCTURE", n)
	for _, r := range untagged {
		if len(r) == 4 && r[2] == atom("FETCH") {
			list = pathsOf("", r[3].([]any)[1].([]any))
		}
	}
	return list
}

func pathsOf(above string, body []any) (list []string) {
	if len(body) > 8 && isMessage(body) {
		if nested, ok := body[8].([]any); ok {
			if _, multipart := nested[0].([]any); multipart {
				return pathsOf(above, nested)
			}
			return append([]string{join(above, 1)}, pathsOf(join(above, 1), nested)...)
		}
	}
	for i, v := range body {
		part, ok := v.([]any)
		if !ok || i > 20 || len(body) > 0 && !isList(body[0]) {
			break
		}
		path := join(above, i+1)
		list = append(append(list, path), pathsOf(path, part)...)
	}
	return list
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}

func join(above string, n int) string {
	if above == "" {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s.%d", above, n)
}
