package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
)

// errBare is the reply to a message in which a CR or LF comes alone.
var errBare = smtp.Errorf(smtp.CodeBadCommand, smtp.DetailSyntax, "a CR or LF alone is not a line end, and could be used for SMTP smuggling")

// data receives a message up to its CRLF.CRLF, RFC 5321, section 4.1.1.4.
func (s *session) data(ctx context.Context, _ nothing) (reply, error) {
	if s.chunk != nil {
		return reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "the message has begun with BDAT")
	}
	if err := s.ready(); err != nil {
		return reply{}, err
	}
	if err := s.write(ctx, reply{code: smtp.CodeStartData, text: "go ahead, end with CRLF.CRLF"}); err != nil {
		return reply{}, err
	}
	in := &intake{s: s, spool: s.server.opts.Receiver.NewSpool(s.tx.size()), start: time.Now()}
	err := in.receive(ctx)
	text := ""
	if err == nil {
		text, err = s.deliver(ctx, in.spool)
	} else {
		s.refusedMessage(err)
	}
	if cerr := in.spool.Close(); cerr != nil {
		s.log.ErrorContext(ctx, "dropping message", "err", cerr)
	}
	if err != nil {
		s.fail(ctx)
		return reply{}, err
	}
	return s.delivered(ctx, text)
}

// delivered ends a transaction that succeeded.
func (s *session) delivered(ctx context.Context, text string) (reply, error) {
	s.reset(ctx)
	s.messages++
	return reply{code: smtp.CodeOK, enhanced: "2.0.0", text: text}, nil
}

// intake receives the message of one DATA.
type intake struct {
	s       *session
	spool   *receive.Spool
	start   time.Time
	scanner dataScanner
	drained int64 // Bytes read after the message was refused.
	err     error // Why the message is refused. Set while the rest of it is read.
}

// receive reads to the end of the message, whatever it is, so that the reply
// comes at its place. An error is why the message is refused, or the end of
// the connection.
func (in *intake) receive(ctx context.Context) error {
	c := in.s.wire
	c.until = in.start.Add(dataWait)
	for done := false; !done; {
		c.wait = commandWait
		if in.scanner.bare {
			c.wait = drainWait
		}
		p, err := c.r.Chunk()
		if err != nil {
			return in.interrupted(err)
		}
		text, n, end := in.scanner.next(p)
		in.trace(ctx, p[:n])
		in.take(text)
		done = end
		if in.drained > drainMax {
			return closing(in.err)
		}
		if err := c.r.Discard(n); err != nil {
			return err
		}
	}
	return in.err
}

// take keeps a piece of the message, or finds out that it is refused.
func (in *intake) take(text []byte) {
	if in.err != nil {
		in.drained += int64(len(text))
		return
	}
	switch {
	case in.scanner.bare:
		in.err = errBare
	case in.spool.Size()+int64(len(text)) > in.s.listener.MessageSizeMax:
		in.err = in.s.tooLarge()
	default:
		if _, err := in.spool.Write(text); err != nil {
			in.err = diskError(err)
			return
		}
		return
	}
	if err := in.spool.Close(); err != nil { // Its room is not needed any more.
		in.err = diskError(err)
	}
}

// trace logs what came, if that is asked for.
func (in *intake) trace(ctx context.Context, p []byte) {
	if in.s.log.Enabled(ctx, logfmt.LevelTraceData) {
		in.s.log.Log(ctx, logfmt.LevelTraceData, "RC", "data", string(p))
	}
}

// interrupted returns the error for a message whose end did not come.
func (in *intake) interrupted(err error) error {
	if in.err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return closing(in.err)
	}
	return timeoutError(err)
}

// closing returns err so that the connection ends after its reply.
func closing(err error) error {
	e, _ := errorFor(err)
	return e.Because(err).Closing()
}

// diskError is for a message that could not be kept.
func diskError(err error) error { return fmt.Errorf("keeping message: %w", err) }
