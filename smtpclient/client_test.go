package smtpclient

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
)

func TestParseExtensions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, lines string
		want        Extensions
	}{
		{"nothing", "", Extensions{}},
		{"flags in any case", "pipelining,8BitMime,SMTPUTF8,Chunking,STARTTLS,RequireTLS,DSN,EnhancedStatusCodes,X-OTHER,,HELP",
			Extensions{Pipelining: true, EightBitMIME: true, SMTPUTF8: true, Chunking: true, StartTLS: true, RequireTLS: true, DSN: true, Enhanced: true}},
		{"a size", "SIZE 1000", Extensions{Size: 1000, sizes: true}},
		{"a size without limit", "SIZE 0", Extensions{sizes: true}},
		{"a size beyond all numbers", "SIZE 99999999999999999999", Extensions{sizes: true}},
		{"a size that is none", "SIZE -1", Extensions{sizes: true}},
		{"mechanisms, in the old form too", "AUTH PLAIN login,AUTH=LOGIN CRAM-MD5", Extensions{Auth: []string{"PLAIN", "LOGIN", "CRAM-MD5"}}},
		{"limits", "LIMITS rcptmax=50 MAILMAX=10 RCPTDOMAINMAX=1 x", Extensions{RcptMax: 50, MailMax: 10}},
		{"limits that are none", "LIMITS RCPTMAX=0 MAILMAX=+1", Extensions{}},
		{"future release", "FUTURERELEASE 86400 2030-01-01T00:00:00Z", Extensions{FutureReleaseMax: 86400}},
	} {
		if got := parseExtensions(strings.Split(tc.lines, ",")); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.name, got, tc.want)
		}
	}
	many := "AUTH"
	for i := range 100 {
		many += fmt.Sprintf(" M%d", i)
	}
	if got := parseExtensions([]string{many}); len(got.Auth) != mechanismsMax {
		t.Errorf("got %d mechanisms", len(got.Auth))
	}
}

func TestReplyTexts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		reply reply
		want  *Reply
		text  string
	}{
		{"an enhanced code", reply{550, []string{"5.1.1 who?"}}, &Reply{"RCPT", 550, "5.1.1", []string{"who?"}, false}, "RCPT: 550 5.1.1 who?"},
		{"nothing else", reply{550, []string{""}}, &Reply{"RCPT", 550, "", []string{""}, false}, "RCPT: 550"},
		{"one without text", reply{550, []string{"5.1.1"}}, &Reply{"RCPT", 550, "5.1.1", []string{""}, false}, "RCPT: 550 5.1.1"},
		{"another class", reply{550, []string{"4.1.1 who?"}}, &Reply{"RCPT", 550, "", []string{"4.1.1 who?"}, false}, "RCPT: 550 4.1.1 who?"},
		{"an address", reply{550, []string{"5.5.5.5 is listed"}}, &Reply{"RCPT", 550, "", []string{"5.5.5.5 is listed"}, false}, "RCPT: 550 5.5.5.5 is listed"},
		{"letters", reply{550, []string{"5.x.1 is listed"}}, &Reply{"RCPT", 550, "", []string{"5.x.1 is listed"}, false}, "RCPT: 550 5.x.1 is listed"},
	} {
		got := tc.reply.refusal("RCPT")
		if !reflect.DeepEqual(got, tc.want) || got.Error() != tc.text {
			t.Errorf("%s: got %+v, %q, want %+v, %q", tc.name, got, got, tc.want, tc.text)
		}
	}
	long := reply{550, []string{strings.Repeat("x", textLineMax-1) + "é"}}.refusal("RCPT")
	if want := strings.Repeat("x", textLineMax-1); long.Lines[0] != want {
		t.Errorf("got %d bytes, %q", len(long.Lines[0]), long.Lines[0][textLineMax-2:])
	}
}

// answer is a server that answers each line it reads with what fn returns.
func answer(conn net.Conn, greeting string, fn func(line string) string) {
	defer conn.Close()
	if _, err := io.WriteString(conn, greeting); err != nil {
		return
	}
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(conn, fn(strings.TrimRight(line, "\r\n"))); err != nil {
			return
		}
	}
}

// TestTraceAndObserve shows that no credentials and no message get into traces,
// and what is counted.
func TestTraceAndObserve(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	go answer(server, "220 hello\r\n", func(line string) string {
		return map[string]string{
			"EHLO client.example": "250-mx\r\n250 AUTH SCRAM\r\n", "AUTH SCRAM Zmlyc3Q=": "334 c2FsdA==\r\n", "cHJvb2Y=": "334 dmVyaWZpZXI=\r\n", "": "235 ok\r\n",
			"MAIL FROM:<a@b.example>": "250 ok\r\n", "RCPT TO:<c@example.org>": "250 ok\r\n", "DATA": "354 go\r\n", ".": "250 taken\r\n", "QUIT": "221 bye\r\n",
		}[line]
	})
	var trace, observed []string
	c, err := New(t.Context(), client, Options{
		Hello: "client.example",
		Auth: func(mechanisms []string, cs *tls.ConnectionState) (sasl.Client, error) {
			if len(mechanisms) != 1 || mechanisms[0] != "SCRAM" || cs != nil {
				t.Errorf("choice between %q, %v", mechanisms, cs)
			}
			return mechanism("scram")
		},
		Trace: func(sent bool, line string) {
			trace = append(trace, map[bool]string{false: "S: ", true: "C: "}[sent]+line)
		},
		Observe: func(command string, code int, took time.Duration) {
			observed = append(observed, fmt.Sprint(command, code))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if ext := c.Extensions(); len(ext.Auth) != 1 || c.TLS() != nil {
		t.Errorf("got %+v, TLS %v", ext, c.TLS())
	}
	content := "Subject: secret"
	tx := Transaction{From: path("a@b.example"), To: []smtp.Path{path("c@example.org")}, Content: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
	if _, err := c.Send(t.Context(), tx); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil || !c.Broken() {
		t.Errorf("closing twice: got %v, broken %v", err, c.Broken())
	}
	wantTrace := []string{
		"S: 220 hello", "C: EHLO client.example", "S: 250-mx", "S: 250 AUTH SCRAM",
		"C: AUTH SCRAM ***", "S: 334 ***", "C: ***", "S: 334 ***", "C: ***", "S: 235 ok",
		"C: MAIL FROM:<a@b.example>", "S: 250 ok", "C: RCPT TO:<c@example.org>", "S: 250 ok", "C: DATA", "S: 354 go", "S: 250 taken",
		"C: QUIT", "S: 221 bye",
	}
	if !reflect.DeepEqual(trace, wantTrace) {
		t.Errorf("got trace\n%s\nwant\n%s", strings.Join(trace, "\n"), strings.Join(wantTrace, "\n"))
	}
	if got, want := strings.Join(observed, " "), "220 EHLO250 AUTH235 MAIL250 RCPT250 DATA354 .250 QUIT221"; got != want {
		t.Errorf("observed %s, want %s", got, want)
	}
}

// TestBadOptions shows that nothing is sent with options that can't be right.
func TestBadOptions(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"no name":                   {},
		"a line end in the name":    {Hello: "a\r\nb"},
		"a space in the name":       {Hello: "a b"},
		"TLS without configuration": {Hello: "a", TLS: TLSOpportunistic},
	} {
		client, server := net.Pipe()
		if c, err := New(t.Context(), client, opts); err == nil {
			t.Errorf("%s: got %v", name, c)
		}
		if n, err := server.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%s: something was sent, %v", name, err)
		}
		server.Close()
	}
}

// TestLineEndInPath shows that no path can be more than a part of a command.
func TestLineEndInPath(t *testing.T) {
	t.Parallel()
	for _, pipelining := range []string{"250 mx\r\n", "250-mx\r\n250 PIPELINING\r\n"} {
		client, server := net.Pipe()
		var lines []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			answer(server, "220 hello\r\n", func(line string) string {
				lines = append(lines, line)
				if strings.HasPrefix(line, "EHLO") {
					return pipelining
				}
				return "250 ok\r\n"
			})
		}()
		c, err := New(t.Context(), client, Options{Hello: "a"})
		if err != nil {
			t.Fatal(err)
		}
		bad := path("c@example.org")
		bad.Localpart = "c>\r\nRSET\r\n"
		result, err := c.Send(t.Context(), Transaction{From: path("a@b.example"), To: []smtp.Path{path("c@example.org"), bad}})
		if err == nil || result.Rcpts[1] == nil || !c.Broken() {
			t.Errorf("got %v, %v", result, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		<-done
		if strings.Contains(strings.Join(lines, "\n"), "RSET") {
			t.Errorf("server has seen %q", lines)
		}
	}
}

// TestPipelineWindow shows that a server that does not answer is sent no more than
// pipelineMax, and that all recipients get there when it does.
func TestPipelineWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		result := make(chan error, 1)
		const rcpts = 500
		go func() {
			c, err := New(t.Context(), client, Options{Hello: "a"})
			if err != nil {
				result <- err
				return
			}
			tx := Transaction{From: path("a@b.example"), Content: func() (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader("\r\n")), nil
			}}
			for i := range rcpts {
				tx.To = append(tx.To, path(fmt.Sprintf("rcpt%d@example.org", i)))
			}
			r, err := c.Send(t.Context(), tx)
			for i, err := range r.Rcpts {
				if refused, ok := errors.AsType[*Reply](err); (i%100 == 99) != (ok && refused.Code == 550) {
					t.Errorf("recipient %d: got %v", i, err)
				}
			}
			result <- errors.Join(err, c.Close())
		}()
		say := func(s string) {
			if _, err := io.WriteString(server, s); err != nil {
				t.Error(err)
			}
		}
		// hear returns what the client sends until it waits.
		hear := func() string {
			var b bytes.Buffer
			buf := make([]byte, 64<<10)
			for {
				if err := server.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
					t.Error(err)
				}
				n, err := server.Read(buf)
				b.Write(buf[:n])
				if err != nil {
					return b.String()
				}
			}
		}
		say("220 hello\r\n")
		hear()
		say("250-mx\r\n250 PIPELINING\r\n")
		groups, n := 0, 0
		for {
			group := hear()
			groups++
			if len(group) > pipelineMax {
				t.Errorf("%d bytes without a reply", len(group))
			}
			var replies string
			for line := range strings.Lines(group) {
				switch {
				case strings.HasPrefix(line, "RCPT"):
					n++
					if n%100 == 0 {
						replies += "550 5.1.1 no\r\n"
						continue
					}
					replies += "250 ok\r\n"
				case line == "DATA\r\n":
					replies += "354 go\r\n"
				case line == ".\r\n":
					say("250 taken\r\n")
					hear()
					say("221 bye\r\n")
					if err := <-result; err != nil {
						t.Error(err)
					}
					if n != rcpts || groups < 4 || groups > 15 {
						t.Errorf("%d recipients in %d groups", n, groups)
					}
					return
				default:
					replies += "250 ok\r\n"
				}
			}
			say(replies)
		}
	})
}

// TestLastWordsTCP shows that the reply of a server is read that closes the
// connection in the middle of a message, which TCP answers with a reset.
func TestLastWordsTCP(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		s := scriptServer{conn: conn, r: bufio.NewReader(conn), steps: []string{"HELLO", "ENVELOPE", "DATA", `C< "x"`, "S: 552 5.3.4 not that much", "CLOSE"}}
		served <- s.run()
	}()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(t.Context(), conn, Options{Hello: "client.example"})
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("x2345678901234\r\n"), 4<<20) // More than all buffers on the way hold.
	result, err := c.Send(t.Context(), Transaction{
		From: path("a@b.example"), To: []smtp.Path{path("c@example.org")}, Size: int64(len(content)),
		Content: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
	})
	if refused, ok := errors.AsType[*Reply](err); !ok || refused.Code != 552 || result.MaybeSent || !c.Broken() {
		t.Errorf("got %v, %+v, broken %v", err, result, c.Broken())
	}
	if err := errors.Join(<-served, c.Close()); err != nil {
		t.Error(err)
	}
}

// TestContextBefore shows that nothing is waited for if the context has ended.
func TestContextBefore(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ctx, client, Options{Hello: "a"}); !errors.Is(err, ErrLost) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
