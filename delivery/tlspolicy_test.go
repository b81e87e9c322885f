package delivery

import (
	"testing"

	"github.com/mjl-/mox/smtpclient"
)

func TestDecideTLS(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for _, test := range []struct {
		name     string
		evidence tlsEvidence
		mode     smtpclient.TLSMode
		fallback bool
		status   string
	}{
		{"nothing known", tlsEvidence{name: "mx.example.org"}, smtpclient.TLSOpportunistic, true, ""},
		{"TLS has failed", tlsEvidence{name: "mx.example.org", failed: true}, smtpclient.TLSSkip, false, ""},
		{"TLS is not required", tlsEvidence{name: "mx.example.org", requireTLS: &no}, smtpclient.TLSOpportunistic, true, ""},
		{"TLS is required", tlsEvidence{name: "mx.example.org", requireTLS: &yes}, 0, false, "5.7.30"},
		{"TLS is required and has failed", tlsEvidence{name: "mx.example.org", requireTLS: &yes, failed: true}, 0, false, "5.7.30"},
	} {
		p := decideTLS(test.evidence)
		if p.mode != test.mode || p.fallback != test.fallback {
			t.Errorf("%s: got %+v, want mode %v, fallback %v", test.name, p, test.mode, test.fallback)
		}
		checkFailure(t, test.name, p.refuse, test.status, true)
		if test.mode == smtpclient.TLSOpportunistic && (p.config == nil || p.config.ServerName != "mx.example.org" || !p.config.InsecureSkipVerify) {
			t.Errorf("%s: got TLS config %+v", test.name, p.config)
		}
	}
}
