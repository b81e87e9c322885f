// Package policyhost asks the policy hosts of MTA-STS: it is the mtasts.Getter for
// the network. It makes one request with HTTPS, strictly as RFC 8461, section 3.3,
// has it, and knows nothing of policies.
//
// It follows no redirects, uses no proxy and no cache, keeps no connections, and
// connects to port 443 only, at addresses that our own resolver found.
package policyhost

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/mtasts"
)

const (
	// requestTimeMax bounds a request, from the lookup of the host to the end of the
	// body, as RFC 8461, section 3.3, suggests.
	requestTimeMax = time.Minute

	// dialTimeMax bounds the time to connect to one address, so that there is some
	// left for the others.
	dialTimeMax = 10 * time.Second

	// addressesMax bounds the addresses of a host that are tried.
	addressesMax = 4

	// headerSizeMax bounds the header of a response in bytes.
	headerSizeMax = 64 << 10

	// port is the one for HTTPS. There is no way to give another.
	port = 443
)

// errSize means that a response is larger than it may be.
var errSize = errors.New("response is too large")

// Options is what a Client needs.
type Options struct {
	// Resolver finds the addresses of hosts. Required.
	Resolver dns.Resolver

	// Dial connects to an address with port. Nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Roots are the certificates of authorities to be trusted. Nil: those of the
	// system.
	Roots *x509.CertPool

	// UserAgent is told to hosts. Empty: nothing.
	UserAgent string
}

// Client makes requests. It is safe for concurrent use, and need not be closed: it
// keeps nothing.
type Client struct{ opts Options }

var _ mtasts.Getter = (*Client)(nil)

// New returns a client.
func New(opts Options) (*Client, error) {
	if opts.Resolver == nil {
		return nil, errors.New("policyhost: no resolver")
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	return &Client{opts}, nil
}

// Get implements mtasts.Getter. It takes a minute at most. An http.Transport is not
// in it: that goes on connecting after a request has ended, and asks again.
func (c *Client) Get(ctx context.Context, r mtasts.Request) (mtasts.Response, error) {
	if d, err := dns.ParseDomain(r.Host); err != nil || d.ASCII != r.Host {
		return mtasts.Response{}, fmt.Errorf("%w: host %+q", dns.ErrDomain, r.Host)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeMax)
	defer cancel()
	resp, err := c.get(ctx, r)
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return mtasts.Response{}, fmt.Errorf("%w: %s: %w", mtasts.ErrWebPKI, r.Host, e.Err)
	} else if err != nil && ctx.Err() != nil {
		return mtasts.Response{}, fmt.Errorf("asking %s: %w", r.Host, context.Cause(ctx))
	} else if err != nil {
		return mtasts.Response{}, fmt.Errorf("asking %s: %w", r.Host, err)
	}
	return resp, nil
}

// get makes a connection for the request, and closes it.
func (c *Client) get(ctx context.Context, r mtasts.Request) (mtasts.Response, error) {
	plain, err := c.dial(ctx, r.Host)
	if err != nil {
		return mtasts.Response{}, err
	}
	defer plain.Close() // Without a word: the response says where it ends.
	conn := tls.Client(plain, &tls.Config{ServerName: r.Host, MinVersion: tls.VersionTLS12, RootCAs: c.opts.Roots, NextProtos: []string{"http/1.1"}})
	if err := conn.HandshakeContext(ctx); err != nil {
		return mtasts.Response{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = plain.Close() })
	defer stop()
	return c.exchange(ctx, conn, r)
}

// exchange makes the request on a connection.
func (c *Client) exchange(ctx context.Context, conn io.ReadWriter, r mtasts.Request) (mtasts.Response, error) {
	u := url.URL{Scheme: "https", Host: r.Host, Path: r.Path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return mtasts.Response{}, err
	}
	req.Close = true
	req.Header.Set("User-Agent", c.opts.UserAgent) // Empty: no such field.
	if err := req.Write(conn); err != nil {
		return mtasts.Response{}, err
	}
	limited := &io.LimitedReader{R: conn, N: headerSizeMax}
	resp, err := http.ReadResponse(bufio.NewReader(limited), req)
	if err != nil && limited.N == 0 {
		return mtasts.Response{}, fmt.Errorf("%w: header of more than %d bytes", errSize, headerSizeMax)
	} else if err != nil {
		return mtasts.Response{}, err
	}
	// The body isn't closed: that would read it to its end.
	result := mtasts.Response{Status: resp.StatusCode, ContentType: resp.Header.Get("Content-Type")}
	if resp.StatusCode != http.StatusOK {
		return result, nil
	}
	limited.N = math.MaxInt64 // From here on the body has the limit.
	result.Body, err = readBody(resp.Body, r.SizeMax)
	return result, err
}

// readBody reads a body of at most so many bytes.
func readBody(r io.Reader, sizeMax int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, sizeMax+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > sizeMax {
		return nil, fmt.Errorf("%w: body of more than %d bytes", errSize, sizeMax)
	}
	return body, nil
}

// dial connects to a host, at one of its addresses.
func (c *Client) dial(ctx context.Context, host string) (net.Conn, error) {
	ips, _, err := c.opts.Resolver.LookupIP(ctx, "ip", host+".")
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, ip := range choose(ips) {
		conn, err := c.dialAddress(ctx, ip)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (c *Client) dialAddress(ctx context.Context, ip netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeMax)
	defer cancel()
	return c.opts.Dial(ctx, "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port)))
}

// choose returns the addresses to try: of both families in turn, so that a host is
// reached when one of them doesn't work here.
func choose(ips []netip.Addr) (list []netip.Addr) {
	var families [2][]netip.Addr
	for _, ip := range ips {
		if ip.Is4() {
			families[1] = append(families[1], ip)
		} else {
			families[0] = append(families[0], ip)
		}
	}
	for i := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			if i < len(f) {
				list = append(list, f[i])
			}
		}
	}
	return list[:min(len(list), addressesMax)]
}
