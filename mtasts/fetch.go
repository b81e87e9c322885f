package mtasts

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/mox/dns"
)

// Request is what a Getter is asked for.
type Request struct {
	Host    string // Name of the policy host in A-labels, which the certificate must be for.
	Path    string
	SizeMax int64 // Bound for the body in bytes.
}

// Response is what came back.
type Response struct {
	Status      int
	ContentType string
	Body        []byte // Only needed for the status 200.
}

// Getter makes requests with HTTPS. It is safe for concurrent use.
type Getter interface {
	// Get makes one request with the method GET, as RFC 8461, section 3.3, wants it:
	// with a certificate of the WebPKI that is valid for the host, or the error wraps
	// ErrWebPKI; no redirect is followed, and nothing comes from a cache. A body that is
	// too large is an error. It returns soon after ctx is done.
	Get(ctx context.Context, r Request) (Response, error)
}

// statusOK is the one status that comes with a policy.
const statusOK = 200

// policyPath is where policies are (RFC 8461, section 3.2).
const policyPath = "/.well-known/mta-sts.txt"

// Host returns the name of the policy host of a domain, which may be too long for
// DNS.
func Host(domain dns.Domain) string { return "mta-sts." + domain.ASCII }

// URL returns where the policy of a domain is.
func URL(domain dns.Domain) string { return "https://" + Host(domain) + policyPath }

// Fetch fetches the policy of a domain. The caller bounds the time, with ctx. The
// error wraps ErrFetch, ErrWebPKI or ErrPolicy; with the last comes the text too,
// at most PolicySizeMax bytes of whatever.
func Fetch(ctx context.Context, g Getter, domain dns.Domain) (policy Policy, text string, err error) {
	host := Host(domain)
	if err := dns.CheckName(host + "."); err != nil {
		return Policy{}, "", fmt.Errorf("%w: %w", ErrFetch, err)
	}
	r, err := g.Get(ctx, Request{Host: host, Path: policyPath, SizeMax: PolicySizeMax})
	switch {
	case errors.Is(err, ErrWebPKI):
		return Policy{}, "", err
	case err != nil:
		return Policy{}, "", fmt.Errorf("%w: %w", ErrFetch, err)
	}
	if err := checkResponse(r); err != nil {
		return Policy{}, "", fmt.Errorf("%w: %s: %w", ErrFetch, host, err)
	}
	text = string(r.Body)
	policy, err = ParsePolicy(text)
	return policy, text, err
}

// checkResponse checks that a response has what may be a policy.
func checkResponse(r Response) error {
	typ, _, _ := strings.Cut(r.ContentType, ";") // Parameters don't matter.
	switch {
	case r.Status != statusOK:
		return fmt.Errorf("status %d instead of %d", r.Status, statusOK)
	case !strings.EqualFold(strings.Trim(typ, " \t"), "text/plain"):
		return fmt.Errorf("content type %s instead of text/plain", quote(r.ContentType))
	case len(r.Body) > PolicySizeMax:
		return fmt.Errorf("more than %d bytes", PolicySizeMax)
	}
	return nil
}
