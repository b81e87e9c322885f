package hooks

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/queue"
)

// Values of the label "result" of calls.
const (
	resultOK       = "ok"
	resultRedirect = "redirect"    // 3xx.
	resultClient   = "clienterror" // 4xx.
	resultServer   = "servererror" // 5xx, and what HTTP does not know.
	resultError    = "error"       // There was no response.
	resultGone     = "gone"        // There was nothing to tell any more.
)

// results lists them.
func results() []string {
	return []string{resultOK, resultRedirect, resultClient, resultServer, resultError, resultGone}
}

// metrics counts calls.
type metrics struct {
	durations prometheus.Histogram
	results   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, stats func() queue.HookStats) (*metrics, error) {
	m := &metrics{
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mox_webhook_request_duration_seconds", Help: "Time of calls of webhooks.",
			Buckets: []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 60},
		}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_webhook_results_total", Help: "Calls of webhooks, by what came of them.",
		}, []string{"result"}),
	}
	gauge := func(name, help string, value func(queue.HookStats) int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value(stats())) })
	}
	for _, c := range []prometheus.Collector{
		m.durations, m.results,
		gauge("mox_webhook_waiting", "Webhooks that wait to be called.", func(s queue.HookStats) int64 { return s.Waiting }),
		gauge("mox_webhook_calling", "Webhooks that are being called.", func(s queue.HookStats) int64 { return s.Calling }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of webhooks: %w", err)
		}
	}
	for _, r := range results() {
		m.results.WithLabelValues(r)
	}
	return m, nil
}

// called counts a call.
func (m *metrics) called(r *queue.HookResult) {
	m.durations.Observe(r.Took.Seconds())
	m.results.WithLabelValues(resultOf(r)).Inc()
}

// resultOf returns the value of the label for a call.
func resultOf(r *queue.HookResult) string {
	switch {
	case r.OK:
		return resultOK
	case r.Final:
		return resultGone
	case r.Code == 0:
		return resultError
	case r.Code >= 300 && r.Code < 400:
		return resultRedirect
	case r.Code >= 400 && r.Code < 500:
		return resultClient
	}
	return resultServer
}
