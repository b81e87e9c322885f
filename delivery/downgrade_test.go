package delivery

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
)

// between is somebody on the way to a server, who has a certificate of his own, and
// decrypts. He passes on what both say, but takes words out of what the server
// announces.
type between struct {
	cert   *tls.Certificate
	server *peer
	strip  string
}

// serve speaks STARTTLS with a client, TLS from the beginning with the server.
func (b *between) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for _, reply := range []string{"220 ready", "250-relay\r\n250 STARTTLS", "220 go ahead"} {
		if reply[:3] != "220" || strings.HasSuffix(reply, "ahead") {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
		}
		if _, err := io.WriteString(conn, reply+"\r\n"); err != nil {
			return
		}
	}
	client := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*b.cert}})
	if client.Handshake() != nil {
		return
	}
	ours, theirs := net.Pipe()
	var running sync.WaitGroup
	running.Go(func() { b.server.serve(theirs) })
	server := tls.Client(ours, &tls.Config{InsecureSkipVerify: true}) // He knows whom he robs.
	running.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	b.pass(client, server)
	_ = client.Close()
	_ = server.Close()
	running.Wait()
}

// pass passes on what the server says after its greeting, which the client has had.
func (b *between) pass(client io.Writer, server io.Reader) {
	lines := bufio.NewReader(server)
	for n := 0; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if n == 0 {
			continue
		}
		if b.strip != "" && strings.HasPrefix(line, "250") {
			line = strings.ReplaceAll(line, " "+b.strip, "")
		}
		if _, err := io.WriteString(client, line); err != nil {
			return
		}
	}
}

// TestDowngrade has somebody on the way to a server whose certificate is not
// verified. He is found out by channel binding, also if he takes that out of the
// list of mechanisms: then the client says that it could do it, and the server knows
// better (RFC 5802, section 6). Nothing is sent.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	const mechanisms = "SCRAM-SHA-256 SCRAM-SHA-256-PLUS"
	for _, test := range []struct {
		name     string
		offered  string
		strip    string
		auth     *config.TransportAuth
		login    string
		outcome  string
		between  bool
		because  string // In the log.
		received int
	}{
		{"nobody is between", mechanisms, "", user(), "SCRAM-SHA-256-PLUS", "sent", false, "result=delivered", 1},
		{"he passes on all", mechanisms, "", user(), "", "waits 451 4.3.5 relay", true, "sasl: channel binding does not match", 0},
		{"he takes away channel binding", mechanisms, "SCRAM-SHA-256-PLUS", user(), "", "waits 451 4.3.5 relay", true, "client was not told that we can", 0},
		{"he takes it away from who doesn't want it", mechanisms, "SCRAM-SHA-256-PLUS", user("SCRAM-SHA-256"), "", "waits 451 4.3.5 relay", true, "client was not told that we can", 0},
		{"he leaves nothing", mechanisms, mechanisms, user(), "", "waits 451 4.3.5 relay", true, "no common mechanism", 0},
		// What can't be protected by binding is not: hence certificates are verified.
		{"the server has no channel binding", "SCRAM-SHA-256", "", user(), "SCRAM-SHA-256", "sent", true, "result=delivered", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			transport := config.Transport{Submission: &config.TransportSMTP{Host: "relay.example", STARTTLSInsecureSkipVerify: true, Auth: test.auth}}
			run(t, func(e *env) {
				e.records("relay.example A 203.0.113.5")
				server := &peer{cert: certificate(t), extensions: "AUTH " + test.offered, login: loginsFor(t, secret, strings.Fields(test.offered)...)}
				if test.between {
					server.immediate = true
					b := &between{cert: certificate(t), server: server, strip: test.strip}
					e.peers["203.0.113.5:587"] = &peer{serves: b.serve}
				} else {
					server.extensions += ",STARTTLS"
					e.peers["203.0.113.5:587"] = server
				}
				id := e.send(newMessage("bob@other.example"))[0].ID
				e.settle(time.Minute)
				if got := strings.Join(server.logins, " "); got != test.login || len(server.mails()) != test.received {
					e.Errorf("it has %q after login %q, want %q", server.summary(), got, test.login)
				}
				if got := e.outcome(id); got != test.outcome {
					e.Errorf("got %q, want %q", got, test.outcome)
				}
				e.wantLog("msg=delivery", "transport=relay", test.because)
			}, withTransports(t, map[string]config.Transport{"relay": transport}, toAll("relay")))
		})
	}
}
