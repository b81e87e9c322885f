package smtpserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/submit"
)

// password is that of all accounts.
const password = "pässword"

// users is what a listener for submission needs.
type users struct {
	t         testing.TB
	auth      *auth.Authenticator
	keys      *authdb.DB
	queue     *queue.DB
	submitter *submit.Submitter
	opts      submit.Options // Of submitter.
	free      atomic.Int64   // What the disk has free for the queue, in bytes.
}

// constant is random bytes that are always the same, so that nonces and salts in
// transcripts are too.
type constant struct{}

func (constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

// credentialOnce derives it once: that takes a while on purpose.
var credentialOnce = sync.OnceValues(func() (store.Credential, error) {
	return auth.NewCredential(constant{}, nil, password, time.Unix(0, 0), auth.WithCRAMMD5)
})

func credential(t testing.TB) store.Credential {
	t.Helper()
	c, err := credentialOnce()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newUsers(e *env, set settings, cfg *config.Config, log *slog.Logger) *users {
	e.t.Helper()
	u := &users{t: e.t}
	if u.free.Store(set.free); set.free == 0 {
		u.free.Store(1 << 40)
	}
	current := func() *config.Config { return cfg }
	var err error
	if u.keys, err = authdb.Open(filepath.Join(e.dir, "auth.db")); err != nil {
		e.t.Fatal(err)
	}
	u.auth, err = auth.New(auth.Options{
		Config: current, Accounts: e.store, DB: u.keys, Log: log, Registerer: prometheus.NewRegistry(),
		Rand: constant{}, DecoyKey: []byte("decoy"), LoopbackExempt: !set.strict,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	u.queue, err = queue.Open(e.t.Context(), queue.Options{
		LogSize: 1 << 20, Dir: filepath.Join(e.dir, "queue"), Log: log, Rand: rand.Reader, Schedule: queue.DefaultSchedule(), Local: cfg.DeliversHere,
		DiskFree: func() (int64, error) { return u.free.Load(), nil },
	})
	if err != nil {
		e.t.Fatal(err)
	}
	u.opts = submit.Options{
		Config: current, Accounts: e.store, Queue: u.queue, Log: log, Registerer: e.registry, Rand: constant{}, Pedantic: set.pedantic,
	}
	if set.localserve {
		u.opts.Unlimited, u.opts.Specials, u.opts.CatchAllAccount = true, true, "mox"
	}
	if u.submitter, err = submit.New(u.opts); err != nil {
		e.t.Fatal(err)
	}
	return u
}

// restart makes another Submitter that knows only what the last one wrote down.
// Nobody may use it meanwhile.
func (u *users) restart(e *env) {
	u.t.Helper()
	ctx, cancel := context.WithCancel(u.t.Context())
	cancel()
	u.submitter.Serve(ctx)
	u.opts.Registerer = prometheus.NewRegistry()
	var err error
	if u.submitter, err = submit.New(u.opts); err != nil {
		u.t.Fatal(err)
	}
	e.server.opts.Submitter = u.submitter
}

func (u *users) close() {
	u.t.Helper()
	if err := u.queue.Close(); err != nil {
		u.t.Error(err)
	}
	if err := u.keys.Close(); err != nil {
		u.t.Error(err)
	}
}

// queued returns what is in the queue, the oldest first.
func (u *users) queued() []queue.Message {
	u.t.Helper()
	list, err := u.queue.List(u.t.Context(), queue.Filter{}, queue.Sort{By: "queued"})
	if err != nil {
		u.t.Fatal(err)
	}
	return list
}

// content returns a message as it will be sent.
func (u *users) content(m queue.Message) string {
	u.t.Helper()
	r, err := u.queue.OpenContent(u.t.Context(), m.ID)
	if err != nil {
		u.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		u.t.Fatal(err)
	}
	return string(b)
}

// addFuture queues a message of alice to some recipients, for the next day.
func (u *users) addFuture(recipients string) {
	u.t.Helper()
	most, err := strconv.Atoi(recipients)
	if err != nil {
		u.t.Fatal(err)
	}
	c, err := u.queue.NewContent(u.t.Context(), 2, strings.NewReader("\r\n"))
	if err != nil {
		u.t.Fatal(err)
	}
	n := queue.New{Account: "alice", Content: c, NotBefore: time.Now().Add(24 * time.Hour), FutureRelease: "for;86400"}
	for i := range most {
		path, err := queue.Path(fmt.Sprintf("%d@b.example", i))
		if err != nil {
			u.t.Fatal(err)
		}
		n.To = append(n.To, queue.NewRcpt{Path: path})
	}
	if _, err := u.queue.Add(u.t.Context(), n); err != nil {
		u.t.Fatal(err)
	}
}
