package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// start serves on loopback and returns its URL and a function that stops it.
func start(t *testing.T, reg *prometheus.Registry, ready func(context.Context) error) (url string, stop func() error) {
	t.Helper()
	s, err := New(Options{Log: slog.New(slog.DiscardHandler), Registry: reg, Ready: ready})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return "http://" + ln.Addr().String(), stop
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestServe(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	panics, err := NewPanics(reg, "smtpserver", "imapserver")
	if err != nil {
		t.Fatal(err)
	}
	panics.In("imapserver")()
	var notReady error
	url, stop := start(t, reg, func(context.Context) error { return notReady })
	for _, test := range []struct {
		name  string
		ready error
		path  string
		code  int
		want  string
	}{
		{"alive", nil, "/livez", 200, "ok\n"},
		{"ready", nil, "/readyz", 200, "ok\n"},
		{"not ready", errors.New("stopping"), "/readyz", 503, "stopping\n"},
		{"alive though not ready", errors.New("stopping"), "/livez", 200, "ok\n"},
		{"a package without panics", nil, "/metrics", 200, "mox_panic_total{pkg=\"smtpserver\"} 0\n"},
		{"a package with one", nil, "/metrics", 200, "mox_panic_total{pkg=\"imapserver\"} 1\n"},
		{"the Go runtime", nil, "/metrics", 200, "\ngo_goroutines "},
		{"anything else", nil, "/debug/pprof/", 404, ""},
	} {
		notReady = test.ready
		code, body := get(t, url+test.path)
		if code != test.code || !strings.Contains(body, test.want) {
			t.Errorf("%s: got %d %.200q, want %d with %q", test.name, code, body, test.code, test.want)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stopped: %v", err)
	}
	if resp, err := http.Get(url + "/livez"); err == nil {
		resp.Body.Close()
		t.Error("still there after it was stopped")
	}
}

// TestStopWaits shows that a request has a moment to end, and no more.
func TestStopWaits(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	url, stop := start(t, prometheus.NewRegistry(), func(ctx context.Context) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	})
	go func() {
		if resp, err := http.Get(url + "/readyz"); err == nil {
			resp.Body.Close()
		}
	}()
	<-asked
	begin := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took < stopTime || took > stopTime+readyTimeout {
		t.Errorf("took %v, want %v", took, stopTime)
	}
}

func TestListenerBreaks(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Ready: func(context.Context) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want that the listener is closed", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New took no options")
	}
}

func TestCountLines(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	var out strings.Builder
	h, err := CountLines(reg, slog.NewTextHandler(&out, nil))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h)
	smtp := log.With("pkg", "smtpserver")
	smtp.Info("a")
	smtp.With("cid", 1).WithGroup("g").With("pkg", "x").Error("b", "c", 1)
	log.Warn("d")
	log.Debug("e")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got = append(got, f.GetName()+" "+m.GetLabel()[0].GetValue())
			if m.GetCounter().GetValue() != 1 {
				t.Errorf("got %v", m)
			}
		}
	}
	const want = "mox_logging_level_error_total smtpserver, mox_logging_level_info_total smtpserver, mox_logging_level_warn_total "
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
	if !strings.Contains(out.String(), "g.c=1") || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("next handler wrote %s", out.String())
	}
}
