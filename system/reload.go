package system

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/config/live"
)

// Results of reading the configuration again, in metrics.
const (
	reloadOK      = "ok"
	reloadProblem = "problem"
)

// watchConfig makes what happens to the configuration be told in the log and in
// metrics, until Close.
func (s *System) watchConfig(ctx context.Context) error {
	reloads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_config_reload_total", Help: "Times that the configuration was read again, by result.",
	}, []string{"result"})
	problem := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mox_config_problem", Help: "1 while files of the configuration have mistakes, so that an earlier one is in use.",
	}, func() float64 {
		if s.opts.Config.Status().Problem != "" {
			return 1
		}
		return 0
	})
	if err := errors.Join(s.registry.Register(reloads), s.registry.Register(problem)); err != nil {
		return fmt.Errorf("registering metrics of configuration: %w", err)
	}
	for _, result := range []string{reloadOK, reloadProblem} {
		reloads.WithLabelValues(result)
	}
	s.logWarnings(ctx)
	ctx = context.WithoutCancel(ctx)
	s.opts.Config.OnReload(func(o live.Outcome) {
		log := s.log.With("pkg", "config")
		switch {
		case o.Err == nil:
			reloads.WithLabelValues(reloadOK).Inc()
			log.InfoContext(ctx, "configuration reloaded")
			s.logWarnings(ctx)
		case o.Known:
			reloads.WithLabelValues(reloadProblem).Inc()
			log.DebugContext(ctx, "configuration has the same problem", "err", o.Err)
		default:
			reloads.WithLabelValues(reloadProblem).Inc()
			log.ErrorContext(ctx, "reloading configuration", "err", o.Err)
		}
	})
	return nil
}

// logWarnings tells of settings that hardly do what was meant.
func (s *System) logWarnings(ctx context.Context) {
	for _, w := range s.current().Warnings {
		s.log.WarnContext(ctx, "setting", "pkg", "config", "warning", w)
	}
}
