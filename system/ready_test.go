package system

import (
	"context"
	"errors"
	"net"
	"testing"
)

// TestReadyBeforeAsked shows that a server is ready before anybody can ask it: one
// that answers and is about to be ready was logged as stopping.
func TestReadyBeforeAsked(t *testing.T) {
	t.Parallel()
	var s *System
	asked := make(chan error, 10) // One for each endpoint.
	opts := options(t, writeConfig(t))
	listen := opts.Listen
	opts.Listen = func(ctx context.Context, network, address string) (net.Listener, error) {
		ln, err := listen(ctx, network, address)
		return &askingListener{ln, func() { asked <- s.ready(ctx) }}, err
	}
	var err error
	if s, err = New(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	for range s.Bound() {
		if err := <-asked; err != nil {
			t.Errorf("served, and not ready: %v", err)
		}
	}
	stop()
	if err := errors.Join(<-served, s.Close()); err != nil {
		t.Error(err)
	}
}

// askingListener calls ask before it first accepts.
type askingListener struct {
	net.Listener
	ask func()
}

func (l *askingListener) Accept() (net.Conn, error) {
	if ask := l.ask; ask != nil {
		l.ask = nil
		ask()
	}
	return l.Listener.Accept()
}
