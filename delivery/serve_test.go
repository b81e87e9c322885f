package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/queue"
)

// TestStopInGrace stops while a server thinks about a message: it has the time of
// grace for its answer.
func TestStopInGrace(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{})
		e.Sender.opts.Dial = func(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error) {
			time.Sleep(2 * time.Second)
			return e.dial(ctx, network, address, local)
		}
		e.send(newMessage("one@other.example"))
		e.wait()
		start := time.Now()
		e.stop()
		if took := time.Since(start); took != 2*time.Second || len(p.mails()) != 1 || e.left() != 0 {
			e.Errorf("stopped after %s, got %q, %d left", took, p.summary(), e.left())
		}
	})
}

// TestStopBreaksOff stops while servers say nothing, at all stages. What is broken
// off is tried again at once by the next process, and no sender is told anything.
func TestStopBreaksOff(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{"greeting": "", "EHLO": "EHLO", "MAIL": "MAIL", "RCPT": "RCPT", "DATA": "DATA", "connecting": "connect"} {
		t.Run(name, func(t *testing.T) {
			run(t, func(e *env) {
				p, second := e.twoHosts(&peer{answers: map[string][]string{command: {"stall", ""}}})
				if command == "connect" {
					e.peers["198.51.100.1"] = nil
				}
				list := e.send(newMessage("one@other.example"))
				e.wait()
				start := time.Now()
				e.stop()
				if took := time.Since(start); took != 3*time.Second {
					e.Errorf("stopped after %s, want the grace time", took)
				}
				m := e.get(list[0].ID)
				if r := m.Results; m.State != queue.Waiting || len(r) != 1 || r[0].Enhanced != "4.3.2" || m.NextAttempt.After(time.Now()) {
					e.Errorf("got %+v", m)
				}
				if second.connections != 0 {
					e.Errorf("the second server was asked")
				}
				e.peers["198.51.100.1"] = p
				e.serve()
				e.wait()
				if len(p.mails()) != 1 || e.left() != 0 {
					e.Errorf("got %q, %d left", p.summary(), e.left())
				}
				e.wantNotices()
			})
		})
	}
}

// TestPanic has a delivery die. Others go on, and its message is tried again.
func TestPanic(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{})
		died := false
		e.Sender.opts.Dial = func(ctx context.Context, network, address string, local netip.Addr) (net.Conn, error) {
			if !died {
				died = true
				panic("a mistake")
			}
			return e.dial(ctx, network, address, local)
		}
		list := e.send(newMessage("one@other.example"))
		e.wait()
		if r := e.get(list[0].ID).Results; e.panics != 1 || len(r) != 1 || r[0].Enhanced != "4.3.0" || r[0].Permanent {
			e.Errorf("got %d panics, results %+v", e.panics, r)
		}
		e.wantLog("level=ERROR", "panic in delivery", "a mistake", "serve_test.go")
		e.settle(15 * time.Minute)
		if len(p.mails()) != 1 || e.left() != 0 {
			e.Errorf("got %q, %d left", p.summary(), e.left())
		}
		e.panics = 0
	})
}

// TestFailNow checks that messages that an administrator makes fail are not tried,
// and that their senders are told.
func TestFailNow(t *testing.T) {
	run(t, func(e *env) {
		p := e.oneHost(&peer{answers: map[string][]string{"RCPT": {"450 4.2.1 later"}}})
		list := e.send(newMessage("one@other.example"))
		e.wait()
		_, err := e.queue.FailNow(e.Context(), queue.Filter{IDs: []int64{list[0].ID}}, "spam run")
		check(e.T, err)
		e.wait()
		e.wantNotices("failed 5.0.0 one@other.example")
		if p.connections != 1 || e.left() != 0 {
			e.Errorf("got %d connections, %d messages left", p.connections, e.left())
		}
		if text := e.inbox("alice")[0]; !strings.Contains(text, "cancelled by an administrator: spam run") {
			e.Errorf("got %s", text)
		}
	})
}

// TestNotToldIsKept checks that a message stays when its sender can't be told that
// it failed.
func TestNotToldIsKept(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{answers: map[string][]string{"RCPT": {"550 5.1.1 no", "550 5.1.1 no"}}})
		e.full.Store(true)
		list := e.send(newMessage("one@other.example"))
		e.settle(time.Minute)
		if m := e.get(list[0].ID); m.State != queue.Waiting || len(m.Results) != 1 || m.Results[0].Code != 550 {
			e.Errorf("got %+v", m)
		}
		e.wantLog("level=ERROR", "notifying sender")
		if got := e.counter("mox_queue_notification_total", "action=failed", "result=error"); got != 1 {
			e.Errorf("got %v errors counted", got)
		}
		e.full.Store(false)
		e.settle(time.Hour)
		e.wantNotices("failed 5.1.1 one@other.example")
		if e.left() != 0 {
			e.Errorf("%d messages are left", e.left())
		}
	})
}

// TestQueueCloses checks that Serve returns when there will be no more work.
func TestQueueCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		served := make(chan error, 1)
		go func() { served <- e.Serve(t.Context(), time.Second) }()
		synctest.Wait()
		check(t, e.queue.Close())
		if err := <-served; !errors.Is(err, queue.ErrClosed) {
			t.Errorf("got %v", err)
		}
		check(t, e.store.Close())
	})
}

// TestNewOptions checks that what must be there is asked for.
func TestNewOptions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		defer e.close()
		for name, change := range map[string]func(*Options){
			"no queue":                func(o *Options) { o.Queue = nil },
			"no receiver":             func(o *Options) { o.Receiver = nil },
			"no resolver":             func(o *Options) { o.Resolver = nil },
			"no config":               func(o *Options) { o.Config = nil },
			"no log":                  func(o *Options) { o.Log = nil },
			"no registerer":           func(o *Options) { o.Registerer = nil },
			"no ids":                  func(o *Options) { o.CIDs = nil },
			"no random numbers":       func(o *Options) { o.Rand = nil },
			"random numbers that end": func(o *Options) { o.Rand = strings.NewReader("short") },
			"an impossible schedule":  func(o *Options) { o.Schedule.GiveUpAfter = -1 },
			"metrics that are there":  func(o *Options) { o.Registerer = e.registry },
		} {
			opts := e.Sender.opts
			opts.Registerer = prometheus.NewRegistry()
			opts.Rand = rand.Reader
			change(&opts)
			if _, err := New(opts); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		s, err := New(Options{
			Queue: e.queue, Receiver: e.Sender.opts.Receiver, Resolver: e.zone, Config: e.Sender.opts.Config,
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Registerer: prometheus.NewRegistry(), CIDs: cid.NewCounter(time.Now()), Rand: rand.Reader, Schedule: testSchedule,
		})
		check(t, err)
		if o := s.opts; o.Port != 25 || o.Workers != 300 || o.ConnectTimeout != 30*time.Second || o.SessionTimeout != 30*time.Minute || o.Dial == nil || o.Panicked == nil {
			t.Errorf("got %+v", o)
		}
	})
}
