package interop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// smtpPeer speaks SMTP byte for byte, also wrongly.
type smtpPeer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// smtp connects and says EHLO.
func (s *server) smtp(t *testing.T) *smtpPeer {
	t.Helper()
	p := s.smtpRaw(t)
	p.want("220")
	p.cmd("250", "EHLO client.example")
	return p
}

func (s *server) smtpRaw(t *testing.T) *smtpPeer {
	t.Helper()
	conn := s.dial(t, portSMTP)
	return &smtpPeer{t, conn, bufio.NewReader(conn)}
}

// send sends bytes as they are.
func (p *smtpPeer) send(data string) {
	p.t.Helper()
	if err := p.trySend(data); err != nil {
		p.t.Fatalf("sending: %v", err)
	}
}

func (p *smtpPeer) trySend(data string) error {
	if err := p.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := io.WriteString(p.conn, data)
	return err
}

// reply reads a reply of one or more lines, joined by "\n". It returns "" when
// the server has closed the connection.
func (p *smtpPeer) reply() string {
	p.t.Helper()
	var lines []string
	for {
		if err := p.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			p.t.Fatal(err)
		}
		line, err := p.r.ReadString('\n')
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				p.t.Fatalf("no reply within %s", patience)
			}
			return ""
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

// want reads a reply and fails if it does not begin with prefix.
func (p *smtpPeer) want(prefix string) string {
	p.t.Helper()
	got := p.reply()
	if !strings.HasPrefix(got, prefix) {
		p.t.Fatalf("got reply %q, want %s", got, prefix)
	}
	return got
}

// cmd sends a command and wants a reply.
func (p *smtpPeer) cmd(want, format string, args ...any) string {
	p.t.Helper()
	p.send(fmt.Sprintf(format, args...) + "\r\n")
	return p.want(want)
}

// begin gets as far as the 354.
func (p *smtpPeer) begin() {
	p.t.Helper()
	p.send("MAIL FROM:<sender@remote.example>\r\nRCPT TO:<mox@localhost>\r\nDATA\r\n")
	p.want("250")
	p.want("250")
	p.want("354")
}

// deliver sends a message with CRLF line ends, dots not yet stuffed.
func (p *smtpPeer) deliver(msg string) {
	p.t.Helper()
	p.begin()
	if strings.HasPrefix(msg, ".") {
		msg = "." + msg
	}
	msg = strings.ReplaceAll(msg, "\r\n.", "\r\n..")
	p.send(msg + ".\r\n")
	p.want("250")
}

// imapPeer speaks IMAP byte for byte. It reads responses with a grammar of its
// own, a second opinion on what our encoder writes.
type imapPeer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	tags int
}

// imap connects, logs in, and selects a mailbox unless it is "".
func (s *server) imap(t *testing.T, mailbox string) *imapPeer {
	t.Helper()
	p := s.imapRaw(t)
	p.ok("LOGIN %s %s", login, password)
	if mailbox != "" {
		p.ok("SELECT %s", mailbox)
	}
	return p
}

func (s *server) imapRaw(t *testing.T) *imapPeer {
	t.Helper()
	conn := s.dial(t, portIMAP)
	p := &imapPeer{t: t, conn: conn, r: bufio.NewReader(conn)}
	if got := p.response(); got.text() == "" || got[1] != atom("OK") {
		t.Fatalf("greeting: %v", got)
	}
	return p
}

func (p *imapPeer) send(data string) {
	p.t.Helper()
	if err := p.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.WriteString(p.conn, data); err != nil {
		p.t.Fatalf("sending: %v", err)
	}
}

// cmd sends a command and returns its untagged responses, then the tagged one.
func (p *imapPeer) cmd(format string, args ...any) (untagged []response, tagged response) {
	p.t.Helper()
	p.tags++
	tag := fmt.Sprintf("t%d", p.tags)
	p.send(tag + " " + fmt.Sprintf(format, args...) + "\r\n")
	return p.until(tag)
}

// until reads responses until the one with a tag, or BYE and the end.
func (p *imapPeer) until(tag string) (untagged []response, tagged response) {
	p.t.Helper()
	for {
		r := p.response()
		switch {
		case len(r) == 0:
			return untagged, nil
		case r[0] == atom(tag):
			return untagged, r
		}
		untagged = append(untagged, r)
	}
}

// ok is cmd for a command that must succeed.
func (p *imapPeer) ok(format string, args ...any) []response {
	p.t.Helper()
	untagged, tagged := p.cmd(format, args...)
	if len(tagged) < 2 || tagged[1] != atom("OK") {
		text := fmt.Sprintf(format, args...)
		p.t.Fatalf("%s: got %v", text[:min(len(text), 200)], tagged)
	}
	return untagged
}

// refused is cmd for a command that must fail, and returns its response as text.
func (p *imapPeer) refused(want, format string, args ...any) {
	p.t.Helper()
	_, tagged := p.cmd(format, args...)
	if got := tagged.text(); !strings.HasPrefix(got, want) {
		text := fmt.Sprintf(format, args...)
		p.t.Errorf("%s: got %q, want %q", text[:min(len(text), 200)], got, want)
	}
}

// append appends a message with a literal that is not waited for if it is small.
func (p *imapPeer) append(mailbox, msg string) {
	p.t.Helper()
	p.tags++
	tag := fmt.Sprintf("t%d", p.tags)
	p.send(fmt.Sprintf("%s APPEND %s {%d}\r\n", tag, mailbox, len(msg)))
	if r := p.response(); len(r) == 0 || r[0] != atom("+") {
		p.t.Fatalf("APPEND of %d bytes: got %v", len(msg), r)
	}
	p.send(msg + "\r\n")
	if _, tagged := p.until(tag); len(tagged) < 2 || tagged[1] != atom("OK") {
		p.t.Fatalf("APPEND of %d bytes: got %v", len(msg), tagged)
	}
}

// fetch fetches items of one message by UID, as a map by their names.
func (p *imapPeer) fetch(uid int, items string) map[string]any {
	p.t.Helper()
	got := map[string]any{}
	for _, r := range p.ok("UID FETCH %d (%s)", uid, items) {
		if len(r) != 4 || r[2] != atom("FETCH") {
			continue
		}
		list, _ := r[3].([]any)
		for i := 0; i+1 < len(list); i += 2 {
			got[string(list[i].(atom))] = list[i+1]
		}
	}
	if len(got) == 0 {
		p.t.Fatalf("UID FETCH %d (%s): nothing came", uid, items)
	}
	return got
}

// bytes fetches one item that is a string.
func (p *imapPeer) bytes(uid int, item string) string {
	p.t.Helper()
	for name, v := range p.fetch(uid, item) {
		if s, ok := v.(string); ok && name != "UID" {
			return s
		}
	}
	p.t.Fatalf("UID FETCH %d %s: no string came", uid, item)
	return ""
}

// search returns what SEARCH finds.
func (p *imapPeer) search(format string, args ...any) (found []int) {
	p.t.Helper()
	for _, r := range p.ok("UID SEARCH "+format, args...) {
		if r[1] != atom("SEARCH") {
			continue
		}
		for _, v := range r[2:] {
			n, err := strconv.Atoi(string(v.(atom)))
			if err != nil {
				p.t.Fatal(err)
			}
			found = append(found, n)
		}
	}
	return found
}

// atom is what is neither string nor list. Names with a section are one atom.
// NIL is nil.
type atom string

// response is a response line: atoms, strings, lists ([]any) and nil. What
// follows OK, NO, BAD, BYE and "+" is one string. It is empty at the end of the
// connection.
type response []any

// text returns a status response without its tag.
func (r response) text() string {
	if len(r) < 3 {
		return ""
	}
	s, _ := r[2].(string)
	return fmt.Sprint(r[1], " ", s)
}

func (p *imapPeer) response() response {
	p.t.Helper()
	r, err := p.tryResponse()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("no response within %s, after %v", patience, r)
	}
	if _, ok := errors.AsType[grammarError](err); ok {
		p.t.Fatalf("%v, after %v", err, r)
	}
	if err != nil {
		return nil
	}
	return r
}

type grammarError string

func (e grammarError) Error() string { return "response against the grammar: " + string(e) }

func (p *imapPeer) tryResponse() (r response, err error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	for {
		v, err := p.value()
		if err != nil {
			return r, err
		}
		r = append(r, v)
		if v == atom("+") || len(r) == 2 && (v == atom("OK") || v == atom("NO") || v == atom("BAD") || v == atom("BYE") || v == atom("PREAUTH")) {
			line, err := p.r.ReadString('\n')
			if err != nil {
				return r, err
			}
			return append(r, strings.TrimSuffix(strings.TrimPrefix(line, " "), "\r\n")), nil
		}
		c, err := p.r.ReadByte()
		if err != nil {
			return r, err
		}
		switch c {
		case ' ':
		case '(': // Of threads, which have no space between them.
			if _, list := v.([]any); !list {
				return r, grammarError("list behind a value")
			}
			if err := p.r.UnreadByte(); err != nil {
				return r, err
			}
		case '\r':
			if c, err = p.r.ReadByte(); err != nil || c != '\n' {
				return r, grammarError(fmt.Sprintf("CR and then %q, %v", c, err))
			}
			return r, nil
		default:
			return r, grammarError(fmt.Sprintf("%q behind a value", c))
		}
	}
}

func (p *imapPeer) value() (any, error) {
	c, err := p.r.ReadByte()
	if err != nil {
		return nil, err
	}
	switch c {
	case '(':
		return p.list()
	case '"':
		return p.quoted()
	case '{':
		return p.literal()
	case '~':
		if c, err := p.r.ReadByte(); err != nil || c != '{' {
			return nil, grammarError("~ without a literal")
		}
		return p.literal()
	}
	return p.atom(c)
}

func (p *imapPeer) list() (any, error) {
	list := []any{}
	if c, err := p.r.Peek(1); err == nil && c[0] == ')' {
		_, err := p.r.Discard(1)
		return list, err
	}
	for {
		v, err := p.value()
		if err != nil {
			return list, err
		}
		list = append(list, v)
		c, err := p.r.ReadByte()
		switch {
		case err != nil:
			return list, err
		case c == ')':
			return list, nil
		case c == '(': // Of bodies in a multipart, which have no space between them.
			if err := p.r.UnreadByte(); err != nil {
				return list, err
			}
		case c != ' ':
			return list, grammarError(fmt.Sprintf("%q in a list", c))
		}
	}
}

func (p *imapPeer) quoted() (any, error) {
	var b []byte
	for {
		c, err := p.r.ReadByte()
		switch {
		case err != nil:
			return nil, err
		case c == '"':
			return string(b), nil
		case c == '\\':
			if c, err = p.r.ReadByte(); err != nil || c != '"' && c != '\\' {
				return nil, grammarError(fmt.Sprintf("escaped %q", c))
			}
		case c == '\r' || c == '\n' || c == 0 || c >= 0x80:
			return nil, grammarError(fmt.Sprintf("%q in a quoted string", c))
		}
		b = append(b, c)
	}
}

func (p *imapPeer) literal() (any, error) {
	size, err := p.r.ReadString('}')
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(size, "}"), 10, 32)
	if err != nil {
		return nil, grammarError("literal of size " + size)
	}
	if end, err := p.r.ReadString('\n'); err != nil || end != "\r\n" {
		return nil, grammarError(fmt.Sprintf("literal followed by %q", end))
	}
	b := make([]byte, n)
	_, err = io.ReadFull(p.r, b)
	return string(b), err
}

// atom reads an atom that begins with c, with a section in brackets.
func (p *imapPeer) atom(c byte) (any, error) {
	var b []byte
	depth := 0
	for {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c < ' ' || c >= 0x7f || depth == 0 && (c == '"' || c == '{'):
			return nil, grammarError(fmt.Sprintf("%q in an atom after %q", c, b))
		}
		b = append(b, c)
		next, err := p.r.Peek(1)
		if err != nil {
			return nil, err
		}
		if depth == 0 && strings.IndexByte(" ()\r", next[0]) >= 0 {
			if string(b) == "NIL" {
				return nil, nil
			}
			return atom(b), nil
		}
		if c, err = p.r.ReadByte(); err != nil {
			return nil, err
		}
	}
}
