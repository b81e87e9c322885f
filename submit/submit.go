// Package submit takes messages from users of ours: it is the one place where a
// sender's right to an address, the limits on what an account sends, and the
// header fields of a new message are looked at. Every message goes into the queue,
// for local recipients too.
//
// SMTP submission calls it, and later the web API, webmail and JMAP. It knows no
// protocol: refusals come back as *smtp.Error, any other error is trouble of our own.
package submit

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

var errNotBuilt = errors.New("submit: not built yet")

// Options is what a Submitter needs. Fields are required unless said otherwise.
type Options struct {
	Config     func() *config.Config // The current one, asked once for each call.
	Accounts   *store.Dir
	Queue      *queue.DB
	Log        *slog.Logger
	Registerer prometheus.Registerer
	CIDKey     cid.Key   // Makes the id of a message in its Received field.
	Rand       io.Reader // For Message-IDs.

	// Sign returns header fields that sign a message, to be put in front of it.
	// Nil: messages are not signed.
	Sign func(ctx context.Context, m Signable) ([]byte, error)

	// Unlimited means accounts may send as much as they like, as in localserve.
	Unlimited bool

	// Specials makes recipients fail as their names say, as package receive does.
	// Only for localserve.
	Specials bool

	// CatchAllAccount is as that of package receive. Its users may send as anybody.
	CatchAllAccount string
}

// Signable is what a signer gets.
type Signable struct {
	From     smtp.Address // The author.
	Header   []byte       // The header section of the message, as it will be sent.
	Content  io.ReaderAt  // The whole of it.
	Size     int64
	SMTPUTF8 bool
}

// Submitter takes messages. It is safe for concurrent use.
type Submitter struct{}

// New returns a Submitter. Serve must run for what accounts have sent to be
// remembered over a restart.
func New(opts Options) (*Submitter, error) { return nil, errNotBuilt }

// Serve writes down what accounts have sent, until ctx is done.
func (s *Submitter) Serve(ctx context.Context) {}

// Peer is who submits.
type Peer struct {
	CID      int64
	Account  string       // Logged in.
	Login    smtp.Address // With this address.
	IP       netip.Addr   // For the log only: it gets into no header field.
	Hostname dns.Domain   // Our name.
	Protocol string       // For Received: "ESMTPSA" and the like; "HTTPS" for the web.
	TLS      *tls.ConnectionState
}

// Transaction is a message on its way in.
type Transaction struct {
	Peer       *Peer
	MailFrom   smtp.Path // May be the null sender.
	SMTPUTF8   bool
	Size       int64 // As announced, -1 if it was not.
	Rcpts      []smtp.Path
	RequireTLS *bool     // From REQUIRETLS, which is not announced yet.
	NotBefore  time.Time // From FUTURERELEASE, which is not announced yet.
}

// Sender returns an error unless the account may send mail from MailFrom now.
func (s *Submitter) Sender(ctx context.Context, t *Transaction) error { return errNotBuilt }

// Recipient returns an error unless mail for path can be taken. The caller adds
// it to t.Rcpts.
func (s *Submitter) Recipient(ctx context.Context, t *Transaction, path smtp.Path) error {
	return errNotBuilt
}

// Submit checks the message, completes its header and queues it. When it returns
// nil all recipients are on disk, with an error none is.
func (s *Submitter) Submit(ctx context.Context, t *Transaction, content io.ReaderAt, size int64) ([]queue.Message, error) {
	return nil, errNotBuilt
}
