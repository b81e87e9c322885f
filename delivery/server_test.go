package delivery

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtpserver"
	"github.com/mjl-/mox/store"
)

// otherServer is a server of our own making, for other.example with the account
// carol.
type otherServer struct {
	e      *env
	store  *store.Dir
	conns  chan net.Conn
	done   chan struct{}
	cancel context.CancelFunc
	served chan error
}

func newOtherServer(e *env) *otherServer {
	e.Helper()
	dir := e.TempDir()
	o := &otherServer{e: e, conns: make(chan net.Conn), done: make(chan struct{}), served: make(chan error, 1)}
	cfg, err := config.Check(config.Static{
		DataDir: dir, LogLevel: "info", Hostname: "mx.other.example", Postmaster: config.Postmaster{Account: "carol", Mailbox: "Inbox"},
	}, config.Dynamic{
		Domains:  map[string]config.Domain{"other.example": {}},
		Accounts: map[string]config.Account{"carol": {Domain: "other.example", Destinations: map[string]config.Destination{"carol@other.example": {}}}},
	}, nil)
	check(e.T, err)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	o.store, err = store.Open(e.Context(), store.Options{Dir: dir, Log: log, SegmentSize: 4 << 20, QuotaSize: func(string) int64 { return 0 }})
	check(e.T, err)
	a, err := o.store.Create(e.Context(), "carol", store.NewAccount{})
	check(e.T, err)
	check(e.T, a.Close())
	receiver, err := receive.New(receive.Options{
		Store: o.store, Config: func() *config.Config { return cfg }, Log: log, Registerer: prometheus.NewRegistry(), TempDir: filepath.Join(dir, "tmp"),
	})
	check(e.T, err)
	server, err := smtpserver.New(smtpserver.Options{
		Log: log, Receiver: receiver, CIDs: cid.NewCounter(time.Now()), Opaque: func(int64) string { return "id" },
		Exempt: func(netip.Addr) bool { return true },
	})
	check(e.T, err)
	ctx, cancel := context.WithCancel(e.Context())
	o.cancel = cancel
	go func() {
		o.served <- server.Serve(ctx, o, smtpserver.Listener{
			Name: "test", Hostname: cfg.Hostname, TLS: &tls.Config{Certificates: []tls.Certificate{*certificate(e.T)}},
		})
	}()
	return o
}

func (o *otherServer) Accept() (net.Conn, error) {
	select {
	case c := <-o.conns:
		return c, nil
	case <-o.done:
		return nil, net.ErrClosed
	}
}

func (o *otherServer) Close() error {
	select {
	case <-o.done:
	default:
		close(o.done)
	}
	return nil
}

func (o *otherServer) Addr() net.Addr { return &net.TCPAddr{} }

func (o *otherServer) dial(context.Context, string, string, netip.Addr) (net.Conn, error) {
	client, server := net.Pipe()
	o.conns <- server
	return client, nil
}

func (o *otherServer) close() {
	o.cancel()
	check(o.e.T, <-o.served)
	check(o.e.T, o.store.Close())
}

// TestOwnServer sends to a server of our own making, with all extensions it has.
func TestOwnServer(t *testing.T) {
	run(t, func(e *env) {
		o := newOtherServer(e)
		defer o.close()
		e.oneHost(&peer{})
		e.Sender.opts.Dial = o.dial
		e.send(newMessage("carol@other.example", "nobody@other.example"))
		e.settle(5 * time.Minute) // It keeps those waiting that ask for unknown recipients.
		e.wantNotices("failed 5.1.1 nobody@other.example")
		e.wantLog("msg=delivery", "result=delivered", "tls=unverified")
		ours := e.store
		e.store = o.store
		got := e.inbox("carol")
		e.store = ours
		if len(got) != 1 || got[0] != "Received: by test\r\n"+testContent {
			e.Errorf("carol has %q", got)
		}
		if text := strings.Join(e.inbox("alice"), ""); !strings.Contains(text, "The reason: mx.other.example refused it:") {
			e.Errorf("got %s", text)
		}
	})
}
