package hooks

import (
	"context"
	"net"
)

// withTimeout bounds the time that dial takes: connections are made for whoever needs
// one, so that the end of a call does not end them.
func withTimeout(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return dial(ctx, network, address)
	}
}
