package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/internal/transcript"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/trace"
	"github.com/mjl-/mox/webhook"
)

// ctlEnv is a control server with what it administers: the account mox, and a
// queue.
type ctlEnv struct {
	t        testing.TB
	dir      string // Has mox.conf; the data directory is data.
	outside  string // Beside it, in transcripts "OUTSIDE".
	accounts *store.Dir
	logins   *authdb.DB
	queue    *queue.DB
	trace    *trace.Log
	closeTLS func() error
	hooked   atomic.Bool // Accounts have webhooks.
	ended    []string    // Accounts of which sessions were ended.
	log      logBuffer
	server   *ctlServer
	pipes    *pipeListener
	panics   int
	reloads  int

	stopOnce sync.Once
	told     chan struct{} // Closed when the server shall stop.
	stopped  chan struct{} // Closed when it has.
	stopErr  error         // What was wrong then.
}

// logBuffer keeps log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newCtlEnv starts a control server with these calls on a listener: in memory if
// ln is nil.
func newCtlEnv(t testing.TB, ln func(dir string) net.Listener, calls []ctlCall) *ctlEnv {
	t.Helper()
	e := &ctlEnv{t: t, dir: t.TempDir(), outside: t.TempDir(), pipes: newPipeListener(), told: make(chan struct{}), stopped: make(chan struct{})}
	data := filepath.Join(e.dir, "data")
	c := e.writeConfig()
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	levels := logfmt.NewLevels(slog.LevelDebug)
	log := slog.New(logfmt.New(&e.log, levels))
	var err error
	if e.accounts, err = store.Open(t.Context(), store.Options{Dir: data, Log: slog.New(slog.DiscardHandler), SegmentSize: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	a, err := e.accounts.Create(t.Context(), "mox", store.NewAccount{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	e.queue, err = queue.Open(t.Context(), queue.Options{
		LogSize: 1 << 20, Dir: filepath.Join(data, "queue"), Log: slog.New(slog.DiscardHandler), Rand: rand.Reader, Schedule: queue.DefaultSchedule(),
		Local: func(string) bool { return false }, KeepRetired: func(string) time.Duration { return 72 * time.Hour },
		Webhook: func(string, webhook.Event) (string, bool) { return "http://localhost:8000/hook", e.hooked.Load() },

		KeepRetiredHooks: func(string) time.Duration { return time.Hour },
	})
	if err != nil {
		t.Fatal(err)
	}
	e.trace, err = trace.Open(trace.Options{Dir: filepath.Join(data, "trace"), KeepFor: 30 * 24 * time.Hour, SizeMax: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if e.logins, err = authdb.Open(filepath.Join(data, "auth.db")); err != nil {
		t.Fatal(err)
	}
	tls, closeTLS := e.openTLS(data)
	e.closeTLS = closeTLS
	end := func(account string) { e.ended = append(e.ended, account) }
	keeper, err := admin.NewKeeper(admin.KeeperOptions{
		Log: log, Config: c.Current, Accounts: e.accounts, Logins: e.logins, Queue: e.queue, Trace: e.trace, EndSessions: end,
		NewAccount: func() (store.NewAccount, error) { return store.NewAccount{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	backups, err := backup.New(backup.Options{
		Config: c, Accounts: e.accounts, Queue: e.queue, Logins: e.logins, DataDir: data, Log: log, Version: "v1.2.3", Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := receive.New(receive.Options{
		Store: e.accounts, Config: c.Current, Log: log, Registerer: prometheus.NewRegistry(), TempDir: filepath.Join(data, "tmp"), Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	adm, err := admin.New(admin.Options{
		Log: log, Config: c.Current, Update: c.Update, Accounts: e.accounts, Levels: levels, Rand: rand.Reader, Logins: e.logins, Keeper: keeper,
		EndSessions: end, Queue: e.queue, Trace: e.trace, TLS: tls, Backup: backups, Stop: e.tell, Version: "v1.2.3",
		Listeners: func() []admin.Listener {
			return []admin.Listener{{Name: "local", Service: "imap", Address: "127.0.0.1:143"}}
		},
		Reload: e.reload,
		Explain: func(ctx context.Context, q admin.Question) ([]screen.Explanation, error) {
			return receiver.Explain(ctx, receive.Question{Rcpt: q.Rcpt, Content: q.Content, Size: q.Size, IP: q.IP, Hello: q.Hello, MailFrom: q.MailFrom, TLS: q.TLS, At: q.At})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	listener := net.Listener(e.pipes)
	if ln != nil {
		listener = ln(data)
	}
	e.server = serveCtl(t.Context(), listener, ctlOptions{
		Admin: adm, Log: log.With("pkg", "ctl"), Panicked: func() { e.panics++ }, Version: "v1.2.3", Calls: calls,
	})
	go e.live()
	return e
}

// writeConfig writes the configuration of a localserve and opens it.
func (e *ctlEnv) writeConfig() *live.Config {
	e.t.Helper()
	settings := localStatic([]string{"127.0.0.1"})
	settings.Transports = map[string]config.Transport{"never": {Fail: &config.TransportFail{}}, "relay": {SMTP: &config.TransportSMTP{Host: "relay.example"}}}
	static, err := config.FormatStatic(settings)
	dynamic, derr := config.FormatDynamic(localDynamic())
	err = errors.Join(err, derr,
		os.WriteFile(filepath.Join(e.dir, config.StaticName), static, 0o600), os.WriteFile(filepath.Join(e.dir, config.DynamicName), dynamic, 0o600))
	if err != nil {
		e.t.Fatal(err)
	}
	c, err := live.Open(filepath.Join(e.dir, config.StaticName), live.Options{WithoutKeys: true})
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

// reload finds mistakes the second time.
func (e *ctlEnv) reload(context.Context) error {
	if e.reloads++; e.reloads == 2 {
		return fmt.Errorf("reloading configuration:\n%w", config.Problems{
			{File: config.DynamicName, Line: 3, Path: "Domains.x.X", Err: config.ErrUnknown},
			{File: config.DynamicName, Line: 7, Path: "WebHandlers", Err: config.ErrLater},
		})
	}
	return nil
}

// tell says that the server shall stop.
func (e *ctlEnv) tell() { e.stopOnce.Do(func() { close(e.told) }) }

// live is what serveSystem does when it is told to stop.
func (e *ctlEnv) live() {
	defer close(e.stopped)
	<-e.told
	e.stopErr = errors.Join(e.server.stop(), e.queue.Close(), e.accounts.Close(), e.logins.Close(), e.trace.Close(), e.closeTLS())
	e.server.close(e.t.Context(), e.stopErr)
}

func (e *ctlEnv) close() {
	e.tell()
	<-e.stopped
	if e.stopErr != nil {
		e.t.Errorf("stopping: %v", e.stopErr)
	}
}

// dial returns the client's side of a new connection in memory.
func (e *ctlEnv) dial() net.Conn {
	client, server := net.Pipe()
	e.pipes.conns <- server
	return client
}

// client returns a client for connections in memory.
func (e *ctlEnv) client() *ctlClient {
	return newCtlClient(e.dir, func(context.Context) (net.Conn, error) { return e.dial(), nil })
}

// add queues n messages, to 1@remote.example and so on.
func (e *ctlEnv) add(n int) {
	e.t.Helper()
	for i := range n {
		const text = "From: <mox@localhost>\r\n\r\nHello.\r\n"
		c, err := e.queue.NewContent(e.t.Context(), int64(len(text)), strings.NewReader(text))
		if err != nil {
			e.t.Fatal(err)
		}
		from, err := queue.Path("mox@localhost")
		to, terr := queue.Path(fmt.Sprintf("%d@remote.example", i+1))
		if err := errors.Join(err, terr); err != nil {
			e.t.Fatal(err)
		}
		_, err = e.queue.Add(e.t.Context(), queue.New{
			Account: "mox", MailFrom: from, Content: c, MessageID: "<id@localhost>", Subject: "Hello",
			To: []queue.NewRcpt{{Path: to, Prefix: []byte("Received: by localhost\r\n")}},
		})
		if err != nil {
			e.t.Fatal(err)
		}
	}
}

// addCanceled leaves a call of a webhook about a message that was dropped, which
// waits after an attempt.
func (e *ctlEnv) addCanceled() {
	e.t.Helper()
	e.hooked.Store(true)
	defer e.hooked.Store(false)
	e.add(1)
	if _, err := e.queue.Drop(e.t.Context(), queue.Filter{}); err != nil {
		e.t.Fatal(err)
	}
	e.call(queue.HookResult{Start: time.Now(), URL: "http://localhost:8000/hook", Code: 503, Error: "503 Service Unavailable", Response: "try <later>"})
}

// addIncoming leaves calls of a webhook about messages that came in: one was called,
// one failed, one waits for its first attempt.
func (e *ctlEnv) addIncoming() {
	e.t.Helper()
	e.hooked.Store(true)
	defer e.hooked.Store(false)
	var list []queue.NewIncoming
	for id := range int64(3) {
		list = append(list, queue.NewIncoming{Account: "mox", EmailID: 7 + id, MessageID: "<in@remote.example>", Subject: "Hi"})
	}
	if err := e.queue.AddIncoming(e.t.Context(), list); err != nil {
		e.t.Fatal(err)
	}
	e.call(queue.HookResult{Start: time.Now(), Took: time.Second, URL: "http://localhost:8000/hook", Code: 204, OK: true})
	e.call(queue.HookResult{Start: time.Now(), URL: "http://localhost:8000/hook", Error: "connection refused"})
}

// call has the call made that is due first.
func (e *ctlEnv) call(r queue.HookResult) {
	e.t.Helper()
	w, err := e.queue.NextHook(e.t.Context())
	if err == nil {
		err = e.queue.FinishHook(e.t.Context(), w, r)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// run runs a command for this server, which must have a real socket.
func (e *ctlEnv) run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	inv := &invocation{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}
	code = inv.main(t.Context(), append([]string{"-config", filepath.Join(e.dir, "mox.conf")}, args...), func(string) string { return "" })
	return code, out.String(), errs.String()
}

// pipeListener is a net.Listener for connections in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

// TestCtlTranscripts plays each testdata/ctl/*.txt against a server of its own,
// in a bubble where waiting takes no time. A line of the client is the name of a
// call and its parameters; the server answers with the HTTP status and the JSON,
// or with the lines of a stream or a dump below the status. With "# setup: http"
// lines are those of HTTP, with "# setup: queue=n" so many messages wait, and with
// "# setup: webhooks" calls of webhooks do, see addCanceled and addIncoming.
func TestCtlTranscripts(t *testing.T) {
	t.Parallel()
	for _, f := range transcript.Load(t, "testdata/ctl/*.txt") {
		t.Run(strings.TrimSuffix(filepath.Base(f.Name), ".txt"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newCtlEnv(t, nil, ctlCalls)
				defer e.close()
				if n := f.Setup["queue"]; n != "" {
					number, err := strconv.Atoi(n)
					if err != nil {
						t.Fatal(err)
					}
					e.add(number)
				}
				if _, ok := f.Setup["webhooks"]; ok {
					e.addCanceled()
					e.addIncoming()
				}
				f.Play(t, func(string) net.Conn {
					if _, ok := f.Setup["http"]; ok {
						return e.dial()
					}
					return e.lines()
				})
				if e.panics > 0 {
					t.Errorf("%d panics: %s", e.panics, &e.log)
				}
			})
		})
	}
}

// TestCtlCallsHaveTranscripts joins the table of calls with the transcripts.
func TestCtlCallsHaveTranscripts(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, c := range ctlCalls {
		if names[c.name] || !strings.HasSuffix(c.doc, ".") || c.run == nil {
			t.Errorf("call %s: is there twice, or has no text %q or handler", c.name, c.doc)
		}
		names[c.name] = true
		files := transcript.Load(t, "testdata/ctl/"+strings.ToLower(c.name)+".txt")
		if !slices.Contains(files[0].Commands(), c.name) {
			t.Errorf("the transcript of %s does not use it", c.name)
		}
	}
}

const ctlDoc = `The control socket is the file "ctl" in the data directory. Root, and the user
that the server runs as, can call it while the server runs, as its own commands do.

It speaks HTTP/1.1. Each call is a POST of one JSON object. An answer with status
200 is a JSON object, the bytes of a message (application/octet-stream), or lines
of JSON (application/jsonl): notes, and at the end a result or an error. Another
status comes with a JSON object that has a code, for programs, and a message. An
unknown field in a request is an error; programs must expect new fields in answers.

    curl --unix-socket data/ctl -H 'Content-Type: application/json' -d '{}' http://ctl/v1/status

What the calls take and answer, and their errors, is in testdata/ctl; the fields
are documented with the types in package admin.

`

// TestGoldenCtl compares the list of calls with docs/control.txt.
func TestGoldenCtl(t *testing.T) {
	t.Parallel()
	got := ctlDoc
	for _, c := range ctlCalls {
		got += fmt.Sprintf("%-28s %s\n", "/"+ctlVersion+"/"+c.name, c.doc)
	}
	const golden = "docs/control.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("%s differs, run make gen: %v; got:\n%s", golden, err, got)
	}
}

// lines returns a connection that takes a call in each line, as transcripts have
// them.
func (e *ctlEnv) lines() net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		in := bufio.NewScanner(server)
		for in.Scan() {
			name, params, _ := strings.Cut(strings.ReplaceAll(in.Text(), "OUTSIDE", e.outside), " ")
			answer, err := e.post(name, params)
			answer = strings.ReplaceAll(answer, e.outside, "OUTSIDE")
			if err != nil {
				answer = err.Error() + "\n"
			}
			if _, err := io.WriteString(server, strings.ReplaceAll(strings.ReplaceAll(answer, "\r\n", "\n"), "\n", "\r\n")); err != nil {
				return
			}
		}
	}()
	return client
}

// post makes a call and returns the answer as lines.
func (e *ctlEnv) post(name, params string) (string, error) {
	resp, err := e.client().http.Post("http://ctl/v1/"+name, "application/json", strings.NewReader(params))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		body = append(body, "broken off: "+err.Error()+"\n"...)
	}
	separator := " "
	if resp.Header.Get("Content-Type") != "application/json" {
		separator = "\n"
	}
	return fmt.Sprint(resp.StatusCode, separator, string(body)), nil
}
