package system

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/resolver"
)

// newDNSMetrics returns what counts the events of a resolver.
func newDNSMetrics(reg prometheus.Registerer) (func(resolver.Event), error) {
	lookups := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "mox_dns_lookup_duration_seconds", Help: "Time of lookups by the type of records asked for, and whether they were answered from memory.",
		Buckets: []float64{.001, .005, .02, .1, .5, 1, 5, 10, 20},
	}, []string{"type", "result", "cached"})
	exchanges := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_dns_exchanges_total", Help: "Questions to name servers, by network and what came of them.",
	}, []string{"network", "result"})
	if err := errors.Join(reg.Register(lookups), reg.Register(exchanges)); err != nil {
		return nil, fmt.Errorf("registering metrics of resolver: %w", err)
	}
	return func(e resolver.Event) {
		if e.Kind == "exchange" {
			exchanges.WithLabelValues(e.Network, e.Result).Inc()
			return
		}
		lookups.WithLabelValues(e.Type, e.Result, strconv.FormatBool(e.Cached)).Observe(e.Took.Seconds())
	}, nil
}
