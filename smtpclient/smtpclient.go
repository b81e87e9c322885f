// Package smtpclient speaks SMTP as a client (RFC 5321) over a connection it is
// given: one conversation, with any number of messages. Whether the server is who
// it should be is verified by common CAs, by TLSA records, or both, as it is told.
//
// It knows no DNS, no policy and no retries: package delivery and the sendmail
// command decide what to connect to and what to demand.
package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/sasl"
)

var (
	// ErrTLS means STARTTLS or the handshake failed. The connection is of no more
	// use. Where nothing forbids it the caller may connect again with TLSSkip.
	ErrTLS = errors.New("smtpclient: TLS failed")

	// ErrNoTLS means TLS is demanded and the server doesn't offer it.
	ErrNoTLS = errors.New("smtpclient: server has no STARTTLS")

	// ErrNoSMTPUTF8 means that the message needs an extension that the server doesn't
	// have. Another server of the domain may. Nothing was sent of the message, and
	// the connection can be used.
	ErrNoSMTPUTF8 = errors.New("smtpclient: server has no SMTPUTF8")

	// ErrNo8BitMIME is the same for 8BITMIME.
	ErrNo8BitMIME = errors.New("smtpclient: server has no 8BITMIME")

	// ErrNoRequireTLS is the same for REQUIRETLS.
	ErrNoRequireTLS = errors.New("smtpclient: server has no REQUIRETLS")

	// ErrNoFutureRelease is the same for FUTURERELEASE, or the server doesn't hold
	// messages for so long.
	ErrNoFutureRelease = errors.New("smtpclient: server has no FUTURERELEASE for that time")

	// ErrSize means the message is larger than the server takes. Nothing was sent
	// of it, and the connection can be used.
	ErrSize = errors.New("smtpclient: message is too large for the server")

	// ErrContent means the content can't be read, is not of the size that was said,
	// or has a CR or LF that is no line end. That is our fault, and another try will
	// not help. The server has no message, but the connection may be broken.
	ErrContent = errors.New("smtpclient: content can't be sent")

	// ErrAuth means authentication was impossible: no mechanism fits, or the server
	// could not prove who it is. A refusal is a *Reply instead.
	ErrAuth = errors.New("smtpclient: authentication failed")

	// ErrProtocol means the server sent what is no SMTP.
	ErrProtocol = errors.New("smtpclient: protocol error")

	// ErrLost means the connection was lost, or time ran out.
	ErrLost = errors.New("smtpclient: connection lost")
)

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
	TLSConfig *tls.Config // Required unless TLSSkip. With ServerName. Verification is as it says, unless Verify does.
	Verify    *Verify     // How the server is verified, instead of as the TLSConfig says.

	// Auth chooses a mechanism from those the server offers, after TLS, in upper
	// case; cs is nil in plain text. If it returns a nil Client there is no
	// authentication. Nil: the same.
	Auth func(mechanisms []string, cs *tls.ConnectionState) (sasl.Client, error)

	// Strict8Bit makes Send return ErrNo8BitMIME for 8-bit content if the server
	// doesn't announce that it takes it. Without, the content is sent undeclared:
	// about all servers take it.
	Strict8Bit bool

	// Trace gets each line: sent or received, without credentials and message data.
	Trace func(sent bool, line string)

	// Named gets the name that the server gives itself in its reply to EHLO or HELO, as
	// far as it can be one; after TLS again. Also if New fails later.
	Named func(name string)

	// Observe gets each command with its reply code and how long it took. The
	// greeting has the command "", the end of a message after DATA has ".".
	Observe func(command string, code int, took time.Duration)

	// Limits in place of those of RFC 5321, section 4.5.3.2. Zero: that.
	Timeouts Timeouts
}

// Timeouts are the limits of RFC 5321, section 4.5.3.2. DataBlock is for each
// write of at most 32 KiB, the others are for a whole reply.
type Timeouts struct {
	Greeting, Mail, Rcpt, DataInit, DataBlock, DataDone, Other time.Duration
}

// withDefaults returns t with the limits of the RFC where there is none. It has
// none for other commands.
func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		field *time.Duration
		limit time.Duration
	}{
		{&t.Greeting, 5 * time.Minute},
		{&t.Mail, 5 * time.Minute},
		{&t.Rcpt, 5 * time.Minute},
		{&t.DataInit, 2 * time.Minute},
		{&t.DataBlock, 3 * time.Minute},
		{&t.DataDone, 10 * time.Minute},
		{&t.Other, 5 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.limit
		}
	}
	return t
}

// Client is a conversation. It is for one goroutine.
type Client struct {
	// Constant after New.
	opts Options
	wire *wire
	ext  Extensions
	tls  *tls.ConnectionState

	verified Verified // In the handshake.

	broken bool // See Broken.
	closed bool
	dirty  bool // The server may be within a transaction that failed.
}

// New reads the greeting, says EHLO (or HELO), and does TLS and authentication as
// opts say. If it fails the connection is closed. When ctx is done it breaks off.
func New(ctx context.Context, conn net.Conn, opts Options) (*Client, error) {
	opts.Timeouts = opts.Timeouts.withDefaults()
	c := &Client{opts: opts, wire: newWire(conn, opts.Timeouts.DataBlock)}
	err := c.checkOptions()
	if err == nil {
		done := c.wire.watch(ctx)
		err = c.start(ctx)
		done()
		if cause := c.wire.interrupted(); cause != nil && err == nil {
			c.broken = true
			err = fmt.Errorf("%w: %w", ErrLost, cause) // Only just.
		}
	} else {
		c.broken = true // Nothing was said, and nothing needs to be.
	}
	if err != nil {
		_ = c.Close() // The first error says more.
		return nil, err
	}
	c.wire.r.Release()
	return c, nil
}

func (c *Client) checkOptions() error {
	if c.opts.Hello == "" || strings.ContainsFunc(c.opts.Hello, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("smtpclient: %+q is no name for EHLO", c.opts.Hello)
	}
	if c.opts.TLS != TLSSkip && c.opts.TLSConfig == nil {
		return errors.New("smtpclient: TLS without configuration")
	}
	return nil
}

// start does all that comes before the first message.
func (c *Client) start(ctx context.Context) error {
	if c.opts.TLS == TLSImmediate {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	if err := c.greeting(); err != nil {
		return c.orAlert(err)
	}
	if err := c.hello(); err != nil {
		return c.orAlert(err)
	}
	if c.opts.TLS == TLSOpportunistic && c.ext.StartTLS || c.opts.TLS == TLSRequired {
		if err := c.startTLS(ctx); err != nil {
			return c.orAlert(err)
		}
	}
	if c.opts.Auth != nil {
		return c.orAlert(c.authenticate())
	}
	return nil
}

// Extensions returns what the server announced.
func (c *Client) Extensions() Extensions {
	ext := c.ext
	ext.Auth = slices.Clone(ext.Auth)
	return ext
}

// TLS returns the state of TLS, nil in plain text.
func (c *Client) TLS() *tls.ConnectionState { return c.tls }

// Broken returns whether the connection can't be used for another message.
func (c *Client) Broken() bool { return c.broken || c.closed }

// Detach returns the connection, with TLS if that was done, for who wants to speak
// by himself. What the server has said without being asked is lost. The Client can't
// be used after it, and need not be closed.
func (c *Client) Detach() net.Conn {
	c.closed = true
	// The limits were for what the Client has said and heard. An error is found by
	// who reads.
	_ = c.wire.raw.SetDeadline(time.Time{})
	return c.wire.conn
}

// Close says QUIT if that makes sense, without a long wait, and closes the
// connection.
func (c *Client) Close() error {
	if c.closed {
		return nil
	}
	if !c.broken {
		// RFC 5321, section 4.1.1.10, wants us to wait for the reply. There is nothing
		// to be learned from it.
		_, _ = c.command("QUIT", "QUIT", quitWait)
	}
	c.closed = true
	if c.broken {
		return c.wire.raw.Close() // Without the farewell of TLS, that could wait.
	}
	return c.wire.conn.Close()
}
