// Package delivery takes due messages from the queue and brings them to where
// they go: to other servers by SMTP, to accounts of ours through package receive.
// It records what came of it, and tells senders by notification of delays and
// failures.
//
// When there is another attempt is the queue's business; what a server may demand
// of a connection is a pure decision here (tlspolicy.go); speaking SMTP is package
// smtpclient's.
//
// Where mail for a domain goes is in route.go, an attempt with its steps in
// attempt.go, dial.go and send.go, hand-over to accounts in local.go. What is made
// of the result, when there is another attempt and whether the sender is told, is
// one pure function in outcome.go.
package delivery

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/tlsrptdb"
	"github.com/mjl-/mox/trace"
)

// Options is what a Sender needs. Fields are required unless said otherwise.
type Options struct {
	Queue      *queue.DB
	Receiver   *receive.Receiver
	Resolver   dns.Resolver
	Policies   *mtastsdb.Cache // MTA-STS policies of domains. Nil: none has one.
	Config     func() *config.Config
	Log        *slog.Logger
	Registerer prometheus.Registerer
	CIDs       *cid.Counter
	Rand       io.Reader // For Message-IDs, and for the order of hosts. Read by New only.

	// Trace is told the way of each message. Nil: nothing is.
	Trace *trace.Log

	// Panicked is called when a delivery died of a panic, after it was logged. Nil:
	// nothing else is done.
	Panicked func()

	// Dial makes connections, from local if that is valid. Nil: TCP.
	Dial func(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error)

	// Roots are the authorities by which servers are verified where MTA-STS or a transport demands it.
	// Nil: those of the system.
	Roots *x509.CertPool

	// TLSResults takes what came of TLS with other servers. Nil: nobody does.
	TLSResults *tlsrptdb.Collector

	// Port other servers listen on. Zero: 25. Tests have others.
	Port uint16

	// Schedule is that of the queue: for the time of the next attempt, and for what
	// notifications say of it.
	Schedule queue.Schedule

	// Workers bounds deliveries at a time, remote and local together. Zero: 300, which
	// is what a queue gives out if it is not told otherwise.
	Workers int

	// ConnectTimeout bounds the time to connect to a host, with all its addresses,
	// and SessionTimeout that of a conversation. Zero: 30 s, 30 minutes.
	ConnectTimeout, SessionTimeout time.Duration
}

// Defaults of Options.
const (
	portDefault           = 25
	workersDefault        = 300
	connectTimeoutDefault = 30 * time.Second
	sessionTimeoutDefault = 30 * time.Minute
)

// nextRetryAfter is how long a worker waits when the queue has trouble.
const nextRetryAfter = 10 * time.Second

// Sender delivers what is due. It is safe for concurrent use.
type Sender struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	started time.Time

	handed    atomic.Int64 // Keys that wait for confirmation, about.
	connected atomic.Int64 // Connections that were made.

	pool  pool
	gates gates

	owing chan struct{} // Has one when the queue has notices of success.

	mu   sync.Mutex
	seed *rand.Rand
}

// Connections returns how many connections to other servers were made. It only grows.
func (s *Sender) Connections() int64 { return s.connected.Load() }

// New returns a Sender. It starts nothing.
func New(opts Options) (*Sender, error) {
	if opts.Queue == nil || opts.Receiver == nil || opts.Resolver == nil || opts.Config == nil || opts.Log == nil ||
		opts.Registerer == nil || opts.CIDs == nil || opts.Rand == nil {
		return nil, errors.New("delivery: missing option")
	}
	if err := opts.Schedule.Check(); err != nil {
		return nil, err
	}
	if opts.Panicked == nil {
		opts.Panicked = func() {}
	}
	if opts.Dial == nil {
		opts.Dial = dialTCP
	}
	if opts.Port == 0 {
		opts.Port = portDefault
	}
	if opts.Workers <= 0 {
		opts.Workers = workersDefault
	}
	if opts.ConnectTimeout <= 0 {
		opts.ConnectTimeout = connectTimeoutDefault
	}
	if opts.SessionTimeout <= 0 {
		opts.SessionTimeout = sessionTimeoutDefault
	}
	var seed [32]byte
	if _, err := io.ReadFull(opts.Rand, seed[:]); err != nil {
		return nil, err
	}
	m, err := newMetrics(opts.Registerer, opts.Queue.Stats)
	if err != nil {
		return nil, err
	}
	return &Sender{opts: opts, log: opts.Log.With("pkg", "delivery"), metrics: m, started: opts.Queue.Now(), owing: make(chan struct{}, 1), seed: rand.New(rand.NewChaCha8(seed))}, nil
}

// random returns a source of random numbers for one goroutine.
func (s *Sender) random() *rand.Rand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rand.New(rand.NewPCG(s.seed.Uint64(), s.seed.Uint64()))
}

// Serve delivers until ctx is done, then lets running deliveries end in the grace
// time, cancels the others, records what came of them, and returns. It returns
// early, with an error, when the queue is closed.
func (s *Sender) Serve(ctx context.Context, grace time.Duration) error {
	hard, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	others := loop.New(context.WithoutCancel(ctx), func(p loop.Panic) {
		s.log.ErrorContext(ctx, "panic", "task", p.Name, "panic", p.Value, "stack", string(p.Stack))
		s.opts.Panicked()
	})
	confirming := confirmer{sender: s}
	others.Every("confirming hand-overs", loop.Schedule{Interval: confirmTick}, confirming.tick)
	others.Go("telling senders of success", (&teller{sender: s}).serve)
	others.Every("closing idle connections", loop.Schedule{Interval: idleTick}, s.closeIdle)
	others.Go("grace time", func(context.Context) { cancelAfter(ctx, hard, grace, cancel) })

	closed := make(chan error, 1) // The first error of a worker.
	var working sync.WaitGroup
	for range s.opts.Workers {
		working.Go(func() {
			if err := s.worker(ctx, hard); err != nil {
				select {
				case closed <- err:
				default:
				}
			}
		})
	}
	working.Wait()
	cancel(nil)
	others.Stop()
	s.closeAll(ctx, s.pool.end())
	err := others.Wait(context.WithoutCancel(ctx))
	select {
	case closedErr := <-closed:
		return closedErr
	default:
		return err
	}
}

// cancelAfter cancels hard when the grace time has passed since ctx was done. It
// returns then, or when hard is done.
func cancelAfter(ctx, hard context.Context, grace time.Duration, cancel context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-hard.Done():
		return
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
		cancel(errInterrupted)
	case <-hard.Done():
	}
}

// worker delivers until ctx is done, or the queue is closed: then it returns its
// error. Deliveries have hard as their context.
func (s *Sender) worker(ctx, hard context.Context) error {
	for ctx.Err() == nil {
		w, err := s.opts.Queue.Next(ctx)
		switch {
		case err == nil:
			s.deliver(hard, w)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, queue.ErrClosed), errors.Is(err, queue.ErrFailed):
			return err
		default:
			s.log.ErrorContext(ctx, "taking work from the queue", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(nextRetryAfter):
			}
		}
	}
	return nil
}
