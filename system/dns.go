package system

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/resolver"
)

// ResolverOptions returns what a resolver needs according to the configuration. A
// command that looks up names does it with these, too.
func ResolverOptions(c config.Resolver) resolver.Options {
	return resolver.Options{Mode: resolver.Mode(c.Mode), Servers: c.Servers, TrustAD: c.TrustAD, Unsigned: c.UnsignedNames(), Anchors: c.Anchors()}
}

// makeResolver makes what asks DNS, unless it was given one.
func (s *System) makeResolver() error {
	if s.opts.Resolver != nil {
		return nil
	}
	opts := ResolverOptions(s.current().Static.Resolver)
	var err error
	if opts.Observe, err = newDNSMetrics(s.registry, s.log.With("pkg", "resolver")); err != nil {
		return err
	}
	if s.opts.Resolver, err = resolver.New(opts); err != nil {
		return fmt.Errorf("making resolver: %w", err)
	}
	return nil
}

// newDNSMetrics returns what counts the events of a resolver, and logs what the
// operator should know.
func newDNSMetrics(reg prometheus.Registerer, log *slog.Logger) (func(resolver.Event), error) {
	lookups := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "mox_dns_lookup_duration_seconds", Help: "Time of lookups by the type of records asked for, and whether they were answered from memory.",
		Buckets: []float64{.001, .005, .02, .1, .5, 1, 5, 10, 20},
	}, []string{"type", "result", "cached"})
	exchanges := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_dns_exchanges_total", Help: "Questions to name servers, by network and what came of them.",
	}, []string{"network", "result"})
	stripped := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mox_dns_stripped", Help: "1 while no name server passes DNSSEC records on, so that answers can't be validated in mode auto.",
	})
	if err := errors.Join(reg.Register(lookups), reg.Register(exchanges), reg.Register(stripped)); err != nil {
		return nil, fmt.Errorf("registering metrics of resolver: %w", err)
	}
	return func(e resolver.Event) {
		switch {
		case e.Kind == "exchange":
			exchanges.WithLabelValues(e.Network, e.Result).Inc()
		case e.Kind == "mode" && e.Result == "stripped":
			stripped.Set(1)
			log.Warn("no name server passes dnssec records on, answers are only authentic if a trusted server says so; see the dns check command")
		case e.Kind == "mode":
			stripped.Set(0)
			log.Info("answers of dns are validated with dnssec")
		default:
			lookups.WithLabelValues(e.Type, e.Result, strconv.FormatBool(e.Cached)).Observe(e.Took.Seconds())
		}
	}, nil
}
