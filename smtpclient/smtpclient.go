// Package smtpclient speaks SMTP as a client (RFC 5321) over a connection it is
// given: one conversation, with any number of messages.
//
// It knows no DNS, no policy and no retries: package delivery and the sendmail
// command decide what to connect to and what to demand.
package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
)

var (
	// ErrTLS means STARTTLS or the handshake failed. The connection is of no more
	// use. Where nothing forbids it the caller may connect again with TLSSkip.
	ErrTLS = errors.New("smtpclient: TLS failed")

	// ErrNoTLS means TLS is demanded and the server doesn't offer it.
	ErrNoTLS = errors.New("smtpclient: server has no STARTTLS")

	// ErrNoSMTPUTF8 and ErrNo8BitMIME mean that the message needs an extension that the
	// server doesn't have. Another server of the domain may.
	ErrNoSMTPUTF8 = errors.New("smtpclient: server has no SMTPUTF8")
	ErrNo8BitMIME = errors.New("smtpclient: server has no 8BITMIME")

	// ErrSize means the message is larger than the server takes.
	ErrSize = errors.New("smtpclient: message is too large for the server")

	// ErrProtocol means the server sent what is no SMTP.
	ErrProtocol = errors.New("smtpclient: protocol error")

	// ErrLost means the connection was lost, or time ran out.
	ErrLost = errors.New("smtpclient: connection lost")

	errNotBuilt = errors.New("smtpclient: not built yet")
)

// Reply is a reply of the server that is not what we hoped for. It is the error
// of commands that were refused.
type Reply struct {
	Command  string   // That it answers, as "RCPT". Empty for the greeting.
	Code     int      // 400 to 599.
	Enhanced string   // "5.1.1", empty if there was none.
	Lines    []string // Text, without codes. Printable; cut at a maximum.
}

// Error returns the reply on one line.
func (r *Reply) Error() string { return "" }

// Temporary returns whether trying again can help.
func (r *Reply) Temporary() bool { return r.Code < 500 }

// TLSMode is what a client does about TLS.
type TLSMode int

// The modes.
const (
	TLSSkip          TLSMode = iota // Never, also if it is offered.
	TLSOpportunistic                // If it is offered. A failure is ErrTLS all the same.
	TLSRequired                     // STARTTLS, or ErrNoTLS.
	TLSImmediate                    // The connection begins with it.
)

// Options says how to speak. Fields are optional unless said otherwise.
type Options struct {
	Hello string // Name for EHLO, required: a domain in A-labels or an address literal.

	TLS       TLSMode
	TLSConfig *tls.Config // With ServerName. Verification is as it says.

	// Auth chooses a mechanism from those the server offers, after TLS. Nil: no
	// authentication.
	Auth func(mechanisms []string, cs *tls.ConnectionState) (sasl.Client, error)

	// Trace gets each line: sent or received, without credentials and message data.
	Trace func(sent bool, line string)

	// Observe gets each command with its reply code and how long it took.
	Observe func(command string, code int, took time.Duration)

	// Limits in place of those of RFC 5321, section 4.5.3.2. Zero: that.
	Timeouts Timeouts
}

// Timeouts are the limits of RFC 5321, section 4.5.3.2.
type Timeouts struct {
	Greeting, Mail, Rcpt, DataInit, DataBlock, DataDone, Other time.Duration
}

// Client is a conversation. It is for one goroutine.
type Client struct{}

// New reads the greeting, says EHLO (or HELO), and does TLS and authentication as
// opts say. If it fails the connection is closed. When ctx is done it breaks off.
func New(ctx context.Context, conn net.Conn, opts Options) (*Client, error) {
	return nil, errNotBuilt
}

// Extensions is what a server announced after TLS.
type Extensions struct {
	Pipelining, EightBitMIME, SMTPUTF8, Chunking, StartTLS, RequireTLS, DSN, Enhanced bool
	Size                                                                              int64 // Zero: no limit known.
	RcptMax                                                                           int64 // LIMITS, RFC 9422. Zero: none known.
	MailMax                                                                           int64
	Auth                                                                              []string
	FutureReleaseMax                                                                  int64 // Seconds, zero: not supported.
}

// Extensions returns what the server announced.
func (c *Client) Extensions() Extensions { return Extensions{} }

// TLS returns the state of TLS, nil in plain text.
func (c *Client) TLS() *tls.ConnectionState { return nil }

// Transaction is one message.
type Transaction struct {
	From     smtp.Path // Zero: the null sender.
	To       []smtp.Path
	EightBit bool                          // The content has bytes over 127.
	SMTPUTF8 bool                          // Addresses or header need it.
	Size     int64                         // Of Content, in bytes.
	Content  func() (io.ReadCloser, error) // Called when the server wants it. CRLF line ends.
}

// Send sends a message. It returns one error for each recipient, nil if the
// server has taken responsibility for it, a *Reply if it was refused; err is why
// the whole transaction failed, and then it is in each of the others too.
//
// MaybeSent is set if the connection was lost between the end of the message and
// its reply: the server may have it.
func (c *Client) Send(ctx context.Context, t Transaction) (SendResult, error) {
	return SendResult{}, errNotBuilt
}

// SendResult is what came of a transaction.
type SendResult struct {
	Rcpts     []error // By recipient.
	MaybeSent bool
	Reply     string // To the end of the message, for the log.
}

// Broken returns whether the connection can't be used for another message.
func (c *Client) Broken() bool { return true }

// Close says QUIT if that makes sense, without a long wait, and closes the
// connection.
func (c *Client) Close() error { return errNotBuilt }
