// Package submit takes messages from users of ours: it is the one place where a
// sender's right to an address, the limits on what an account sends, and the
// header fields of a new message are looked at. Every message goes into the queue,
// for local recipients too.
//
// SMTP submission calls it, and later the web API, webmail and JMAP. It knows no
// protocol: refusals come back as *smtp.Error, any other error is trouble of our own.
package submit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/trace"
)

// Causes of refusals: each *smtp.Error that Submitter returns is one of them,
// for callers whose protocol has names for them.
var (
	// ErrSender means the account may not send from an address, in the envelope or
	// in the header.
	ErrSender = errors.New("submit: sender is not allowed")

	// ErrDisabled means the domain of an address is disabled for now.
	ErrDisabled = errors.New("submit: domain is disabled")

	// ErrFromID means that an id behind the sender's address was used before.
	ErrFromID = errors.New("submit: id of the sender was used before")

	// ErrRecipient means a recipient can't have mail.
	ErrRecipient = errors.New("submit: recipient is refused")

	// ErrMessage means that the message isn't one that can be sent.
	ErrMessage = errors.New("submit: message is refused")

	// ErrMessageLimit means the account has sent what it may in a day.
	ErrMessageLimit = errors.New("submit: limit of messages is reached")

	// ErrRecipientLimit means the account has sent to as many new addresses as it
	// may in a day.
	ErrRecipientLimit = errors.New("submit: limit of first-time recipients is reached")

	// ErrFutureLimit means the account has as many messages that wait for a time of
	// release as it may have.
	ErrFutureLimit = errors.New("submit: limit of messages with a time of release is reached")

	// ErrRoom means that messages can't be queued now.
	ErrRoom = errors.New("submit: no room in the queue")

	// ErrSpecial means that a special address of localserve asked to fail.
	ErrSpecial = errors.New("submit: special address")
)

// Options is what a Submitter needs. Fields are required unless said otherwise.
type Options struct {
	Config     func() *config.Config // The current one, asked once for each call.
	Accounts   *store.Dir
	Queue      *queue.DB
	Log        *slog.Logger
	Registerer prometheus.Registerer
	CIDKey     cid.Key   // Makes the id of a message in its Received field.
	Rand       io.Reader // For Message-IDs.

	// Trace is told the way of each message. Nil: nothing is.
	Trace *trace.Log

	// Pedantic refuses what a message should not have, instead of removing it.
	Pedantic bool

	// Unlimited means accounts may send as much as they like, as in localserve.
	Unlimited bool

	// Specials makes recipients fail as their names say, as package receive does.
	// Only for localserve.
	Specials bool

	// CatchAllAccount is as that of package receive. Its users may send as anybody.
	CatchAllAccount string
}

// Submitter takes messages. It is safe for concurrent use.
type Submitter struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	sent    *sent
}

// New returns a Submitter. Serve must run for what accounts have sent to be
// remembered over a restart.
func New(opts Options) (*Submitter, error) {
	if opts.Config == nil || opts.Accounts == nil || opts.Queue == nil || opts.Log == nil || opts.Registerer == nil || opts.Rand == nil {
		return nil, errors.New("submit: missing option")
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, err
	}
	log := opts.Log.With("pkg", "submit")
	return &Submitter{opts: opts, log: log, metrics: m, sent: newSent(opts.Accounts, log, opts.Queue.Now)}, nil
}

// Serve writes down what accounts have sent, until ctx is done.
func (s *Submitter) Serve(ctx context.Context) { s.sent.serve(ctx) }

// Forget forgets what is kept in memory about an account that is being removed:
// another one may get its name.
func (s *Submitter) Forget(account string) { s.sent.forgetName(account) }

// Peer is who submits.
type Peer struct {
	CID      int64
	Account  string       // Logged in.
	Login    smtp.Address // With this address, as it was given: what follows a separator counts for FromIDs.
	IP       netip.Addr   // For the log only: it gets into no header field.
	Hostname dns.Domain   // Our name.
	Protocol string       // For Received: "ESMTPSA" and the like; "HTTPS" for the web.
	TLS      *tls.ConnectionState
}

// Transaction is a message on its way in.
type Transaction struct {
	Peer       *Peer
	MailFrom   smtp.Path // May be the null sender.
	SMTPUTF8   bool
	Size       int64 // As announced, -1 if it was not.
	Rcpts      []smtp.Path
	RequireTLS *bool     // From REQUIRETLS.
	NotBefore  time.Time // From FUTURERELEASE.
	Hold       smtp.Hold // The same as it was given. With a NotBefore it may be zero, as from the web.
	DSN        smtp.MailDSN
	RcptDSN    map[smtp.Path]smtp.RcptDSN // Of those in Rcpts that ask for something. Nil: none.
}

// refuse returns an error for the peer with its cause.
func refuse(cause error, code int, detail, format string, args ...any) *smtp.Error {
	return smtp.Errorf(code, detail, format, args...).Because(cause)
}

// Sender returns an error unless the account may send mail from MailFrom now.
func (s *Submitter) Sender(ctx context.Context, t *Transaction) error {
	if err := s.special(ctx, screen.StageMail, t.MailFrom); err != nil {
		return err
	}
	c := s.opts.Config()
	// The null sender is for notifications that clients make (RFC 6409, section 3.2).
	if !t.MailFrom.IsZero() {
		address, _ := t.MailFrom.Address() // The zero value for an address literal, which nobody has.
		if err := s.maySend(c, t.Peer, address); err != nil {
			return err
		}
	}
	if err := s.room(max(0, t.Size)); err != nil {
		return err
	}
	if !t.NotBefore.IsZero() {
		if err := queueError(s.opts.Queue.CheckFuture(t.Peer.Account, 1)); err != nil {
			return err
		}
	}
	return s.sent.check(ctx, t.Peer.Account, s.limits(c, t.Peer.Account))
}

// maySend returns an error unless the account may send mail from an address.
func (s *Submitter) maySend(c *config.Config, p *Peer, a smtp.Address) error {
	if s.opts.CatchAllAccount != "" && p.Account == s.opts.CatchAllAccount {
		return nil
	}
	switch err := c.MaySend(p.Account, a); {
	case errors.Is(err, config.ErrDomainDisabled):
		return refuse(ErrDisabled, smtp.CodeLocalError, smtp.DetailSystem, "no mail is sent from this domain now: %+q", a.String())
	case err != nil:
		return refuse(ErrSender, smtp.CodeMailboxPermanent, smtp.DetailPolicy, "your account may not send from this address: %+q", a.String())
	}
	return nil
}

// room returns an error if the queue has no room for size bytes.
func (s *Submitter) room(size int64) error { return queueError(s.opts.Queue.CheckRoom(size)) }

// queueError turns what is no trouble of ours into a refusal.
func queueError(err error) error {
	switch {
	case errors.Is(err, queue.ErrDiskFull):
		return refuse(fmt.Errorf("%w: %w", ErrRoom, err), smtp.CodeNoRoom, smtp.DetailSystemFull, "not enough room now")
	case errors.Is(err, queue.ErrFutureQuota):
		return refuse(fmt.Errorf("%w: %w", ErrFutureLimit, err), smtp.CodeTooLarge, smtp.DetailFutureQuota,
			"your account has as many messages waiting for their release as it may have: %d", queue.FutureMax)
	case errors.Is(err, queue.ErrClosed):
		return refuse(ErrRoom, smtp.CodeLocalError, smtp.DetailSystemNotAccepting, "shutting down, please try again later")
	}
	return err
}

// Recipient returns an error unless mail for path can be taken. The caller adds
// it to t.Rcpts.
func (s *Submitter) Recipient(ctx context.Context, _ *Transaction, path smtp.Path) error {
	if err := s.special(ctx, screen.StageRcpt, path); err != nil {
		return err
	}
	c := s.opts.Config()
	target, err := c.Resolve(path)
	switch {
	case errors.Is(err, config.ErrDomainDisabled):
		return refuse(ErrRecipient, smtp.CodeMailboxUnavailable, smtp.DetailMailboxDisabled, "no mail is taken for this domain now")
	case err != nil && s.opts.CatchAllAccount != "":
		return nil
	case errors.Is(err, config.ErrNoDomain) && !c.IsHost(path.IPDomain.Domain):
		return foreign(path)
	case err != nil:
		return refuse(ErrRecipient, smtp.CodeMailboxPermanent, smtp.DetailBadMailbox, "no such address")
	case target.Refuse != nil:
		return target.Refuse.Because(ErrRecipient)
	}
	return nil
}

// foreign returns an error if mail for path can't be sent: the name of a domain
// must be whole (RFC 6409, section 4.2). Whether there is such a domain, the
// queue finds out.
func foreign(path smtp.Path) error {
	if path.IPDomain.IsIP() || strings.Contains(path.IPDomain.Domain.ASCII, ".") {
		return nil
	}
	return refuse(ErrRecipient, smtp.CodeTransactionFailed, smtp.DetailBadDestSystem, "the domain of the address is not a whole name")
}

// special fails if path is that of a special address for this stage.
func (s *Submitter) special(ctx context.Context, at screen.Stage, path smtp.Path) error {
	if !s.opts.Specials {
		return nil
	}
	f, ok := screen.ParseFailure(path.Localpart)
	if !ok || f.Stage != at {
		return nil
	}
	timer := time.NewTimer(f.Wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	v := screen.Decide(screen.Evidence{Recipient: screen.Special, SpecialCode: f.Code})
	return &smtp.Error{Code: v.Code, Enhanced: v.Enhanced, Text: v.Text, Err: ErrSpecial}
}
