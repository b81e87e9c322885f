package smtpclient

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mjl-/mox/lineio"
	"github.com/mjl-/mox/smtp"
)

// Reply is a reply of the server that is not what we hoped for. It is the error
// of commands that were refused.
type Reply struct {
	Command  string   // That it answers, as "RCPT"; "DATA" and "BDAT" also for the message. Empty for the greeting.
	Code     int      // 400 to 599.
	Enhanced string   // "5.1.1", empty if there was none.
	Lines    []string // Text, without codes. Printable; cut at a maximum.

	// TooMany means the server takes no more recipients in this transaction. It says
	// nothing of this one, who can be in another at once (RFC 5321, section 4.5.3.1.10).
	TooMany bool
}

// Error returns the reply on one line.
func (r *Reply) Error() string {
	command := r.Command
	if command == "" {
		command = "greeting"
	}
	return command + ": " + r.Text()
}

// Text returns the reply on one line as the server said it, without the command.
func (r *Reply) Text() string {
	words := []string{strconv.Itoa(r.Code)}
	if r.Enhanced != "" {
		words = append(words, r.Enhanced)
	}
	return strings.TrimRight(strings.Join(append(words, r.Lines...), " "), " ")
}

// Temporary returns whether trying again can help.
func (r *Reply) Temporary() bool { return r.Code < 500 || r.TooMany }

// reply is any reply.
type reply struct {
	code  int      // 200 to 599.
	lines []string // At least one. As received, without codes.
}

// class returns the first digit, which is all that a client should look at
// (RFC 5321, section 4.3.2).
func (r reply) class() int { return r.code / 100 }

// refusal returns r as an error.
func (r reply) refusal(command string) *Reply {
	e := &Reply{Command: command, Code: r.code}
	for i, line := range r.lines[:min(len(r.lines), textLinesMax)] {
		enhanced, text := cutEnhanced(r.code, line)
		if i == 0 {
			e.Enhanced = enhanced
		}
		e.Lines = append(e.Lines, printable(text))
	}
	return e
}

// text returns r on one line.
func (r reply) text() string { return r.refusal("").Text() }

// readReply reads a reply. The error is ErrProtocol, or that of the connection.
// Each line goes to trace too.
func readReply(r *lineio.Reader, trace func(line string)) (reply, error) {
	var rep reply
	size := 0
	for {
		line, err := r.ReadLine(replyLineMax)
		switch {
		case errors.Is(err, lineio.ErrTooLong):
			return reply{}, fmt.Errorf("%w: reply with a line of more than %d bytes", ErrProtocol, replyLineMax)
		case errors.Is(err, lineio.ErrBareLF):
			// Some old servers end lines so. It gives nobody else a way to speak for them,
			// since we never send an LF that could come back.
		case errors.Is(err, lineio.ErrBareCR):
			return reply{}, fmt.Errorf("%w: reply with a CR that ends no line", ErrProtocol)
		case err != nil:
			return reply{}, err
		}
		trace(string(line))
		code, text, last, ok := parseReplyLine(string(line))
		if !ok || rep.code != 0 && rep.code != code {
			return reply{}, fmt.Errorf("%w: %+q is not a line of a reply", ErrProtocol, clip(string(line)))
		}
		rep.code, rep.lines = code, append(rep.lines, text)
		if last {
			return rep, nil
		}
		if size += len(line); size > replySizeMax || len(rep.lines) >= replyLinesMax {
			return reply{}, fmt.Errorf("%w: reply with more than %d lines or %d bytes", ErrProtocol, replyLinesMax, replySizeMax)
		}
	}
}

// parseReplyLine takes apart a line of a reply, RFC 5321, section 4.2. The codes
// it knows begin with 2 to 5; a second digit beyond 5 is odd, but tells us nothing.
func parseReplyLine(line string) (code int, text string, last, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, "", false, false
	}
	for _, c := range []byte(line[:3]) {
		if c < '0' || c > '9' {
			return 0, "", false, false
		}
		code = 10*code + int(c-'0')
	}
	switch {
	case len(line) == 3:
		return code, "", true, true
	case line[3] == ' ' || line[3] == '-':
		return code, line[4:], line[3] == ' ', true
	}
	return 0, "", false, false
}

// cutEnhanced takes the enhanced status code off a line, RFC 2034, section 4. What
// is not of the class of the reply code is none.
func cutEnhanced(code int, line string) (enhanced, text string) {
	word, rest, _ := strings.Cut(line, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != strconv.Itoa(code/100) || code/100 == 3 {
		return "", line
	}
	for _, p := range parts[1:] {
		if len(p) < 1 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return "", line
		}
	}
	return word, rest
}

// printable returns s, cut, with "?" for what could disturb a terminal.
func printable(s string) string {
	if len(s) > textLineMax {
		cut := textLineMax
		for cut > textLineMax-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// clip shortens text from a peer for an error.
func clip(s string) string { return s[:min(len(s), 32)] }

// command sends a command and returns its reply.
func (c *Client) command(name, line string, wait time.Duration) (reply, error) {
	if err := c.unasked(name); err != nil {
		return reply{}, err
	}
	start := time.Now()
	if err := c.sendLine(line); err != nil {
		return reply{}, err
	}
	return c.reply(name, wait, start)
}

// sendLine adds a command to what is sent when we next wait for a reply.
func (c *Client) sendLine(line string) error {
	if strings.ContainsAny(line, "\r\n\x00") {
		return fmt.Errorf("smtpclient: command with a line end: %+q", clip(line))
	}
	c.trace(true, line)
	// An error is kept, and found when the reply is read.
	_, _ = c.wire.w.WriteString(line + "\r\n")
	return nil
}

func (c *Client) trace(sent bool, line string) {
	if c.opts.Trace != nil {
		c.opts.Trace(sent, line)
	}
}

// reply reads the reply to a command that was sent at start. After an error, and
// after a reply that announces it, the connection is broken.
func (c *Client) reply(command string, wait time.Duration, start time.Time) (reply, error) {
	rep, err := c.receive(wait, func(line string) { c.trace(false, line) })
	if err == nil {
		c.observe(command, rep, start)
	}
	return rep, err
}

func (c *Client) observe(command string, rep reply, start time.Time) {
	if c.opts.Observe != nil {
		c.opts.Observe(command, rep.code, time.Since(start))
	}
}

// receive reads a reply.
func (c *Client) receive(wait time.Duration, trace func(line string)) (reply, error) {
	err := c.wire.limit(wait)
	var rep reply
	if err == nil {
		rep, err = readReply(c.wire.r, trace)
	}
	if err != nil {
		c.broken = true
		if !errors.Is(err, ErrProtocol) {
			err = c.wire.lost(err)
		}
		return reply{}, err
	}
	if rep.code == smtp.CodeUnavailable {
		c.broken = true
	}
	return rep, nil
}

// unasked returns an error if the server has said something that we didn't ask
// for: that it ends the connection (RFC 5321, section 3.8), or what could later be
// taken for the reply to another command.
func (c *Client) unasked(command string) error {
	if c.wire.r.Buffered() == 0 {
		return nil
	}
	rep, err := c.reply(command, lastWordsWait, time.Now())
	c.broken = true
	if err != nil {
		return err
	}
	return c.want(rep, command, 0)
}

// want returns nil if a reply is of a class, the reply as an error if it is a
// refusal, and otherwise ErrProtocol.
func (c *Client) want(rep reply, command string, class int) error {
	switch got := rep.class(); {
	case got == class:
		return nil
	case got >= 4:
		return rep.refusal(command)
	}
	c.broken = true // Who knows what it answers.
	return fmt.Errorf("%w: unexpected reply to %s: %s", ErrProtocol, command, rep.text())
}
