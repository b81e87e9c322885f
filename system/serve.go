package system

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/imapserver"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/smtpserver"
)

// errStop is the cause when a System stops because it was told to.
var errStop = errors.New("stopping")

// Serve serves all endpoints until ctx is done, then stops in order and returns
// nil: nothing more is accepted, sessions are told, running commands get the
// grace time, then they are cancelled. It also stops when an endpoint or the
// journal fails, and returns why. Serve may be called once; Close comes after it.
func (s *System) Serve(ctx context.Context) error {
	servers := s.newGroup(ctx)
	failed := make(chan error, 1) // The first failure.
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	s.serving.Store(true) // Before anybody can ask: connections wait already, and all files are open.
	for _, b := range s.bound {
		servers.Go(fmt.Sprintf("%s %s", b.Service, b.Addr), func(ctx context.Context) {
			err := s.serve(ctx, b)
			if ctx.Err() == nil {
				fail(fmt.Errorf("serving %s on %s: %w", b.Service, b.Addr, err))
			}
		})
	}
	background := s.newGroup(context.WithoutCancel(ctx))
	background.Go("watching the configuration", s.opts.Config.Watch)
	background.Go("recording logins", s.auth.Serve)
	background.Go("recording what was sent", s.submit.Serve)
	background.Go("keeping accounts", s.keeper.Serve)
	background.Go("recording tls results", s.tlsResults.Serve)
	background.Every("looking at certificates", loop.Schedule{Interval: certificatesEvery}, (&certificateWatch{system: s}).look)
	background.Every("looking up our addresses in blocklists", loop.Schedule{Interval: blocklistsEvery}, s.blocklists.look)
	background.Every("removing retired messages", loop.Schedule{First: time.Minute, Interval: purgeEvery}, s.purgeQueue)
	if s.opts.Local == nil {
		s.policyCache.StartRefresh()
	}
	servers.Go("delivering", func(ctx context.Context) {
		if err := s.delivery.Serve(ctx, s.opts.Grace); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("delivering: %w", err))
		}
	})
	servers.Go("calling webhooks", func(ctx context.Context) {
		if err := s.hooks.Load().Serve(ctx, s.opts.Grace); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("calling webhooks: %w", err))
		}
	})
	s.log.InfoContext(ctx, "serving", "pkg", "system", "endpoints", len(s.bound), "version", s.opts.Version)

	cause := errStop
	select {
	case <-ctx.Done():
	case cause = <-failed:
	case <-s.accounts.Failed():
		cause = fmt.Errorf("delivery journal: %w", s.accounts.Err())
	case <-s.queue.Failed():
		cause = fmt.Errorf("queue: %w", s.queue.Err())
	}
	s.serving.Store(false)
	s.log.InfoContext(ctx, "stopping", "pkg", "system", "reason", cause)

	servers.Stop()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Grace+abortTime)
	defer cancel()
	err := servers.Wait(limit)
	background.Stop()
	s.fetches.Stop()
	err = errors.Join(err, background.Wait(limit), s.fetches.Wait(limit))
	if err != nil {
		s.log.ErrorContext(ctx, "not all stopped in time", "pkg", "system", "err", err)
	}
	if !errors.Is(cause, errStop) {
		return cause
	}
	return nil
}

// serve serves one endpoint until ctx is done.
func (s *System) serve(ctx context.Context, b Bound) error {
	switch b.Service {
	case config.ServiceSMTP:
		c := s.tlsConfig(b.Endpoint) //nolint:contextcheck // A handshake has its own.
		return s.smtp.Serve(ctx, b.ln, smtpserver.Listener{
			Name: b.Listener, Hostname: b.Hostname, TLS: c, MessageSizeMax: b.MaxMessageSize, RequireTLS: b.StartTLSRequired,
			NoRequireTLS: s.current().Static.Listeners[b.Listener].SMTP.NoRequireTLS,
			Blocklists:   b.Blocklists, FirstTimeDelay: b.FirstTimeDelay,
		})
	case config.ServiceSubmission, config.ServiceSubmissions:
		c := s.loginTLS(b.Endpoint) //nolint:contextcheck // A handshake has its own.
		return s.smtp.Serve(ctx, b.ln, smtpserver.Listener{
			Name: b.Listener, Hostname: b.Hostname, TLS: c, MessageSizeMax: b.MaxMessageSize,
			Submission: true, Implicit: b.Service == config.ServiceSubmissions, PlainLogin: b.PlainLogins,
			CRAMMD5: s.current().Static.AllowCRAMMD5,
		})
	case config.ServiceIMAP, config.ServiceIMAPS:
		c := s.loginTLS(b.Endpoint) //nolint:contextcheck // A handshake has its own.
		return s.imap.Serve(ctx, b.ln, imapserver.Listener{
			Name: b.Listener, Hostname: b.Hostname.ASCII, TLS: c, Implicit: b.Service == config.ServiceIMAPS, PlainLogin: b.PlainLogins,
			CRAMMD5: s.current().Static.AllowCRAMMD5,
		})
	case config.ServiceMetrics:
		return s.metrics.Serve(ctx, b.ln)
	}
	return fmt.Errorf("unknown service %q", b.Service)
}
