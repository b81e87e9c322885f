package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/mtastsdb"
)

// policyHosts are the hosts of MTA-STS policies.
type policyHosts struct {
	mu      sync.Mutex
	text    map[string]string // By name of the host. Others can't be reached.
	err     error             // Instead.
	fetched int
}

// Get implements mtasts.Getter.
func (h *policyHosts) Get(_ context.Context, r mtasts.Request) (mtasts.Response, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fetched++
	text, ok := h.text[r.Host]
	switch {
	case h.err != nil:
		return mtasts.Response{}, h.err
	case !ok:
		return mtasts.Response{}, errors.New("connection refused")
	}
	return mtasts.Response{Status: 200, ContentType: "text/plain", Body: []byte(text)}, nil
}

// policies makes a cache of policies.
func (e *env) policies(dir string, log *slog.Logger) *mtastsdb.Cache {
	e.Helper()
	var err error
	e.db, err = mtastsdb.Open(filepath.Join(dir, "mtasts.db"))
	check(e.T, err)
	e.fetches = loop.New(context.WithoutCancel(e.Context()), nil)
	cache, err := mtastsdb.New(mtastsdb.Options{
		DB: e.db, Resolver: e.zone, Getter: &e.hosts, Log: log, Rand: mathrand.New(mathrand.NewPCG(1, 2)), Group: e.fetches,
	})
	check(e.T, err)
	return cache
}

// policy gives a domain a policy, with the mode and then the hosts, separated by
// spaces.
func (e *env) policy(domain, text string) {
	e.Helper()
	words := strings.Fields(text)
	body := "version: STSv1\nmode: " + words[0] + "\nmax_age: 86400\n"
	for _, host := range words[1:] {
		body += "mx: " + host + "\n"
	}
	e.hosts.mu.Lock()
	defer e.hosts.mu.Unlock()
	e.hosts.text = map[string]string{"mta-sts." + domain: body}
	e.records("_mta-sts." + domain + ` TXT "v=STSv1;id=1"`)
}

// pool returns a pool with an authority.
func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// TestMTASTS has a domain with a policy, and a server that fulfils it or not. What is
// enforced is kept, or the message waits: it never goes in plain text, nor to
// somebody else.
func TestMTASTS(t *testing.T) {
	t.Parallel()
	ca, far, past := newAuthority(t), time.Now().Add(1000*time.Hour), time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	good, old := ca.issue(t, "mx.other.example", far), ca.issue(t, "mx.other.example", past)
	elsewhere, self := ca.issue(t, "other.example", far), certificate(t)
	const enforce, tested = "enforce mx.other.example", "testing mx.other.example"
	broken := map[string][]string{"handshake": {"drop"}}
	for _, test := range []struct {
		name    string
		policy  string
		cert    *tls.Certificate
		ext     string
		answers map[string][]string
		want    string // How it was protected, or the code of the failure.
		log     string // What the log says decided, and of the policy.
		dials   string
	}{
		{"enforced, a good certificate", enforce, good, "STARTTLS", nil, tlsPKIX, "tls_policy=mta-sts sts=enforce", "198.51.100.1"},
		{"enforced, by a pattern", "enforce *.other.example", good, "STARTTLS", nil, tlsPKIX, "tls_policy=mta-sts sts=enforce", "198.51.100.1"},
		{"enforced, expired", enforce, old, "STARTTLS", nil, "4.7.5", "tls_policy=mta-sts sts=enforce", "198.51.100.1"},
		{"enforced, another name", enforce, elsewhere, "STARTTLS", nil, "4.7.5", "tls_policy=mta-sts sts=enforce", "198.51.100.1"},
		{"enforced, nobody has signed it", enforce, self, "STARTTLS", nil, "4.7.5", "tls_policy=mta-sts sts=enforce", "198.51.100.1"},
		{"enforced, no STARTTLS", enforce, good, "PIPELINING", nil, "4.7.5", "tls_policy=mta-sts sts=enforce", "198.51.100.1"},
		{"enforced, TLS is broken", enforce, good, "STARTTLS", broken, "4.7.5", "tls_policy=mta-sts sts=enforce", "198.51.100.1"},
		{"enforced, another host", "enforce mx.elsewhere.example", good, "STARTTLS", nil, "4.7.5", "tls_policy=mta-sts-mismatch sts=enforce", ""},
		{"tested, a good certificate", tested, good, "STARTTLS", nil, tlsUnverified, "tls_policy=opportunistic sts=testing", "198.51.100.1"},
		{"tested, nobody has signed it", tested, self, "STARTTLS", nil, tlsUnverified, "tls_policy=opportunistic sts=testing", "198.51.100.1"},
		{"tested, no STARTTLS", tested, good, "PIPELINING", nil, tlsNone, "tls_policy=opportunistic sts=testing", "198.51.100.1"},
		{"tested, TLS is broken", tested, good, "STARTTLS", broken, tlsNone, "tls_policy=tls-failed sts=testing", "198.51.100.1 198.51.100.1"},
		{"tested, another host", "testing mx.elsewhere.example", good, "STARTTLS", nil, tlsUnverified, "tls_policy=opportunistic sts=testing", "198.51.100.1"},
		{"none, nobody has signed it", "none", self, "STARTTLS", nil, tlsUnverified, "tls_policy=opportunistic sts=none", "198.51.100.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				e.oneHost(&peer{cert: test.cert, extensions: test.ext, answers: test.answers})
				e.policy("other.example", test.policy)
				list := e.send(newMessage("one@other.example"))
				e.settle(time.Minute)
				if got := e.dials(); got != test.dials {
					e.Errorf("got connections to %q, want %q", got, test.dials)
				}
				e.wantLog("msg=delivery", test.log)
				if test.want[0] != '4' {
					e.wantLog("msg=delivery", "result=delivered", "tls="+test.want)
				} else if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != test.want || r[0].Permanent {
					e.Errorf("got results %+v, want %s", r, test.want)
				}
			}, func(o *Options) { o.Roots = ca.pool() })
		})
	}
}

// TestMTASTSUnknown has domains whose policy can't be had, or could be had once.
func TestMTASTSUnknown(t *testing.T) {
	t.Parallel()
	waives, requires := false, true
	for _, test := range []struct {
		name    string
		require *bool
		change  func(e *env)
		want    string // How it was protected, or the code of the failure.
		log     string
	}{
		{"no record", nil, func(e *env) {}, tlsUnverified, "sts=none"},
		{"the record can't be looked up", nil, func(e *env) { e.zone.Fail("TXT", "_mta-sts.other.example", dnstest.Temporary) }, "4.4.3", "tls_policy=mta-sts-unknown sts=unknown"},
		{"the record is bogus", nil, func(e *env) { e.zone.Fail("TXT", "_mta-sts.other.example", dnstest.Bogus) }, "4.4.3", "tls_policy=mta-sts-unknown sts=unknown"},
		{"nobody tells the record", nil, func(e *env) { e.zone.Fail("TXT", "_mta-sts.other.example", dnstest.Timeout) }, "4.4.3", "tls_policy=mta-sts-unknown sts=unknown"},
		{"the record can't be looked up, no TLS is needed", &waives, func(e *env) { e.zone.Fail("TXT", "_mta-sts.other.example", dnstest.Temporary) }, tlsUnverified, "tls_policy=tls-not-required sts=unknown"},
		{"the record can't be looked up, TLS is required", &requires, func(e *env) { e.zone.Fail("TXT", "_mta-sts.other.example", dnstest.Temporary) }, "4.4.3", "tls_policy=mta-sts-unknown sts=unknown"},
		{"the policy can't be fetched", nil, func(e *env) { e.records(`_mta-sts.other.example TXT "v=STSv1;id=1"`) }, tlsUnverified, "sts=none"},
		{"an enforced policy, no TLS is needed", &waives, func(e *env) { e.policy("other.example", "enforce mx.elsewhere.example") }, tlsUnverified, "tls_policy=tls-not-required sts=enforce"},
		{"the policy of the name that the domain is an alias of", nil, func(e *env) {
			e.zone.Remove("MX", "other.example")
			e.records("other.example CNAME real.example; real.example MX 10 mx.other.example; mx.other.example A 198.51.100.1")
			e.policy("real.example", "enforce mx.elsewhere.example")
		}, tlsUnverified, "sts=none"},
		{"the disk fails", nil, func(e *env) { check(e.T, e.db.Close()) }, "4.3.0", "tls_policy=mta-sts-unknown sts=unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				e.oneHost(&peer{cert: certificate(t), extensions: "STARTTLS"})
				test.change(e)
				n := newMessage("one@other.example")
				n.RequireTLS = test.require
				list := e.send(n)
				e.settle(3 * time.Minute)
				e.wantLog("msg=delivery", test.log)
				if test.want[0] != '4' {
					e.wantLog("msg=delivery", "result=delivered", "tls="+test.want)
				} else if r := e.get(list[0].ID).Results; len(r) == 0 || r[0].Enhanced != test.want || r[0].Permanent {
					e.Errorf("got results %+v, want %s", r, test.want)
				}
			})
		})
	}
}

// TestMTASTSOtherHost has a domain with a host that its enforced policy has not, and
// that leads back to us: the one in the policy gets the mail.
func TestMTASTSOtherHost(t *testing.T) {
	ca := newAuthority(t)
	run(t, func(e *env) {
		first, second := e.twoHosts(&peer{})
		second.cert, second.extensions = ca.issue(e.T, "mx2.other.example", time.Now().Add(time.Hour)), "STARTTLS"
		e.zone.Remove("A", "mx.other.example")
		e.records("mx.other.example A 192.0.2.100")
		e.policy("other.example", "enforce mx2.other.example")
		e.send(newMessage("one@other.example"))
		e.settle(time.Minute)
		if first.summary() != "" || second.summary() != "alice@example.org: one@other.example (tls)" {
			e.Errorf("first has %q, second %q", first.summary(), second.summary())
		}
	}, func(o *Options) { o.Roots = ca.pool() })
}

// TestMTASTSKept has a policy that was seen once, and that somebody hides afterwards.
func TestMTASTSKept(t *testing.T) {
	ca := newAuthority(t)
	run(t, func(e *env) {
		p := e.oneHost(&peer{cert: ca.issue(e.T, "mx.other.example", time.Now().Add(100*time.Hour)), extensions: "STARTTLS"})
		e.policy("other.example", "enforce mx.other.example")
		e.send(newMessage("one@other.example"))
		e.settle(time.Minute)
		p.extensions = "PIPELINING"
		e.zone.Remove("TXT", "_mta-sts.other.example")
		list := e.send(newMessage("two@other.example"))
		e.settle(time.Minute)
		if got := p.summary(); got != "alice@example.org: one@other.example (tls)" {
			e.Errorf("got %q", got)
		}
		if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != "4.7.5" {
			e.Errorf("got results %+v", r)
		}
		if e.hosts.fetched != 1 {
			e.Errorf("the policy was fetched %d times", e.hosts.fetched)
		}
	}, func(o *Options) { o.Roots = ca.pool() })
}

// TestMTASTSAndDANE has a server for which both are there: each must be fulfilled.
func TestMTASTSAndDANE(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good, self := ca.issue(t, "mx.other.example", time.Now().Add(100*time.Hour)), certificate(t)
	for _, test := range []struct {
		name string
		cert *tls.Certificate
		tlsa string
		want string
	}{
		{"both", good, tlsaOf(t, dane.DANEEE, good), tlsBoth},
		{"not by DANE", good, tlsaOf(t, dane.DANEEE, self), ""},
		{"not by common authorities", self, tlsaOf(t, dane.DANEEE, self), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				e.oneHost(&peer{cert: test.cert, extensions: "STARTTLS"})
				e.tlsa("mx.other.example", test.tlsa)
				e.policy("other.example", "enforce mx.other.example")
				list := e.send(newMessage("one@other.example"))
				e.settle(time.Minute)
				if test.want != "" {
					e.wantLog("msg=delivery", "result=delivered", "tls="+test.want, "tls_policy=dane-and-mta-sts sts=enforce dane=usable")
				} else if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != "4.7.5" {
					e.Errorf("got results %+v", r)
				}
			}, func(o *Options) { o.Roots = ca.pool() })
		})
	}
}

// TestErrorText shows what is kept of errors.
func TestErrorText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("two\r\nlines\x7f"), "two  lines "},
		{errors.New("no UTF-8 \xff"), "no UTF-8 "},
		{errors.New(strings.Repeat("a", securityTextMax-1) + "\u00e4"), strings.Repeat("a", securityTextMax-1)},
	} {
		if got := errorText(test.err); got != test.want {
			t.Errorf("%v: got %q, want %q", test.err, got, test.want)
		}
	}
}
