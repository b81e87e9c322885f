package receive

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/screen"
)

// metrics counts decisions, and what they depend on.
type metrics struct {
	deliveries *prometheus.CounterVec

	reverse     *prometheus.CounterVec   // By result of iprev.
	spf         *prometheus.HistogramVec // By result.
	dkim        *prometheus.HistogramVec // By the best result of the signatures.
	dmarc       *prometheus.HistogramVec // By result.
	blocklists  *prometheus.HistogramVec // By result: listed, unlisted, error.
	subjectPass *prometheus.CounterVec   // By result: offered, used.
}

// checkBuckets are for checks that ask DNS, in seconds.
var checkBuckets = []float64{0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60}

// results are the values of the label "result" besides the names of actions.
const resultError = "error"

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_smtpserver_delivery_total",
			Help: "Incoming messages by recipient: what was decided, and why.",
		}, []string{"result", "reason"}),
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: checkBuckets}, []string{"status"})
	}
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m.reverse = counter("mox_iprev_lookup_total", "Checks whether the address of a peer has a name that leads back to it, by result.", "status")
	m.spf = histogram("mox_spf_verify_duration_seconds", "Time of SPF evaluations, by result.")
	m.dkim = histogram("mox_dkim_verify_duration_seconds", "Time to verify all DKIM signatures of a message, by the best result.")
	m.dmarc = histogram("mox_dmarc_verify_duration_seconds", "Time of DMARC evaluations, by result.")
	m.blocklists = histogram("mox_dnsbl_lookup_duration_seconds", "Time of questions to blocklists about peers: listed, unlisted or error.")
	m.subjectPass = counter("mox_subjectpass_total", "Tokens for the subject that were offered to senders, and used by them.", "result")
	for _, c := range []prometheus.Collector{m.deliveries, m.reverse, m.spf, m.dkim, m.dmarc, m.blocklists, m.subjectPass} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of receive: %w", err)
		}
	}
	// Those that alerts are made of are there from the start.
	m.deliveries.WithLabelValues(screen.Accept.String(), string(screen.NoBadSignals))
	m.deliveries.WithLabelValues(resultError, "")
	return m, nil
}

func (m *metrics) decided(v screen.Verdict) {
	switch v.Reason {
	case screen.SubjectPassGiven:
		m.subjectPass.WithLabelValues("offered").Inc()
	case screen.SubjectPassed:
		m.subjectPass.WithLabelValues("used").Inc()
	}
	m.deliveries.WithLabelValues(v.Action.String(), string(v.Reason)).Inc()
}

func (m *metrics) failed() { m.deliveries.WithLabelValues(resultError, "").Inc() }

// took notes how long a check took that began at start.
func took(h *prometheus.HistogramVec, start time.Time, status string) {
	h.WithLabelValues(status).Observe(time.Since(start).Seconds())
}

// bestOf returns the best result of signatures, "none" without any.
func bestOf(list []dkim.Evaluation) string {
	for _, r := range []dkim.Result{dkim.Pass, dkim.Temperror, dkim.Policy, dkim.Fail, dkim.Permerror} {
		if slices.ContainsFunc(list, func(e dkim.Evaluation) bool { return e.Result == r }) {
			return string(r)
		}
	}
	return string(dkim.None)
}
