package smtpserver

import (
	"context"
	"strings"

	"github.com/mjl-/mox/smtp"
)

// nothing is the request of a command without arguments.
type nothing struct{}

// parseNothing refuses arguments. The tolerant accept spaces.
func parseNothing(args string, opts smtp.ParseOptions) (nothing, error) {
	if opts.Tolerant {
		args = strings.TrimSpace(args)
	}
	if args != "" {
		return nothing{}, smtp.Errorf(smtp.CodeBadParameter, smtp.DetailBadArguments, "no argument is known")
	}
	return nothing{}, nil
}

// parseText accepts any argument, and none.
func parseText(args string, _ smtp.ParseOptions) (string, error) { return args, nil }

// parseWord requires an argument.
func parseWord(args string, _ smtp.ParseOptions) (string, error) {
	if strings.TrimSpace(args) == "" {
		return "", smtp.Errorf(smtp.CodeBadParameter, smtp.DetailBadArguments, "an argument is missing")
	}
	return args, nil
}

// rset ends the transaction, RFC 5321, section 4.1.1.5.
func (s *session) rset(ctx context.Context, _ nothing) (reply, error) {
	s.reset(ctx)
	return reply{code: smtp.CodeOK, enhanced: "2.0.0", text: "ok"}, nil
}

func (s *session) noop(context.Context, string) (reply, error) {
	return reply{code: smtp.CodeOK, enhanced: "2.0.0", text: "ok"}, nil
}

// vrfy does not tell who is here; RFC 5321, section 7.3, allows that.
func (s *session) vrfy(context.Context, string) (reply, error) {
	return reply{code: smtp.CodeCannotVerify, enhanced: "2.0.0", text: "not verified, but mail may be accepted"}, nil
}

// expn does not tell who is on a list, as vrfy.
func (s *session) expn(context.Context, string) (reply, error) {
	return reply{code: smtp.CodeCannotVerify, enhanced: "2.0.0", text: "not expanded, but mail may be accepted"}, nil
}

func (s *session) help(context.Context, string) (reply, error) {
	return reply{code: smtp.CodeHelp, enhanced: "2.0.0", text: "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP QUIT\nsee RFC 5321"}, nil
}

func (s *session) quit(ctx context.Context, _ nothing) (reply, error) {
	s.reset(ctx)
	return reply{code: smtp.CodeClosing, enhanced: "2.0.0", text: "bye", close: true}, nil
}
