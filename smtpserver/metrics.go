package smtpserver

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/submit"
)

// Values of the label "kind": mail from other servers, and from users.
const (
	kindDeliver     = "deliver"
	kindSubmission  = "submission"
	kindSubmissions = "submissions" // Over TLS from the begin.
)

// metrics counts what happens in all sessions.
type metrics struct {
	open        atomic.Int64
	sleepers    atomic.Int64
	connections *prometheus.CounterVec
	commands    *prometheus.HistogramVec
	errors      *prometheus.CounterVec
	submissions *prometheus.CounterVec
	starttls    prometheus.Counter
	starttlsErr *prometheus.CounterVec
}

// Values of the label "error" and of "reason" of failed handshakes.
const (
	errorInternal = "internal"
	errorPanic    = "panic"
	errorRefused  = "connection-refused"
	errorLimit    = "too-many-errors"
	errorSleepers = "too-many-slow"
	errorTimeout  = "timeout"
	errorIO       = "io"
	errorOther    = "handshake"
)

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_smtpserver_connection_total",
			Help: "Incoming SMTP connections.",
		}, []string{"kind"}),
		commands: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mox_smtpserver_command_duration_seconds",
			Help:    "Time from an SMTP command to its reply, by the codes of the reply.",
			Buckets: []float64{0.001, 0.005, 0.01, 0.05, 0.100, 0.5, 1, 5, 10, 20, 30, 60, 120},
		}, []string{"kind", "cmd", "code", "ecode"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_smtpserver_errors_total",
			Help: "Trouble in SMTP sessions: ours, and peers that were sent away.",
		}, []string{"error"}),
		submissions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_smtpserver_submission_total",
			Help: "Messages that users sent over SMTP.",
		}, []string{"result"}),
		starttls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mox_smtpserver_delivery_starttls_total",
			Help: "TLS handshakes after STARTTLS of other servers.",
		}),
		starttlsErr: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_smtpserver_delivery_starttls_errors_total",
			Help: "TLS handshakes after STARTTLS of other servers that failed.",
		}, []string{"reason"}),
	}
	for _, kind := range []string{kindDeliver, kindSubmission, kindSubmissions} {
		m.connections.WithLabelValues(kind)
	}
	for _, result := range submit.Results() {
		m.submissions.WithLabelValues(result)
	}
	for _, e := range []string{errorInternal, errorPanic, errorRefused, errorLimit, errorSleepers} {
		m.errors.WithLabelValues(e)
	}
	for _, r := range []string{errorTimeout, errorIO, errorOther} {
		m.starttlsErr.WithLabelValues(r)
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.connections, m.commands, m.errors, m.submissions, m.starttls, m.starttlsErr} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("registering metrics of smtpserver: %w", err)
	}
	return m, nil
}

// opened counts open connections and returns how many there are.
func (m *metrics) opened(n int64) int64 { return m.open.Add(n) }

func (m *metrics) refused() { m.errors.WithLabelValues(errorRefused).Inc() }

// command counts a reply.
func (m *metrics) command(kind, name string, r reply, took time.Duration) {
	m.commands.WithLabelValues(kind, name, strconv.Itoa(r.code), r.enhanced).Observe(took.Seconds())
}
