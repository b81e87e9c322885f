// Package receive takes incoming messages: it is the one place that finds out
// where a message goes, gathers the evidence about it, carries out the verdict
// of package screen and hands it to the store. The store's journal then keeps it
// for all recipients, or for none.
//
// It knows no protocol and no connection: smtpserver calls it, with what it
// knows of the peer, and later package delivery, for the queue's recipients that
// are local. Refusals come back as *smtp.Error; any other error is trouble of
// our own, for the caller to hide and log.
package receive

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/spf"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/trace"
)

// placesMax bounds the copies of one message: recipients, and members of aliases.
const placesMax = 5000

// Options is what a Receiver needs. Fields are required unless said otherwise.
type Options struct {
	Store      *store.Dir
	Config     func() *config.Config // The current one, asked once for each recipient.
	Log        *slog.Logger
	Registerer prometheus.Registerer
	CIDKey     cid.Key // Makes the id of a message in its Received field.

	// TempDir is where messages are kept while they come in, on the same file
	// system as the store.
	TempDir string

	// Queue takes notifications for senders of whose recipients some are refused
	// after DATA, and copies for recipients that can't take theirs now. Nil: then a
	// message is for all its recipients or for none.
	Queue *queue.DB

	// Exempt tells which peers have no limits and don't wait, for what is explained; as
	// Peer.Exempt. Nil: none.
	Exempt func(ip netip.Addr) bool

	// Resolver is asked who a message comes from. Nil: nothing is looked up, all
	// senders count as not verified, and all names as fine.
	Resolver dns.Resolver

	Thresholds screen.Thresholds // The zero value for the defaults.

	// EvaluatedDMARC is told what DMARC found, for reports to the domains of senders.
	// It must be quick. Nil: nobody is.
	EvaluatedDMARC func(DMARC)

	Rand io.Reader // For Message-IDs and thresholds. Nil: crypto/rand.

	// Trace is told the way of each message. Nil: nothing is.
	Trace *trace.Log

	// CatchAllAccount gets mail for all addresses and domains that are not in the
	// configuration. Empty outside localserve.
	CatchAllAccount string

	// Specials makes recipients fail as their names say, see special.go. Only for
	// localserve.
	Specials bool
}

// Receiver takes messages. It is safe for concurrent use.
type Receiver struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	rates   *rates
	memory  atomic.Int64 // Bytes of all Spools in memory.

	thresholds screen.Thresholds
	health     health
}

// New returns a Receiver.
func New(opts Options) (*Receiver, error) {
	if opts.Store == nil || opts.Config == nil || opts.Log == nil || opts.Registerer == nil || opts.TempDir == "" {
		return nil, errors.New("receive: missing option")
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Receiver{opts: opts, log: opts.Log.With("pkg", "receive"), metrics: m, rates: newRates(), thresholds: opts.Thresholds}
	if r.thresholds == (screen.Thresholds{}) {
		r.thresholds = screen.DefaultThresholds()
	}
	return r, nil
}

// Peer is who a message comes from.
type Peer struct {
	CID      int64
	IP       netip.Addr // Zero for the queue.
	LocalIP  netip.Addr // Where the peer connected to.
	Hostname dns.Domain // Our name on that address.
	Hello    smtp.Hello
	Extended bool                 // EHLO was used.
	TLS      *tls.ConnectionState // Nil for plain text.
	NoTLS    bool                 // It could not use TLS: it isn't offered.
	Exempt   bool                 // No limits of rate, and no waiting, as for loopback.
	Unknowns int                  // Unknown recipients tried before.

	Blocklists     []dns.Domain  // Lists in DNS that are asked about senders without reputation.
	FirstTimeDelay time.Duration // How long mail of senders without reputation waits, 0 for not.
}

// Transaction is a message on its way in: its envelope, as far as it is known.
type Transaction struct {
	Peer     *Peer
	MailFrom smtp.Path
	SMTPUTF8 bool
	Size     int64 // As announced, -1 if it was not.
	Rcpts    []Recipient

	RequireTLS bool // REQUIRETLS was given: notifications must be sent so too.

	spf *spf.Evaluation // Once it was asked for.
}

// Recipient is an address that was accepted at RCPT.
type Recipient struct {
	Path      smtp.Path
	canonical smtp.Address // Zero for address literals.
	again     bool         // One before it has the same canonical form.

	kind    screen.Recipient
	places  []place
	special special // The zero value for none.
	public  bool    // An alias that takes mail from anyone.
	members map[smtp.Address]bool
}

// place is where a recipient's message goes: one, or one for each member of an alias.
type place struct {
	account     string
	mailbox     string
	deliveredTo string // Without brackets, the same for all spellings.
	address     smtp.Address
	target      config.Target // With the rules of the address. Zero for addresses that are not configured.
}

// TakesTLSReports tells whether an address is for reports about TLS that fails,
// which must arrive even where TLS is required (RFC 8460, section 3).
func (r *Receiver) TakesTLSReports(path smtp.Path) bool {
	t, err := r.opts.Config().Resolve(path)
	return err == nil && t.Reports.TLS
}

// Sender returns an error if no message may begin: there is no room for it, its
// sender could not be answered, or is one of those that make MAIL fail.
func (r *Receiver) Sender(ctx context.Context, t *Transaction) error {
	if err := r.special(ctx, stageMail, t.MailFrom); err != nil {
		return err
	}
	if err := r.opts.Store.CheckRoom(max(0, t.Size)); err != nil {
		return fmt.Errorf("asking for room of %d bytes: %w", t.Size, err)
	}
	return r.checkSender(ctx, t.Peer, t.MailFrom)
}

// Resolve finds out where mail for path goes. The caller adds what it returns to
// t.Rcpts.
func (r *Receiver) Resolve(ctx context.Context, t *Transaction, path smtp.Path) (Recipient, error) {
	if err := r.special(ctx, stageRcpt, path); err != nil {
		return Recipient{}, err
	}
	rcpt, e, err := r.lookup(t, path)
	if err != nil {
		return Recipient{}, err
	}
	e.NullSender, e.OtherRcpts = t.MailFrom.IsZero(), len(t.Rcpts)
	if !t.Peer.Exempt {
		e.UnknownsNow = t.Peer.Unknowns
	}
	e.SenderUnverified = r.unverified(ctx, t)
	if e.OverQuota, err = r.overQuota(ctx, rcpt.places, max(0, t.Size)); err != nil {
		return Recipient{}, err
	}
	v := screen.Decide(e)
	if v.Action.Accepts() {
		return rcpt, t.room(rcpt)
	}
	r.metrics.decided(v)
	r.log.InfoContext(ctx, "recipient refused", "cid", cid.Format(t.Peer.CID), "mailfrom", t.MailFrom.String(), "rcptto", path.String(),
		"reply", v.Code, "reason", string(v.Reason), "explanation", v.Explanation)
	if err := sleep(ctx, v.Wait); err != nil {
		return Recipient{}, err
	}
	return Recipient{}, refusal(v)
}

// unverified tells whether a failure for one of several recipients could be told to
// nobody: the sender in MAIL FROM may be somebody else.
func (r *Receiver) unverified(ctx context.Context, t *Transaction) bool {
	if len(t.Rcpts) == 0 || !r.asks(t.Peer) || t.MailFrom.IsZero() {
		return false
	}
	return r.checkSPF(ctx, t).Result != spf.Pass
}

// room returns an error if another recipient would make too many copies of the
// message. There is always room for the first.
func (t *Transaction) room(rcpt Recipient) error {
	n := len(rcpt.places)
	for _, before := range t.Rcpts {
		if !before.again {
			n += len(before.places)
		}
	}
	if n <= placesMax || len(t.Rcpts) == 0 || rcpt.again {
		return nil
	}
	return smtp.Errorf(smtp.CodeNoRoom, smtp.DetailTooManyRecipients, "too many recipients behind aliases")
}

// lookup returns the recipient for a path, and what the configuration says of it.
func (r *Receiver) lookup(tx *Transaction, path smtp.Path) (Recipient, screen.Evidence, error) {
	rcpt := Recipient{Path: path}
	if r.opts.Specials {
		rcpt.special, _ = parseSpecial(path.Localpart)
	}
	t, err := r.opts.Config().Resolve(path)
	switch {
	case errors.Is(err, config.ErrDomainDisabled):
		return rcpt, screen.Evidence{DomainDisabled: true}, nil
	case errors.Is(err, config.ErrNoDomain), errors.Is(err, config.ErrNoAddress):
		return r.catchAll(rcpt, err)
	case err != nil:
		return Recipient{}, screen.Evidence{}, fmt.Errorf("resolving %q: %w", path, err)
	}
	for _, before := range tx.Rcpts {
		if before.canonical == t.Canonical {
			// It shares what the other has: an alias has many members.
			before.Path, before.special, before.again = path, rcpt.special, true
			return before, screen.Evidence{Recipient: before.kind}, nil
		}
	}
	rcpt.kind, rcpt.public, rcpt.canonical = kindOf(t), t.PostPublic, t.Canonical
	e := screen.Evidence{Recipient: rcpt.kind}
	targets := []config.Target{t}
	if t.Alias {
		targets = t.Members
		rcpt.members = map[smtp.Address]bool{}
	}
	var refused *smtp.Error
	for _, t := range targets {
		if rcpt.members != nil {
			rcpt.members[t.Canonical] = true
		}
		if t.Refuse != nil {
			refused = t.Refuse
			continue
		}
		rcpt.places = append(rcpt.places, place{t.Account, t.Mailbox, t.Canonical.String(), t.Canonical, t})
	}
	if len(rcpt.places) == 0 && refused != nil {
		e.Refusal = &screen.Refusal{Code: refused.Code, Enhanced: refused.Enhanced, Text: refused.Text}
	}
	return rcpt, e, nil
}

// catchAll is for what the configuration doesn't know.
func (r *Receiver) catchAll(rcpt Recipient, err error) (Recipient, screen.Evidence, error) {
	if r.opts.CatchAllAccount == "" {
		if errors.Is(err, config.ErrNoDomain) {
			return rcpt, screen.Evidence{Recipient: screen.Foreign}, nil
		}
		return rcpt, screen.Evidence{Recipient: screen.Unknown}, nil
	}
	address, _ := rcpt.Path.Address()
	address = r.opts.Config().Canonical(address)
	rcpt.kind, rcpt.canonical = screen.CatchAll, address
	to := rcpt.Path.String()
	if !address.IsZero() {
		to = address.String()
	}
	rcpt.places = []place{{account: r.opts.CatchAllAccount, deliveredTo: to, address: address}}
	return rcpt, screen.Evidence{Recipient: rcpt.kind}, nil
}

func kindOf(t config.Target) screen.Recipient {
	switch {
	case t.Alias:
		return screen.Alias
	case t.CatchAll:
		return screen.CatchAll
	}
	return screen.Known
}

// overQuota returns whether none of the places has room for size bytes.
func (r *Receiver) overQuota(ctx context.Context, places []place, size int64) (bool, error) {
	for _, p := range places {
		a, err := r.opts.Store.Account(ctx, p.account)
		if err != nil {
			return false, fmt.Errorf("opening account %q: %w", p.account, err)
		}
		err = a.CheckQuota(size)
		if cerr := a.Close(); cerr != nil {
			return false, fmt.Errorf("closing account %q: %w", p.account, cerr)
		}
		if !errors.Is(err, store.ErrOverQuota) {
			return false, err
		}
	}
	return len(places) > 0, nil
}

// refusal returns the error for a verdict that does not accept.
func refusal(v screen.Verdict) *smtp.Error {
	return &smtp.Error{Code: v.Code, Enhanced: v.Enhanced, Text: v.Text, Err: &RefusedError{v}}
}

// RefusedError is the cause of a refusal that screen decided about.
type RefusedError struct{ Verdict screen.Verdict }

// Error returns the explanation. It may name what the sender must not know.
func (e *RefusedError) Error() string { return e.Verdict.Explanation }

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
