package system

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// certificatesEvery is how often it is looked whether certificates have changed.
	certificatesEvery = time.Minute

	// certificatesRepeat is how often warnings about them come again.
	certificatesRepeat = 24 * time.Hour

	// expirySoon is how long before its end a certificate is warned about, unless it
	// is valid for so short that a third of its time is less. What renews them by
	// itself has been trying for a while then.
	expirySoon = 14 * 24 * time.Hour
)

// certificateFile is a certificate of a listener, with the name of its file in
// mox.conf.
type certificateFile struct {
	listener, hostname, file string
	leaf                     *x509.Certificate
}

// certificateFiles returns those of all listeners, in the order of mox.conf.
func (s *System) certificateFiles() (list []certificateFile) {
	c := s.current()
	for _, name := range slices.Sorted(maps.Keys(c.Static.Listeners)) {
		l := c.Static.Listeners[name]
		hostname := c.Hostname.ASCII
		for _, e := range c.Endpoints {
			if e.Listener == name {
				hostname = e.Hostname.ASCII
			}
		}
		for i, cert := range s.certificates(name) {
			list = append(list, certificateFile{name, hostname, l.TLS.KeyCerts[i].CertFile, cert.Leaf})
		}
	}
	return list
}

// problems returns what an operator should know about the certificates of all
// listeners.
func certificateProblems(list []certificateFile, now time.Time) (problems []string) {
	covered := map[string]bool{}
	for _, c := range list {
		if problem := expiryProblem(c.leaf, now); problem != "" {
			problems = append(problems, fmt.Sprintf("certificate %s of listener %s %s", c.file, c.listener, problem))
		}
		covered[c.listener] = covered[c.listener] || c.leaf.VerifyHostname(c.hostname) == nil
	}
	for _, c := range list {
		if !covered[c.listener] {
			problems = append(problems, fmt.Sprintf("no certificate of listener %s is for its hostname %s", c.listener, c.hostname))
			covered[c.listener] = true // Said.
		}
	}
	return problems
}

// expiryProblem tells whether clients will not accept a certificate because of
// the time, or soon won't. Empty: they do.
func expiryProblem(leaf *x509.Certificate, now time.Time) string {
	soon := min(expirySoon, leaf.NotAfter.Sub(leaf.NotBefore)/3)
	switch {
	case now.Before(leaf.NotBefore):
		return "is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)
	case now.After(leaf.NotAfter):
		return "has expired at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	case now.After(leaf.NotAfter.Add(-soon)):
		return "expires at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	return ""
}

// certificateWatch tells about certificates in the log: all when they change,
// what is wrong with them again and again.
type certificateWatch struct {
	system *System
	seen   [sha256.Size]byte
	warned time.Time
}

func (w *certificateWatch) look(ctx context.Context) {
	list := w.system.certificateFiles()
	h := sha256.New()
	for _, c := range list {
		h.Write(c.leaf.Raw)
	}
	now, seen := time.Now(), [sha256.Size]byte(h.Sum(nil))
	changed := seen != w.seen
	if !changed && now.Sub(w.warned) < certificatesRepeat {
		return
	}
	log := w.system.Logger("system")
	if changed {
		for _, c := range list {
			log.InfoContext(ctx, "certificate", "listener", c.listener, "file", c.file, "names", c.leaf.DNSNames, "expires", c.leaf.NotAfter.UTC())
		}
	}
	for _, problem := range certificateProblems(list, now) {
		log.WarnContext(ctx, "certificate problem", "problem", problem)
	}
	w.seen, w.warned = seen, now
}

// makeTLSMetrics makes the metrics of TLS that no server has.
func (s *System) makeTLSMetrics(context.Context) error {
	s.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mox_tls_unknown_servername_total", Help: "TLS handshakes refused since no certificate is for the name that the client asked for.",
	}, []string{"listener"})
	for _, e := range s.current().Endpoints {
		if e.TLS != nil {
			s.refused.WithLabelValues(e.Listener)
		}
	}
	if err := errors.Join(s.registry.Register(s.refused), s.registry.Register(&expiryCollector{s})); err != nil {
		return fmt.Errorf("registering metrics of TLS: %w", err)
	}
	return nil
}

// expiryCollector is the metric of when certificates expire: always those in use.
type expiryCollector struct{ system *System }

func (*expiryCollector) desc() *prometheus.Desc {
	return prometheus.NewDesc("mox_tls_certificate_expiry_timestamp_seconds", "When a certificate in use expires, in seconds since 1970.",
		[]string{"listener", "file"}, nil)
}

// Describe sends the only metric.
func (c *expiryCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc() }

// Collect sends it for each certificate.
func (c *expiryCollector) Collect(ch chan<- prometheus.Metric) {
	desc, seen := c.desc(), map[[2]string]bool{}
	for _, f := range c.system.certificateFiles() {
		if key := [2]string{f.listener, f.file}; !seen[key] { // Named twice by mistake it is one.
			seen[key] = true
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(f.leaf.NotAfter.Unix()), f.listener, f.file)
		}
	}
}
