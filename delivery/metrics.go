package delivery

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/queue"
)

// Values of the label "result" of connections.
const (
	resultOK       = "ok"
	resultTimeout  = "timeout"
	resultCanceled = "canceled"
	resultError    = "error"
)

// Values of the label "tlsmode".
const (
	tlsNone       = "none"
	tlsUnverified = "unverified"
	tlsPKIX       = "pkix"
	tlsDANE       = "dane"
	tlsBoth       = "pkix+dane"
)

// Values of the label "reason" for messages that require TLS: nothing says how to
// verify it, or the server does not promise to require it in turn.
const (
	requireTLSNoPolicy  = "nopolicy"
	requireTLSNoSupport = "norequiretls"
)

// Values of the label "transport" besides the names of those configured.
const (
	transportDirect  = "direct"
	transportLocal   = "local"
	transportUnknown = "unknown"
)

// attemptLabelMax is the highest number of an attempt that has a label of its own.
const attemptLabelMax = 20

// metrics counts what deliveries do.
type metrics struct {
	connections  *prometheus.CounterVec
	durations    *prometheus.HistogramVec
	destinations prometheus.Counter
	authentic    prometheus.Counter
	fallbacks    prometheus.Counter
	reused       prometheus.Counter
	requireTLS   *prometheus.CounterVec
	notRequired  *prometheus.CounterVec
	unprotected  prometheus.Counter
	reports      prometheus.Counter
	daneRequired prometheus.Counter
	daneErrors   prometheus.Counter
	daneUnusable prometheus.Counter
	maybeSent    prometheus.Counter
	notices      *prometheus.CounterVec
	commands     *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer, stats func() queue.Stats) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_queue_connection_total", Help: "Attempts to connect to other mail servers.",
		}, []string{"result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mox_queue_delivery_duration_seconds",
			Help:    "Time of attempts to deliver, by recipient: its number, the way, how the connection was protected, what came of it.",
			Buckets: []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 60, 120, 300, 1800},
		}, []string{"attempt", "transport", "tlsmode", "result"}),
		destinations: newCounter("mox_queue_destinations_total", "Lookups of the mail servers of a domain, for an attempt."),
		authentic:    newCounter("mox_queue_destinations_authentic_total", "Those with an answer that is protected by DNSSEC."),
		fallbacks:    newCounter("mox_queue_plaintext_fallback_total", "Connections made again without TLS because it failed."),
		reused:       newCounter("mox_queue_connection_reused_total", "Connections that another message was sent over before."),
		requireTLS: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_queue_requiretls_unsupported_total", Help: "Times a server can't be sent a message as that requires TLS.",
		}, []string{"reason"}),
		unprotected: newCounter("mox_smtpclient_tlsrequiredno_ignored_total", "Those where that was TLS that failed, or a certificate that is not good."),
		reports:     newCounter("mox_queue_dmarcreport_failure_total", "Reports of DMARC that could not be delivered."),
		notRequired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_queue_tlsrequiredno_ignored_total", Help: "Times something was ignored for a message that says it needs no TLS.",
		}, []string{"ignored"}),
		daneRequired: newCounter("mox_queue_destination_dane_required_total", "Servers that must be verified by their TLSA records."),
		daneErrors:   newCounter("mox_queue_destination_dane_gathertlsa_errors_total", "Servers whose TLSA records could not be looked up."),
		daneUnusable: newCounter("mox_queue_destination_dane_starttlsunverified_total", "Servers with TLSA records of which none can be used: TLS is required, without verification."),
		maybeSent:    newCounter("mox_queue_maybe_sent_total", "Messages whose end was sent and not answered: they may arrive twice."),
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_queue_notification_total", Help: "Notifications to senders of mail that is delayed, failed, or arrived as they wanted to know, and those that could not be made.",
		}, []string{"action", "result"}),
		commands: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mox_smtpclient_command_duration_seconds",
			Help:    "Time from an SMTP command to its reply.",
			Buckets: []float64{0.001, 0.005, 0.01, 0.05, 0.100, 0.5, 1, 5, 10, 20, 30, 60, 120},
		}, []string{"cmd", "code"}),
	}
	for _, r := range []string{resultOK, resultTimeout, resultCanceled, resultError} {
		m.connections.WithLabelValues(r)
	}
	for _, what := range ignoredAll {
		m.notRequired.WithLabelValues(what)
	}
	m.requireTLS.WithLabelValues(requireTLSNoPolicy)
	m.requireTLS.WithLabelValues(requireTLSNoSupport)
	all := []prometheus.Collector{
		m.connections, m.durations, m.destinations, m.authentic, m.fallbacks, m.reused, m.requireTLS, m.maybeSent, m.notices, m.commands,
		m.daneRequired, m.daneErrors, m.daneUnusable, m.notRequired, m.unprotected, m.reports,
	}
	for _, c := range append(all, queueGauges(stats)...) {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of delivery: %w", err)
		}
	}
	for _, a := range []dsn.Action{dsn.Failed, dsn.Delayed, dsn.Delivered, dsn.Relayed, dsn.Expanded} {
		m.notices.WithLabelValues(string(a), resultOK)
		m.notices.WithLabelValues(string(a), resultError)
	}
	return m, nil
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// queueGauges tell what waits.
func queueGauges(stats func() queue.Stats) []prometheus.Collector {
	gauge := func(name, help string, value func(queue.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(stats()) })
	}
	count := func(state queue.State) func(queue.Stats) float64 {
		return func(s queue.Stats) float64 { return float64(s.Messages[state]) }
	}
	return []prometheus.Collector{
		gauge("mox_queue_hold", "Messages on hold.", count(queue.Held)),
		gauge("mox_queue_waiting", "Messages that wait for their next attempt.", count(queue.Waiting)),
		gauge("mox_queue_delivering", "Messages that are being delivered.", count(queue.Delivering)),
		gauge("mox_queue_size_bytes", "Size of the messages in the queue.", func(s queue.Stats) float64 { return float64(s.Bytes) }),
		gauge("mox_queue_oldest_seconds", "Age of the oldest message in the queue.", func(s queue.Stats) float64 {
			if s.Oldest.IsZero() {
				return 0
			}
			return max(0, time.Since(s.Oldest).Seconds())
		}),
	}
}

// destination counts a lookup.
func (m *metrics) destination(authentic bool) {
	m.destinations.Inc()
	if authentic {
		m.authentic.Inc()
	}
}

// ignored counts something that is ignored for a message that needs no TLS.
func (m *metrics) ignored(what string) {
	m.notRequired.WithLabelValues(what).Inc()
	if what == ignoredBadTLS || what == ignoredCertificate {
		m.unprotected.Inc()
	}
}

// promise counts what a server promises.
func (m *metrics) promise(e daneEvidence) {
	switch e {
	case daneUsable:
		m.daneRequired.Inc()
	case daneUnusable:
		m.daneUnusable.Inc()
	case daneUnknown:
		m.daneErrors.Inc()
	}
}

// command counts a command and its reply.
func (m *metrics) command(name string, code int, took time.Duration) {
	m.commands.WithLabelValues(name, strconv.Itoa(code)).Observe(took.Seconds())
}

// delivery counts an attempt for one recipient.
func (m *metrics) delivery(attempt int64, transport, tls, result string, took time.Duration) {
	label := strconv.FormatInt(min(attempt, attemptLabelMax), 10)
	m.durations.WithLabelValues(label, transport, tls, result).Observe(took.Seconds())
}
