package smtpserver

import (
	"context"
	"errors"
	"syscall"

	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// reply is what a command answers when it succeeds.
type reply struct {
	code     int
	enhanced string // Empty for those without, as EHLO's (RFC 2034, section 3).
	text     string // "\n" separates lines.
	close    bool   // The connection ends.
	written  bool   // Nothing is written any more.
}

// command is what the session must know of a command before running it.
type command struct {
	name string

	// hello means EHLO or HELO must have come before, transaction that MAIL must.
	hello, transaction bool

	run func(*session, context.Context, string) (reply, error)
}

// commands lists every command we answer. TestCommandsHaveTranscripts fails for
// an entry without a testdata/*.txt.
var commands = byName(
	command{name: "EHLO", run: bindHello((*session).ehlo)},
	command{name: "HELO", run: bindHello((*session).helo)},
	command{name: "STARTTLS", run: bind(parseNothing, (*session).startTLS)},
	command{name: "AUTH", hello: true, run: bind(smtp.ParseAuth, (*session).auth)},
	command{name: "MAIL", hello: true, run: bind(smtp.ParseMailFrom, (*session).mail)},
	command{name: "RCPT", hello: true, transaction: true, run: bind(smtp.ParseRcptTo, (*session).rcpt)},
	command{name: "DATA", hello: true, transaction: true, run: bind(parseNothing, (*session).data)},
	command{name: "BDAT", run: (*session).bdat},
	command{name: "RSET", run: bind(parseNothing, (*session).rset)},
	command{name: "NOOP", run: bind(parseText, (*session).noop)},
	command{name: "VRFY", run: bind(parseWord, (*session).vrfy)},
	command{name: "EXPN", run: bind(parseWord, (*session).expn)},
	command{name: "HELP", run: bind(parseText, (*session).help)},
	command{name: "QUIT", run: bind(parseNothing, (*session).quit)},
)

func byName(list ...command) map[string]*command {
	m := map[string]*command{}
	for _, c := range list {
		m[c.name] = &c
	}
	return m
}

// bind joins a pure parser to a handler. The handler runs only if the whole
// line parsed, so that no command can take half an effect.
func bind[T any](
	parse func(args string, opts smtp.ParseOptions) (T, error),
	run func(*session, context.Context, T) (reply, error),
) func(*session, context.Context, string) (reply, error) {
	return func(s *session, ctx context.Context, args string) (reply, error) {
		req, err := parse(args, s.parseOptions())
		if err != nil {
			return reply{}, err
		}
		return run(s, ctx, req)
	}
}

// dispatch runs the command on a line.
func (s *session) dispatch(ctx context.Context, line string) (name string, r reply, err error) {
	verb, args := smtp.ParseCommand(line)
	cmd := commands[verb]
	if cmd == nil {
		e := smtp.Errorf(smtp.CodeBadCommand, smtp.DetailBadCommand, "unknown command")
		if !s.spoken {
			// What begins like this is another protocol, or an attempt to have one
			// speak to us.
			e = smtp.Errorf(smtp.CodeBadCommand, smtp.DetailSyntax, "this is an SMTP server").Closing()
		}
		return unknownCommand, reply{}, e
	}
	s.spoken = true
	if cmd.hello && s.peer.Hello.Text == "" {
		return cmd.name, reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "EHLO comes first")
	}
	if cmd.transaction && s.tx == nil {
		return cmd.name, reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "MAIL comes first")
	}
	r, err = cmd.run(s, ctx, args)
	return cmd.name, r, err
}

// unknownCommand is the label of metrics for commands that are not in the table.
const unknownCommand = "(unknown)"

// storeErrors gives the reply for each error of package store that a peer can
// cause. Who knows better returns an *smtp.Error itself.
var storeErrors = []struct {
	err   error
	reply *smtp.Error
}{
	{store.ErrOverQuota, smtp.Errorf(smtp.CodeNoRoom, smtp.DetailMailboxFull, "mailbox is full")},
	{store.ErrDiskFull, smtp.Errorf(smtp.CodeNoRoom, smtp.DetailSystemFull, "not enough room now")},
	{syscall.ENOSPC, smtp.Errorf(smtp.CodeNoRoom, smtp.DetailSystemFull, "not enough room now")}, // As for a message that is coming in.
	{store.ErrBusy, smtp.Errorf(smtp.CodeNoRoom, smtp.DetailSystemFull, "too busy now")},
}

// errorFor maps any error of a command to the reply the peer sees. The error
// itself is for the log only: it may name paths and users. Ours is set for
// errors that no peer should be able to cause.
func errorFor(err error) (e *smtp.Error, ours bool) {
	if e, ok := errors.AsType[*smtp.Error](err); ok {
		return e, errors.Is(e, errTrouble)
	}
	if errors.Is(err, errEnded) {
		return smtp.Errorf(smtp.CodeUnavailable, smtp.DetailSecurity, "this session was ended by the administrator").Closing(), false
	}
	if errors.Is(err, errCrowded) {
		return smtp.Errorf(smtp.CodeUnavailable, smtp.DetailSystemNotAccepting, "too busy now, please try again later").Closing(), false
	}
	if errors.Is(err, errStopping) || errors.Is(err, context.Canceled) {
		return smtp.Errorf(smtp.CodeUnavailable, smtp.DetailSystemNotAccepting, "shutting down, please try again later").Closing(), false
	}
	for _, m := range storeErrors {
		if errors.Is(err, m.err) {
			return m.reply, false
		}
	}
	return smtp.Errorf(smtp.CodeLocalError, smtp.DetailSystem, "internal error, please try again later"), true
}
