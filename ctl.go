package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/system"
)

// The control socket is a file in the data directory. It speaks HTTP/1.1: each
// call is a POST with a JSON object to /v1/name, see ctlCalls.
const (
	ctlName = "ctl"

	// ctlVersion is the first element of paths. Another is needed when programs that
	// call can't be served as before; that calls and fields are added changes nothing.
	ctlVersion = "v1"

	// ctlPathMax bounds the path of the socket, in bytes: what the systems with the
	// least room have, without the NUL.
	ctlPathMax = 103
)

// Limits of the control socket.
const (
	ctlConnectionsMax = 64               // Open at a time. More wait.
	ctlHeaderTime     = 10 * time.Second // For a request's header to arrive.
	ctlRequestTime    = 30 * time.Second // For a whole request, and for each piece of an answer to be taken.
	ctlReadTime       = 10 * time.Minute // For a piece of a dump, which a person may be reading.
	ctlIdleTime       = time.Minute      // Between requests.
	ctlCallTime       = 10 * time.Minute // For a call that isn't a stream.
	ctlStopTime       = 2 * time.Second  // For running calls to return, and for the last answers, when the server stops.
	ctlHeaderMax      = 16 * 1024        // Bytes.
	ctlRequestMax     = 1 << 20          // Bytes of a request's JSON.
	explainRequestMax = 140 << 20        // The same, with a message of admin.ExplainMax in base64.
)

// ctlOptions is what a control server needs. All fields are required.
type ctlOptions struct {
	Admin    *admin.Admin
	Log      *slog.Logger
	Panicked func() // Counts.
	Version  string // Of mox.
	Calls    []ctlCall
}

// ctlServer answers on the control socket of a running server.
type ctlServer struct {
	opts   ctlOptions
	log    *slog.Logger
	http   *http.Server
	ln     net.Listener
	served sync.WaitGroup
	cancel context.CancelFunc // Of all calls but stop.

	// gone is closed when the server has stopped, for those who wait for that, with
	// what it had to say in goneErr.
	gone    chan struct{}
	goneErr error

	mu       sync.Mutex
	stopping bool           // Nothing may be added to running.
	running  sync.WaitGroup // Calls that use what is closed when the server stops.
}

// serveHooks are told how serving goes. Each is called once at most.
type serveHooks struct {
	ready    func() // Everything can be connected to.
	stopping func() // Stopping begins.
}

// serveSystem serves s and its control socket until ctx is done or an
// administrator says stop, and closes s.
func serveSystem(ctx context.Context, s *system.System, hooks serveHooks) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	ctl, err := startCtl(ctx, s, stop)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	hooks.ready()
	var told sync.WaitGroup
	told.Go(func() {
		<-serving.Done()
		hooks.stopping()
	})
	err = s.Serve(serving)
	stop() // Perhaps it ended by itself.
	told.Wait()
	// The socket goes while the data directory is still locked, so that it isn't that
	// of the next server. What it uses is closed after its last call, and who waits
	// for the end is told when there is nothing left to wait for.
	err = errors.Join(err, ctl.stop(), s.Close())
	ctl.close(ctx, err)
	return err
}

// startCtl starts the control server of a System.
func startCtl(ctx context.Context, s *system.System, stop func()) (*ctlServer, error) {
	adm, err := s.Admin(stop)
	if err != nil {
		return nil, err
	}
	opts := ctlOptions{Admin: adm, Log: s.Logger("ctl"), Panicked: s.PanicCounter("ctl"), Version: version(), Calls: ctlCalls}
	ln, err := listenCtl(ctx, s.DataDir(), opts.Log)
	if err != nil {
		return nil, err
	}
	return serveCtl(ctx, ln, opts), nil
}

// listenCtl makes the socket in a data directory, which the caller has locked.
func listenCtl(ctx context.Context, dir string, log *slog.Logger) (net.Listener, error) {
	path, err := ctlPath(dir)
	if err != nil {
		return nil, err
	}
	if err := removeStaleCtl(ctx, path); err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("making control socket: %w", err)
	}
	// Until here the umask alone decided who can connect, but that is looked at again
	// for each connection where the system tells.
	if err := os.Chmod(path, ctlPerm); err != nil {
		return nil, errors.Join(fmt.Errorf("making control socket: %w", err), ln.Close())
	}
	return netutil.LimitListener(&peerListener{ln, log}, ctlConnectionsMax), nil
}

// ctlPath returns the path of the socket in a data directory.
func ctlPath(dir string) (string, error) {
	path := filepath.Join(dir, ctlName)
	if len(path) > ctlPathMax {
		return "", fmt.Errorf("control socket %s: path is longer than %d bytes, which systems don't allow: choose another data directory", path, ctlPathMax)
	}
	return path, nil
}

// removeStaleCtl removes a socket that a crash left.
func removeStaleCtl(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("looking for an old control socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is not a socket, and in the way of the control socket", path)
	}
	if conn, err := dialCtl(ctx, path); err == nil {
		return errors.Join(fmt.Errorf("another server answers at %s", path), conn.Close())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing old control socket: %w", err)
	}
	return nil
}

// peerListener accepts connections of those who may administer the server, and
// closes others at once.
type peerListener struct {
	net.Listener
	log *slog.Logger
}

// Accept returns the next connection.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(conn)
		if err == nil && mayControl(uid) || errors.Is(err, errors.ErrUnsupported) {
			return conn, nil
		}
		l.log.Warn("control connection refused, only root and the user of the server may connect", "uid", uid, "err", err)
		_ = conn.Close()
	}
}

// mayControl tells whether a user may administer the server: root, and the one
// that it runs as.
func mayControl(uid int) bool { return uid == 0 || uid == os.Geteuid() }

// serveCtl answers on ln until stop.
func serveCtl(ctx context.Context, ln net.Listener, opts ctlOptions) *ctlServer {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // The end of ctx is the begin of stopping.
	s := &ctlServer{opts: opts, log: opts.Log, ln: ln, cancel: cancel, gone: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: ctlHeaderTime,
		IdleTimeout:       ctlIdleTime,
		MaxHeaderBytes:    ctlHeaderMax,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelInfo),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	s.served.Go(func() {
		err := s.http.Serve(ln)
		if !s.isStopping() {
			s.log.Error("control socket", "err", err)
		}
	})
	return s
}

// stop removes the socket and waits for calls, except for those who wait for the
// server to be gone.
func (s *ctlServer) stop() error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	err := s.ln.Close()
	s.cancel()
	done := make(chan struct{})
	go func() { // Ends with the calls, which are waited for below, as long as there is time.
		s.running.Wait()
		close(done)
	}()
	limit := time.NewTimer(ctlStopTime)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		err = errors.Join(err, errors.New("a call of the control socket takes too long to end"))
	}
	if err != nil {
		return fmt.Errorf("stopping control socket: %w", err)
	}
	return nil
}

// close tells those who wait that the server is gone, and ends all connections.
// Nothing is done that can fail.
func (s *ctlServer) close(ctx context.Context, err error) {
	s.goneErr = err
	close(s.gone)
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), ctlStopTime)
	defer cancel()
	if s.http.Shutdown(limit) != nil {
		_ = s.http.Close()
	}
	s.served.Wait()
}

func (s *ctlServer) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// begin notes a call as running, unless the server is stopping.
func (s *ctlServer) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.running.Add(1)
	return true
}

// ServeHTTP answers a request. A panic costs its caller the answer, and is logged
// and counted.
func (s *ctlServer) ServeHTTP(hw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w := &ctlResponse{ResponseWriter: hw, ctl: http.NewResponseController(hw)}
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic", "value", fmt.Sprint(v), "stack", string(debug.Stack()))
			s.opts.Panicked()
			s.fail(w, r, errors.New("a bug in the server, its log has more"))
		}
		s.log.Debug("call", "path", r.URL.Path, "status", w.status, "took", time.Since(start))
	}()
	w.Header().Set("Server", "mox/"+s.opts.Version)
	if err := s.answer(w, r); err != nil {
		s.fail(w, r, err)
	}
}

// answer runs the call that a request is for.
func (s *ctlServer) answer(w *ctlResponse, r *http.Request) error {
	if err := errors.Join(w.ctl.SetReadDeadline(time.Now().Add(ctlRequestTime)), w.extend(ctlRequestTime)); err != nil {
		return fmt.Errorf("setting deadline: %w", err)
	}
	call, err := s.find(r)
	if err != nil {
		return err
	}
	if !call.untilGone {
		if !s.begin() {
			return &admin.Error{Code: admin.Unavailable, Message: "the server is stopping"}
		}
		defer s.running.Done()
	}
	w.requestMax = cmp.Or(call.requestMax, ctlRequestMax)
	return call.run(s, w, r)
}

// find returns the call of a request.
func (s *ctlServer) find(r *http.Request) (ctlCall, error) {
	caller := r.UserAgent()
	version, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if version != ctlVersion {
		return ctlCall{}, ctlError(ctlOtherVersion, "the server (mox/%s) speaks version %s of the control protocol, and %s asks for %q",
			s.opts.Version, ctlVersion, caller, version)
	}
	if r.Method != http.MethodPost {
		return ctlCall{}, ctlError(ctlBadRequest, "calls are POST requests, not %s", r.Method)
	}
	for _, c := range s.opts.Calls {
		if c.name == name {
			return c, nil
		}
	}
	return ctlCall{}, ctlError(ctlNoCall, "the server (mox/%s) has no call %q, which %s asks for", s.opts.Version, name, caller)
}

// fail tells the caller about an error, if nothing of an answer was sent yet.
func (s *ctlServer) fail(w *ctlResponse, r *http.Request, err error) {
	e := admin.ErrorOf(err)
	level := slog.LevelDebug
	if e.Code == admin.Server {
		level = slog.LevelError
	}
	s.log.Log(r.Context(), level, "call failed", "path", r.URL.Path, "code", string(e.Code), "err", err)
	if w.status != 0 {
		return // What was announced is not complete, which ends the connection.
	}
	if err := w.json(ctlStatus(e.Code), e); err != nil {
		s.log.Debug("answering", "err", err)
	}
}
