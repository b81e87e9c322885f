package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

const (
	// rcptMaxDefault bounds the recipients of a transaction for servers that don't
	// tell their limit. Each must take 100 (RFC 5321, section 4.5.3.1.8).
	rcptMaxDefault = 100

	// conversationsMax bounds the connections made to a host in one attempt, for
	// those that end a conversation before all recipients had their turn.
	conversationsMax = 10
)

// converse sends to recipients in as many transactions as it takes. It returns
// those for another conversation with the host: it took a message, and takes no
// more in this one.
func (a *attempt) converse(c *conversation, todo []*rcpt) []*rcpt {
	ext := c.Extensions()
	for n := 0; len(todo) > 0; n++ {
		if c.sent > 0 && (c.Broken() || c.isFull()) {
			return todo
		}
		batch, rest := nextBatch(todo, ext.RcptMax)
		again, err := a.transact(c, batch)
		if errors.Is(err, errStale) {
			a.fresh = true
			return todo
		}
		todo = slices.Concat(again, rest)
		if err == nil || !c.Broken() {
			continue
		}
		if n > 0 && c.ctx.Err() == nil {
			return slices.Concat(unsettled(batch), rest)
		}
		a.record(todo, a.conversationFailure(c.ctx, c.target, err))
		return nil
	}
	return nil
}

// nextBatch returns the recipients of the next transaction: as many as the server
// takes in one.
func nextBatch(todo []*rcpt, limit int64) (batch, rest []*rcpt) {
	if limit <= 0 {
		limit = rcptMaxDefault
	}
	n := min(limit, int64(len(todo)))
	return todo[:n], todo[n:]
}

// transact sends to the recipients of one transaction and records what came of
// it. It returns those that were too many for one, and the error of the
// transaction.
func (a *attempt) transact(c *conversation, batch []*rcpt) (again []*rcpt, err error) {
	first := batch[0]
	from, err := queue.Path(first.MailFrom)
	if err != nil {
		a.record(batch, ours(err))
		return nil, err
	}
	t := smtpclient.Transaction{
		From:     from,
		EightBit: first.EightBit, // Sent undeclared to servers without 8BITMIME: to convert it would break signatures.
		SMTPUTF8: first.SMTPUTF8,

		RequireTLS: a.requestsTLS(c, first.Message),
		DSN:        smtp.MailDSN{Return: first.Return, EnvelopeID: first.EnvelopeID},

		Size:    int64(len(first.Prefix)) + a.work.Size,
		Content: func() (io.ReadCloser, error) { return openMessage(first.Prefix, a.work) },
	}
	for _, r := range batch {
		t.To = append(t.To, r.path)
		t.RcptDSN = append(t.RcptDSN, smtp.RcptDSN{Notify: r.Notify, Original: r.OriginalRcpt})
	}
	result, err := a.sendWithin(c, t)
	used := c.reused
	c.reused = false
	c.sent++
	if used && c.ctx.Err() == nil && isStale(result, err) {
		c.log.DebugContext(c.ctx, "conversation was over", "host", c.String(), "err", err)
		return nil, fmt.Errorf("%w: %w", errStale, err)
	}
	if result.MaybeSent {
		a.sender.metrics.maybeSent.Inc()
	}
	if errors.Is(err, smtpclient.ErrNoRequireTLS) {
		a.sender.metrics.requireTLS.WithLabelValues(requireTLSNoSupport).Inc()
	}
	taken := takenOf(result.Rcpts)
	for i, r := range batch {
		var one error
		if i < len(result.Rcpts) {
			one = result.Rcpts[i]
		} else {
			one = err
		}
		switch {
		case taken > 0 && isTooMany(one):
			again = append(again, r)
		case one == nil:
			r.try.reply = result.Reply
			if c.Extensions().DSN {
				r.try.arrival = arrivedAware
			}
			a.record([]*rcpt{r}, nil)
		default:
			f := a.conversationFailure(c.ctx, c.target, one)
			if result.MaybeSent {
				f = maybeSent(c.String(), one)
			}
			a.record([]*rcpt{r}, f)
		}
	}
	return again, err
}

// takenOf returns how many recipients have the message.
func takenOf(errs []error) (n int) {
	for _, err := range errs {
		if err == nil {
			n++
		}
	}
	return n
}

// isTooMany tells whether a recipient was refused because there were others
// before it: RFC 5321, section 4.5.3.1.10.
func isTooMany(err error) bool {
	reply, ok := errors.AsType[*smtpclient.Reply](err)
	return ok && reply.TooMany
}

// maybeSent is for a message whose end was sent and not answered. The server may
// have it: the next attempt can make it a double. That is the one double there
// may be (RFC 5321, section 4.5.3.2.6, RFC 1047), and to ask another host of the
// domain at once would make it nearly certain.
func maybeSent(name string, err error) *failure {
	return &failure{enhanced: statusLost, text: fmt.Sprintf("%s didn't say whether it has taken the message", name), err: err}
}

// openMessage opens a message with its prefix.
func openMessage(prefix []byte, w *queue.Work) (io.ReadCloser, error) {
	f, err := w.Open()
	if err != nil {
		return nil, err
	}
	return &prefixed{io.MultiReader(bytes.NewReader(prefix), f), f}, nil
}

// prefixed is a file with something in front.
type prefixed struct {
	io.Reader
	io.Closer
}
