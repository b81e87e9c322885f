package delivery

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dnstest"
)

// authority issues certificates of servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	pair := certificate(t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	check(t, err)
	return authority{cert, pair.PrivateKey.(*ecdsa.PrivateKey)}
}

// issue returns a certificate for a name, as a server presents it.
func (a authority) issue(t *testing.T, name string, notAfter time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	check(t, err)
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// tlsaOf returns a record about a certificate.
func tlsaOf(t *testing.T, usage dane.Usage, cert *tls.Certificate) string {
	t.Helper()
	c, err := x509.ParseCertificate(cert.Certificate[0])
	check(t, err)
	return tlsaText(t, usage, c)
}

func tlsaText(t *testing.T, usage dane.Usage, cert *x509.Certificate) string {
	t.Helper()
	r, err := dane.MakeRecord(usage, dane.SPKI, dane.SHA256, cert)
	check(t, err)
	return r.String()
}

// TestDANE has servers of a signed domain with TLSA records of all kinds. Whatever
// they promise is kept or the message waits: it never goes in plain text, nor to
// somebody else.
func TestDANE(t *testing.T) {
	t.Parallel()
	ca, far, past := newAuthority(t), time.Now().Add(1000*time.Hour), time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	self, other := certificate(t), certificate(t)
	named, domain := ca.issue(t, "mx.other.example", far), ca.issue(t, "other.example", far)
	elsewhere, old := ca.issue(t, "elsewhere.example", far), ca.issue(t, "mx.other.example", past)
	good, wrong := tlsaOf(t, dane.DANEEE, self), tlsaOf(t, dane.DANEEE, other)
	anchor, common := tlsaText(t, dane.DANETA, ca.cert), tlsaOf(t, dane.PKIXEE, self)
	const sent, wait = "alice@example.org: one@other.example", ""
	for _, test := range []struct {
		name    string
		cert    *tls.Certificate
		records string // Separated by commas.
		ext     string
		answers map[string][]string
		want    string // What the server has.
		tls     string // How it was protected, or the code of the failure.
		dials   int
	}{
		{"its certificate", self, good, "STARTTLS", nil, sent + " (tls)", tlsDANE, 1},
		{"its certificate, and one to come", self, wrong + "," + good, "STARTTLS", nil, sent + " (tls)", tlsDANE, 1},
		{"its certificate has expired", old, tlsaOf(t, dane.DANEEE, old), "STARTTLS", nil, sent + " (tls)", tlsDANE, 1},
		{"another certificate", self, wrong, "STARTTLS", nil, wait, "4.7.5", 1},
		{"its authority", named, anchor, "STARTTLS", nil, sent + " (tls)", tlsDANE, 1},
		{"its authority, a certificate for the domain", domain, anchor, "STARTTLS", nil, sent + " (tls)", tlsDANE, 1},
		{"its authority, another name", elsewhere, anchor, "STARTTLS", nil, wait, "4.7.5", 1},
		{"its authority, expired", old, anchor, "STARTTLS", nil, wait, "4.7.5", 1},
		{"another authority", self, anchor, "STARTTLS", nil, wait, "4.7.5", 1},
		{"none can be used", self, common, "STARTTLS", nil, sent + " (tls)", tlsUnverified, 1},
		{"none can be used, no STARTTLS", self, common, "PIPELINING", nil, wait, "4.7.5", 1},
		{"none can be used, TLS is broken", self, common, "STARTTLS", map[string][]string{"handshake": {"drop"}}, wait, "4.7.5", 1},
		{"no STARTTLS", self, good, "PIPELINING", nil, wait, "4.7.5", 1},
		{"STARTTLS refused", self, good, "STARTTLS", map[string][]string{"STARTTLS": {"454 4.7.0 not now"}}, wait, "4.7.0", 1},
		{"STARTTLS refused for good", self, good, "STARTTLS", map[string][]string{"STARTTLS": {"554 5.7.3 never"}}, wait, "4.7.3", 1},
		{"TLS is broken", self, good, "STARTTLS", map[string][]string{"handshake": {"drop"}}, wait, "4.7.5", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				p := e.oneHost(&peer{cert: test.cert, extensions: test.ext, answers: test.answers})
				e.tlsa("mx.other.example", test.records)
				list := e.send(newMessage("one@other.example"))
				e.settle(time.Minute)
				if got := p.summary(); got != test.want || p.connections != test.dials {
					e.Errorf("got %q after %d connections, want %q after %d", got, p.connections, test.want, test.dials)
				}
				if test.want != wait {
					e.wantLog("msg=delivery", "result=delivered", "tls="+test.tls)
				} else if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != test.tls || r[0].Permanent {
					e.Errorf("got results %+v, want %s", r, test.tls)
				}
				if got := e.counter("mox_queue_plaintext_fallback_total"); got != 0 {
					e.Errorf("got %v fallbacks", got)
				}
			})
		})
	}
}

// tlsa sets the TLSA records of a host.
func (e *env) tlsa(host, records string) {
	e.Helper()
	var lines []string
	for r := range strings.SplitSeq(records, ",") {
		lines = append(lines, "_25._tcp."+host+" TLSA "+r)
	}
	e.records(strings.Join(lines, "; "))
}

// TestDANEWay shows where records count: DNSSEC must protect the whole way to them,
// and when it is not known what they are nothing is sent.
func TestDANEWay(t *testing.T) {
	t.Parallel()
	cert, wrong := certificate(t), tlsaOf(t, dane.DANEEE, certificate(t))
	for _, test := range []struct {
		name   string
		change func(e *env)
		want   string // How it was protected, or the code of the failure.
		dials  string
		metric string
	}{
		{"all is authentic", func(e *env) {}, "4.7.5", "198.51.100.1", "required"},
		{"the domain is not", func(e *env) { e.zone.SetAuthentic("other.example", false) }, tlsUnverified, "198.51.100.1", ""},
		{"the host is not", func(e *env) {
			e.records("other.example MX 10 mx.plain.example; mx.plain.example A 198.51.100.1")
			e.tlsa("mx.plain.example", wrong)
		}, tlsUnverified, "198.51.100.1", ""},
		{"the host is an alias", func(e *env) {
			e.records("other.example MX 10 alias.other.example; alias.other.example CNAME mx.other.example")
		}, "4.7.5", "198.51.100.1", "required"},
		{"there is no mail exchanger", func(e *env) {
			e.zone.Remove("MX", "other.example")
			e.records("other.example A 198.51.100.1")
			e.tlsa("other.example", wrong)
		}, "4.7.5", "198.51.100.1", "required"},
		{"there are no records", func(e *env) { e.zone.Remove("TLSA", "_25._tcp.mx.other.example") }, tlsUnverified, "198.51.100.1", ""},
		{"they can't be looked up", func(e *env) { e.zone.Fail("TLSA", "_25._tcp.mx.other.example", dnstest.Temporary) }, "4.4.3", "", "gathertlsa_errors"},
		{"nobody answers", func(e *env) { e.zone.Fail("TLSA", "_25._tcp.mx.other.example", dnstest.Timeout) }, "4.4.3", "", "gathertlsa_errors"},
		{"they are bogus", func(e *env) { e.zone.Fail("TLSA", "_25._tcp.mx.other.example", dnstest.Bogus) }, "4.4.3", "", "gathertlsa_errors"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				e.oneHost(&peer{cert: cert, extensions: "STARTTLS"})
				e.tlsa("mx.other.example", wrong)
				test.change(e)
				list := e.send(newMessage("one@other.example"))
				e.settle(2 * time.Minute)
				if got := e.dials(); got != test.dials {
					e.Errorf("got connections to %q, want %q", got, test.dials)
				}
				if test.want == tlsUnverified {
					e.wantLog("msg=delivery", "result=delivered", "tls="+test.want)
				} else if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != test.want || r[0].Permanent {
					e.Errorf("got results %+v, want %s", r, test.want)
				}
				for _, name := range []string{"required", "gathertlsa_errors", "starttlsunverified"} {
					if got := e.counter("mox_queue_destination_dane_" + name + "_total"); (got == 1) != (name == test.metric) {
						e.Errorf("%s: got %v", name, got)
					}
				}
			})
		})
	}
}

// TestDANEOtherHost has a domain whose first server is not who it should be: the
// second gets the mail.
func TestDANEOtherHost(t *testing.T) {
	run(t, func(e *env) {
		first, second := e.twoHosts(&peer{cert: certificate(e.T), extensions: "STARTTLS"})
		second.cert, second.extensions = certificate(e.T), "STARTTLS"
		e.tlsa("mx.other.example", tlsaOf(e.T, dane.DANEEE, second.cert))
		e.tlsa("mx2.other.example", tlsaOf(e.T, dane.DANEEE, second.cert))
		e.send(newMessage("one@other.example"))
		e.settle(time.Minute)
		if first.summary() != "" || second.summary() != "alice@example.org: one@other.example (tls)" {
			e.Errorf("first has %q, second %q", first.summary(), second.summary())
		}
	})
}

// TestRequireTLS has messages that require verified TLS, and some that need none,
// with a server that has a good certificate by its TLSA records or not (RFC 8689).
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	good, wrong, common := tlsaOf(t, dane.DANEEE, cert), tlsaOf(t, dane.DANEEE, certificate(t)), tlsaOf(t, dane.PKIXEE, cert)
	for _, test := range []struct {
		name    string
		require bool
		records string
		ext     string
		answers map[string][]string
		want    string // How it was protected, or the code of the failure.
		reason  string // That is counted.
	}{
		{"required, verified", true, good, "STARTTLS,REQUIRETLS", nil, tlsDANE, ""},
		{"required, not promised to be required", true, good, "STARTTLS", nil, "5.7.30", "norequiretls"},
		{"required, not the server", true, wrong, "STARTTLS,REQUIRETLS", nil, "4.7.5", ""},
		{"required, no usable records", true, common, "STARTTLS,REQUIRETLS", nil, "5.7.30", "nopolicy"},
		{"not required, verified", false, good, "STARTTLS", nil, tlsUnverified, ""},
		{"not required, not the server", false, wrong, "STARTTLS", nil, tlsUnverified, ""},
		{"not required, no STARTTLS", false, good, "PIPELINING", nil, tlsNone, ""},
		{"not required, TLS is broken", false, good, "STARTTLS", map[string][]string{"handshake": {"drop"}}, tlsNone, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				p := e.oneHost(&peer{cert: cert, extensions: test.ext, answers: test.answers})
				e.tlsa("mx.other.example", test.records)
				n := newMessage("one@other.example")
				n.RequireTLS = &test.require
				list := e.send(n)
				e.settle(time.Minute)
				switch test.want[0] {
				case '5':
					e.wantNotices("failed " + test.want + " one@other.example")
				case '4':
					if r := e.get(list[0].ID).Results; len(r) != 1 || r[0].Enhanced != test.want || r[0].Permanent {
						e.Errorf("got results %+v, want %s", r, test.want)
					}
				default:
					e.wantLog("msg=delivery", "result=delivered", "tls="+test.want)
				}
				if sent := len(p.mails()) == 1; sent == strings.ContainsAny(test.want[:1], "45") {
					e.Errorf("got %q", p.summary())
				}
				for _, reason := range []string{"nopolicy", "norequiretls"} {
					if got := e.counter("mox_queue_requiretls_unsupported_total", "reason="+reason); (got == 1) != (reason == test.reason) {
						e.Errorf("%s: got %v", reason, got)
					}
				}
			})
		})
	}
}
