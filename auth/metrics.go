package auth

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/authdb"
)

// metrics are what the Authenticator counts.
type metrics struct {
	attempts *prometheus.CounterVec // By kind (protocol), variant (mechanism) and result.
	refused  *prometheus.CounterVec // By kind.
}

// mechanismKey is the mechanism of logins by the key of a TLS client certificate
// alone.
const mechanismKey = "tlsclientauth"

// protocols are the kinds of logins, so that each label is there from the start.
var protocols = []string{"imap", "smtp"}

// results are how logins end.
var results = []authdb.Result{
	authdb.OK, authdb.BadUser, authdb.BadPassword, authdb.BadCreds, authdb.BadChanBind, authdb.BadProtocol,
	authdb.LoginDisabled, authdb.Error, authdb.Aborted,
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_authentication_total", Help: "Logins by protocol, mechanism and result.",
		}, []string{"kind", "variant", "result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mox_authentication_ratelimited_total", Help: "Logins refused unseen, after many failures from the network.",
		}, []string{"kind"}),
	}
	for _, kind := range protocols {
		m.refused.WithLabelValues(kind)
		for _, variant := range append([]string{mechanismKey}, mechanisms...) {
			for _, r := range results {
				m.attempts.WithLabelValues(kind, strings.ToLower(variant), string(r))
			}
		}
	}
	for _, c := range []prometheus.Collector{m.attempts, m.refused} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of auth: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) attempt(a Attempt, result authdb.Result) {
	m.attempts.WithLabelValues(a.Protocol, a.Mechanism, string(result)).Inc()
}

func (m *metrics) limited(a Attempt) { m.refused.WithLabelValues(a.Protocol).Inc() }
