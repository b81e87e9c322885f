package system

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/queue"
)

// purgeEvery is how often retired messages are looked through.
const purgeEvery = time.Hour

// keepRetired is how long a server for trying things out keeps retired messages.
const keepRetired = 72 * time.Hour

// schedule returns when deliveries are tried again.
func (s *System) schedule() queue.Schedule {
	q := s.current().Queue()
	return queue.Schedule{Waits: q.RetryWaits, Every: q.RetryEvery, GiveUpAfter: q.GiveUpAfter, NoticeAfter: q.NoticeAfter}
}

// openQueue opens the queue. Messages that were being delivered when the process
// died wait for their next attempt.
func (s *System) openQueue(ctx context.Context) error {
	observe, err := newQueueMetrics(s.registry)
	if err != nil {
		return err
	}
	q := s.current().Queue()
	opts := queue.Options{
		Dir: s.dir("queue"), Log: s.log.With("pkg", "queue"), Faults: s.opts.Faults, Rand: s.opts.Rand,
		Schedule: s.schedule(), Local: s.isLocal,
		DeliveriesMax: int(q.Deliveries), DestinationMax: int(q.DomainDeliveries), LocalMax: int(q.LocalDeliveries),
		KeepRetired: func(account string) time.Duration { return s.current().KeepRetired(account) },
		Webhook:     s.webhook,
		Observe:     observe,

		KeepRetiredHooks: func(account string) time.Duration { return s.current().KeepRetiredWebhooks(account) },
	}
	if s.opts.Local != nil {
		opts.KeepRetired = func(account string) time.Duration { return max(keepRetired, s.current().KeepRetired(account)) }
		opts.LogSize = localSegment
	}
	if s.opts.Queue != nil {
		s.opts.Queue(&opts)
	}
	s.queue, err = queue.Open(ctx, opts)
	return err
}

// isLocal tells whether mail for a domain stays here. A server for trying things
// out sends nothing to others.
func (s *System) isLocal(domain string) bool {
	return s.opts.Local != nil || s.current().DeliversHere(domain)
}

// purgeQueue removes what was kept of retired messages for long enough.
func (s *System) purgeQueue(ctx context.Context) {
	if err := s.queue.Purge(ctx, s.queue.Now()); err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "removing retired messages", "pkg", "queue", "err", err)
	}
	if err := s.queue.PurgeHooks(ctx, s.queue.Now()); err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "removing retired webhooks", "pkg", "queue", "err", err)
	}
}

// dial connects to other servers, from an address of ours if one is given.
func dial(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error) {
	d := net.Dialer{}
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return d.DialContext(ctx, network, address)
}

// queueEvents are the kinds of events of a queue that are counted.
var queueEvents = []string{"added", "delivered", "failed", "delayed", "dropped"}

// hookEvents are those about webhooks.
var hookEvents = []string{
	"queued", string(queue.HookCalled), string(queue.HookFailed), string(queue.HookSuperseded), string(queue.HookCanceled), string(queue.HookCrowded),
}

// newQueueMetrics returns what counts the events of a queue. What it holds is
// told by package delivery.
func newQueueMetrics(reg prometheus.Registerer) (func(queue.Event), error) {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_queue_messages_total", Help: "Messages for one recipient each that came into the queue, and what became of them.",
	}, []string{"event"})
	webhooks := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_webhook_hooks_total", Help: "Webhooks that were queued, and what became of them.",
	}, []string{"event"})
	for _, c := range []prometheus.Collector{events, webhooks} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of queue: %w", err)
		}
	}
	for _, kind := range hookEvents {
		webhooks.WithLabelValues(kind)
	}
	for _, kind := range queueEvents {
		events.WithLabelValues(kind)
	}
	return func(e queue.Event) {
		if kind, ok := strings.CutPrefix(e.Kind, "webhook "); ok && slices.Contains(hookEvents, kind) {
			webhooks.WithLabelValues(kind).Inc()
		}
		if slices.Contains(queueEvents, e.Kind) {
			events.WithLabelValues(e.Kind).Inc()
		}
	}, nil
}
