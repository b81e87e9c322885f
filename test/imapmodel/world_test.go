package imapmodel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/imapserver"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// world is a server with one account, its clients, and the model of both.
type world struct {
	dir    string
	store  *store.Dir
	acct   *store.Account
	cancel context.CancelFunc
	done   chan error
	conns  chan net.Conn
	panics int

	model    account
	sessions []*session
	before   map[*message][]state // What messages were like within this step.
	began    int64                // When this step did, in Unix seconds.
	contents int
	log      []string // What was said, of late.
	tamper   func(string) []string
}

// sessionsOf is the number of sessions of a world.
const sessionsOf = 4

// logMax and logLine bound what is kept of what was said, in lines and in bytes of one.
const (
	logMax  = 400
	logLine = 300
)

func (w *world) logf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if len(line) > logLine {
		line = line[:logLine] + "..."
	}
	w.log = append(w.log, line)
	if len(w.log) > 2*logMax {
		w.log = append([]string{"..."}, w.log[logMax:]...)
	}
}

// newWorld makes a server with an empty account in a directory.
func newWorld(dir string, tamper func(string) []string) (*world, error) {
	w := &world{dir: dir, before: map[*message][]state{}, tamper: tamper}
	if tamper == nil {
		w.tamper = func(text string) []string { return []string{text} }
	}
	w.model = account{boxes: map[string]*box{}, subs: map[string]bool{}, given: map[uint32]bool{}}
	for i := range sessionsOf {
		w.sessions = append(w.sessions, &session{w: w, name: string(rune('A' + i))})
	}
	if err := w.open(true); err != nil {
		return nil, err
	}
	for _, name := range []string{"Inbox", "Archive"} {
		if err := w.adopt(name); err != nil {
			return nil, err
		}
		w.model.subs[name] = true
	}
	return w, w.view(func(tx *store.Tx) error {
		w.model.modseq = tx.ModSeq()
		return nil
	})
}

// open opens the store and serves it.
func (w *world) open(create bool) error {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	if w.store, err = store.Open(context.Background(), store.Options{Dir: w.dir, Log: log, SegmentSize: 256 << 10}); err != nil {
		return err
	}
	if create {
		w.acct, err = w.store.Create(context.Background(), "mox", store.NewAccount{Mailboxes: []store.NewMailbox{{Name: "Archive", Use: store.UseArchive}}})
	} else {
		w.acct, err = w.store.Account(context.Background(), "mox")
	}
	if err != nil {
		return err
	}
	opts := imapserver.Options{Log: log, Accounts: w.store, Auth: anybody{}, Grace: time.Second, Panicked: func() { w.panics++ }}
	server, err := imapserver.New(opts)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done, w.conns = cancel, make(chan error, 1), make(chan net.Conn)
	ln := memoryListener{ctx, w.conns}
	go func() { w.done <- server.Serve(ctx, ln, imapserver.Listener{Name: "test", PlainLogin: true}) }()
	return nil
}

// close stops the server and closes the store.
func (w *world) close() error {
	w.cancel()
	err := <-w.done
	for _, s := range w.sessions {
		if s.conn != nil {
			s.conn.close()
			s.conn = nil
		}
	}
	err = errors.Join(err, w.acct.Close(), w.store.Close())
	if w.panics > 0 {
		err = errors.Join(err, fmt.Errorf("%d sessions panicked", w.panics))
	}
	return err
}

func (w *world) view(fn func(tx *store.Tx) error) error {
	w.acct.WaitDurable(context.Background())
	return w.acct.View(context.Background(), fn)
}

// adopt takes over a mailbox that was made, with its identity.
func (w *world) adopt(name string) error {
	return w.view(func(tx *store.Tx) error {
		mb, err := tx.Mailbox(name)
		if err != nil {
			return fmt.Errorf("adopting %q: %w", name, err)
		}
		if w.model.given[mb.UIDValidity] {
			return fmt.Errorf("mailbox %q has a UIDVALIDITY that was given before", name)
		}
		w.model.given[mb.UIDValidity] = true
		w.model.boxes[name] = &box{id: "F" + strconv.FormatInt(mb.ID, 10), name: name, validity: mb.UIDValidity, next: 1, highest: mb.ModSeq, use: mb.Use.String()}
		return nil
	})
}

// checkModSeq compares the account's counter with the model.
func (w *world) checkModSeq() error {
	return w.view(func(tx *store.Tx) error {
		if tx.ModSeq() != w.model.modseq {
			return fmt.Errorf("the account's mod-sequence is %d, want %d", tx.ModSeq(), w.model.modseq)
		}
		return nil
	})
}

// pick returns a mailbox, mostly one of a few.
func (w *world) pick(r *rand.Rand) *box {
	names := w.model.names()
	if r.IntN(2) == 0 {
		return w.model.boxes["Inbox"]
	}
	return w.model.boxes[names[r.IntN(len(names))]]
}

// dial returns a connection to the server.
func (w *world) dial() net.Conn {
	client, server := net.Pipe()
	w.conns <- server
	return client
}

// anybody lets everybody in.
type anybody struct{ *auth.Authenticator }

func (anybody) Password(context.Context, auth.Attempt, string, string) (auth.Login, error) {
	addr := smtp.Address{Localpart: "mox"}
	return auth.Login{Account: "mox", Address: addr, Given: addr}, nil
}

func (anybody) Mechanisms(auth.Conn) []string { return nil }

// memoryListener accepts what is sent to a channel.
type memoryListener struct {
	ctx   context.Context
	conns chan net.Conn
}

func (l memoryListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l memoryListener) Close() error   { return nil }
func (l memoryListener) Addr() net.Addr { return &net.UnixAddr{} }
