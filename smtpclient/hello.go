package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Extensions is what a server announced after TLS.
type Extensions struct {
	Pipelining, EightBitMIME, SMTPUTF8, Chunking, StartTLS, RequireTLS, DSN, Enhanced bool
	Size                                                                              int64 // Zero: no limit known.
	RcptMax                                                                           int64 // LIMITS, RFC 9422. Zero: none known.
	MailMax                                                                           int64
	Auth                                                                              []string // In upper case.
	FutureReleaseMax                                                                  int64    // Seconds, zero: not supported.

	sizes bool // SIZE was announced, with or without a limit.
}

// parseExtensions parses the lines of a reply to EHLO behind the first (RFC 5321,
// section 4.1.1.1). What it can't read is as if it weren't there.
func parseExtensions(lines []string) (ext Extensions) {
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		// "AUTH=" is from a draft, and still there.
		keyword, param, ok := strings.Cut(strings.ToUpper(words[0]), "=")
		params := words[1:]
		if ok {
			params = slices.Insert(slices.Clone(params), 0, param)
		}
		ext.add(keyword, params)
	}
	return ext
}

// add takes in one extension.
func (ext *Extensions) add(keyword string, params []string) {
	flags := map[string]*bool{
		"PIPELINING":          &ext.Pipelining,
		"8BITMIME":            &ext.EightBitMIME,
		"SMTPUTF8":            &ext.SMTPUTF8,
		"CHUNKING":            &ext.Chunking,
		"STARTTLS":            &ext.StartTLS,
		"REQUIRETLS":          &ext.RequireTLS,
		"DSN":                 &ext.DSN,
		"ENHANCEDSTATUSCODES": &ext.Enhanced,
	}
	if flag := flags[keyword]; flag != nil {
		*flag = true
		return
	}
	switch keyword {
	case "SIZE":
		ext.sizes = true
		ext.Size = firstNumber(params)
	case "FUTURERELEASE":
		ext.FutureReleaseMax = firstNumber(params)
	case "AUTH":
		ext.addMechanisms(params)
	case "LIMITS":
		ext.addLimits(params)
	}
}

func (ext *Extensions) addMechanisms(names []string) {
	for _, name := range names {
		name = strings.ToUpper(name)
		if len(ext.Auth) < mechanismsMax && !slices.Contains(ext.Auth, name) {
			ext.Auth = append(ext.Auth, name)
		}
	}
}

// addLimits takes in the parameters of LIMITS, RFC 9422, section 3.
func (ext *Extensions) addLimits(limits []string) {
	for _, limit := range limits {
		name, value, _ := strings.Cut(limit, "=")
		switch strings.ToUpper(name) {
		case "RCPTMAX":
			ext.RcptMax = number(value)
		case "MAILMAX":
			ext.MailMax = number(value)
		}
	}
}

func firstNumber(params []string) int64 {
	if len(params) == 0 {
		return 0
	}
	return number(params[0])
}

// number returns a number, and zero for what is none or too large to be a limit.
func number(s string) int64 {
	if strings.Trim(s, "0123456789") != "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// greeting reads the first reply.
func (c *Client) greeting() error {
	rep, err := c.reply("", c.opts.Timeouts.Greeting, time.Now())
	if err != nil {
		return err
	}
	return c.want(rep, "", 2)
}

// hello says EHLO, and HELO to a server that doesn't know it (RFC 5321, section
// 3.2).
func (c *Client) hello() error {
	err := c.ehlo()
	if refused, ok := errors.AsType[*Reply](err); !ok || refused.Temporary() {
		return err
	}
	rep, err := c.command("HELO", "HELO "+c.opts.Hello, c.opts.Timeouts.Other)
	if err != nil {
		return err
	}
	if err := c.want(rep, "HELO", 2); err != nil {
		return err
	}
	c.named(rep)
	return nil
}

// named tells the name of the server, which is the first word of a good reply to EHLO or
// HELO (RFC 5321, section 4.1.1.1).
func (c *Client) named(rep reply) {
	if c.opts.Named == nil {
		return
	}
	name, _, _ := strings.Cut(rep.lines[0], " ")
	if len(name) > nameMax || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		name = ""
	}
	c.opts.Named(name)
}

// ehlo says EHLO, and forgets what was announced before.
func (c *Client) ehlo() error {
	c.ext = Extensions{}
	rep, err := c.command("EHLO", "EHLO "+c.opts.Hello, c.opts.Timeouts.Other)
	if err != nil {
		return err
	}
	if err := c.want(rep, "EHLO", 2); err != nil {
		return err
	}
	c.named(rep)
	c.ext = parseExtensions(rep.lines[1:])
	return nil
}

// startTLS changes to TLS, RFC 3207. What was announced before is forgotten: it
// may have come from somebody between us and the server.
func (c *Client) startTLS(ctx context.Context) error {
	if !c.ext.StartTLS {
		return ErrNoTLS
	}
	rep, err := c.command("STARTTLS", "STARTTLS", c.opts.Timeouts.Other)
	if err == nil {
		err = c.want(rep, "STARTTLS", 2)
	}
	if err != nil {
		return c.tlsError(ctx, err)
	}
	if c.wire.r.Buffered() > 0 {
		// Text that would be read as if it had come through TLS.
		c.broken = true
		return fmt.Errorf("%w: %w: plain text behind the reply to STARTTLS", ErrTLS, ErrProtocol)
	}
	if err := c.handshake(ctx); err != nil {
		return err
	}
	return c.ehlo()
}

func (c *Client) handshake(ctx context.Context) error {
	state, err := c.wire.handshake(ctx, c.tlsConfig())
	if err != nil {
		c.broken = true
		return c.tlsError(ctx, err)
	}
	c.tls = state
	return nil
}

// tlsError returns the ErrTLS for an error, unless it is only that the caller has
// lost patience.
func (c *Client) tlsError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrLost, context.Cause(ctx))
	}
	return fmt.Errorf("%w: %w", ErrTLS, err)
}

// orAlert makes an error ErrTLS if it is an alert of TLS: in TLS 1.3 a server
// refuses our side of the handshake when we think that all is well.
func (c *Client) orAlert(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // As crypto/tls has it.
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
	return err
}
