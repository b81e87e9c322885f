// Package metrics has the listener for those who watch a server: metrics for
// Prometheus, and health. It also has the counters that belong to no single
// server: panics, and log lines by level.
//
// It knows nothing of mail; what is counted is registered by the servers in a
// registry that package system makes. Whoever can connect can read everything,
// so its listener is not for addresses that the world can reach.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	headerTime   = 10 * time.Second // For a request's header to arrive.
	requestTime  = 30 * time.Second // For a whole request and its answer.
	idleTime     = 5 * time.Minute  // Between requests: Prometheus asks every minute or so.
	stopTime     = time.Second      // For running requests when the server stops.
	headerMax    = 16 * 1024        // Bytes.
	gathersMax   = 4                // Requests for metrics at a time.
	readyTimeout = 5 * time.Second  // For the answer to whether we are ready.
)

// Options is what a Server needs. All fields are required.
type Options struct {
	Log      *slog.Logger
	Registry *prometheus.Registry // Its metrics are served; those of Go and the process are added.
	Ready    func(context.Context) error
}

// Server answers about metrics and health.
type Server struct {
	log     *slog.Logger
	handler http.Handler
}

// New returns a Server.
func New(opts Options) (*Server, error) {
	if opts.Log == nil || opts.Registry == nil || opts.Ready == nil {
		return nil, errors.New("metrics: missing option")
	}
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := opts.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of the process: %w", err)
		}
	}
	s := &Server{log: opts.Log.With("pkg", "metrics")}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(opts.Registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: gathersMax,
	}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { s.ready(w, r, opts.Ready) })
	s.handler = mux
	return s, nil
}

// ready says whether the server should get work. The reason why not is for the
// operator, who alone can ask.
func (s *Server) ready(w http.ResponseWriter, r *http.Request, ready func(context.Context) error) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := ready(ctx); err != nil {
		s.log.WarnContext(ctx, "not ready", "err", err)
		text(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	text(w, http.StatusOK, "ok")
}

func text(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text) // The peer may be gone.
}

// Serve answers on ln until ctx is done, then returns nil. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerMax,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelInfo),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if server.Shutdown(limit) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(ln)
	if !stop() {
		<-stopped
		return nil
	}
	return fmt.Errorf("serving metrics on %s: %w", ln.Addr(), err)
}
