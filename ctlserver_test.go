package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/store"
)

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
		later := e.client()
		later.protocol, later.version = "v2", "v9.0.0"
		_, err = ctlCallPlain[string](t.Context(), later, "ok", admin.Nothing{})
		want = `the server (mox/v1.2.3) speaks version v1 of the control protocol, and mox/v9.0.0 asks for "v2"` + "\n" +
			"the command is mox/v9.0.0 and the server mox/v1.2.3: restart the server, or use the command of its version"
		if err == nil || err.Error() != want || admin.ErrorOf(err).Code != ctlOtherVersion {
			t.Errorf("another protocol: got %v, want %s", err, want)
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
