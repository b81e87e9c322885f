package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/mjl-/mox/smtp"
)

// Transaction is one message.
type Transaction struct {
	From       smtp.Path // Zero: the null sender.
	To         []smtp.Path
	EightBit   bool                          // The content has bytes over 127.
	SMTPUTF8   bool                          // The header needs it. Addresses that do are seen.
	RequireTLS bool                          // REQUIRETLS, RFC 8689: the server must have it too.
	HoldFor    time.Duration                 // FUTURERELEASE, RFC 4865: the server must hold the message for that time, in whole seconds.
	DSN        smtp.MailDSN                  // What is asked for about notifications.
	RcptDSN    []smtp.RcptDSN                // The same by recipient, as To. Nil: nothing.
	Size       int64                         // Of Content, in bytes. Zero: unknown.
	Content    func() (io.ReadCloser, error) // Called at most once, when the server wants it. CRLF line ends.
}

// SendResult is what came of a transaction.
type SendResult struct {
	Rcpts     []error // By recipient.
	MaybeSent bool
	Reply     string // To the end of the message, for the log.
}

// Send sends a message. It returns one error for each recipient, nil if the
// server has taken responsibility for it, a *Reply if it was refused; err is why
// the whole transaction failed, and then it is in each of the others too. If the
// server refuses all recipients one by one, err is nil.
//
// MaybeSent is set if the connection was lost between the end of the message and
// its reply, or that can't be understood: the server may have it.
//
// A content that does not end with a line end gets one if it is sent by DATA.
//
// What is asked for about notifications is passed on to servers that announce DSN
// (RFC 3461, section 5.2.1). To others it must not be said, and the caller sees to
// it that the sender is told what he wants to be told (section 5.2.2).
func (c *Client) Send(ctx context.Context, t Transaction) (SendResult, error) {
	tx := transaction{c: c, t: t, result: SendResult{Rcpts: make([]error, len(t.To))}}
	if err := tx.check(); err != nil {
		tx.fail(err)
		return tx.result, err
	}
	done := c.wire.watch(ctx)
	err := tx.run()
	done()
	if c.wire.interrupted() != nil {
		c.broken = true // Perhaps only just.
	}
	if err != nil {
		tx.fail(err)
	}
	if !c.broken {
		c.wire.r.Release()
	}
	return tx.result, err
}

// transaction is a Transaction that is going on.
type transaction struct {
	c      *Client
	t      Transaction
	result SendResult

	answered int   // Recipients that the server has replied to.
	accepted int   // Of those.
	mail     error // The refusal of MAIL.
	data     reply // To DATA, zero if there was none.
}

// fail gives err to all recipients that have no error of their own.
func (tx *transaction) fail(err error) {
	for i, own := range tx.result.Rcpts {
		if own == nil {
			tx.result.Rcpts[i] = err
		}
	}
}

// check returns why the message can't be sent here.
func (tx *transaction) check() error {
	c, t := tx.c, &tx.t
	if c.Broken() {
		return fmt.Errorf("%w: before this message", ErrLost)
	}
	if len(t.To) == 0 {
		return errors.New("smtpclient: no recipients")
	}
	for _, path := range append([]smtp.Path{t.From}, t.To...) {
		// RFC 6531, section 3.1: not needed for domains, which have an ASCII form.
		t.SMTPUTF8 = t.SMTPUTF8 || !path.IsASCII()
	}
	switch {
	case t.SMTPUTF8 && !c.ext.SMTPUTF8:
		return ErrNoSMTPUTF8
	case t.EightBit && !c.ext.EightBitMIME && c.opts.Strict8Bit:
		return ErrNo8BitMIME
	case t.RequireTLS && (c.tls == nil || !c.ext.RequireTLS):
		return ErrNoRequireTLS
	case int64(t.HoldFor/time.Second) > c.ext.FutureReleaseMax:
		return ErrNoFutureRelease
	case c.ext.Size > 0 && t.Size > c.ext.Size:
		return fmt.Errorf("%w: %d bytes, it takes %d", ErrSize, t.Size, c.ext.Size)
	}
	return nil
}

// useChunks returns whether the content goes by BDAT (RFC 3030). It is worth it
// for more than a chunk, where the server can refuse after the first, and where it
// saves the round trip of a DATA that can't be pipelined. For the rest of mail,
// DATA is what all servers do well.
func (tx *transaction) useChunks() bool {
	return tx.c.ext.Chunking && tx.t.Size > 0 && (tx.t.Size > chunkSize || !tx.c.ext.Pipelining)
}

// run does the transaction.
func (tx *transaction) run() error {
	c := tx.c
	chunks := tx.useChunks()
	if err := tx.envelope(!chunks); err != nil {
		return err
	}
	c.dirty = true
	var err error
	switch wanted := tx.data.class() == 3; {
	case tx.accepted > 0 && chunks:
		err = tx.sendChunks()
	case tx.accepted > 0 && wanted:
		err = tx.sendData()
	case tx.accepted > 0:
		err = c.want(tx.data, "DATA", 3)
	case wanted:
		// It wants a message for nobody. An empty one is the way out (RFC 2920, section
		// 3.1), and what it says of it does not matter.
		err = tx.sendNothing()
	}
	if tx.mail != nil {
		return tx.mail
	}
	return err
}

// envelope sends all commands before the content, and takes in their replies.
// The error is one after which the connection is broken.
func (tx *transaction) envelope(data bool) error {
	var commands []envelopeCommand
	times := tx.c.opts.Timeouts
	if tx.c.dirty {
		commands = append(commands, envelopeCommand{"RSET", "RSET", times.Other, tx.onReset})
	}
	commands = append(commands, envelopeCommand{"MAIL", tx.mailLine(), times.Mail, tx.onMail})
	for i, path := range tx.t.To {
		line := "RCPT TO:<" + path.XString(tx.t.SMTPUTF8) + ">"
		if tx.c.ext.DSN && i < len(tx.t.RcptDSN) {
			line += tx.t.RcptDSN[i].Params(tx.t.SMTPUTF8)
		}
		commands = append(commands, envelopeCommand{"RCPT", line, times.Rcpt, tx.onRcpt})
	}
	if data {
		commands = append(commands, envelopeCommand{"DATA", "DATA", times.DataInit, tx.onData})
	}
	return tx.c.pipeline(commands, tx.goOn)
}

// mailLine returns MAIL with the parameters that the server knows.
func (tx *transaction) mailLine() string {
	ext, t := tx.c.ext, tx.t
	line := "MAIL FROM:<" + t.From.XString(t.SMTPUTF8) + ">"
	if ext.sizes && t.Size > 0 {
		line += " SIZE=" + strconv.FormatInt(t.Size, 10)
	}
	if ext.EightBitMIME && t.EightBit {
		line += " BODY=8BITMIME"
	}
	if t.SMTPUTF8 {
		line += " SMTPUTF8"
	}
	if seconds := int64(t.HoldFor / time.Second); seconds > 0 {
		line += " HOLDFOR=" + strconv.FormatInt(seconds, 10)
	}
	if t.RequireTLS {
		line += " REQUIRETLS"
	}
	if ext.DSN {
		line += t.DSN.Params()
	}
	return line
}

// goOn returns whether it makes sense to send more commands.
func (tx *transaction) goOn() bool {
	return tx.mail == nil && (tx.accepted > 0 || tx.answered < len(tx.t.To))
}

func (tx *transaction) onReset(rep reply) error {
	err := tx.c.want(rep, "RSET", 2)
	if err != nil {
		tx.c.broken = true // It can't be told where it is.
	}
	return err
}

func (tx *transaction) onMail(rep reply) error {
	tx.mail = tx.c.want(rep, "MAIL", 2)
	return nil
}

func (tx *transaction) onRcpt(rep reply) error {
	i := tx.answered
	tx.answered++
	if tx.mail != nil {
		return nil
	}
	err := tx.c.want(rep, "RCPT", 2)
	if err == nil {
		tx.accepted++
		return nil
	}
	if refused, ok := errors.AsType[*Reply](err); ok {
		refused.TooMany = tx.accepted > 0 && isTooMany(refused)
		if !tx.c.broken {
			tx.result.Rcpts[i] = refused
			return nil
		}
	}
	return err
}

// isTooMany returns whether the refusal of a recipient after others is about
// their number. 552 was the code for it in RFC 821. Enhanced codes tell it from
// mailboxes and messages that are too large.
func isTooMany(r *Reply) bool {
	if r.Code != smtp.CodeNoRoom && r.Code != smtp.CodeTooLarge {
		return false
	}
	return r.Enhanced == "" || r.Enhanced == smtp.Enhanced(r.Code, smtp.DetailTooManyRecipients)
}

func (tx *transaction) onData(rep reply) error {
	tx.data = rep
	return nil
}

// envelopeCommand is a command of a group.
type envelopeCommand struct {
	name, line string
	wait       time.Duration
	on         func(reply) error // Gets its reply.
}

// size returns the bytes that the command takes on the wire.
func (e envelopeCommand) size() int { return len(e.line) + len("\r\n") }

// pipeline sends commands and takes in their replies: one at a time, or as many as
// may be on the way if the server can do that (RFC 2920). No more are sent when
// goOn says so. It returns the first error of a command's on, or why the connection
// is broken.
func (c *Client) pipeline(commands []envelopeCommand, goOn func() bool) error {
	sent, unanswered := 0, 0
	started := make([]time.Time, len(commands))
	for i, cmd := range commands {
		if sent == i {
			if err := c.unasked(cmd.name); err != nil {
				return err
			}
		}
		for sent < len(commands) && goOn() && (sent == i || c.ext.Pipelining && unanswered+commands[sent].size() <= pipelineMax) {
			if err := c.sendLine(commands[sent].line); err != nil {
				c.broken = true
				return err
			}
			started[sent] = time.Now()
			unanswered += commands[sent].size()
			sent++
		}
		if sent == i {
			return nil
		}
		rep, err := c.reply(cmd.name, cmd.wait, started[i])
		if err != nil {
			return err
		}
		unanswered -= cmd.size()
		if err := cmd.on(rep); err != nil {
			return err
		}
		if c.broken {
			return c.ending(cmd.name, rep)
		}
	}
	return nil
}

// ending returns the error for a reply after which the connection is broken.
func (c *Client) ending(command string, rep reply) error {
	if rep.class() >= 4 {
		return rep.refusal(command)
	}
	return fmt.Errorf("%w: unexpected reply to %s: %s", ErrProtocol, command, rep.text())
}
