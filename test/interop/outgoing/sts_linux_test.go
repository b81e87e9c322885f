package outgoing

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// policy is the MTA-STS of a domain, RFC 8461: a record and a policy host.
type policy struct {
	mode string
	mx   []string // Labels of hosts, or patterns with a dot in them, where "@" stands for the domain. Nil: mx.

	cert    string // Kind of certificate of the policy host. Empty: from the CA.
	refused bool   // Nobody listens there.
	silent  bool   // Nothing answers there.

	// answer is what it answers instead of the policy.
	answer http.HandlerFunc

	// times is how often it answers as it should. From then on it doesn't. Zero:
	// always.
	times int

	recordAt string // Where the record is. Empty: where it should be.

	ip string

	mu    sync.Mutex
	asked int
}

// enforce and inTesting return policies of those modes.
func enforce(mx ...string) *policy   { return &policy{mode: "enforce", mx: mx} }
func inTesting(mx ...string) *policy { return &policy{mode: "testing", mx: mx} }

// stsHost is the name of the policy host.
func stsHost(domain string) string { return "mta-sts." + domain }

// records are those of DNS.
func (p *policy) records(domain string) string {
	at := "_mta-sts." + domain
	if p.recordAt != "" {
		at = strings.ReplaceAll(p.recordAt, "@", domain)
	}
	return fmt.Sprintf("%s. TXT \"v=STSv1; id=1;\"\n%s. A %s\n", at, stsHost(domain), p.ip)
}

// text returns the policy.
func (p *policy) text(domain string) string {
	mx := p.mx
	if mx == nil {
		mx = []string{"mx"}
	}
	text := "version: STSv1\r\nmode: " + p.mode + "\r\nmax_age: 86400\r\n"
	for _, name := range mx {
		if !strings.Contains(name, ".") {
			name += ".@"
		}
		text += "mx: " + strings.ReplaceAll(name, "@", domain) + "\r\n"
	}
	return text
}

// start runs the policy host until the test ends.
func (p *policy) start(t *testing.T, w *world, domain string) {
	t.Helper()
	address := net.JoinHostPort(p.ip, "443")
	switch {
	case p.refused:
		return
	case p.silent:
		holeAt(t, address)
		return
	}
	kind := p.cert
	if kind == "" {
		kind = fromCA
	}
	if kind == "self" {
		kind = selfSigned
	}
	cert := newCert(t, w.ca, kind, stsHost(domain), domain)
	ln, err := tls.Listen("tcp", address, &tls.Config{Certificates: []tls.Certificate{cert.tls()}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadTimeout: patience, Handler: p.handler(domain), ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
}

// works tells whether it has a policy as it should.
func (p *policy) works() bool { return p.answer == nil && !p.refused && !p.silent && p.cert == "" }

// check wants the policy host to have been asked, if it can be and there is a record.
func (p *policy) check(t *testing.T, r *row) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if able := (p.works() || p.answer != nil) && len(r.bogus) == 0 && !strings.Contains(r.records, "STSv1"); able != (p.asked > 0) {
		t.Errorf("the policy host was asked %d times", p.asked)
	}
}

// handler answers requests.
func (p *policy) handler(domain string) http.HandlerFunc {
	return func(rw http.ResponseWriter, req *http.Request) {
		p.mu.Lock()
		p.asked++
		broken := p.times > 0 && p.asked > p.times
		p.mu.Unlock()
		switch {
		case broken:
			http.Error(rw, "gone", http.StatusServiceUnavailable)
		case p.answer != nil:
			p.answer(rw, req)
		case req.Host != stsHost(domain) || req.URL.Path != "/.well-known/mta-sts.txt":
			http.NotFound(rw, req)
		default:
			rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(rw, p.text(domain))
		}
	}
}
