package smtpserver

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkDelivery sends messages of 10 KiB over one connection on loopback to
// one account, each after the reply to the one before: everything a delivery
// costs, with the disk.
func BenchmarkDelivery(b *testing.B) {
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%v", secure), func(b *testing.B) {
			e := newEnv(b, settings{exempt: true})
			dial, stop := listen(b, e)
			c := newClient(b, dial())
			c.want("220 ")
			if secure {
				c.send("STARTTLS\r\n")
				c.want("220 ")
				c.secure()
			}
			c.send("EHLO client.example\r\n")
			c.want("250 ")
			message := "From: a@b.example\r\nTo: alice@example.org\r\nSubject: bench\r\nMessage-Id: <x@b.example>\r\n\r\n"
			message += strings.Repeat(strings.Repeat("x", 76)+"\r\n", (10240-len(message))/78) + ".\r\n"
			b.ReportAllocs()
			for b.Loop() {
				c.send("MAIL FROM:<a@b.example> SIZE=10240\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n")
				c.want("250 ")
				c.want("250 ")
				c.want("354 ")
				c.send(message)
				c.want("250 ")
			}
			c.conn.Close()
			stop()
			e.close()
		})
	}
}

// BenchmarkSubmission is as BenchmarkDelivery, for messages of a user to somebody
// elsewhere: they go into the queue. With several connections they share commits.
func BenchmarkSubmission(b *testing.B) {
	message := "From: alice@example.org\r\nTo: x@b.example\r\nSubject: bench\r\n\r\n"
	message += strings.Repeat(strings.Repeat("x", 76)+"\r\n", (10240-len(message))/78)
	for _, connections := range []int{1, 10} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			e := newEnv(b, settings{submission: true, plainLogin: true, localserve: true, exempt: true})
			dial, stop := listen(b, e)
			var clients []*client
			for range connections {
				c := newClient(b, dial())
				c.want("220 ")
				c.login("alice")
				clients = append(clients, c)
			}
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var sending sync.WaitGroup
			for _, c := range clients {
				sending.Go(func() {
					for left.Add(-1) >= 0 {
						c.submit("alice@example.org", "x@b.example", message)
					}
				})
			}
			sending.Wait()
			b.StopTimer()
			for _, c := range clients {
				c.conn.Close()
			}
			stop()
			e.close()
		})
	}
}

// listen serves e on a real socket too.
func listen(t testing.TB, e *env) (dial func() net.Conn, stop func()) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- e.server.Serve(ctx, ln, e.listener) }()
	dial = func() net.Conn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	return dial, stop
}

// TestIdleMemory checks that waiting connections cost little.
func TestIdleMemory(t *testing.T) {
	// Not parallel: it measures the whole process.
	const connections = 300
	const perConnectionMax = 24 << 10
	e := newEnv(t, settings{exempt: true})
	dial, stop := listen(t, e)
	var before, after runtime.MemStats
	settle := func(m *runtime.MemStats) {
		time.Sleep(50 * time.Millisecond)
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(m)
	}
	settle(&before)
	conns := make([]net.Conn, connections)
	for i := range conns {
		conns[i] = dial()
		c := &client{t: t, conn: conns[i]}
		for _, line := range []string{"", "EHLO client.example\r\n", "MAIL FROM:<a@b.example>\r\n", "RCPT TO:<alice@example.org>\r\n"} {
			c.send(line)
			c.skipReply()
		}
	}
	settle(&after)
	used := int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)
	t.Logf("%d bytes for each connection, with the client's side", used/connections)
	if used/connections > perConnectionMax {
		t.Errorf("%d bytes for each connection, more than %d", used/connections, perConnectionMax)
	}
	for _, c := range conns {
		c.Close()
	}
	stop()
	e.close()
}
