package imapserver

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/logfmt"
)

// authenticateRequest is a parsed AUTHENTICATE.
type authenticateRequest struct {
	mechanism  string // In upper case.
	initial    string // Initial response in base64, or "=" for an empty one.
	hasInitial bool
}

// parseAuthenticate parses the arguments of AUTHENTICATE, RFC 9051, section 9:
//
//	authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp]
func parseAuthenticate(d *imap.Decoder) (req authenticateRequest) {
	d.SP()
	req.mechanism = d.Word()
	if d.TakeSP() {
		req.initial, req.hasInitial = d.Rest(), true
	}
	return req
}

// authenticate carries the messages of a mechanism.
func (s *session) authenticate(ctx context.Context, _ command, req authenticateRequest) (imap.Response, error) {
	e, err := s.server.opts.Auth.Begin(s.attempt(""), s.secure, req.mechanism)
	switch {
	case errors.Is(err, auth.ErrMechanism):
		return imap.Response{}, imap.No("CANNOT", "mechanism is not available")
	case errors.Is(err, auth.ErrNeedTLS):
		return imap.Response{}, imap.No("PRIVACYREQUIRED", "start TLS first")
	case err != nil:
		return imap.Response{}, s.loginFailed(err)
	}
	err = s.exchange(ctx, e, req)
	s.level = logfmt.LevelTrace
	if err != nil {
		e.Cancel(ctx) // Unless it is over already.
		return imap.Response{}, err
	}
	return s.loggedIn(ctx, e.Login(), req.mechanism)
}

// exchange carries the messages of an exchange until it is done.
func (s *session) exchange(ctx context.Context, e *auth.Exchange, req authenticateRequest) error {
	var resp []byte
	var err error
	if req.hasInitial {
		if req.mechanism == "CRAM-MD5" {
			return imap.Bad("mechanism begins with a challenge") // RFC 9051, section 6.2.2.
		}
		if resp, err = decodeResponse(req.initial, true); err != nil {
			return err
		}
	}
	for {
		challenge, done, err := e.Next(ctx, resp)
		if err != nil {
			return s.loginFailed(err)
		}
		if done && challenge == nil {
			return nil
		}
		// The last words of a mechanism are a challenge too, without anything to say
		// to it but "*" (RFC 9051, section 6.2.2).
		if resp, err = s.challenge(challenge); err != nil {
			return err
		}
		if done && len(resp) > 0 {
			return imap.Bad("authentication was complete")
		}
		if done {
			return nil
		}
	}
}

// challenge sends a challenge and reads the response to it.
func (s *session) challenge(challenge []byte) ([]byte, error) {
	s.out.Raw("+ ", base64.StdEncoding.EncodeToString(challenge)).CRLF()
	if err := s.out.Flush(); err != nil {
		return nil, err
	}
	s.level = logfmt.LevelTraceAuth
	line, err := s.readLine()
	if err != nil {
		s.lost = err
		return nil, err
	}
	return decodeResponse(line, false)
}

// decodeResponse decodes what a client sends in an exchange. "*" cancels it,
// "=" is an empty initial response.
func decodeResponse(s string, initial bool) ([]byte, error) {
	switch {
	case s == "*" && !initial:
		return nil, imap.Bad("authentication was cancelled")
	case s == "=" && initial:
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, imap.Bad("malformed base64")
	}
	return append([]byte{}, b...), nil
}
