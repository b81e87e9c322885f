package system

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/trace"
)

// localTraceSize is the room for traces of a server for trying things out, in bytes.
const localTraceSize = 64 << 20

// traceDir is where traces are, in the data directory.
const traceDir = "trace"

// openTrace opens the log of what became of messages. If nothing is to be kept there
// is none.
func (s *System) openTrace() error {
	t := s.current().Trace()
	if t.KeepFor <= 0 {
		return nil
	}
	if s.opts.Local != nil {
		t.MaxSize = min(t.MaxSize, localTraceSize)
	}
	var err error
	s.trace, err = trace.Open(trace.Options{Dir: s.dir(traceDir), KeepFor: t.KeepFor, SizeMax: t.MaxSize, Log: s.log.With("pkg", "trace")})
	if err != nil {
		return err
	}
	return newTraceMetrics(s.registry, s.trace.Stats)
}

// newTraceMetrics makes metrics of a trace.
func newTraceMetrics(reg prometheus.Registerer, stats func() trace.Stats) error {
	counter := func(name, help string, value func(trace.Stats) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value(stats())) })
	}
	for _, c := range []prometheus.Collector{
		counter("mox_trace_events_total", "Events on the way of messages that were kept.", func(s trace.Stats) int64 { return s.Events }),
		counter("mox_trace_dropped_total", "Those that were not: there were too many at a time, or they could not be written.", func(s trace.Stats) int64 { return s.Dropped }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mox_trace_size_bytes", Help: "Size of the files they are in."}, func() float64 {
			return float64(stats().Bytes)
		}),
	} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("registering metrics of traces: %w", err)
		}
	}
	return nil
}
