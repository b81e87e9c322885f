package delivery

import (
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/smtp"
)

// TestRequireTLSNotice has notifications about messages that required TLS: they are
// protected where that can be, and not lost elsewhere (RFC 8689, section 5).
func TestRequireTLSNotice(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good, self := ca.issue(t, "mx.other.example", time.Now().Add(100*time.Hour)), certificate(t)
	for _, test := range []struct {
		name      string
		ext       string
		change    func(e *env, p *peer)
		requested bool
		tls       string // Or the code of the failure.
	}{
		{"nothing is promised", "STARTTLS,REQUIRETLS", func(e *env, p *peer) {}, false, tlsUnverified},
		{"no STARTTLS", "PIPELINING", func(e *env, p *peer) {}, false, tlsNone},
		{"DANE", "STARTTLS,REQUIRETLS", func(e *env, p *peer) { e.tlsa("mx.other.example", tlsaOf(e.T, dane.DANEEE, good)) }, true, tlsDANE},
		{"DANE, and nothing is promised in turn", "STARTTLS", func(e *env, p *peer) { e.tlsa("mx.other.example", tlsaOf(e.T, dane.DANEEE, good)) }, false, tlsDANE},
		{"DANE, somebody else", "STARTTLS,REQUIRETLS", func(e *env, p *peer) { e.tlsa("mx.other.example", tlsaOf(e.T, dane.DANEEE, self)) }, false, "4.7.5"},
		{"MTA-STS", "STARTTLS,REQUIRETLS", func(e *env, p *peer) { e.policy("other.example", "enforce mx.other.example") }, true, tlsPKIX},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				p := e.oneHost(&peer{cert: good, extensions: test.ext})
				test.change(e, p)
				n, require := newMessage("one@other.example"), true
				n.Account, n.MailFrom, n.RequireTLS = "", smtp.Path{}, &require
				list := e.send(n)
				e.settle(time.Minute)
				if test.tls[0] == '4' {
					if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != test.tls {
						e.Errorf("got results %+v", r)
					}
					return
				}
				e.wantLog("msg=delivery", "result=delivered", "tls="+test.tls)
				if got := strings.Contains(p.mails()[0].params, "REQUIRETLS"); got != test.requested {
					e.Errorf("asked to require TLS: %v, want %v", got, test.requested)
				}
			}, func(o *Options) { o.Roots = ca.pool() })
		})
	}
}

// TestWaived has messages that need no TLS, with servers where it is broken: what is
// ignored is counted.
func TestWaived(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good, self := ca.issue(t, "mx.other.example", time.Now().Add(100*time.Hour)), certificate(t)
	for _, test := range []struct {
		name   string
		change func(e *env, p *peer)
		tls    string
		want   string // What is counted.
	}{
		{"nothing is promised", func(e *env, p *peer) { p.extensions = "PIPELINING" }, tlsNone, ""},
		{"all is well", func(e *env, p *peer) { e.policy("other.example", "enforce mx.other.example") }, tlsUnverified, ""},
		{"nobody tells whether there is a policy", func(e *env, p *peer) { e.zone.Fail("TXT", "_mta-sts.other.example", dnstest.Temporary) }, tlsUnverified, ignoredPolicyUnknown},
		{"the host is not in the policy", func(e *env, p *peer) { e.policy("other.example", "enforce mx.elsewhere.example") }, tlsUnverified, ignoredNotInPolicy},
		{"the policy is only tested", func(e *env, p *peer) { e.policy("other.example", "testing mx.elsewhere.example") }, tlsUnverified, ""},
		{"a policy, and no STARTTLS", func(e *env, p *peer) {
			p.extensions = "PIPELINING"
			e.policy("other.example", "enforce mx.other.example")
		}, tlsNone, ignoredBadTLS},
		{"a policy, and TLS is broken", func(e *env, p *peer) {
			p.answers = map[string][]string{"handshake": {"drop"}}
			e.policy("other.example", "enforce mx.other.example")
		}, tlsNone, ignoredBadTLS},
		{"a policy, and a certificate that is not good", func(e *env, p *peer) {
			p.cert = self
			e.policy("other.example", "enforce mx.other.example")
		}, tlsUnverified, ignoredCertificate},
		{"TLSA records of another certificate", func(e *env, p *peer) { e.tlsa("mx.other.example", tlsaOf(e.T, dane.DANEEE, self)) }, tlsUnverified, ignoredCertificate},
		{"nobody tells TLSA records", func(e *env, p *peer) { e.zone.Fail("TLSA", "_25._tcp.mx.other.example", dnstest.Bogus) }, tlsUnverified, ignoredDANEUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				p := e.oneHost(&peer{cert: good, extensions: "STARTTLS"})
				test.change(e, p)
				n, require := newMessage("one@other.example"), false
				n.RequireTLS = &require
				e.send(n)
				e.settle(2 * time.Minute)
				e.wantLog("msg=delivery", "result=delivered", "tls="+test.tls)
				for _, what := range ignoredAll {
					want := 0.0
					if what == test.want {
						want = 1
					}
					if got := e.counter("mox_queue_tlsrequiredno_ignored_total", "ignored="+what); got != want {
						e.Errorf("%s: counted %v times, want %v", what, got, want)
					}
				}
				failed := test.want == ignoredBadTLS || test.want == ignoredCertificate
				if got := e.counter("mox_smtpclient_tlsrequiredno_ignored_total"); (got == 1) != failed {
					e.Errorf("counted %v connections", got)
				}
			}, func(o *Options) { o.Roots = ca.pool() })
		})
	}
}
