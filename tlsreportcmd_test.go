package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/tlsrpt"
	"github.com/mjl-/mox/tlsrptdb"
)

const testPolicyZone = `
_mta-sts.org.example  TXT "v=STSv1; id=20260101;"
_mta-sts.cert.example TXT "v=STSv1; id=1"
_mta-sts.html.example TXT "v=STSv1; id=1"
`

// openTLS opens what is kept of TLS with other servers: some results, and no policies.
// Those that can be had are of testPolicyZone.
func (e *ctlEnv) openTLS(data string) (p admin.TLSPolicies, closeAll func() error) {
	e.t.Helper()
	zone, err := dnstest.New(testPolicyZone)
	if err != nil {
		e.t.Fatal(err)
	}
	zone.Fail("", "_mta-sts.broken.example", dnstest.Temporary)
	log, group := slog.New(slog.DiscardHandler), loop.New(context.WithoutCancel(e.t.Context()), nil)
	p.Policies, err = mtastsdb.Open(filepath.Join(data, "mtasts.db"))
	if err != nil {
		e.t.Fatal(err)
	}
	p.Cache, err = mtastsdb.New(mtastsdb.Options{
		DB: p.Policies, Resolver: zone, Getter: policyHosts{}, Log: log, Rand: rand.New(rand.NewPCG(1, 2)), Group: group,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	if p.Results, err = tlsrptdb.OpenResults(filepath.Join(data, "tlsrptresult.db")); err != nil {
		e.t.Fatal(err)
	}
	p.Collector = tlsrptdb.NewCollector(p.Results, log)
	p.Collector.Note(time.Now(), testTLSResults())
	return p, func() error {
		group.Stop()
		return errors.Join(group.Wait(context.WithoutCancel(e.t.Context())), p.Policies.Close(), p.Results.Close())
	}
}

// testTLSResults are those of a domain with an MTA-STS policy and a host with TLSA
// records.
func testTLSResults() []tlsrptdb.Results {
	return []tlsrptdb.Results{
		{PolicyDomain: "remote.example", RecipientDomain: "remote.example", Policies: []tlsrpt.Result{{
			Policy:  tlsrpt.Policy{Type: tlsrpt.PolicySTS, String: []string{"version: STSv1", "mode: testing"}, Domain: "remote.example", MXHost: []string{"*.remote.example"}},
			Summary: tlsrpt.Summary{Success: 3, Failure: 1},
			Failures: []tlsrpt.Failure{{
				Type: tlsrpt.CertificateExpired, SendingIP: "192.0.2.1", MXHost: "mx.remote.example", MXHello: "mail", ReceivingIP: "198.51.100.1", Sessions: 1,
			}},
		}}},
		{PolicyDomain: "mx.remote.example", RecipientDomain: "remote.example", Host: true, Policies: []tlsrpt.Result{{
			Policy: tlsrpt.Policy{Type: tlsrpt.PolicyTLSA, String: []string{"3 1 1 00"}, Domain: "mx.remote.example"}, Summary: tlsrpt.Summary{Success: 4},
		}}},
	}
}
