//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/system"
)

const (
	// serveUmask keeps what is made from others.
	serveUmask = 0o007

	// serveSignals is how many signals may wait to be looked at.
	serveSignals = 16
)

func (inv *invocation) serve(ctx context.Context) error {
	syscall.Umask(serveUmask)
	// A signal to stop may come twice: from a service manager that tells all
	// processes, and from the parent. The second must not end the process at once.
	signals := make(chan os.Signal, serveSignals)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if os.Geteuid() == 0 {
		return inv.serveRoot(ctx, signals)
	}
	return inv.serveUser(ctx, signals)
}

// serveUser serves as the user that the process runs as.
func (inv *invocation) serveUser(ctx context.Context, signals <-chan os.Signal) error {
	in, err := inherit()
	if err != nil {
		return err
	}
	defer in.close()
	if in.parent != nil {
		nameProcess()
	}
	c, err := live.Open(inv.config, live.Options{Inherited: in.files})
	if err != nil {
		return explainAccess(err)
	}
	levels, err := inv.logLevels(c.Current().Static)
	if err != nil {
		return err
	}
	log := slog.New(logfmt.New(inv.stderr, levels)).With("pkg", "serve")
	if err := checkFiles(ctx, serveFiles(c), log); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	in.watchParent(stop)
	s, err := system.New(ctx, system.Options{
		Config: c, Log: inv.stderr, Levels: levels, Version: version(), Pedantic: inv.pedantic, Listen: in.listen,
	})
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // Stopped while it was starting.
	} else if err != nil {
		return explainAccess(err)
	}
	in.closeUnused(ctx, log)
	return inv.serveNotifying(ctx, signals, s, c, log)
}

// serveNotifying serves, and tells the service manager how it goes.
func (inv *invocation) serveNotifying(ctx context.Context, signals <-chan os.Signal, s *system.System, c *live.Config, log *slog.Logger) error {
	notify, err := newNotifier(os.Getenv)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer notify.close()
	serving, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	endpoints := fmt.Sprintf("serving at %d addresses", len(s.Bound()))
	return serveSystem(ctx, s, serveHooks{
		ready: func() {
			notify.send(log, "READY=1", "STATUS="+endpoints)
			tasks.Go(func() { notify.keepAlive(serving, log) })
			tasks.Go(func() {
				r := reloader{c, notify, log, endpoints}
				r.reloadAt(serving, signals)
			})
		},
		stopping: func() { notify.send(log, "STOPPING=1", "STATUS=stopping") },
	})
}

// reloader reads the configuration again when a signal says so.
type reloader struct {
	config *live.Config
	notify *notifier
	log    *slog.Logger
	status string // For the service manager, after a reload.
}

func (r *reloader) reloadAt(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			if sig == syscall.SIGHUP { // For others ctx is about to be done.
				r.reload(ctx)
			}
		}
	}
}

func (r *reloader) reload(ctx context.Context) {
	r.notify.reloading(r.log)
	status := r.status
	if err := r.config.Reload(ctx); err != nil { // The System logs it.
		status += "; reloading the configuration failed, see the log"
	}
	r.notify.send(r.log, "READY=1", "STATUS="+status)
}
