// Package sasl has authentication mechanisms (RFC 4422) as state machines: bytes
// from the peer in, bytes for the peer out.
//
// It knows no protocol, no base64, no accounts and no passwords of ours: the
// servers carry its messages, and package auth says whether what a client
// claims is so.
package sasl

import "errors"

var (
	// ErrMessage means the client's message breaks the mechanism's grammar. The
	// exchange has failed; no credentials were seen.
	ErrMessage = errors.New("sasl: invalid message")

	// ErrAuthorization means the client asks to act as somebody else than who it
	// authenticates as, which nobody may. The exchange has failed.
	ErrAuthorization = errors.New("sasl: authorization as another user")

	// ErrChannelBinding means the two sides see different channels, or one of them
	// was made to believe that the other can't tell (RFC 5802, section 6): somebody
	// may be in between. The exchange has failed.
	ErrChannelBinding = errors.New("sasl: channel binding does not match")

	// ErrProof means the peer has not shown that it knows the password: for a
	// server that it is wrong, for a client that the server may be an impostor.
	ErrProof = errors.New("sasl: wrong proof of knowing the password")

	// ErrRefused means the server said within the mechanism that it refuses.
	ErrRefused = errors.New("sasl: refused by the server")

	// ErrMechanism means client and server have no mechanism in common.
	ErrMechanism = errors.New("sasl: no common mechanism")
)

// Names of the mechanisms.
const (
	External     = "EXTERNAL"
	SCRAM256Plus = "SCRAM-SHA-256-PLUS"
	SCRAM256     = "SCRAM-SHA-256"
	SCRAM1Plus   = "SCRAM-SHA-1-PLUS"
	SCRAM1       = "SCRAM-SHA-1"
	CRAMMD5      = "CRAM-MD5"
	Plain        = "PLAIN"
	Login        = "LOGIN"
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
