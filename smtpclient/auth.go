package smtpclient

import (
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
)

// authenticate does the exchange of AUTH, RFC 4954, section 4.
func (c *Client) authenticate() error {
	mech, err := c.opts.Auth(slices.Clone(c.ext.Auth), c.tls)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuth, err)
	}
	if mech == nil {
		return nil
	}
	if err := c.unasked("AUTH"); err != nil {
		return err
	}
	return (&authExchange{c: c, mech: mech}).run()
}

// authExchange is an exchange that is going on.
type authExchange struct {
	c     *Client
	mech  sasl.Client
	early []byte // The first response, if it goes only after a challenge.
	done  bool   // The mechanism has nothing more to say.
}

// run exchanges messages until the server's verdict.
func (a *authExchange) run() error {
	start := time.Now()
	if err := a.begin(); err != nil {
		return err
	}
	for range authRoundsMax {
		rep, err := a.reply(start)
		if err != nil {
			return err
		}
		if rep.class() != 3 {
			return a.verdict(rep)
		}
		resp, err := a.answer(rep)
		if err != nil {
			a.cancel(start)
			return err
		}
		a.send(base64.StdEncoding.EncodeToString(resp))
	}
	a.c.broken = true
	return fmt.Errorf("%w: more than %d challenges", ErrProtocol, authRoundsMax)
}

// begin sends AUTH, with the first response if there is one and it is short.
func (a *authExchange) begin() error {
	resp, done, err := a.mech.Next(nil)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrAuth, a.mech.Name(), err)
	}
	a.done = done
	line, shown := "AUTH "+a.mech.Name(), "AUTH "+a.mech.Name()
	if resp != nil {
		initial := base64.StdEncoding.EncodeToString(resp)
		if initial == "" {
			initial = "="
		}
		if len(line)+1+len(initial) <= commandLineMax {
			line, shown = line+" "+initial, shown+" ***"
		} else {
			a.early = resp
		}
	}
	a.c.trace(true, shown)
	a.write(line)
	return nil
}

// answer returns the response to a challenge.
func (a *authExchange) answer(rep reply) ([]byte, error) {
	if rep.code != smtp.CodeAuthContinue || len(rep.lines) != 1 {
		return nil, fmt.Errorf("%w: not a challenge: %d with %d lines", ErrProtocol, rep.code, len(rep.lines))
	}
	challenge, err := base64.StdEncoding.Strict().DecodeString(rep.lines[0])
	if err != nil {
		return nil, fmt.Errorf("%w: challenge: %w", ErrProtocol, err)
	}
	if a.early != nil {
		resp := a.early
		a.early = nil
		if len(challenge) > 0 {
			return nil, fmt.Errorf("%w: challenge before the first response", ErrProtocol)
		}
		return resp, nil
	}
	if a.done {
		return nil, fmt.Errorf("%w: challenge after the last response", ErrProtocol)
	}
	resp, done, err := a.mech.Next(challenge)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrAuth, a.mech.Name(), err)
	}
	a.done = done
	return resp, nil
}

// verdict returns what became of the exchange. A success that comes before the
// server has proved what it had to is none.
func (a *authExchange) verdict(rep reply) error {
	if err := a.c.want(rep, "AUTH", 2); err != nil {
		return err
	}
	if !a.done || a.early != nil {
		a.c.broken = true
		return fmt.Errorf("%w: %s: success before the end of the exchange", ErrAuth, a.mech.Name())
	}
	return nil
}

// cancel ends the exchange. The server's reply does not matter.
func (a *authExchange) cancel(start time.Time) {
	a.send("*")
	_, _ = a.reply(start)
}

func (a *authExchange) send(line string) {
	a.c.trace(true, "***")
	a.write(line)
}

// write sends a line that is not for traces.
func (a *authExchange) write(line string) {
	// An error is kept, and found when the reply is read.
	_, _ = a.c.wire.w.WriteString(line + "\r\n")
}

// reply reads a reply. Challenges are not traced: with a response, they are enough
// to try passwords against.
func (a *authExchange) reply(start time.Time) (reply, error) {
	rep, err := a.c.receive(a.c.opts.Timeouts.Other, func(line string) {
		if code, _, _, ok := parseReplyLine(line); ok && code/100 == 3 {
			line = "334 ***"
		}
		a.c.trace(false, line)
	})
	if err == nil && rep.class() != 3 {
		a.c.observe("AUTH", rep, start)
	}
	return rep, err
}
