package imapserver

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/mjl-/mox/sasl"
)

// BenchmarkLogin measures connections that log in, with package auth and a store
// as they are in the server, and log out at once: several at a time, as programs
// come that look for new mail. The password is hashed for the first alone.
func BenchmarkLogin(b *testing.B) {
	login := func(c *client) string {
		_, reply := c.command("LOGIN mox@example.org %s", password)
		return reply
	}
	plain := func(c *client) string {
		return c.authenticate(&sasl.PlainClient{Username: "mox@example.org", Password: password}, true)
	}
	for _, bench := range []struct {
		name  string
		setup map[string]string
		login func(*client) string
	}{
		{"LOGIN", nil, login},
		{"PLAIN", nil, plain},
		{"LOGIN over TLS", map[string]string{"implicit": ""}, login},
	} {
		b.Run(bench.name, func(b *testing.B) {
			e := newEnv(b, bench.setup)
			addr := e.listen()
			config := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(10), Rand: rand.Reader}
			loginOnce(b, addr, e.listener.Implicit, config, bench.login)
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					loginOnce(b, addr, e.listener.Implicit, config, bench.login)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
		})
	}
}

// loginOnce is one connection, from dialing to LOGOUT.
func loginOnce(b *testing.B, addr string, implicit bool, config *tls.Config, login func(*client) string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer nc.Close()
	if implicit {
		nc = tls.Client(nc, config)
	}
	c := newClient(b, nc)
	c.line()
	if reply := login(c); !strings.HasPrefix(reply, "OK") {
		b.Error(reply)
	}
	if _, reply := c.command("LOGOUT"); !strings.HasPrefix(reply, "OK") {
		b.Error(reply)
	}
}
