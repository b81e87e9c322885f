package system

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/policyhost"
)

// makePolicies makes what gets the MTA-STS policies of domains that mail goes to.
func (s *System) makePolicies(ctx context.Context) error {
	getter, err := policyhost.New(policyhost.Options{
		Resolver: s.opts.Resolver, UserAgent: product + "/" + s.opts.Version, Roots: s.opts.Roots,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.opts.Dial(ctx, network, address, netip.Addr{})
		},
	})
	if err != nil {
		return err
	}
	observe, err := newPolicyMetrics(s.registry)
	if err != nil {
		return err
	}
	var seed [16]byte
	if _, err := io.ReadFull(s.opts.Rand, seed[:]); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	s.fetches = s.newGroup(ctx)
	s.endFetches = func() error {
		s.fetches.Stop()
		limit, cancel := context.WithTimeout(ctx, abortTime)
		defer cancel()
		return s.fetches.Wait(limit)
	}
	s.policyCache, err = mtastsdb.New(mtastsdb.Options{
		DB: s.policies, Resolver: s.opts.Resolver, Getter: getter, Log: s.log.With("pkg", "mtastsdb"), Observe: observe, Group: s.fetches,
		Rand: rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:]))),
	})
	return err
}

// newPolicyMetrics returns what counts the events of the cache of policies.
func newPolicyMetrics(reg prometheus.Registerer) (func(mtastsdb.Event), error) {
	gets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_mtastsdb_get_total", Help: "Times the MTA-STS policy of a domain was asked for, by where it came from.",
	}, []string{"result"})
	fetches := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "mox_mtasts_get_duration_seconds", Help: "Time to fetch an MTA-STS policy from its host, by what came of it.",
		Buckets: []float64{0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30},
	}, []string{"result"})
	if err := errors.Join(reg.Register(gets), reg.Register(fetches)); err != nil {
		return nil, fmt.Errorf("registering metrics of MTA-STS policies: %w", err)
	}
	for _, r := range mtastsdb.GetResults() {
		gets.WithLabelValues(r)
	}
	for _, r := range mtastsdb.FetchResults() {
		fetches.WithLabelValues(r)
	}
	return func(e mtastsdb.Event) {
		if e.Kind == mtastsdb.EventFetch {
			fetches.WithLabelValues(e.Result).Observe(e.Took.Seconds())
			return
		}
		gets.WithLabelValues(e.Result).Inc()
	}, nil
}
