package imapserver

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/lineio"
	"github.com/mjl-/mox/logfmt"
)

// tooBigError means a command has a literal beyond the limits. The client has
// not sent it, since it waits for us, so the session can go on.
type tooBigError struct {
	tag, text string
	metadata  bool // It is a value of SETMETADATA.
}

func (e *tooBigError) Error() string { return "literal refused: " + e.text }

// readCommand gathers the text of the next command with its literals, but for
// the message of APPEND: that is left in s.unread, for the handler to read.
func (s *session) readCommand() (string, error) {
	s.level = logfmt.LevelTrace
	line, err := s.readLine()
	if err != nil {
		return "", err
	}
	lit, ok := imap.ParseLiteral(line)
	if !ok {
		return line, nil
	}
	g := gatherer{s: s, tag: s.decoder(line).Tag()}
	g.text.WriteString(line)
	for ; ok; lit, ok = imap.ParseLiteral(line) {
		if s.streams(g.text.String()) {
			s.unread = &lit
			break
		}
		if err := g.literal(lit); err != nil {
			return "", err
		}
		if line, err = s.readLine(); err != nil {
			return "", err
		}
		g.text.WriteString(line)
	}
	return g.text.String(), nil
}

// readLine reads a line of a command.
func (s *session) readLine() (string, error) {
	line, err := s.in.ReadLine(lineMax)
	if s.account == nil && isLogin(line) {
		s.level = logfmt.LevelTraceAuth
	}
	switch {
	case errors.Is(err, lineio.ErrTooLong):
		return "", imap.Bye("TOOBIG", "line is longer than %d bytes", lineMax)
	case errors.Is(err, lineio.ErrBareLF) || errors.Is(err, lineio.ErrBareCR):
		return "", imap.Bye("CLIENTBUG", "lines must end with CR LF")
	case err != nil:
		return "", err
	}
	return string(line), nil
}

// isLogin reports whether line begins a command with credentials, so that what
// follows is not traced at the usual level.
func isLogin(line []byte) bool {
	fields := strings.Fields(string(line[:min(len(line), 100)]))
	return len(fields) > 1 && (strings.EqualFold(fields[1], "LOGIN") || strings.EqualFold(fields[1], "AUTHENTICATE"))
}

// streams reports whether text is a command up to the literal that its handler
// reads as a stream.
func (s *session) streams(text string) bool {
	d := s.decoder(text)
	_, name, cmd, err := s.lookup(d)
	if err != nil {
		return s.server.commands[name].streams != nil // It is refused: its message need not be sent.
	}
	if cmd.streams == nil {
		return false
	}
	return !errors.Is(cmd.streams(d), imap.ErrIncomplete)
}

// gatherer reads the literals of one command, within limits.
type gatherer struct {
	s     *session
	tag   string
	text  strings.Builder
	count int
	total int64
}

// literal asks for a literal, if its client waits for that, and reads it.
func (g *gatherer) literal(lit imap.Literal) error {
	if problem := g.refuse(lit); problem != "" {
		if lit.NonSync {
			// What follows would be read as commands.
			return &imap.Error{Response: imap.Response{Type: "BYE", Code: "ALERT", Text: problem}}
		}
		return &tooBigError{g.tag, problem, lit.Size > literalMax && g.setsMetadata()}
	}
	if err := g.s.continueLiteral(lit); err != nil {
		return err
	}
	g.text.WriteString("\r\n")
	// The buffer grows with what comes, not with what was announced.
	if _, err := io.CopyN(&g.text, g.s.in, lit.Size); err != nil {
		return fmt.Errorf("reading literal: %w", err)
	}
	return nil
}

// response is what the client gets. For a value it is that of RFC 5464, section 4.3.
func (e *tooBigError) response() imap.Response {
	if e.metadata {
		return imap.No(metadataSizeCode(literalMax), "value is larger than %d bytes", literalMax).Response
	}
	return imap.Response{Type: "BAD", Code: "TOOBIG", Text: e.text}
}

// setsMetadata reports whether the command is SETMETADATA.
func (g *gatherer) setsMetadata() bool {
	_, name, _, _ := g.s.lookup(g.s.decoder(g.text.String()))
	return name == "SETMETADATA"
}

// refuse returns why a literal is not taken, or "".
func (g *gatherer) refuse(lit imap.Literal) string {
	total := int64(literalsMax)
	if g.s.account == nil {
		total = preauthLiteralMax
	}
	g.count++
	g.total += min(lit.Size, literalsMax+1)
	switch {
	case lit.Size > literalMax:
		return fmt.Sprintf("literal is larger than %d bytes", literalMax)
	case g.total > total:
		return fmt.Sprintf("literals are larger than %d bytes together", total)
	case int64(g.text.Len()) > total+linesMax:
		return fmt.Sprintf("command is longer than %d bytes", total+linesMax)
	case g.count > literalCountMax:
		return fmt.Sprintf("command has more than %d literals", literalCountMax)
	}
	return ""
}

// continueLiteral asks the client to send a literal, if it waits for that.
func (s *session) continueLiteral(lit imap.Literal) error {
	if lit.NonSync {
		return nil
	}
	s.out.Raw("+ go ahead").CRLF()
	return s.out.Flush()
}

// afterUnread deals with a literal that the command's handler did not take:
// one of a client that does not wait is on its way. A small one is read and
// dropped with the rest of the command, which may have more of them; else the
// connection must end.
func (s *session) afterUnread() error {
	lit := s.unread
	s.unread = nil
	for lit != nil && lit.NonSync {
		if lit.Size > literalMax {
			s.out.Response("*", imap.Response{Type: "BYE", Text: "literal that was not waited for is too large to be dropped"})
			s.ended = true
			return nil
		}
		if _, err := io.CopyN(io.Discard, s.in, lit.Size); err != nil {
			return fmt.Errorf("dropping literal: %w", err)
		}
		line, err := s.readLine()
		if err != nil {
			return err
		}
		next, ok := imap.ParseLiteral(line)
		if lit = nil; ok {
			lit = &next
		}
	}
	return nil
}
