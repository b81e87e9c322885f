// Package transcript plays written conversations against a server: tests that
// read like the examples in an RFC. It knows lines, bytes and TLS, and no
// protocol. Only tests import it.
//
// A line of a transcript is one of:
//
//	# text               a comment
//	# setup: k=v k=v     for the test that plays the file, in File.Setup
//	C: text              is sent with CRLF
//	C< "text\r\n" * 20   is sent as it is, 20 times (the count is optional)
//	S: text              the server's next line is exactly this
//	S~ regexp            the server's next line matches this from begin to end
//	S*                   any number of lines until the next expected one
//	CLOSE                the client closes the connection
//	EOF                  the server has closed it, and sent nothing more
//	TLS                  a TLS handshake; certificates aren't verified
//	SLEEP 30s            nothing is sent for a while (in a synctest bubble)
//
// A digit behind the first word (C2:, S2~, TLS2) means another connection,
// which is made at its first use. What a named group of a regexp matches,
// as in S~ uid (?P<uid>\d+), is put in the place of ${uid} in later lines.
package transcript

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// timeoutDefault is how long an expected line may take, unless the file has
// "# setup: timeout=5m", as one with pauses in a synctest bubble does.
const timeoutDefault = 30 * time.Second

// File is a parsed transcript.
type File struct {
	Name  string            // As found, relative to the test's directory.
	Setup map[string]string // From the "# setup:" lines; a word without = has the value "".
	steps []step
}

// step is a line that does something.
type step struct {
	line int    // From 1.
	text string // The whole line, for failures.
	op   string // "C:", "S~", "TLS", ….
	conn string // "" or a digit.
	arg  string
}

// Load reads the files that match glob. None is a failure.
func Load(t testing.TB, glob string) []File {
	t.Helper()
	names, err := filepath.Glob(glob)
	if err != nil || len(names) == 0 {
		t.Fatalf("transcripts %s: %d files, %v", glob, len(names), err)
	}
	var files []File
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parse(name, string(data))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

func parse(name, data string) (File, error) {
	f := File{Name: name, Setup: map[string]string{}}
	n := 0
	for text := range strings.Lines(data) {
		n++
		text = strings.TrimRight(text, "\r\n")
		if setup, ok := strings.CutPrefix(text, "# setup:"); ok {
			for word := range strings.FieldsSeq(setup) {
				k, v, _ := strings.Cut(word, "=")
				f.Setup[k] = v
			}
			continue
		}
		if strings.TrimSpace(text) == "" || text[0] == '#' {
			continue
		}
		st, err := parseStep(text)
		if err != nil {
			return File{}, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		st.line = n
		f.steps = append(f.steps, st)
	}
	return f, nil
}

var stepRegexp = regexp.MustCompile(`^(C|S|CLOSE|EOF|TLS|SLEEP)([0-9]?)([:<~*]?)(?: (.*))?$`)

func parseStep(text string) (step, error) {
	m := stepRegexp.FindStringSubmatch(text)
	if m == nil {
		return step{}, fmt.Errorf("not a line of a transcript: %q", text)
	}
	st := step{text: text, op: m[1] + m[3], conn: m[2], arg: m[4]}
	switch st.op {
	case "C:", "S:", "S*", "CLOSE", "EOF", "TLS":
		return st, nil
	case "S~":
		if _, err := regexp.Compile(st.arg); err != nil {
			return step{}, err
		}
		return st, nil
	case "C<":
		_, err := unquote(st.arg)
		return st, err
	case "SLEEP":
		_, err := time.ParseDuration(st.arg)
		return st, err
	}
	return step{}, fmt.Errorf("unknown kind of line %q", st.op)
}

// Commands returns the first word of each line that the clients send, for tests
// that compare the transcripts with a server's table of commands.
func (f File) Commands() []string {
	var words []string
	for _, st := range f.steps {
		if st.op == "C:" && st.arg != "" {
			words = append(words, strings.Fields(st.arg + " .")[0])
		}
	}
	return words
}

// Lines returns all lines that the clients send, without line end.
func (f File) Lines() []string {
	var lines []string
	for _, st := range f.steps {
		if st.op == "C:" {
			lines = append(lines, st.arg)
		}
	}
	return lines
}

// Play plays the conversation. It calls dial for each connection when it first
// appears, with "" or its digit, and closes them at the end.
func (f File) Play(t testing.TB, dial func(conn string) net.Conn) {
	t.Helper()
	p := player{file: f, conns: map[string]*conn{}, dial: dial, timeout: timeoutDefault, vars: map[string]string{}}
	if s := f.Setup["timeout"]; s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("%s: timeout: %v", f.Name, err)
		}
		p.timeout = d
	}
	defer p.close()
	for _, st := range f.steps {
		if err := p.step(t.Context(), st); err != nil {
			t.Fatalf("%s:%d: %s\n%v\n%s", f.Name, st.line, st.text, err, p.rest(st.conn))
		}
	}
}

// player is the state of one Play.
type player struct {
	file    File
	dial    func(string) net.Conn
	conns   map[string]*conn
	timeout time.Duration
	vars    map[string]string
}

func (p *player) close() {
	for _, c := range p.conns {
		c.close()
	}
}

func (p *player) step(ctx context.Context, st step) error {
	if st.op == "SLEEP" {
		d, err := time.ParseDuration(st.arg)
		time.Sleep(d)
		return err
	}
	c := p.conns[st.conn]
	if c == nil {
		c = newConn(p.dial(st.conn), p.timeout)
		p.conns[st.conn] = c
	}
	arg := p.replace(st.arg)
	switch st.op {
	case "C:":
		return c.send([]byte(arg + "\r\n"))
	case "C<":
		data, err := unquote(arg)
		if err != nil {
			return err
		}
		return c.send(data)
	case "S:":
		return c.expect(func(got string) bool { return got == arg })
	case "S~":
		return p.expectRegexp(c, arg)
	case "S*":
		c.skip = true
		return nil
	case "EOF":
		return c.expectEOF()
	case "TLS":
		return c.startTLS(ctx)
	default:
		c.close()
		delete(p.conns, st.conn)
		return nil
	}
}

func (p *player) expectRegexp(c *conn, expr string) error {
	re, err := regexp.Compile(`^(?:` + expr + `)$`)
	if err != nil {
		return err
	}
	return c.expect(func(got string) bool {
		m := re.FindStringSubmatch(got)
		for i, name := range re.SubexpNames() {
			if m != nil && name != "" {
				p.vars[name] = m[i]
			}
		}
		return m != nil
	})
}

func (p *player) replace(s string) string {
	if !strings.Contains(s, "${") {
		return s
	}
	for k, v := range p.vars {
		s = strings.ReplaceAll(s, "${"+k+"}", v)
	}
	return s
}

// rest describes what else the server sends, for a failure.
func (p *player) rest(name string) string {
	c := p.conns[name]
	if c == nil {
		return ""
	}
	c.timeout = 200 * time.Millisecond
	var b strings.Builder
	for range 50 {
		line, err := c.line()
		if err != nil {
			fmt.Fprintf(&b, "then: %v\n", err)
			break
		}
		fmt.Fprintf(&b, "then: %q\n", line)
	}
	return b.String()
}

// unquote returns the bytes of `"text"` or `"text" * n`.
func unquote(s string) ([]byte, error) {
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return nil, fmt.Errorf("not a quoted string: %s", s)
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return nil, err
	}
	n := 1
	if times := strings.TrimSpace(s[len(quoted):]); times != "" {
		count, ok := strings.CutPrefix(times, "*")
		n, err = strconv.Atoi(strings.TrimSpace(count))
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("want * and a number behind the string, not %q", times)
		}
	}
	return []byte(strings.Repeat(text, n)), nil
}

var errTimeout = errors.New("the server sent nothing more in time")

// errLine means that what the server sent is not a line.
var errLine = errors.New("not a line that ends with CRLF")

// isEnd tells the end of a connection, of whatever kind, from other errors.
func isEnd(err error) bool {
	return err != nil && !errors.Is(err, errTimeout) && !errors.Is(err, errLine)
}
