package system

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/store"
)

// storeMetrics counts what the store reports.
type storeMetrics struct {
	visible prometheus.Histogram
	batches prometheus.Histogram
	syncs   prometheus.Histogram
	bytes   prometheus.Counter
	backlog prometheus.Gauge
	events  *prometheus.CounterVec // By kind: what an operator should know of.
}

func newStoreMetrics(reg prometheus.Registerer) (*storeMetrics, error) {
	m := &storeMetrics{
		visible: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mox_store_visible_seconds", Help: "Time from an accepted message to its being visible.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 60},
		}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mox_journal_batch_records", Help: "Deliveries joined into one write of the journal.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100},
		}),
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "mox_journal_write_seconds", Help: "Time to write and sync a batch of the journal.",
			Buckets: []float64{.0003, .001, .003, .01, .03, .1, .3, 1, 3},
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mox_journal_bytes_total", Help: "Bytes written to the journal.",
		}),
		backlog: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mox_store_backlog_bytes", Help: "Bytes accepted and not yet applied.",
		}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_store_trouble_total", Help: "Records put aside or that cannot be applied, and failed writes of the journal.",
		}, []string{"kind"}),
	}
	for _, kind := range []string{"aside", "poison", "journal"} {
		m.events.WithLabelValues(kind)
	}
	for _, c := range []prometheus.Collector{m.visible, m.batches, m.syncs, m.bytes, m.backlog, m.events} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of store: %w", err)
		}
	}
	return m, nil
}

// observe takes an event of the store. It is called on the way of deliveries.
func (m *storeMetrics) observe(e store.Event) {
	switch e.Kind {
	case "applied":
		m.visible.Observe(e.Took.Seconds())
	case "batch":
		if e.Err != nil {
			m.events.WithLabelValues("journal").Inc()
			return
		}
		m.batches.Observe(float64(e.Records))
		m.syncs.Observe(e.Took.Seconds())
		m.bytes.Add(float64(e.Bytes))
	case "backlog":
		m.backlog.Set(float64(e.Bytes))
	case "aside", "poison", "journal":
		m.events.WithLabelValues(e.Kind).Inc()
	}
}
