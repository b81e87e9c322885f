// Package hooks calls web addresses: it takes due hooks from the queue, tells the
// address by POST what became of a message or which one came in, and records what
// came of that. The payloads are those of package webhook.
//
// When there is another attempt is the queue's business, and what is told about
// messages sent was written by it. What is told about messages that came in is made
// here from the message, for each attempt. How these get into the queue is in
// arrivals.go.
//
// Addresses are those of the configuration, which an administrator writes: they may
// be of this host, and of the network it is in. A server that would let its users
// choose them has to refuse such.
package hooks

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

const (
	// workers is how many calls run at a time, if the queue gives out so many.
	workers = 10

	// callTimeout bounds a call, from the connection to the end of the response.
	callTimeout = time.Minute

	// loadTimeout bounds the time to read a message that came in.
	loadTimeout = time.Minute

	// nextRetryAfter is how long a worker waits when the queue has trouble.
	nextRetryAfter = 10 * time.Second
)

// Options is what a Caller needs. Fields are required unless said otherwise.
type Options struct {
	Queue      *queue.DB
	Accounts   *store.Dir
	Config     func() *config.Config
	Log        *slog.Logger
	Registerer prometheus.Registerer

	// Panicked is called when a call died of a panic, after it was logged. Nil: nothing
	// else is done.
	Panicked func()

	// Dial makes connections. Nil: TCP, with names as the system resolves them: as in
	// its file of hosts.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Roots are the certificates of authorities to be trusted. Nil: those of the system.
	Roots *x509.CertPool

	// UserAgent is told to addresses.
	UserAgent string
}

// Caller calls what is due. It is safe for concurrent use.
type Caller struct {
	opts    Options
	log     *slog.Logger
	client  *http.Client
	metrics *metrics

	mu      sync.Mutex
	waiting map[string]bool // Accounts with messages that came in.
	wake    chan struct{}   // Has something when there is an account.
}

// New returns a Caller. It starts nothing.
func New(opts Options) (*Caller, error) {
	if opts.Queue == nil || opts.Accounts == nil || opts.Config == nil || opts.Log == nil || opts.Registerer == nil || opts.UserAgent == "" {
		return nil, errors.New("hooks: missing option")
	}
	if opts.Panicked == nil {
		opts.Panicked = func() {}
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	m, err := newMetrics(opts.Registerer, opts.Queue.HookStats)
	if err != nil {
		return nil, err
	}
	return &Caller{
		opts: opts, log: opts.Log.With("pkg", "hooks"), client: newClient(opts), metrics: m,
		waiting: map[string]bool{}, wake: make(chan struct{}, 1),
	}, nil
}

// Serve makes calls until ctx is done, then lets those that run end in the grace
// time, cancels the others, records what came of them, and returns. It returns early,
// with an error, when the queue is closed.
func (c *Caller) Serve(ctx context.Context, grace time.Duration) error {
	hard, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	others := loop.New(context.WithoutCancel(ctx), func(p loop.Panic) {
		c.log.ErrorContext(ctx, "panic", "task", p.Name, "panic", p.Value, "stack", string(p.Stack))
		c.opts.Panicked()
	})
	c.queueFirst(ctx)
	others.Every("looking for messages that came in", loop.Schedule{First: sweepEvery, Interval: sweepEvery}, c.sweep)
	others.Go("queueing what came in", c.queueArrivals)
	others.Go("grace time", func(context.Context) { cancelAfter(ctx, hard, grace, cancel) })

	failed := make(chan error, 1) // The first error of a worker.
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			if err := c.worker(ctx, hard); err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	working.Wait()
	cancel(nil)
	others.Stop()
	err := others.Wait(context.WithoutCancel(ctx))
	c.client.CloseIdleConnections()
	select {
	case first := <-failed:
		return first
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

// worker makes calls until ctx is done, or the queue is closed: then it returns its
// error. Calls have hard as their context.
func (c *Caller) worker(ctx, hard context.Context) error {
	for ctx.Err() == nil {
		w, err := c.opts.Queue.NextHook(ctx)
		switch {
		case err == nil:
			c.do(hard, w)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, queue.ErrClosed), errors.Is(err, queue.ErrFailed):
			return err
		default:
			c.log.ErrorContext(ctx, "taking webhooks from the queue", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(nextRetryAfter):
			}
		}
	}
	return nil
}

// errPanic is the error of an attempt that died of a mistake of ours.
var errPanic = errors.New("the call was broken off by a mistake in this server")

// do makes a call and records what came of it, also when ctx is done.
func (c *Caller) do(ctx context.Context, w *queue.HookWork) {
	h := &w.Hook
	r := queue.HookResult{Start: time.Now(), URL: h.URL}
	c.try(ctx, h, &r)
	r.Took = time.Since(r.Start)
	attrs := []any{
		"hook", h.ID, "account", h.Account, "event", string(h.Event), "url", h.URL, "attempt", h.Attempts, "code", r.Code, "took", r.Took,
	}
	if h.QueueMsgID != 0 {
		attrs = append(attrs, "queue_id", h.QueueMsgID)
	}
	if !r.OK {
		attrs = append(attrs, "err", r.Error)
	}
	c.metrics.called(&r)
	c.log.InfoContext(ctx, "webhook called", append(attrs, "ok", r.OK)...)
	if err := c.opts.Queue.FinishHook(ctx, w, r); err != nil {
		// The lease ends by itself, or with the process, and there is another attempt.
		c.log.ErrorContext(ctx, "recording call of webhook", "hook", h.ID, "err", err)
	}
}

// try sets what comes of a call.
func (c *Caller) try(ctx context.Context, h *queue.Hook, r *queue.HookResult) {
	defer func() {
		if v := recover(); v != nil {
			c.log.ErrorContext(ctx, "panic in webhook", "hook", h.ID, "panic", v, "stack", string(debug.Stack()))
			c.opts.Panicked()
			r.OK, r.Error = false, errPanic.Error()
		}
	}()
	payload, err := c.payload(ctx, h)
	if err == nil {
		err = c.call(ctx, h, payload, r)
	}
	if r.OK = err == nil; r.OK {
		return
	}
	r.Error, r.Final = describe(err), errors.Is(err, errGone)
}

// payload returns what is told.
func (c *Caller) payload(ctx context.Context, h *queue.Hook) (io.Reader, error) {
	if h.EmailID == 0 {
		return newPayload(h.Payload), nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	b, err := c.incoming(ctx, h)
	return newPayload(b), err
}
