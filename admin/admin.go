// Package admin has what an administrator can do to a running server, as
// functions with typed requests and results. The control socket is one face of
// it, and web pages can be another: here is no HTTP and no text to print.
//
// Who may call is decided by the face: nothing here asks for credentials.
package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/trace"
)

// Options is what an Admin needs. Fields are required unless said otherwise.
type Options struct {
	Log    *slog.Logger
	Config func() *config.Config // Asked for each request.

	// Update changes domains.conf: that of a live.Config.
	Update func(ctx context.Context, fn func(*config.Dynamic) error) error

	Accounts *store.Dir
	Levels   *logfmt.Levels
	Rand     io.Reader // For salts.
	Logins   *authdb.DB
	Keeper   *Keeper

	// EndSessions ends the sessions of an account, and waits for that.
	EndSessions func(account string)

	// Queue is that of outgoing mail. Nil: the server has none, and refuses what is
	// about it.
	Queue *queue.DB

	// Trace has what became of messages. Nil: nothing is kept.
	Trace *trace.Log

	// TLS is what is known of TLS with other servers. Without, requests about it are
	// refused.
	TLS TLSPolicies

	// Backup makes backups. Nil: the server makes none.
	Backup *backup.Backup

	// Reload reads the configuration again, and ConfigStatus tells how it is: as those
	// of a live.Config. Nil: requests about it are refused, and it isn't told.
	Reload       func(ctx context.Context) error
	ConfigStatus func() live.Status

	// Explain tells what would happen to a message: that of a receive.Receiver. Nil:
	// requests for it are refused.
	Explain func(ctx context.Context, q Question) ([]screen.Explanation, error)

	// Stop makes the server stop in order. It returns at once and may be called
	// several times.
	Stop func()

	// Blocklists returns what lists say about our addresses, for the status of the
	// server. Nil: none is asked.
	Blocklists func() []Blocklist

	// Listeners returns where the server listens, for its status. Nil: nowhere.
	Listeners func() []Listener

	// ConfigDir is where the configuration is, with the keys of DKIM that are made for
	// new domains. Empty: none are made.
	ConfigDir string

	// FastDKIMKeys makes these keys of a kind that not all receivers know, for tests:
	// RSA takes time.
	FastDKIMKeys bool

	// Version is told to those who ask.
	Version string
}

// Admin does what an administrator asks for. It is safe for concurrent use.
// Its errors go through ErrorOf before they are told.
type Admin struct {
	opts    Options
	log     *slog.Logger
	started time.Time

	// passwords is held while one is set: all secrets of an account have one salt,
	// and computing takes memory.
	passwords sync.Mutex

	// verifying is held while data is verified: one at a time is slow enough.
	verifying sync.Mutex
}

// New returns an Admin. Status says that the server was started now.
func New(opts Options) (*Admin, error) {
	switch {
	case opts.Log == nil, opts.Config == nil, opts.Update == nil, opts.Accounts == nil, opts.Levels == nil, opts.Rand == nil,
		opts.Logins == nil, opts.Keeper == nil, opts.EndSessions == nil, opts.Stop == nil:
		return nil, errors.New("admin: missing option")
	}
	return &Admin{opts: opts, log: opts.Log.With("pkg", "admin"), started: time.Now()}, nil
}

// Nothing is a request without parameters.
type Nothing struct{}

// Note tells how far long work is. It is a warning, or says what was done.
type Note struct {
	Message string `json:"message"`
	Warning bool   `json:"warning,omitempty"`
	Done    int64  `json:"done,omitempty"`  // Of Total, in what Message says.
	Total   int64  `json:"total,omitempty"` // 0 if unknown.

	// Problem is what Verify has found, if the note is about that. Message has it too.
	Problem *backup.Problem `json:"problem,omitempty"`
}

// Stop makes the server stop in order. It doesn't wait for that.
func (a *Admin) Stop(ctx context.Context) {
	a.log.InfoContext(ctx, "told to stop")
	a.opts.Stop()
}
