package hooks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/webhook"
)

// env is a Caller with a queue, a store with the accounts mjl and other, and an
// address that notes what it is told.
type env struct {
	*Caller
	t      *testing.T
	opts   Options
	queue  *queue.DB
	store  *store.Dir
	log    *logBuffer
	config *config.Config
	server *address
	panics int

	registry *prometheus.Registry
}

// logBuffer keeps log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds a line.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns all lines.
func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// address is a web server in memory.
type address struct {
	mu       sync.Mutex
	requests []request
	answer   http.HandlerFunc
	accept   chan net.Conn
	closed   chan struct{}
	server   *http.Server
	once     sync.Once
}

// request is what came.
type request struct {
	path   string
	header http.Header
	body   string
}

// newAddress serves connections that dial makes, in memory.
func newAddress() *address {
	a := &address{accept: make(chan net.Conn), closed: make(chan struct{}), answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }}
	a.server = &http.Server{Handler: a, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Hour}
	go a.server.Serve(a) //nolint:errcheck // It ends when the test does.
	return a
}

// ServeHTTP notes a request and answers.
func (a *address) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.mu.Lock()
	a.requests = append(a.requests, request{r.Method + " " + r.URL.String(), r.Header.Clone(), string(body)})
	answer := a.answer
	a.mu.Unlock()
	answer(w, r)
}

// take returns the requests since the last call.
func (a *address) take() []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.requests
	a.requests = nil
	return list
}

// reply sets the answer to requests.
func (a *address) reply(fn http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = fn
}

// dial connects.
func (a *address) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case a.accept <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept, with Close and Addr, makes it a net.Listener.
func (a *address) Accept() (net.Conn, error) {
	select {
	case c := <-a.accept:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (a *address) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

// Addr returns nothing that anybody looks at.
func (a *address) Addr() net.Addr { return &net.TCPAddr{} }

// newEnv makes one. Change, if not nil, changes the options before.
func newEnv(t *testing.T, change func(*Options)) *env {
	t.Helper()
	e := &env{t: t, log: &logBuffer{}, registry: prometheus.NewRegistry(), server: newAddress()}
	e.config = &config.Config{Dynamic: config.Dynamic{Accounts: map[string]config.Account{
		"mjl": {
			OutgoingWebhook: &config.OutgoingWebhook{URL: "http://hooks.example/sent", Authorization: "Basic eDp5"},
			IncomingWebhook: &config.IncomingWebhook{URL: "http://hooks.example/received?x=y"},
		},
		"other": {},
	}}}
	dir := t.TempDir()
	logger := slog.New(slog.NewTextHandler(e.log, nil))
	var err error
	e.store, err = store.Open(t.Context(), store.Options{Dir: dir, Log: logger, SegmentSize: 4 << 20, Arrived: func(name string) { e.Arrived(name) }})
	errorless(t, err)
	for _, name := range []string{"mjl", "other"} {
		a, err := e.store.Create(t.Context(), name, store.NewAccount{})
		errorless(t, err)
		errorless(t, a.Close())
	}
	e.queue, err = queue.Open(t.Context(), queue.Options{
		Dir: filepath.Join(dir, "queue"), Log: logger, Rand: rand.Reader, Schedule: queue.DefaultSchedule(), LogSize: 1 << 20,
		Local: func(string) bool { return false },
		Webhook: func(account string, event webhook.Event) (string, bool) {
			url, _, ok := e.config.Webhook(account, event)
			return url, ok
		},
		KeepRetiredHooks: func(string) time.Duration { return 100 * time.Hour },
	})
	errorless(t, err)
	e.opts = Options{
		Queue: e.queue, Accounts: e.store, Config: func() *config.Config { return e.config }, Log: logger, Registerer: e.registry,
		Panicked: func() { e.panics++ }, Dial: e.server.dial, UserAgent: "mox/test",
	}
	if change != nil {
		change(&e.opts)
	}
	e.Caller, err = New(e.opts)
	errorless(t, err)
	return e
}

func errorless(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// close ends what newEnv began.
func (e *env) close() {
	e.t.Helper()
	for _, err := range e.queue.Check(context.Background()) {
		e.t.Errorf("check: %v", err)
	}
	errorless(e.t, errors.Join(e.queue.Close(), e.store.Close(), e.server.server.Close()))
}

// serve runs Serve until the function that it returns is called, which waits for it.
func (e *env) serve(grace time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(e.t.Context())
	done := make(chan error)
	go func() { done <- e.Serve(ctx, grace) }()
	return func() {
		e.t.Helper()
		cancel()
		if err := <-done; err != nil {
			e.t.Errorf("serving: %v", err)
		}
	}
}

// send queues a message of an account, and drops it: a webhook is told of that.
func (e *env) send(account string) {
	e.t.Helper()
	const text = "Subject: hi\r\n\r\nhi\r\n"
	c, err := e.queue.NewContent(e.t.Context(), int64(len(text)), strings.NewReader(text))
	errorless(e.t, err)
	to, err := queue.Path("bob@remote.example")
	errorless(e.t, err)
	_, err = e.queue.Add(e.t.Context(), queue.New{Account: account, Content: c, MessageID: "<1@example.org>", Subject: "hi", To: []queue.NewRcpt{{Path: to}}})
	errorless(e.t, err)
	_, err = e.queue.Drop(e.t.Context(), queue.Filter{})
	errorless(e.t, err)
}

// deliver delivers a message, of which a webhook is to be told if announce.
func (e *env) deliver(account, content string, announce bool) {
	e.t.Helper()
	a, err := e.store.Account(e.t.Context(), account)
	errorless(e.t, err)
	an, err := store.Analyze(strings.NewReader(content), int64(len(content)))
	errorless(e.t, err)
	errorless(e.t, e.store.Deliver(e.t.Context(), store.Delivery{
		Content: e.store.ContentBytes([]byte(content)), Analysis: an, Received: time.Now(),
		Facts: store.Facts{MailFrom: "bob@remote.example", MailFromVerified: true, Validation: 3, DKIM: []string{"remote.example"}, RemoteIP: "192.0.2.1"},
		To:    []store.Recipient{{Account: a, RcptTo: "mjl@example.org", Prefix: []byte("Received: by us\r\n"), Announce: announce}},
	}))
	a.WaitDurable(e.t.Context())
	errorless(e.t, a.Close())
}

// retired returns outcomes and attempts of hooks that are retired.
func (e *env) retired() string {
	e.t.Helper()
	return e.list(true)
}

// waiting returns attempts and last errors of hooks that wait.
func (e *env) waiting() string {
	e.t.Helper()
	return e.list(false)
}

func (e *env) list(retired bool) string {
	e.t.Helper()
	list, err := e.queue.Hooks(e.t.Context(), queue.HookFilter{Retired: retired}, queue.Sort{By: "queued"})
	errorless(e.t, err)
	var lines []string
	for _, h := range list {
		line := fmt.Sprintf("%s %s %d", h.Event, h.Outcome, h.Attempts)
		if n := len(h.Results); n > 0 && !h.Results[n-1].OK {
			line += ": " + h.Results[n-1].Error
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// counted returns how many calls were counted with a result.
func (e *env) counted(result string) float64 {
	e.t.Helper()
	families, err := e.registry.Gather()
	errorless(e.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "mox_webhook_results_total" && m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	e.t.Errorf("no metric for %q", result)
	return 0
}

const testMessage = "From: Bob <bob@remote.example>\r\nTo: mjl@example.org\r\nSubject: question\r\nMessage-ID: <Q@remote.example>\r\n\r\nWhat?\r\n"

// TestCalls tells an address of a message sent and of one that came in.
func TestCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		stop := e.serve(time.Second)
		e.send("mjl")
		e.send("other")
		synctest.Wait()
		got := e.server.take()
		if len(got) != 1 {
			t.Fatalf("got %d requests: %+v", len(got), got)
		}
		h := got[0].header
		for name, want := range map[string]string{
			"Content-Type": "application/json; charset=utf-8", "User-Agent": "mox/test", "Authorization": "Basic eDp5",
			webhook.HeaderID: "1", webhook.HeaderAttempt: "1", "Accept-Encoding": "",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: got %q, want %q", name, h.Get(name), want)
			}
		}
		var out webhook.Outgoing
		if err := json.Unmarshal([]byte(got[0].body), &out); err != nil || got[0].path != "POST /sent" || out.Event != webhook.EventCanceled || out.QueueMsgID != 1 {
			t.Errorf("got %s %s, %v", got[0].path, got[0].body, err)
		}

		e.deliver("mjl", testMessage, true)
		e.deliver("mjl", testMessage, false)
		e.deliver("other", testMessage, true)
		time.Sleep(time.Second)
		synctest.Wait()
		got = e.server.take()
		if len(got) != 1 {
			t.Fatalf("got %d requests: %+v", len(got), got)
		}
		var in webhook.Incoming
		if err := json.Unmarshal([]byte(got[0].body), &in); err != nil || got[0].path != "POST /received?x=y" || got[0].header.Get("Authorization") != "" {
			t.Errorf("got %+v, %v", got[0], err)
		}
		m := in.Meta
		if in.Text != "What?\n" || in.MessageID != "<Q@remote.example>" || in.From[0].Address != "bob@remote.example" || m.MailboxName != "Inbox" ||
			m.MailFrom != "bob@remote.example" || !m.MailFromValidated || !m.MsgFromValidated || m.RcptTo != "mjl@example.org" || m.RemoteIP != "192.0.2.1" ||
			len(m.DKIMVerifiedDomains) != 1 || m.Automated || m.MsgID == 0 || !m.Received.Equal(m.Received.Truncate(0)) {
			t.Errorf("got %+v", in)
		}
		if w, r := e.waiting(), e.retired(); w != "" || r != "canceled called 1\nincoming called 1" {
			t.Errorf("%q wait, retired are %q", w, r)
		}
		stop()
		if n := e.counted(resultOK); n != 2 {
			t.Errorf("counted %v calls", n)
		}
		e.close()
	})
}

// TestAnswers says what counts as success.
func TestAnswers(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			if code != http.StatusNoContent && code != http.StatusNotModified {
				_, _ = io.WriteString(w, "the answer "+strings.Repeat("long ", 1000))
			}
		}
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // In the list of those that wait, or "" if it was taken.
		label  string
	}{
		{"200", status(200), "", resultOK},
		{"201", status(201), "", resultOK},
		{"202", status(202), "", resultOK},
		{"204", status(204), "", resultOK},
		{"299", status(299), "", resultOK},
		{"a redirect", status(302), `302 Found: redirects to "/elsewhere", which is not followed`, resultRedirect},
		{"a redirect of the method too", status(308), `308 Permanent Redirect: redirects to "/elsewhere", which is not followed`, resultRedirect},
		{"unauthorized", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "401 Unauthorized", resultClient},
		{"gone is tried again too", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }, "410 Gone", resultClient},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "503 Service Unavailable", resultServer},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF", resultError},
		{"no answer in time", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no response within 1m0s", resultError},
		{"a large header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", headerSizeMax))
		}, "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted", resultError},
		{"an endless body", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 10000)); err != nil {
					return
				}
			}
		}, "", resultOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, nil)
				e.server.reply(test.answer)
				stop := e.serve(time.Second)
				e.send("mjl")
				time.Sleep(callTimeout + time.Second)
				synctest.Wait()
				stop()
				want, retired := "canceled  1: "+test.want, ""
				if test.want == "" {
					want, retired = "", "canceled called 1"
				}
				// A refused call may have had its second attempt, a minute after the first.
				got := strings.Replace(e.waiting(), "canceled  2: ", "canceled  1: ", 1)
				if got != want || e.retired() != retired {
					t.Errorf("%q waits, want %q; retired is %q", got, want, e.retired())
				}
				if n := e.counted(test.label); n == 0 {
					t.Errorf("not counted as %s", test.label)
				}
				h, err := e.queue.Hooks(t.Context(), queue.HookFilter{Retired: test.want == ""}, queue.Sort{})
				errorless(t, err)
				if r := h[0].Results[0].Response; len(r) > bodyKeepMax || strings.HasPrefix(test.name, "20") && test.name != "204" && !strings.HasPrefix(r, "the answer long") {
					t.Errorf("kept %q", r)
				}
				e.close()
			})
		})
	}
}

// TestDown has an address that is down for a while: what it missed it is told later.
func TestDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		e := newEnv(t, func(o *Options) {
			dial := o.Dial
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if down {
					return nil, errors.New("connection refused")
				}
				return dial(ctx, network, address)
			}
		})
		stop := e.serve(time.Second)
		e.send("mjl")
		e.deliver("mjl", testMessage, true)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := e.waiting(); got != "canceled  3: connection refused\nincoming  3: connection refused" {
			t.Errorf("got %q", got)
		}
		stop()
		down = false
		stop = e.serve(time.Second)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		stop()
		got := e.server.take()
		if len(got) != 2 || got[0].header.Get(webhook.HeaderAttempt) != "4" {
			t.Errorf("got %+v", got)
		}
		if e.retired() != "canceled called 4\nincoming called 4" {
			t.Errorf("got %q", e.retired())
		}
		e.close()
	})
}

// TestStop stops while calls run: they get the grace time, and not more.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		takes time.Duration
		want  string
		after time.Duration
	}{
		{"a call that ends in time", 2 * time.Second, "canceled called 1", 2 * time.Second},
		{"a call that does not", time.Minute, "canceled  1: the server stopped during the call", 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, nil)
				e.server.reply(func(_ http.ResponseWriter, r *http.Request) {
					select {
					case <-time.After(test.takes):
					case <-r.Context().Done():
					}
				})
				stop := e.serve(3 * time.Second)
				e.send("mjl")
				synctest.Wait()
				start := time.Now()
				stop()
				if took := time.Since(start); took != test.after {
					t.Errorf("stopping took %v, want %v", took, test.after)
				}
				if got := e.retired() + e.waiting(); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
				e.close()
			})
		})
	}
}

// TestGone: of a message that was removed, or an account, nothing is told.
func TestGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		for _, n := range []queue.NewIncoming{{Account: "mjl", EmailID: 99}} {
			errorless(t, e.queue.AddIncoming(t.Context(), []queue.NewIncoming{n}))
		}
		e.config.Dynamic.Accounts["away"] = e.config.Dynamic.Accounts["mjl"]
		errorless(t, e.queue.AddIncoming(t.Context(), []queue.NewIncoming{{Account: "away", EmailID: 1}}))
		stop := e.serve(time.Second)
		synctest.Wait()
		stop()
		const want = "incoming canceled 1: reading message: the message was removed before: store: message is expunged\n" +
			"incoming canceled 1: the message was removed before: store: no such account: \"away\""
		if got := e.retired(); got != want || len(e.server.take()) > 0 {
			t.Errorf("got %q", got)
		}
		if n := e.counted(resultGone); n != 2 {
			t.Errorf("counted %v", n)
		}
		e.close()
	})
}

// TestArrivals queues what was missed when nobody listened, and nothing twice.
func TestArrivals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		for range arrivalsMax + 1 {
			e.deliver("mjl", testMessage, true)
		}
		// As if the process had died after some were queued.
		a, err := e.store.Account(t.Context(), "mjl")
		errorless(t, err)
		list, err := a.Arrivals(t.Context(), 2)
		errorless(t, err)
		errorless(t, a.Close())
		for _, m := range list {
			errorless(t, e.queue.AddIncoming(t.Context(), []queue.NewIncoming{{Account: "mjl", EmailID: m.EmailID}}))
		}
		clear(e.Caller.waiting)
		select {
		case <-e.wake:
		default:
		}
		stop := e.serve(time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		ids := map[string]bool{}
		got := e.server.take()
		for _, r := range got {
			var in webhook.Incoming
			errorless(t, json.Unmarshal([]byte(r.body), &in))
			ids[fmt.Sprint(in.Meta.MsgID)] = true
		}
		if len(got) != arrivalsMax+1 || len(ids) != arrivalsMax+1 {
			t.Errorf("told %d times of %d messages, want %d", len(got), len(ids), arrivalsMax+1)
		}
		e.close()
	})
}

// TestPanics: a mistake of ours is counted, and the hook is tried again.
func TestPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, func(o *Options) {
			o.Dial = nil
		})
		e.client.Transport = roundTripper(func(*http.Request) (*http.Response, error) { panic("mistake") })
		stop := e.serve(time.Second)
		e.send("mjl")
		synctest.Wait()
		stop()
		if got := e.waiting(); e.panics != 1 || got != "canceled  1: "+errPanic.Error() || !strings.Contains(e.log.String(), "panic in webhook") {
			t.Errorf("%d panics, %q", e.panics, got)
		}
		e.close()
	})
}

// roundTripper is a function that makes requests.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls it.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestTLS calls an address with HTTPS: its certificate must be by an authority that
// is trusted.
func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	for _, test := range []struct {
		name  string
		roots *x509.CertPool
		want  string
	}{
		{"trusted", trusted, "canceled called 1"},
		{"not trusted", x509.NewCertPool(), "certificate signed by unknown authority"},
	} {
		e := newEnv(t, func(o *Options) { o.Roots, o.Dial = test.roots, nil })
		account := e.config.Dynamic.Accounts["mjl"]
		account.OutgoingWebhook = &config.OutgoingWebhook{URL: server.URL}
		e.config.Dynamic.Accounts["mjl"] = account
		e.send("mjl")
		w, err := e.queue.NextHook(t.Context())
		errorless(t, err)
		e.do(t.Context(), w)
		e.client.CloseIdleConnections()
		if got := e.retired() + e.waiting(); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q", test.name, got)
		}
		e.close()
	}
}

// TestNew refuses options without what it needs.
func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("no error without options")
	}
	e := newEnv(t, nil)
	if _, err := New(e.opts); err == nil {
		t.Error("no error for metrics that are there already")
	}
	e.close()
}
