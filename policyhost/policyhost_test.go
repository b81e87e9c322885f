package policyhost

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/mtasts"
)

const policy = "version: STSv1\nmode: enforce\nmx: mx.a.example\nmax_age: 86400\n"

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue returns a certificate for a name that is valid until the given time.
func (a authority) issue(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mta-sts.a.example"}, DNSNames: []string{name},
		NotBefore: until.Add(-2 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// host is a policy host on loopback.
type host struct {
	server *httptest.Server

	mu       sync.Mutex
	requests []string // Method, host and path, name in the handshake.
	dialed   []string
}

func newHost(t *testing.T, config *tls.Config, handler http.HandlerFunc) *host {
	t.Helper()
	h := &host{}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests = append(h.requests, fmt.Sprintf("%s %s%s %s %s", r.Method, r.Host, r.URL.Path, r.TLS.ServerName, r.Header.Get("User-Agent")))
		h.mu.Unlock()
		handler(w, r)
	}))
	h.server.TLS = config
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.server.StartTLS()
	t.Cleanup(h.server.Close)
	return h
}

// dial connects to the host, whatever the address is; but nobody is at 192.0.2.1.
func (h *host) dial(ctx context.Context, network, address string) (net.Conn, error) {
	h.mu.Lock()
	h.dialed = append(h.dialed, address)
	h.mu.Unlock()
	if strings.HasPrefix(address, "192.0.2.1:") {
		return nil, errors.New("nobody is there")
	}
	return new(net.Dialer).DialContext(ctx, network, h.server.Listener.Addr().String())
}

const zone = `
mta-sts.a.example      CNAME www.host.example
www.host.example       A     192.0.2.2
mta-sts.second.example A     192.0.2.1
mta-sts.second.example AAAA  2001:db8::1
mta-sts.dead.example   A     192.0.2.1
mta-sts.fails.example  A     192.0.2.1
`

func newResolver(t *testing.T) *dnstest.Resolver {
	t.Helper()
	r, err := dnstest.New(zone)
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("", "mta-sts.fails.example", dnstest.Temporary)
	return r
}

// text answers with a text.
func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, s) // The client hears of it.
	}
}

// TestFetch fetches policies from hosts as they should be, and as they should not.
func TestFetch(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	good := ca.issue(t, "mta-sts.a.example", later)
	for _, test := range []struct {
		name    string
		cert    tls.Certificate
		maxTLS  uint16
		handler http.HandlerFunc
		failure mtasts.Failure
		err     string // In part.
	}{
		{"a policy", good, 0, text(policy), "", ""},
		{"a policy with TLS 1.2", good, tls.VersionTLS12, text(policy), "", ""},
		{"a certificate for all names below the domain", ca.issue(t, "*.a.example", later), 0, text(policy), "", ""},
		{"the largest policy", good, 0, text(policy + strings.Repeat("\n", mtasts.PolicySizeMax-len(policy))), "", ""},
		{"only an old TLS", good, tls.VersionTLS11, text(policy), mtasts.FailureFetch, "protocol version"},
		{"a certificate for the alias", ca.issue(t, "www.host.example", later), 0, text(policy), mtasts.FailureWebPKI, "certificate is valid for www.host.example, not mta-sts.a.example"},
		{"a certificate for the domain", ca.issue(t, "a.example", later), 0, text(policy), mtasts.FailureWebPKI, "certificate is valid for a.example"},
		{"a certificate that has expired", ca.issue(t, "mta-sts.a.example", time.Now().Add(-time.Minute)), 0, text(policy), mtasts.FailureWebPKI, "expired"},
		{"a certificate of a stranger", stranger.issue(t, "mta-sts.a.example", later), 0, text(policy), mtasts.FailureWebPKI, "unknown authority"},
		{"a redirect to itself", good, 0, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"?", http.StatusFound) }, mtasts.FailureFetch, "status 302"},
		{"nothing there", good, 0, http.NotFound, mtasts.FailureFetch, "status 404"},
		{"HTML", good, 0, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") }, mtasts.FailureFetch, "content type"},
		{"a policy one byte too large", good, 0, text(strings.Repeat("\n", mtasts.PolicySizeMax+1)), mtasts.FailureFetch, "response is too large: body of more than 65536 bytes"},
		{"a body without end", good, 0, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for err := error(nil); err == nil; {
				_, err = w.Write(bytes.Repeat([]byte("x: y\n"), 1000))
			}
		}, mtasts.FailureFetch, "response is too large: body"},
		{"a body that is cut off", good, 0, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, policy)
		}, mtasts.FailureFetch, "unexpected EOF"},
		{"a large header", good, 0, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X", strings.Repeat("x", headerSizeMax+8<<10))
		}, mtasts.FailureFetch, "response is too large: header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, &tls.Config{Certificates: []tls.Certificate{test.cert}, MinVersion: tls.VersionTLS10, MaxVersion: test.maxTLS}, test.handler)
			c, err := New(Options{Resolver: newResolver(t), Dial: h.dial, Roots: ca.roots(), UserAgent: "mox"})
			if err != nil {
				t.Fatal(err)
			}
			p, _, err := mtasts.Fetch(t.Context(), c, dns.Domain{ASCII: "a.example"})
			if mtasts.FailureOf(err) != test.failure || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("got %q, %v", mtasts.FailureOf(err), err)
			}
			if err == nil && p.MaxAge != 24*time.Hour {
				t.Errorf("got %+v", p)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			const request = "GET mta-sts.a.example/.well-known/mta-sts.txt mta-sts.a.example mox"
			reached := test.failure != mtasts.FailureWebPKI && test.maxTLS != tls.VersionTLS11
			if reached && strings.Join(h.requests, "\n") != request || !reached && len(h.requests) > 0 {
				t.Errorf("got requests %q", h.requests)
			}
			if strings.Join(h.dialed, " ") != "192.0.2.2:443" {
				t.Errorf("connected to %q", h.dialed)
			}
		})
	}
}

// TestAddresses connects to hosts by their addresses.
func TestAddresses(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	h := newHost(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "*.second.example", time.Now().Add(time.Hour))}}, text(policy))
	c, err := New(Options{Resolver: newResolver(t), Dial: h.dial, Roots: ca.roots()})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		host, err string
	}{
		{"mta-sts.second.example", ""},
		{"mta-sts.dead.example", "nobody is there"},
		{"mta-sts.none.example", "no such name"},
		{"mta-sts.fails.example", "temporary failure"},
		{"mta-sts.second.example:8443", "invalid domain name"},
		{"192.0.2.2", "invalid domain name"},
		{"user@mta-sts.second.example", "invalid domain name"},
	} {
		r, err := c.Get(t.Context(), mtasts.Request{Host: test.host, Path: "/", SizeMax: 1000})
		if test.err == "" && (err != nil || r.Status != 200 || string(r.Body) != policy) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: got %+v, %v", test.host, r, err)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a client without a resolver was made")
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                "[]",
		"1.1.1.1":         "[1.1.1.1]",
		"1.1.1.1 ::1":     "[::1 1.1.1.1]",
		"1.1.1.1 1.1.1.2": "[1.1.1.1 1.1.1.2]",
		"1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 ::1": "[::1 1.1.1.1 1.1.1.2 1.1.1.3]",
	} {
		var ips []netip.Addr
		for s := range strings.FieldsSeq(in) {
			ips = append(ips, netip.MustParseAddr(s))
		}
		if got := fmt.Sprint(choose(ips)); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// TestCancelled stops a request while the host is writing its body.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	h := newHost(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "mta-sts.a.example", time.Now().Add(time.Hour))}}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "version: ")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		cancel()
		<-r.Context().Done() // The client is gone.
	})
	c, err := New(Options{Resolver: newResolver(t), Dial: h.dial, Roots: ca.roots()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := mtasts.Fetch(ctx, c, dns.Domain{ASCII: "a.example"}); !errors.Is(err, mtasts.ErrFetch) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestSlow asks hosts that don't answer, in virtual time.
func TestSlow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		dial func(ctx context.Context, network, address string) (net.Conn, error)
		want time.Duration
	}{
		{"a connection that isn't made", func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, 2 * dialTimeMax}, // Of two addresses.
		{"a handshake that isn't answered", func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, server) }() // Until the client closes it.
			return client, nil
		}, requestTimeMax},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, err := New(Options{Resolver: newResolver(t), Dial: test.dial})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, err = c.Get(t.Context(), mtasts.Request{Host: "mta-sts.second.example", Path: "/", SizeMax: 1000})
				if took := time.Since(start); err == nil || took != test.want {
					t.Errorf("got %v after %v, want an error after %v", err, took, test.want)
				}
			})
		})
	}
}
