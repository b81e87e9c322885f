package smtpserver

import (
	"errors"
	"io"
	"net"

	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/submit"
	"github.com/mjl-/mox/trace"
)

// refusalsMax bounds the refusals of a connection that are traced. Who is refused so
// often has no message that anybody will ask for.
const refusalsMax = 20

// refused adds to the trace that something was refused at a stage, before there was a
// message to decide about.
func (s *session) refused(stage string, from smtp.Path, rcpts []smtp.Path, err error) {
	if s.server.opts.Trace == nil || s.refusals >= refusalsMax || isEnd(err) {
		return
	}
	s.refusals++
	e := trace.Event{Kind: trace.Refused, CID: trace.CID(s.cid), From: from.String(), Peer: s.peer.Traced(false)}
	for _, path := range rcpts {
		e.Rcpts = append(e.Rcpts, trace.Rcpt{Address: path.String()})
	}
	if s.listener.Submission {
		e.Refusal = submit.TracedRefusal(stage, err)
		if s.login != nil {
			e.Account = s.login.Account
		}
	} else {
		e.Refusal = receive.TracedRefusal(stage, err)
	}
	s.server.opts.Trace.Append(e)
}

// isEnd tells whether an error is the end of the connection: then nothing was
// refused.
func isEnd(err error) bool {
	_, network := errors.AsType[net.Error](err)
	_, told := errors.AsType[*smtp.Error](err)
	return !told && (network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed))
}

// refusedMessage adds to the trace that a message was refused while it came, for all
// its recipients.
func (s *session) refusedMessage(err error) {
	if s.tx != nil {
		s.refused("data", s.tx.sender(), s.tx.addresses(), err)
	}
}
