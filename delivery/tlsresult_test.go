package delivery

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/mtasts"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtpclient"
	"github.com/mjl-/mox/tlsrpt"
	"github.com/mjl-/mox/tlsrptdb"
)

// describeResults tells results in lines: "domain or host, policy: successes/failures",
// then failures as "type reason".
func describeResults(list []tlsrptdb.Results) (lines []string) {
	for _, r := range list {
		for _, p := range r.Policies {
			line := fmt.Sprintf("%s %s %d/%d", r.PolicyDomain, p.Policy.Type, p.Summary.Success, p.Summary.Failure)
			for _, f := range p.Failures {
				line += strings.TrimRight(", "+string(f.Type)+" "+f.Reason, " ")
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// testPolicy returns a policy for mx.other.example that was got.
func testPolicy(mode mtasts.Mode) domainPolicy {
	text := "version: STSv1\nmode: " + string(mode) + "\nmx: mx.other.example\nmax_age: 1000\n"
	policy, err := mtasts.ParsePolicy(text)
	if err != nil {
		panic(err)
	}
	return domainPolicy{Policy: policy, asked: true, evidence: mtastsdb.Evidence{Source: mtastsdb.Cached, Text: text}}
}

// withFailure returns a policy that could not be got again, or not at all.
func (p domainPolicy) withFailure(f mtasts.Failure, text string) domainPolicy {
	p.evidence.Failure, p.evidence.FailedPolicy = f, text
	return p
}

// verifyError returns what smtpclient.New returns for a host that is not verified.
func verifyError(pkix, dane error) error {
	return fmt.Errorf("%w: %w", smtpclient.ErrTLS, &smtpclient.VerifyError{Verified: verified(pkix, dane)})
}

func verified(pkix, dane error) smtpclient.Verified {
	return smtpclient.Verified{PKIX: smtpclient.Proof{Checked: true, Err: pkix}, DANE: smtpclient.Proof{Checked: true, Err: dane}}
}

// TestTLSResults has all that can happen with a host, and what is told of it.
func TestTLSResults(t *testing.T) {
	t.Parallel()
	none, enforced, tested := domainPolicy{Policy: mtasts.Policy{Mode: mtasts.None}, asked: true}, testPolicy(mtasts.Enforce), testPolicy(mtasts.Testing)
	expired, name := x509.CertificateInvalidError{Reason: x509.Expired}, x509.HostnameError{Certificate: &x509.Certificate{}, Host: "mx"}
	usage, unknown := x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}, x509.UnknownAuthorityError{}
	bogus := &dns.Error{Op: "TLSA", Err: dns.ErrBogus, Extended: &dns.Extended{Code: 7, Text: "as the server says"}}
	known := func(e daneEvidence) promise { return promise{asked: true, evidence: e} }
	inPolicy, elsewhere := true, false
	session := func(stage tlsStage, p domainPolicy, matches bool, e daneEvidence) tlsSession {
		s := tlsSession{host: "mx.other.example", stage: stage, known: known(e), sts: stsEvidence{matches: matches}}
		s.sts.mode = p.says(dns.Domain{}).mode
		return s
	}
	begun := func(p domainPolicy, matches bool, e daneEvidence, pkix, dane error) tlsSession {
		s := session(tlsBegun, p, matches, e)
		s.verified = verified(pkix, dane)
		return s
	}
	failing := func(s tlsSession, err error) tlsSession { s.err = err; return s }
	for _, test := range []struct {
		name     string
		policy   domainPolicy
		sessions []tlsSession
		want     []string
	}{
		{"no connection", none, nil, nil},
		{"no policy, any certificate", none, []tlsSession{begun(none, inPolicy, daneNone, unknown, nil)},
			[]string{"other.example no-policy-found 1/0", "mx.other.example no-policy-found 1/0"}},
		{"no policy, no STARTTLS", none, []tlsSession{session(tlsMissing, none, inPolicy, daneNone)},
			[]string{"other.example no-policy-found 0/1, starttls-not-supported", "mx.other.example no-policy-found 0/1, starttls-not-supported"}},
		{"no policy, TLS is broken", none, []tlsSession{failing(session(tlsBroken, none, inPolicy, daneNone), io.EOF)},
			[]string{"other.example no-policy-found 0/1, validation-failure tls-connection-lost", "mx.other.example no-policy-found 0/1, validation-failure tls-connection-lost"}},
		{"STARTTLS is refused", none, []tlsSession{failing(session(tlsBroken, none, inPolicy, daneNone), &smtpclient.Reply{Command: "STARTTLS", Code: 454})},
			[]string{"other.example no-policy-found 0/1, validation-failure starttls-refused", "mx.other.example no-policy-found 0/1, validation-failure starttls-refused"}},
		{"the handshake fails in another way", none, []tlsSession{failing(session(tlsBroken, none, inPolicy, daneNone), errors.New("tls: something"))},
			[]string{"other.example no-policy-found 0/1, validation-failure tls-handshake-failed", "mx.other.example no-policy-found 0/1, validation-failure tls-handshake-failed"}},
		{"two connections", none, []tlsSession{failing(session(tlsBroken, none, inPolicy, daneNone), io.EOF), begun(none, inPolicy, daneNone, nil, nil)},
			[]string{"other.example no-policy-found 0/1, validation-failure tls-connection-lost", "mx.other.example no-policy-found 0/1, validation-failure tls-connection-lost", "other.example no-policy-found 1/0", "mx.other.example no-policy-found 1/0"}},
		{"a connection that is there already", none, []tlsSession{session(tlsAgain, none, inPolicy, daneNone)}, []string{"other.example no-policy-found 1/0"}},

		{"enforced, good", enforced, []tlsSession{begun(enforced, inPolicy, daneNone, nil, nil)}, []string{"other.example sts 1/0", "mx.other.example no-policy-found 1/0"}},
		{"enforced, expired", enforced, []tlsSession{begun(enforced, inPolicy, daneNone, expired, nil)}, []string{"other.example sts 0/1, certificate-expired", "mx.other.example no-policy-found 1/0"}},
		{"enforced, another name", enforced, []tlsSession{begun(enforced, inPolicy, daneNone, name, nil)}, []string{"other.example sts 0/1, certificate-host-mismatch", "mx.other.example no-policy-found 1/0"}},
		{"enforced, unknown authority", enforced, []tlsSession{begun(enforced, inPolicy, daneNone, unknown, nil)}, []string{"other.example sts 0/1, certificate-not-trusted unknown-authority", "mx.other.example no-policy-found 1/0"}},
		{"enforced, a certificate for something else", enforced, []tlsSession{begun(enforced, inPolicy, daneNone, usage, nil)}, []string{"other.example sts 0/1, certificate-not-trusted certificate-not-for-servers", "mx.other.example no-policy-found 1/0"}},
		{"enforced, not verified in another way", enforced, []tlsSession{begun(enforced, inPolicy, daneNone, errors.New("what is this"), nil)}, []string{"other.example sts 0/1, certificate-not-trusted certificate-not-verified", "mx.other.example no-policy-found 1/0"}},
		{"enforced, no STARTTLS", enforced, []tlsSession{session(tlsMissing, enforced, inPolicy, daneNone)}, []string{"other.example sts 0/1, starttls-not-supported", "mx.other.example no-policy-found 0/1, starttls-not-supported"}},
		{"enforced, another host", enforced, []tlsSession{session(tlsOutside, enforced, elsewhere, daneNone)}, []string{"other.example sts 0/1, validation-failure mtasts-policy-mx-mismatch"}},
		{"enforced, another host and then a good one", enforced, []tlsSession{session(tlsOutside, enforced, elsewhere, daneNone), begun(enforced, inPolicy, daneNone, nil, nil)},
			[]string{"other.example sts 0/1, validation-failure mtasts-policy-mx-mismatch", "other.example sts 1/0", "mx.other.example no-policy-found 1/0"}},
		{"enforced, a connection that is there already", enforced, []tlsSession{session(tlsAgain, enforced, inPolicy, daneNone)}, []string{"other.example sts 1/0"}},
		{"tested, another host, expired", tested, []tlsSession{begun(tested, elsewhere, daneNone, expired, nil)}, []string{"other.example sts 0/1, validation-failure mtasts-policy-mx-mismatch, certificate-expired", "mx.other.example no-policy-found 1/0"}},
		{"tested, good", tested, []tlsSession{begun(tested, inPolicy, daneNone, nil, nil)}, []string{"other.example sts 1/0", "mx.other.example no-policy-found 1/0"}},

		{"the policy can't be fetched", none.withFailure(mtasts.FailureFetch, ""), []tlsSession{begun(none, inPolicy, daneNone, nil, nil)}, []string{"other.example sts 0/1, sts-policy-fetch-error", "mx.other.example no-policy-found 1/0"}},
		{"the host of the policy is somebody else", none.withFailure(mtasts.FailureWebPKI, ""), nil, []string{"other.example sts 0/1, sts-webpki-invalid"}},
		{"the policy is none", none.withFailure(mtasts.FailurePolicy, "<html>"), nil, []string{"other.example sts 0/1, sts-policy-invalid"}},
		{"the next policy can't be fetched, the one before is in force", enforced.withFailure(mtasts.FailureFetch, ""), []tlsSession{begun(enforced, inPolicy, daneNone, nil, nil)},
			[]string{"other.example sts 0/1, sts-policy-fetch-error", "other.example sts 1/0", "mx.other.example no-policy-found 1/0"}},
		{"it is not known whether there is a policy", domainPolicy{asked: true, err: dns.ErrTemporary}, []tlsSession{begun(none, inPolicy, daneNone, nil, nil)}, []string{"mx.other.example no-policy-found 1/0"}},

		{"DANE, good", none, []tlsSession{begun(none, inPolicy, daneUsable, unknown, nil)}, []string{"other.example no-policy-found 1/0", "mx.other.example tlsa 1/0"}},
		{"DANE, another certificate", none, []tlsSession{begun(none, inPolicy, daneUsable, nil, dane.ErrMismatch)}, []string{"other.example no-policy-found 1/0", "mx.other.example tlsa 0/1, certificate-not-trusted no-matching-tlsa-record"}},
		{"DANE, expired", none, []tlsSession{begun(none, inPolicy, daneUsable, nil, fmt.Errorf("dane: %w", expired))}, []string{"other.example no-policy-found 1/0", "mx.other.example tlsa 0/1, certificate-expired"}},
		{"DANE, another name", none, []tlsSession{begun(none, inPolicy, daneUsable, nil, fmt.Errorf("dane: %w", name))}, []string{"other.example no-policy-found 1/0", "mx.other.example tlsa 0/1, certificate-host-mismatch"}},
		{"DANE, no STARTTLS", none, []tlsSession{session(tlsMissing, none, inPolicy, daneUsable)}, []string{"other.example no-policy-found 0/1, starttls-not-supported", "mx.other.example tlsa 0/1, starttls-not-supported"}},
		{"DANE, nothing can be used", none, []tlsSession{begun(none, inPolicy, daneUnusable, nil, nil)}, []string{"other.example no-policy-found 1/0", "mx.other.example tlsa 0/1, tlsa-invalid all-unusable-records+ignored"}},
		{"DANE, bogus", none, []tlsSession{failing(session(tlsUnknown, none, inPolicy, daneUnknown), bogus)}, []string{"mx.other.example tlsa 0/1, dnssec-invalid dns-extended-error-7-signature-expired"}},
		{"DANE, nobody tells why", none, []tlsSession{failing(session(tlsUnknown, none, inPolicy, daneUnknown), &dns.Error{Op: "TLSA", Err: dns.ErrTemporary})}, []string{"mx.other.example tlsa 0/1, dnssec-invalid"}},
		{"DANE and MTA-STS, good by one", enforced, []tlsSession{begun(enforced, inPolicy, daneUsable, unknown, nil)}, []string{"other.example sts 0/1, certificate-not-trusted unknown-authority", "mx.other.example tlsa 1/0"}},
		{"DANE and MTA-STS, good by the other", enforced, []tlsSession{begun(enforced, inPolicy, daneUsable, nil, dane.ErrMismatch)}, []string{"other.example sts 1/0", "mx.other.example tlsa 0/1, certificate-not-trusted no-matching-tlsa-record"}},
	} {
		list := tlsResults("other.example", test.policy, test.sessions)
		if got := describeResults(list); !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

// TestTLSResultPolicies shows policies as reports have them.
func TestTLSResultPolicies(t *testing.T) {
	t.Parallel()
	long := testPolicy(mtasts.Enforce)
	long.evidence.Text += strings.Repeat("x: "+strings.Repeat("y", 2*policyLineMax)+"\r\n\r\n", 2*policyLinesMax)
	p := long.reported("other.example")
	if len(p.String) != policyLinesMax || len(p.String[policyLinesMax-1]) != policyLineMax {
		t.Errorf("got %d lines", len(p.String))
	}
	if got := fmt.Sprint(testPolicy(mtasts.Testing).reported("other.example")); got != "{sts [version: STSv1 mode: testing mx: mx.other.example max_age: 1000] other.example [mx.other.example]}" {
		t.Errorf("got %s", got)
	}
	if got := fmt.Sprint(domainPolicy{}.withFailure(mtasts.FailurePolicy, "<html>\r\n<body>\x00").reported("other.example")); got != "{sts [<html> <body> ] other.example []}" {
		t.Errorf("got %q", got)
	}
	s := tlsSession{host: "mx.other.example", known: promise{asked: true, evidence: daneUsable, finding: dane.Finding{All: []dns.TLSA{{Usage: 3, Selector: 1, Matching: 1, Data: []byte{2}}, {Usage: 2, Selector: 1, Matching: 1, Data: []byte{1}}}}}}
	if got := fmt.Sprint(s.reported()); got != "{tlsa [2 1 1 01 3 1 1 02] mx.other.example []}" {
		t.Errorf("got %s", got)
	}
}

// TestTLSStages shows which connections count.
func TestTLSStages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		tls   bool
		err   error
		stage tlsStage
		count bool
	}{
		{"TLS", true, nil, tlsBegun, true},
		{"plain text", false, nil, tlsMissing, true},
		{"no STARTTLS", false, smtpclient.ErrNoTLS, tlsMissing, true},
		{"a certificate that is not good", false, verifyError(x509.UnknownAuthorityError{}, nil), tlsBegun, true},
		{"TLS is broken", false, fmt.Errorf("%w: %w", smtpclient.ErrTLS, io.EOF), tlsBroken, true},
		{"TLS takes too long", false, fmt.Errorf("%w: %w", smtpclient.ErrTLS, os.ErrDeadlineExceeded), 0, false},
		{"the connection is lost", false, smtpclient.ErrLost, 0, false},
		{"the greeting is a refusal", false, &smtpclient.Reply{Code: 554}, 0, false},
		{"we stop", false, fmt.Errorf("%w: %w", smtpclient.ErrLost, context.Canceled), 0, false},
	} {
		if stage, count := stageOf(test.tls, test.err); stage != test.stage || count != test.count {
			t.Errorf("%s: got %v, %v", test.name, stage, count)
		}
	}
}

// addressed is a connection with a local address.
type addressed struct {
	net.Conn
	address string
}

func (c addressed) LocalAddr() net.Addr { return c }
func (c addressed) Network() string     { return "tcp" }
func (c addressed) String() string      { return c.address }

// TestLocalIP shows which of our addresses are told to others.
func TestLocalIP(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"203.0.113.1:50000": "203.0.113.1", "[::ffff:203.0.113.1]:50000": "203.0.113.1", "[2001:db8::1]:50000": "2001:db8::1",
		"192.168.1.1:50000": "", "127.0.0.1:50000": "", "[fe80::1%eth0]:50000": "", "pipe": "",
	} {
		var w netip.Addr
		if want != "" {
			w = netip.MustParseAddr(want)
		}
		if got := localIP(addressed{address: address}); got != w {
			t.Errorf("%s: got %v", address, got)
		}
	}
}

// kept makes a Sender note results, in a file of its own.
type kept struct {
	path string
	db   *tlsrptdb.ResultDB
	*tlsrptdb.Collector
}

func newKept(t *testing.T) *kept {
	return &kept{path: filepath.Join(t.TempDir(), "tlsrptresult.db")}
}

// open changes options so that results are noted.
func (r *kept) open(o *Options) {
	var err error
	if r.db, err = tlsrptdb.OpenResults(r.path); err != nil {
		panic(err)
	}
	r.Collector = tlsrptdb.NewCollector(r.db, slog.New(slog.DiscardHandler))
	o.TLSResults = r.Collector
}

// close closes the file, and returns what is in it.
func (r *kept) close(e *env) []tlsrptdb.Results {
	e.Helper()
	check(e.T, r.Write(e.Context()))
	problems, err := r.db.Check(e.Context())
	check(e.T, errors.Join(append(problems, err)...))
	list, err := r.db.List(e.Context(), "")
	check(e.T, err)
	check(e.T, r.db.Close())
	return list
}

// TestTLSResultsKept sends to servers, and finds what came of it.
func TestTLSResultsKept(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good, self := ca.issue(t, "mx.other.example", time.Now().Add(100*time.Hour)), certificate(t)
	require := true
	waives := false
	for _, test := range []struct {
		name   string
		change func(e *env, p *peer, n *queue.New)
		want   []string
	}{
		{"nothing is promised", func(e *env, p *peer, n *queue.New) {}, []string{"other.example no-policy-found 1/0", "mx.other.example no-policy-found 1/0"}},
		{"no STARTTLS", func(e *env, p *peer, n *queue.New) { p.extensions = "PIPELINING" },
			[]string{"other.example no-policy-found 0/1, starttls-not-supported", "mx.other.example no-policy-found 0/1, starttls-not-supported"}},
		{"TLS is broken, and mail goes without", func(e *env, p *peer, n *queue.New) { p.answers = map[string][]string{"handshake": {"drop"}} },
			[]string{"other.example no-policy-found 0/1, validation-failure tls-connection-lost", "mx.other.example no-policy-found 0/1, validation-failure tls-connection-lost"}},
		{"a policy that is enforced, and a certificate that is not good", func(e *env, p *peer, n *queue.New) {
			p.cert = self
			e.policy("other.example", "enforce mx.other.example")
		}, []string{"other.example sts 0/1, certificate-host-mismatch", "mx.other.example no-policy-found 1/0"}},
		{"a policy that is tested, and another host", func(e *env, p *peer, n *queue.New) { e.policy("other.example", "testing mx.elsewhere.example") },
			[]string{"other.example sts 0/1, validation-failure mtasts-policy-mx-mismatch", "mx.other.example no-policy-found 1/0"}},
		{"a policy that is enforced, and another host", func(e *env, p *peer, n *queue.New) { e.policy("other.example", "enforce mx.elsewhere.example") },
			[]string{"other.example sts 0/1, validation-failure mtasts-policy-mx-mismatch"}},
		{"TLSA records, both", func(e *env, p *peer, n *queue.New) {
			e.tlsa("mx.other.example", tlsaOf(t, dane.DANEEE, good)+","+tlsaOf(t, dane.PKIXEE, self))
		}, []string{"other.example no-policy-found 1/0", "mx.other.example tlsa 1/0"}},
		{"TLSA records of another certificate", func(e *env, p *peer, n *queue.New) { e.tlsa("mx.other.example", tlsaOf(t, dane.DANEEE, self)) },
			[]string{"other.example no-policy-found 1/0", "mx.other.example tlsa 0/1, certificate-not-trusted no-matching-tlsa-record"}},
		{"TLSA records that are bogus", func(e *env, p *peer, n *queue.New) {
			e.zone.Fail("TLSA", "_25._tcp.mx.other.example", dnstest.Bogus)
		}, []string{"mx.other.example tlsa 0/1, dnssec-invalid dns-extended-error-6-dnssec-bogus"}},
		{"nobody tells TLSA records", func(e *env, p *peer, n *queue.New) {
			e.zone.Fail("TLSA", "_25._tcp.mx.other.example", dnstest.Timeout)
		}, nil},
		{"nobody tells whether there is a policy", func(e *env, p *peer, n *queue.New) {
			e.zone.Fail("TXT", "_mta-sts.other.example", dnstest.Temporary)
		}, nil},
		{"the server refuses to speak", func(e *env, p *peer, n *queue.New) { p.answers = map[string][]string{"": {"554 5.7.1 go away"}} }, nil},
		{"a message that requires TLS, and nothing is promised", func(e *env, p *peer, n *queue.New) { n.RequireTLS = &require }, nil},
		{"a message that needs no TLS", func(e *env, p *peer, n *queue.New) { n.RequireTLS = &waives }, []string{"other.example no-policy-found 1/0", "mx.other.example no-policy-found 1/0"}},
		{"a report about TLS", func(e *env, p *peer, n *queue.New) {
			n.Report = queue.TLSReport
			p.extensions = "PIPELINING"
		}, nil},
		{"a report of DMARC", func(e *env, p *peer, n *queue.New) { n.Report = queue.DMARCReport }, nil},
		{"a report of DMARC, no STARTTLS", func(e *env, p *peer, n *queue.New) {
			n.Report = queue.DMARCReport
			p.extensions = "PIPELINING"
		}, []string{"other.example no-policy-found 0/1, starttls-not-supported", "mx.other.example no-policy-found 0/1, starttls-not-supported"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			kept := newKept(t)
			run(t, func(e *env) {
				n := newMessage("one@other.example", "two@other.example")
				p := e.oneHost(&peer{cert: good, extensions: "STARTTLS"})
				test.change(e, p, &n)
				e.send(n)
				e.settle(time.Minute)
				list := kept.close(e)
				if got := describeResults(list); !slices.Equal(got, test.want) {
					e.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
				}
				for _, r := range list {
					for _, f := range r.Policies[0].Failures {
						e.checkFailure(f)
					}
				}
			}, kept.open, func(o *Options) { o.Roots = ca.pool() })
		})
	}
}

// checkFailure checks what a failure says of the connection.
func (e *env) checkFailure(f tlsrpt.Failure) {
	e.Helper()
	ip, hello := "198.51.100.1", "peer"
	if f.Reason == tlsrpt.ReasonMXMismatch && f.ReceivingIP == "" || f.Type == tlsrpt.DNSSECInvalid {
		ip, hello = "", ""
	}
	if f.MXHost != "mx.other.example" || f.ReceivingIP != ip || f.MXHello != hello || f.Sessions != 1 || f.SendingIP != "" {
		e.Errorf("got failure %+v", f)
	}
}

// TestTLSResultsOff has a configuration that wants no reports.
func TestTLSResultsOff(t *testing.T) {
	kept := newKept(t)
	run(t, func(e *env) {
		e.Sender.opts.Config().Static.NoOutgoingTLSReports = true
		e.oneHost(&peer{cert: certificate(e.T), extensions: "STARTTLS"})
		e.send(newMessage("one@other.example"))
		e.settle(time.Minute)
		if list := kept.close(e); len(list) != 0 {
			e.Errorf("got %+v", list)
		}
	}, kept.open)
}
