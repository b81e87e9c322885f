package imapserver

import (
	"errors"
	"net"
	"sync"
	"testing"
)

// TestInterruptDuringTLS interrupts a session that is just putting TLS above its
// connection: it ends when it next reads.
func TestInterruptDuringTLS(t *testing.T) {
	t.Parallel()
	for range 100 {
		client, server := net.Pipe()
		c := newConn(server, &sync.Pool{})
		var others sync.WaitGroup
		others.Go(func() { c.interrupt(errStopping) })
		c.Conn = prefixedConn{server, server}
		others.Wait()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, errStopping) {
			t.Fatalf("got %v", err)
		}
		client.Close()
		server.Close()
	}
}
