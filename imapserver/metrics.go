package imapserver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the server counts. Names are as in spec 09; labels are
// closed sets.
type metrics struct {
	connections *prometheus.CounterVec   // By service: imap, imaps.
	open        *prometheus.GaugeVec     // By service.
	refused     *prometheus.CounterVec   // By reason.
	commands    *prometheus.HistogramVec // Seconds, by command and result.
	overflows   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_imap_connection_total", Help: "Connections accepted.",
		}, []string{"service"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mox_imap_connections", Help: "Connections open.",
		}, []string{"service"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_imap_connection_refused_total", Help: "Connections refused at once.",
		}, []string{"reason"}),
		commands: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mox_imap_command_duration_seconds",
			Help:    "Time from a command's last byte to its reply.",
			Buckets: []float64{0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30},
		}, []string{"cmd", "result"}),
		overflows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mox_imap_overflow_total", Help: "Sessions that were too slow for the changes and resynchronised.",
		}),
	}
	for _, service := range []string{"imap", "imaps"} {
		m.connections.WithLabelValues(service)
		m.open.WithLabelValues(service)
	}
	for _, reason := range []string{"limit", "stopping"} {
		m.refused.WithLabelValues(reason)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connections, m.open, m.refused, m.commands, m.overflows} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// command counts a command that was answered. The name is of the table, or
// "(unknown)": never what a client wrote.
func (m *metrics) command(name, result string, took time.Duration) {
	m.commands.WithLabelValues(name, result).Observe(took.Seconds())
}
