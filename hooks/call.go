package hooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/webhook"
)

const (
	// dialTimeout bounds the time to connect, and tlsTimeout that of a handshake.
	dialTimeout = 30 * time.Second
	tlsTimeout  = 30 * time.Second

	// idleTimeout is how long a connection is kept for the next call, and idleMax how
	// many of one host are.
	idleTimeout = 5 * time.Second
	idleMax     = 2

	// headerSizeMax bounds the header of a response in bytes.
	headerSizeMax = 64 << 10

	// bodyReadMax bounds what is read of the body of a response, in bytes, so that the
	// connection can be used again. bodyKeepMax is what is kept of it.
	bodyReadMax = 64 << 10
	bodyKeepMax = 1000
)

var (
	// errInterrupted is why calls end that the server did not wait for.
	errInterrupted = errors.New("the server stopped during the call")

	// errTimeout is why calls end that take too long.
	errTimeout = fmt.Errorf("no response within %v", callTimeout)
)

// statusError is a response that is no success.
type statusError struct {
	code     int
	status   string
	location string // That a redirect leads to.
}

// Error says what the response was.
func (e *statusError) Error() string {
	if e.location != "" {
		return fmt.Sprintf("%s: redirects to %q, which is not followed", e.status, e.location)
	}
	return e.status
}

// newClient returns what makes requests. It uses no proxy, and follows no redirects:
// what is told is for the address in the configuration alone.
func newClient(opts Options) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            withTimeout(opts.Dial),
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opts.Roots, NextProtos: []string{"http/1.1"}},
			TLSHandshakeTimeout:    tlsTimeout,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConnsPerHost:    idleMax,
			MaxConnsPerHost:        workers,
			MaxResponseHeaderBytes: headerSizeMax,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newPayload returns a payload that a request can read.
func newPayload(b []byte) *bytes.Reader { return bytes.NewReader(b) }

// call makes a request. Each 2xx is success (RFC 9110, section 15.3): there is no
// other meaning it could have for who takes what is told.
func (c *Caller) call(ctx context.Context, h *queue.Hook, payload io.Reader, r *queue.HookResult) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set(webhook.HeaderID, strconv.FormatInt(h.ID, 10))
	req.Header.Set(webhook.HeaderAttempt, strconv.FormatInt(h.Attempts, 10))
	if _, authorization, ok := c.opts.Config().Webhook(h.Account, h.Event); ok && authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return because(ctx, err)
	}
	defer resp.Body.Close()
	r.Code = int64(resp.StatusCode)
	// What comes after the header decides nothing: it is for people.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, bodyReadMax))
	r.Response = string(body[:min(len(body), bodyKeepMax)])
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &statusError{resp.StatusCode, resp.Status, resp.Header.Get("Location")}
	}
	return nil
}

// because returns why a call has ended: the cause of its context if that ended, or
// else err.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// describe returns an error for people. Where it was is told beside it.
func describe(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return err.Error()
}
