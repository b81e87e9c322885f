package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

const (
	// idleMax is how long a conversation is kept without a message. It is kept only if
	// more waits for where it goes, so that the next comes as soon as a worker has
	// recorded what came of the one before. Others have few connections too.
	idleMax = 2 * time.Second

	// idleTick is how often conversations are looked for that were idle for too long.
	idleTick = time.Second

	// conversationAgeMax and conversationUsesMax bound how long one is used: then
	// another host of the domain gets its share, and what was verified is verified
	// again.
	conversationAgeMax  = 5 * time.Minute
	conversationUsesMax = 100

	// poolMax bounds the conversations kept, of all hosts.
	poolMax = 200
)

// poolKey is what messages must have in common to go by the same conversation: all
// that it was chosen by, and all that was demanded of it.
type poolKey struct {
	transport string
	host      string // As for TLS.
	ip        netip.Addr
	local     netip.Addr
	hello     string
	demands   string
}

// pool keeps conversations for the next message to the same host. It is safe for
// concurrent use; a conversation in it is nobody else's.
type pool struct {
	mu     sync.Mutex
	idle   map[poolKey][]*conversation // The latest last.
	count  int
	closed bool
}

// take returns a conversation for key, nil if there is none.
func (p *pool) take(key poolKey, now time.Time) *conversation {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 || now.Sub(list[len(list)-1].idleSince) >= idleMax {
		return nil // The others are older.
	}
	c := list[len(list)-1]
	p.set(key, list[:len(list)-1])
	p.count--
	return c
}

// set changes a list. p.mu is held.
func (p *pool) set(key poolKey, list []*conversation) {
	if len(list) == 0 {
		delete(p.idle, key)
		return
	}
	p.idle[key] = list
}

// put keeps a conversation. It returns false if it doesn't.
func (p *pool) put(c *conversation, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count >= poolMax {
		return false
	}
	if p.idle == nil {
		p.idle = map[poolKey][]*conversation{}
	}
	c.idleSince = now
	p.idle[c.key] = append(p.idle[c.key], c)
	p.count++
	return true
}

// expired takes out what was idle for too long by now.
func (p *pool) expired(now time.Time) (old []*conversation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, list := range p.idle {
		n := 0 // The oldest are first.
		for n < len(list) && now.Sub(list[n].idleSince) >= idleMax {
			n++
		}
		old = append(old, list[:n]...)
		p.set(key, slices.Clone(list[n:]))
	}
	p.count -= len(old)
	return old
}

// end takes out all there is, and makes put keep nothing more.
func (p *pool) end() (all []*conversation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.idle {
		all = append(all, list...)
	}
	p.idle, p.count = nil, 0
	return all
}

// closeIdle says goodbye where nothing more is to be sent.
func (s *Sender) closeIdle(ctx context.Context) { s.closeAll(ctx, s.pool.expired(time.Now())) }

// closeAll ends conversations, at the same time.
func (s *Sender) closeAll(ctx context.Context, list []*conversation) {
	var closing sync.WaitGroup
	for _, c := range list {
		closing.Go(func() { c.close(ctx) })
	}
	closing.Wait()
}

// keyFor returns the key for a conversation with a host.
func (a *attempt) keyFor(t target, ip netip.Addr, d demands) poolKey {
	return poolKey{
		transport: a.transport, host: serverName(t), ip: ip, local: a.local(ip),
		hello: a.hello(), demands: d.fingerprint(),
	}
}

// fingerprint tells apart demands that are not the same.
func (d demands) fingerprint() string {
	var records []string
	for _, r := range d.finding.Records {
		records = append(records, r.String())
	}
	slices.Sort(records) // Answers have them in any order.
	return fmt.Sprintf("%d %d %d %q %q %s", d.mode, d.pkix, d.dane, d.finding.Base.ASCII, d.finding.Names, strings.Join(records, ","))
}

// reuse returns a conversation that another message has left, nil if there is none
// or a new one is wanted. In a later attempt the address matters: it is to be
// another than the one before.
func (a *attempt) reuse(ctx context.Context, t target, ips []netip.Addr, d demands) *conversation {
	if a.fresh {
		return nil
	}
	if a.pending()[0].Attempts > 1 {
		ips = ips[:1]
	}
	for _, ip := range ips {
		c := a.sender.pool.take(a.keyFor(t, ip, d), time.Now())
		if c == nil {
			continue
		}
		dualStack := a.at.dualStack
		a.at, a.dialed = c.at, ip
		a.at.dualStack = dualStack
		c.target, c.log, c.uses, c.reused = t, a.log, c.uses+1, true
		c.ctx, c.cancel = context.WithTimeout(ctx, a.sender.opts.SessionTimeout)
		a.sender.metrics.reused.Inc()
		a.log.DebugContext(ctx, "conversation goes on", "host", t.String(), "ip", ip.String(), "tls", a.at.tls, "messages", c.uses)
		return c
	}
	return nil
}

// leave ends the use of a conversation: it is kept if there may be another message
// for it in a moment. All mail may go to a server of the configuration; others should
// not have connections for nothing.
func (a *attempt) leave(ctx context.Context, c *conversation) {
	now := time.Now()
	useful := !c.Broken() && !c.isFull() && c.ctx.Err() == nil && c.uses < conversationUsesMax && now.Sub(c.made) < conversationAgeMax
	c.cancel()
	if useful && (a.way.Relay != nil || a.sender.opts.Queue.Due(a.rcpts[0].Domain)) && a.sender.pool.put(c, now) {
		return
	}
	c.close(context.WithoutCancel(ctx))
}

// isFull tells whether the server takes no more messages in a conversation, by what
// it announced (RFC 9422).
func (c *conversation) isFull() bool {
	most := c.Extensions().MailMax
	return most > 0 && c.sent >= most
}

// errStale is in the error of a first transaction that says nothing about the
// message: the conversation was over, or the server wants no more messages in it.
// Nothing is recorded of it, and a new conversation is made.
var errStale = errors.New("conversation was over")

// isStale tells whether a transaction failed because of those before it: nobody
// can know how many messages a server takes, or how long it waits, except by trying.
func isStale(result smtpclient.SendResult, err error) bool {
	if err == nil || result.MaybeSent || takenOf(result.Rcpts) > 0 {
		return false
	}
	if reply, ok := errors.AsType[*smtpclient.Reply](err); ok {
		return reply.Code == smtp.CodeUnavailable || reply.Command == "MAIL" || reply.Command == "RSET"
	}
	return errors.Is(err, smtpclient.ErrLost) || errors.Is(err, smtpclient.ErrProtocol)
}
