package specimen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/tlsrpt"
	"github.com/mjl-/mox/tlsrptdb"
)

// policyHosts is the host of one MTA-STS policy, and answers others with what is none.
type policyHosts struct{}

func (policyHosts) Get(_ context.Context, r mtasts.Request) (mtasts.Response, error) {
	body := "<html>"
	if r.Host == "mta-sts.policy.example" {
		body = "version: STSv1\nmode: enforce\nmx: *.policy.example\nmax_age: 31557600\n"
	}
	return mtasts.Response{Status: 200, ContentType: "text/plain", Body: []byte(body)}, nil
}

// policyRecords answers that any domain has a policy, and nothing else.
type policyRecords struct{ dns.Resolver }

// LookupTXT returns a record of MTA-STS.
func (policyRecords) LookupTXT(_ context.Context, name string) ([]string, dns.Result, error) {
	return []string{mtasts.Record{ID: "1"}.String()}, dns.Result{Name: name}, nil
}

// makeTLS leaves what is known of TLS with other servers.
func (s *specimen) makeTLS(ctx context.Context) error {
	return errors.Join(s.makePolicies(ctx), s.makeResults(ctx))
}

// makePolicies leaves an MTA-STS policy, and the note that another one can't be had.
func (s *specimen) makePolicies(ctx context.Context) (err error) {
	db, err := mtastsdb.Open(s.path("mtasts.db"))
	if err != nil {
		return err
	}
	group := loop.New(ctx, nil)
	defer func() {
		group.Stop()
		err = errors.Join(err, group.Wait(context.WithoutCancel(ctx)), db.Close())
	}()
	cache, err := mtastsdb.New(mtastsdb.Options{
		DB: db, Resolver: policyRecords{}, Getter: policyHosts{}, Log: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 2)), Group: group,
	})
	if err != nil {
		return err
	}
	for _, name := range []string{"policy.example", "broken.example"} {
		if _, _, err := cache.Get(ctx, dns.Domain{ASCII: name}); err != nil {
			return fmt.Errorf("getting policy of %s: %w", name, err)
		}
	}
	return nil
}

// makeResults leaves what came of connections with the host of a domain, by all kinds
// of policies.
func (s *specimen) makeResults(ctx context.Context) error {
	db, err := tlsrptdb.OpenResults(s.path("tlsrptresult.db"))
	if err != nil {
		return err
	}
	failure := tlsrpt.Failure{
		Type: tlsrpt.CertificateNotTrusted, SendingIP: "192.0.2.2", MXHost: "mx.policy.example", MXHello: "mx", ReceivingIP: "192.0.2.9", Sessions: 2,
		Info: "https://specimen.example/", Reason: tlsrpt.ReasonNoMatch,
	}
	domain := tlsrptdb.Results{PolicyDomain: "policy.example", RecipientDomain: "policy.example", Policies: []tlsrpt.Result{
		{Policy: tlsrpt.Policy{Type: tlsrpt.PolicySTS, String: []string{"version: STSv1", "mode: enforce"}, Domain: "policy.example", MXHost: []string{"*.policy.example"}}, Summary: tlsrpt.Summary{Success: 3}},
		{Policy: tlsrpt.Policy{Type: tlsrpt.PolicyNone, Domain: "policy.example"}, Summary: tlsrpt.Summary{Success: 1}},
	}}
	host := tlsrptdb.Results{PolicyDomain: "mx.policy.example", RecipientDomain: "policy.example", Host: true, Policies: []tlsrpt.Result{
		{Policy: tlsrpt.Policy{Type: tlsrpt.PolicyTLSA, String: []string{"3 1 1 00"}, Domain: "mx.policy.example"}, Summary: tlsrpt.Summary{Success: 1, Failure: 2}, Failures: []tlsrpt.Failure{failure}},
	}}
	c := tlsrptdb.NewCollector(db, slog.New(slog.DiscardHandler))
	c.Note(s.now.Add(-24*time.Hour), []tlsrptdb.Results{domain})
	c.Note(s.now, []tlsrptdb.Results{domain, host})
	return errors.Join(c.Write(ctx), db.Close())
}
