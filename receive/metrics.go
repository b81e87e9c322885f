package receive

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/screen"
)

// metrics counts decisions.
type metrics struct {
	deliveries *prometheus.CounterVec
}

// results are the values of the label "result" besides the names of actions.
const resultError = "error"

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_smtpserver_delivery_total",
			Help: "Incoming messages by recipient: what was decided, and why.",
		}, []string{"result", "reason"}),
	}
	if err := reg.Register(m.deliveries); err != nil {
		return nil, fmt.Errorf("registering metrics of receive: %w", err)
	}
	// Those that alerts are made of are there from the start.
	m.deliveries.WithLabelValues(screen.Accept.String(), string(screen.NoBadSignals))
	m.deliveries.WithLabelValues(resultError, "")
	return m, nil
}

func (m *metrics) decided(v screen.Verdict) {
	m.deliveries.WithLabelValues(v.Action.String(), string(v.Reason)).Inc()
}

func (m *metrics) failed() { m.deliveries.WithLabelValues(resultError, "").Inc() }
