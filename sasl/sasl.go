// Package sasl has authentication mechanisms (RFC 4422) as state machines: bytes
// from the peer in, bytes for the peer out.
//
// It knows no protocol, no base64, no accounts and no passwords of ours: the
// servers carry its messages, and package auth says whether what a client
// claims is so.
package sasl

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

var (
	// ErrMessage means the client's message breaks the mechanism's grammar. The
	// exchange has failed; no credentials were seen.
	ErrMessage = errors.New("sasl: invalid message")

	// ErrAuthorization means the client asks to act as somebody else than who it
	// authenticates as, which nobody may. The exchange has failed.
	ErrAuthorization = errors.New("sasl: authorization as another user")
)

// fieldMax bounds each field of a message in bytes. RFC 4616, section 2, asks
// for names and passwords of at least 255.
const fieldMax = 1024

// Server is the server's side of one exchange.
type Server interface {
	// Name returns the registered name of the mechanism.
	Name() string

	// Next takes the client's next message, nil if it has sent none yet, and
	// returns the challenge for it. When done the exchange is complete, and the
	// mechanism's own fields have its result. After an error it is over.
	Next(resp []byte) (challenge []byte, done bool, err error)
}

// Client is the client's side of one exchange.
type Client interface {
	// Name returns the registered name of the mechanism.
	Name() string

	// Next takes the server's challenge, nil at the beginning, and returns the
	// response to it; a nil response means there is none to send yet. When done the
	// client has nothing more to say, and has checked what the server had to prove:
	// the caller must feed it data that comes with the outcome too, and must not
	// take the login for good before done.
	Next(challenge []byte) (resp []byte, done bool, err error)
}

// PlainServer is the server's side of PLAIN, RFC 4616. Its fields are set when
// Next is done. They are as the client sent them: preparing them for comparison
// is up to package auth.
type PlainServer struct {
	Username string
	Password string
}

// Name returns "PLAIN".
func (s *PlainServer) Name() string { return "PLAIN" }

// Next takes the one message of PLAIN. The challenge for it is empty.
func (s *PlainServer) Next(resp []byte) (challenge []byte, done bool, err error) {
	if resp == nil {
		return []byte{}, false, nil
	}
	fields := bytes.Split(resp, []byte{0})
	if len(fields) != 3 {
		return nil, false, fmt.Errorf("%w: %d fields instead of 3", ErrMessage, len(fields))
	}
	for _, f := range fields {
		if len(f) > fieldMax || !utf8.Valid(f) {
			return nil, false, fmt.Errorf("%w: field of %d bytes, or not UTF-8", ErrMessage, len(f))
		}
	}
	authorize, username, password := string(fields[0]), string(fields[1]), string(fields[2])
	switch {
	case username == "" || password == "":
		return nil, false, fmt.Errorf("%w: empty username or password", ErrMessage)
	case authorize != "" && authorize != username:
		return nil, false, ErrAuthorization
	}
	s.Username, s.Password = username, password
	return nil, true, nil
}
