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
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/internal/transcript"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// ctlEnv is a control server with what it administers: the account mox, and a
// queue.
type ctlEnv struct {
	t        testing.TB
	dir      string // Has mox.conf; the data directory is data.
	accounts *store.Dir
	queue    *queue.DB
	log      logBuffer
	server   *ctlServer
	pipes    *pipeListener
	panics   int

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
	e := &ctlEnv{t: t, dir: t.TempDir(), pipes: newPipeListener(), told: make(chan struct{}), stopped: make(chan struct{})}
	data := filepath.Join(e.dir, "data")
	if err := errors.Join(os.WriteFile(filepath.Join(e.dir, "mox.conf"), []byte("DataDir: data\n"), 0o600), os.Mkdir(data, 0o700)); err != nil {
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
		Dir: filepath.Join(data, "queue"), Log: slog.New(slog.DiscardHandler), Rand: rand.Reader, Schedule: queue.DefaultSchedule(),
		Local: func(string) bool { return false },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Check(config.Static{
		DataDir: "data", LogLevel: "info", Hostname: "localhost", Postmaster: config.Postmaster{Account: "mox", Mailbox: "Inbox"},
	}, localDynamic(), nil)
	if err != nil {
		t.Fatal(err)
	}
	adm, err := admin.New(admin.Options{
		Log: log, Config: func() *config.Config { return cfg }, Accounts: e.accounts, Levels: levels, Rand: rand.Reader,
		Queue: e.queue, Stop: e.tell, Version: "v1.2.3",
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

// tell says that the server shall stop.
func (e *ctlEnv) tell() { e.stopOnce.Do(func() { close(e.told) }) }

// live is what serveSystem does when it is told to stop.
func (e *ctlEnv) live() {
	defer close(e.stopped)
	<-e.told
	e.stopErr = errors.Join(e.server.stop(), e.queue.Close(), e.accounts.Close())
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
// lines are those of HTTP, and with "# setup: queue=n" so many messages wait.
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
		got += fmt.Sprintf("%-22s %s\n", "/"+ctlVersion+"/"+c.name, c.doc)
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
			name, params, _ := strings.Cut(in.Text(), " ")
			answer, err := e.post(name, params)
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

// streamTest is a stream that does what its parameter says.
type streamTest struct {
	End string `json:"end"` // "result", "error" or "panic".
}

// testCalls are calls that do what those of a server must not.
var testCalls = []ctlCall{
	{name: "panic", run: plain(func(*admin.Admin, context.Context, admin.Nothing) (admin.Nothing, error) { panic("on purpose") })},
	{name: "ok", run: plain(func(*admin.Admin, context.Context, admin.Nothing) (string, error) { return "<ok>", nil })},
	{name: "fails", run: plain(func(*admin.Admin, context.Context, admin.Nothing) (string, error) {
		return "", errors.New("disk on fire")
	})},
	{name: "waits", run: plain(func(_ *admin.Admin, ctx context.Context, _ admin.Nothing) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	})},
	{name: "stream", run: stream(func(_ *ctlServer, _ context.Context, req streamTest, note func(admin.Note)) (string, error) {
		note(admin.Note{Message: "copying", Done: 1, Total: 2})
		note(admin.Note{Message: "careful", Warning: true})
		switch req.End {
		case "panic":
			panic("on purpose")
		case "error":
			return "", &admin.Error{Code: admin.NotFound, Message: "nothing there"}
		}
		return "done", nil
	})},
	{name: "long", run: raw(func(*admin.Admin, context.Context, admin.Nothing) (admin.QueueContent, error) {
		return admin.QueueContent{Size: 1 << 40, ReadCloser: io.NopCloser(zeros{})}, nil
	})},
	{name: "short", run: raw(func(*admin.Admin, context.Context, admin.Nothing) (admin.QueueContent, error) {
		return admin.QueueContent{Size: 10, ReadCloser: io.NopCloser(strings.NewReader("12345"))}, nil
	})},
	{name: "stop", run: stream(stopCall), untilGone: true},
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestCtlPanic shows that a panic costs one answer, and is counted and logged.
func TestCtlPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newCtlEnv(t, nil, testCalls)
		defer e.close()
		for i := 1; i <= 2; i++ {
			_, err := ctlCallPlain[string](t.Context(), e.client(), "panic", admin.Nothing{})
			if admin.ErrorOf(err).Code != admin.Server || e.panics != i || !strings.Contains(e.log.String(), `m=panic pkg=ctl value="on purpose" stack=`) {
				t.Errorf("got %v, %d panics counted, log: %s", err, e.panics, &e.log)
			}
			if got, err := ctlCallPlain[string](t.Context(), e.client(), "ok", admin.Nothing{}); err != nil || got != "<ok>" {
				t.Errorf("after a panic: got %q, %v", got, err)
			}
		}
	})
}

// TestCtlStream shows notes, and each way in which a stream ends.
func TestCtlStream(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		end, want, err string
	}{
		{"result", `{"note":{"message":"copying","done":1,"total":2}} {"note":{"message":"careful","warning":true}} {"result":"done"}`, ""},
		{"error", `{"note":{"message":"copying","done":1,"total":2}} {"note":{"message":"careful","warning":true}}`, "nothing there"},
		{"panic", `{"note":{"message":"copying","done":1,"total":2}} {"note":{"message":"careful","warning":true}}`, errCtlBroken.Error()},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newCtlEnv(t, nil, testCalls)
			defer e.close()
			var lines []string
			err := ctlCallStream(t.Context(), e.client(), "stream", streamTest{test.end}, func(f ctlFrame) error {
				line, err := appendJSON(nil, f)
				lines = append(lines, strings.TrimSpace(string(line)))
				return err
			})
			if got := strings.Join(lines, " "); got != test.want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
				t.Errorf("%s: got %s, %v, want %s, %q", test.end, got, err, test.want, test.err)
			}
			if test.end == "error" && admin.ErrorOf(err).Code != admin.NotFound {
				t.Errorf("error: got code %s", admin.ErrorOf(err).Code)
			}
			errStop := errors.New("enough")
			err = ctlCallStream(t.Context(), e.client(), "stream", streamTest{test.end}, func(ctlFrame) error { return errStop })
			if !errors.Is(err, errStop) {
				t.Errorf("a caller that wants no more: got %v", err)
			}
		})
	}
}

// TestCtlStop shows what becomes of connections when the server stops: calls are
// ended, new ones refused, and who asked is told when nothing is left.
func TestCtlStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newCtlEnv(t, nil, testCalls)
		var calls sync.WaitGroup
		start := time.Now()
		calls.Go(func() {
			_, err := ctlCallPlain[string](t.Context(), e.client(), "waits", admin.Nothing{})
			if admin.ErrorOf(err).Code != admin.Unavailable {
				t.Errorf("call that was running: got %v", err)
			}
		})
		conn := e.dial() // Takes nothing of a long answer.
		calls.Go(func() {
			_, err := io.WriteString(conn, "POST /v1/long HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
			if err != nil {
				t.Error(err)
			}
		})
		idle := bufio.NewReader(nil)
		kept := e.dial()
		calls.Go(func() {
			_, err := io.WriteString(kept, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			idle.Reset(kept)
			resp, rerr := http.ReadResponse(idle, nil)
			if err := errors.Join(err, rerr); err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		})
		synctest.Wait()
		var got []string
		calls.Go(func() {
			err := ctlCallStream(t.Context(), e.client(), "stop", admin.Nothing{}, func(f ctlFrame) error {
				select {
				case <-e.stopped:
					got = append(got, "too late")
				default:
				}
				if f.Result != nil {
					got = append(got, string(f.Result))
				} else {
					got = append(got, f.Note.Message)
				}
				return nil
			})
			if err != nil {
				t.Errorf("stop: %v", err)
			}
		})
		<-e.stopped
		calls.Wait()
		if s := strings.Join(got, " "); s != "stopping {}" {
			t.Errorf("stop: got %s", s)
		}
		if took := time.Since(start); took > ctlStopTime {
			t.Errorf("took %v, want at most %v", took, ctlStopTime)
		}
		if _, err := idle.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("idle connection: got %v, want it closed", err)
		}
		if err := e.accounts.Err(); err == nil {
			if _, err := e.accounts.Account(t.Context(), "mox"); !errors.Is(err, store.ErrClosed) {
				t.Errorf("the store was not closed: %v", err)
			}
		}
		conn.Close()
	})
}

// TestCtlStopping shows a call between stop and the end, and one that doesn't
// end.
func TestCtlStopping(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		calls := append(slices.Clone(testCalls), ctlCall{name: "hangs", run: plain(func(*admin.Admin, context.Context, admin.Nothing) (string, error) {
			<-never
			return "", nil
		})})
		e := newCtlEnv(t, nil, calls)
		client, conn := e.client(), e.dial()
		go func() {
			_, err := ctlCallPlain[string](t.Context(), client, "hangs", admin.Nothing{})
			if err == nil {
				t.Error("call that hangs: got an answer")
			}
		}()
		synctest.Wait()
		e.tell()
		synctest.Wait()
		if _, err := io.WriteString(conn, "POST /v1/ok HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("call while stopping: got %v, %v", resp, err)
		}
		conn.Close()
		<-e.stopped // Although the call hangs.
		if e.stopErr == nil || !strings.Contains(e.stopErr.Error(), "takes too long") {
			t.Errorf("stop: got %v", e.stopErr)
		}
		close(never)
	})
}

// TestCtlIdle shows that connections can be used again, within a minute.
func TestCtlIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newCtlEnv(t, nil, testCalls)
		defer e.close()
		conn := e.dial()
		defer conn.Close()
		in := bufio.NewReader(conn)
		for range 3 {
			if _, err := io.WriteString(conn, "POST /v1/ok HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "\"<ok>\"\n" {
				t.Errorf("got %q, %v", body, err)
			}
			time.Sleep(ctlIdleTime - time.Second)
		}
		time.Sleep(2 * time.Second)
		if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after a minute: got %v, want the connection closed", err)
		}
	})
}

// TestCtlBroken shows answers that a client must not take for complete, and
// servers that are something else.
func TestCtlBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newCtlEnv(t, nil, testCalls)
		defer e.close()
		var out bytes.Buffer
		if err := ctlCallRaw(t.Context(), e.client(), "short", admin.Nothing{}, &out); !errors.Is(err, io.ErrUnexpectedEOF) || out.String() != "12345" {
			t.Errorf("less than announced: got %q, %v", &out, err)
		}
		if err := ctlCallRaw(t.Context(), e.client(), "fails", admin.Nothing{}, &out); admin.ErrorOf(err).Code != admin.Server || err.Error() != "disk on fire" {
			t.Errorf("an error of the server: got %v", err)
		}
		if !strings.Contains(e.log.String(), `l=error m="call failed" pkg=ctl path=/v1/fails code=server err="disk on fire"`) {
			t.Errorf("log: %s", &e.log)
		}
		_, err := ctlCallPlain[string](t.Context(), e.client(), "none", admin.Nothing{})
		want := fmt.Sprintf("the server (mox/v1.2.3) has no call \"none\", which mox/%s asks for\nthe command is mox/%[1]s and the server mox/v1.2.3: restart the server, or use the command of its version", version())
		if err == nil || err.Error() != want {
			t.Errorf("a call that isn't there: got %v, want %s", err, want)
		}
	})
	for name, answer := range map[string]string{
		"nothing":       "",
		"another error": "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope",
		"no JSON":       "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCtlClient("data", func(context.Context) (net.Conn, error) {
				client, server := net.Pipe()
				go func() {
					_, err := http.ReadRequest(bufio.NewReader(server))
					_, werr := io.WriteString(server, answer)
					if err := errors.Join(err, werr, server.Close()); err != nil {
						t.Error(err)
					}
				}()
				return client, nil
			})
			want := map[string]string{"nothing": "only root and the user of the server", "another error": "it may be another program", "no JSON": "reading answer"}[name]
			if _, err := ctlCallPlain[string](t.Context(), c, "ok", admin.Nothing{}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", name, err, want)
			}
			if name == "no JSON" {
				if err := ctlCallStream(t.Context(), c, "ok", admin.Nothing{}, func(ctlFrame) error { return nil }); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s as a stream: got %v, want %s", name, err, want)
				}
			}
		})
	}
}

// FuzzCtlRequest checks that what parses is one object with known fields, so that
// it means the same when written and parsed again.
func FuzzCtlRequest(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"filter":{"ids":[1,2],"from":"@example.org","submitted":"<1h"},"delay":"1d","fromNow":true}`, `{"filter":null}`, ` {} `, `{}{}`, `{"x":1}`, `[]`, `null`,
		`{"delay":1}`, `{"filter":{"transport":""}}`, `{"filter":{"ids":[1.5]}}`, `{"Filter":{},"filter":{"max":-1}}`, "", "{",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var req, again admin.QueueScheduleRequest
		if parseRequest(text, &req) != nil {
			return
		}
		written, err := appendJSON(nil, req)
		if err != nil {
			t.Fatal(err)
		}
		if err := parseRequest(written, &again); err != nil {
			t.Fatalf("%q: written as %q: %v", text, written, err)
		}
		if second, err := appendJSON(nil, again); err != nil || !bytes.Equal(written, second) {
			t.Fatalf("%q: written as %q, then %q, %v", text, written, second, err)
		}
	})
}
