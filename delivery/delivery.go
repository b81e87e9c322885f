// Package delivery takes due messages from the queue and brings them to where
// they go: to other servers by SMTP, to accounts of ours through package receive.
// It records what came of it, and tells senders by notification of delays and
// failures.
//
// When there is another attempt is the queue's business; what a server may demand
// of a connection is a pure decision here (tlspolicy.go); speaking SMTP is package
// smtpclient's.
package delivery

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/receive"
)

// Options is what a Sender needs. Fields are required unless said otherwise.
type Options struct {
	Queue      *queue.DB
	Receiver   *receive.Receiver
	Resolver   dns.Resolver
	Config     func() *config.Config
	Log        *slog.Logger
	Registerer prometheus.Registerer
	CIDs       *cid.Counter
	CIDKey     cid.Key
	Rand       io.Reader

	// Dial makes connections. Nil: TCP.
	Dial func(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error)

	// Port other servers listen on. Zero: 25. Tests have others.
	Port uint16

	// Schedule is that of the queue: for the time of the next attempt, and for what
	// notifications say of it.
	Schedule queue.Schedule

	// Workers bounds deliveries at a time, remote and local together. Zero: 150.
	Workers int

	// ConnectTimeout, SessionTimeout bound a connection. Zero: 30 s, 30 minutes.
	ConnectTimeout, SessionTimeout time.Duration
}

// Sender delivers what is due. It is safe for concurrent use.
type Sender struct{}

// New returns a Sender. It starts nothing.
func New(opts Options) (*Sender, error) { return nil, errors.New("delivery: not built yet") }

// Serve delivers until ctx is done, then lets running deliveries end in the grace
// time, cancels the others, records what came of them, and returns.
func (s *Sender) Serve(ctx context.Context, grace time.Duration) error {
	return errors.New("delivery: not built yet")
}
