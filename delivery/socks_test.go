package delivery

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
)

// socks is a SOCKS5 proxy (RFC 1928) to the peers of an env. Those that aren't there
// refuse connections.
type socks struct {
	e *env

	mu    sync.Mutex
	asked []string // Addresses, or names if a client has none.
	reply byte     // To all requests, if not zero.
}

// serve takes one request.
func (s *socks) serve(conn net.Conn) {
	defer conn.Close()
	address, err := s.request(conn)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, address)
	reply := s.reply
	s.mu.Unlock()
	s.e.mu.Lock()
	p := s.e.peers["behind "+strings.TrimSuffix(address, ":25")]
	s.e.mu.Unlock()
	if p == nil && reply == 0 {
		reply = 5 // Refused.
	}
	if _, err := conn.Write([]byte{5, reply, 0, 1, 192, 0, 2, 9, 0x10, 0}); err != nil || reply != 0 {
		return
	}
	p.serve(conn)
}

// request reads the greeting and the request of a client.
func (s *socks) request(conn net.Conn) (string, error) {
	b := make([]byte, 256)
	if _, err := io.ReadFull(conn, b[:2]); err != nil || b[0] != 5 {
		return "", fmt.Errorf("version %d: %w", b[0], err)
	}
	if _, err := io.ReadFull(conn, b[:b[1]]); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte{5, 0}); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, b[:4]); err != nil {
		return "", err
	}
	size := map[byte]int{1: 4, 4: 16}[b[3]]
	if size == 0 {
		return "a name", nil
	}
	if _, err := io.ReadFull(conn, b[:size+2]); err != nil {
		return "", err
	}
	ip, _ := netip.AddrFromSlice(b[:size])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[size:])).String(), nil
}

// TestProxy sends through a proxy, which is asked for addresses that were found here.
// What is demanded of TLS is the same as without.
func TestProxy(t *testing.T) {
	t.Parallel()
	transport := config.Transport{Socks: &config.TransportSocks{Address: "127.0.0.1:1080", RemoteIPs: []string{"192.0.2.9"}, RemoteHostname: "proxy.example"}}
	both := "mx.other.example A 198.51.100.1; mx.other.example AAAA 2001:db8::1"
	cert := certificate(t)
	for _, test := range []struct {
		name    string
		records string
		proxy   *socks // Nil: it is not there.
		server  *peer
		asked   string
		want    string
		outcome string
	}{
		{"over IPv6", both, &socks{}, &peer{}, "[2001:db8::1]:25", "alice@example.org: bob@other.example", "sent"},
		{"with TLS", both, &socks{}, &peer{extensions: "STARTTLS", cert: cert}, "[2001:db8::1]:25", "alice@example.org: bob@other.example (tls)", "sent"},
		{"over IPv4 if the other refuses", both, &socks{}, nil, "[2001:db8::1]:25 198.51.100.1:25", "", "waits 0 4.4.1 proxy"},
		{"by its TLSA record", both + "; _25._tcp.mx.other.example TLSA 3 1 1 " + strings.Repeat("00", 32), &socks{}, &peer{extensions: "STARTTLS", cert: cert}, "[2001:db8::1]:25", "", "waits 0 4.7.5 proxy"},
		{"what the proxy doesn't allow", both, &socks{reply: 2}, &peer{}, "[2001:db8::1]:25 198.51.100.1:25", "", "waits 0 4.4.1 proxy"},
		{"no proxy", both, nil, &peer{}, "", "", "waits 451 4.3.0 proxy"},
		{"a server that is this one", "mx.other.example A 192.0.2.100", &socks{}, &peer{}, "", "", "failed 5.4.6 bob@other.example"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(e *env) {
				e.records("other.example MX 10 mx.other.example; " + test.records)
				if test.server != nil {
					e.peers["behind [2001:db8::1]"] = test.server
				}
				if test.proxy != nil {
					test.proxy.e = e
					e.peers["127.0.0.1:1080"] = &peer{serves: test.proxy.serve}
				}
				id := e.send(newMessage("bob@other.example"))[0].ID
				e.settle(time.Minute)
				if got := e.outcome(id); got != test.outcome {
					e.Errorf("got %q, want %q", got, test.outcome)
				}
				if test.proxy != nil && strings.Join(test.proxy.asked, " ") != test.asked {
					e.Errorf("it was asked for %q, want %q", test.proxy.asked, test.asked)
				}
				if test.server != nil {
					if got := test.server.summary(); got != test.want {
						e.Errorf("got %q, want %q", got, test.want)
					}
					for _, name := range test.server.hellos {
						if name != "proxy.example" {
							e.Errorf("got EHLO %s", name)
						}
					}
				}
				if strings.Contains(e.dials(), "2001:db8::1") {
					e.Error("the server was reached without the proxy")
				}
				e.wantLog("msg=delivery", "transport=proxy")
			}, withTransports(t, map[string]config.Transport{"proxy": transport}, toAll("proxy")))
		})
	}
}

// TestProxySlow has one that never answers: the time for connecting bounds it.
func TestProxySlow(t *testing.T) {
	transport := config.Transport{Socks: &config.TransportSocks{Address: "127.0.0.1:1080", RemoteIPs: []string{"192.0.2.9"}, RemoteHostname: "proxy.example"}}
	run(t, func(e *env) {
		e.records("other.example MX 10 mx.other.example; mx.other.example A 198.51.100.1")
		e.peers["127.0.0.1:1080"] = &peer{serves: func(conn net.Conn) {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}}
		id := e.send(newMessage("bob@other.example"))[0].ID
		e.settle(31 * time.Second)
		if got := e.outcome(id); got != "waits 0 4.4.1 proxy" {
			e.Errorf("got %q", got)
		}
	}, withTransports(t, map[string]config.Transport{"proxy": transport}, toAll("proxy")))
}
