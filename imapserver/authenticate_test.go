package imapserver

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/sasl"
)

// authenticate logs in with a mechanism of package sasl, and returns the reply.
func (c *client) authenticate(m sasl.Client, initial bool) string {
	c.t.Helper()
	resp, done, err := m.Next(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	line := "x AUTHENTICATE " + m.Name()
	if initial && resp != nil {
		line += " " + base64.StdEncoding.EncodeToString(resp)
		if len(resp) == 0 {
			line += "="
		}
		resp = nil
	}
	for {
		if _, err := fmt.Fprintf(c.nc, "%s\r\n", line); err != nil {
			c.t.Fatal(err)
		}
		answer := c.line()
		if reply, ok := strings.CutPrefix(answer, "x "); ok {
			if strings.HasPrefix(reply, "OK") && !done {
				c.t.Errorf("%s: server is done before the client", m.Name())
			}
			return reply
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(answer, "+ "))
		if err != nil {
			c.t.Fatalf("%q: %v", answer, err)
		}
		if resp == nil { // Else this asks for the first message, which we have.
			if resp, done, err = m.Next(challenge); err != nil {
				c.t.Fatal(err)
			}
		}
		line, resp = base64.StdEncoding.EncodeToString(resp), nil
	}
}

// TestMechanisms logs in with each mechanism that is announced, over both
// versions of TLS, with and without initial response, also after STARTTLS.
func TestMechanisms(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"tls": "", "plain": "no", "crammd5": ""})
	addr := e.listen()
	cert := e.registerKey("mox", true)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{cert}}
		for _, name := range []string{
			sasl.External, sasl.SCRAM256Plus, sasl.SCRAM256, sasl.SCRAM1Plus, sasl.SCRAM1, sasl.CRAMMD5, sasl.Plain, sasl.Login,
		} {
			for _, initial := range []bool{false, true} {
				c, state := dialStartTLS(t, addr, config)
				offered := mechanismsOf(c.ok("CAPABILITY"))
				m, err := sasl.Choose([]string{name}, append(offered, sasl.Login), sasl.ClientOptions{
					Username: "mox@example.org", Password: password, Rand: rand.Reader, Channel: sasl.ClientChannel(state), Certificate: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				if reply := c.authenticate(m, initial); !strings.HasPrefix(reply, "OK [CAPABILITY") {
					t.Errorf("%s over %s, initial response %v: got %q", name, tls.VersionName(version), initial, reply)
				}
				c.ok("SELECT Inbox")
			}
		}
	}
}

// mechanismsOf returns the mechanisms of a CAPABILITY response.
func mechanismsOf(untagged []string) (names []string) {
	for word := range strings.FieldsSeq(strings.Join(untagged, " ")) {
		if name, ok := strings.CutPrefix(word, "AUTH="); ok {
			names = append(names, name)
		}
	}
	return names
}

// dialStartTLS returns a connection after STARTTLS.
func dialStartTLS(t *testing.T, addr string, config *tls.Config) (*client, *tls.ConnectionState) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	c := newClient(t, nc)
	c.line()
	c.ok("STARTTLS")
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	state := secure.ConnectionState()
	return newClient(t, secure), &state
}

// TestUnknownKey shows that a certificate that nobody has registered ends the
// handshake, and that one removed since does so when the session is resumed.
func TestUnknownKey(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"implicit": ""})
	addr := e.listen()
	greeting := func(config *tls.Config) (string, error) {
		nc, err := tls.Dial("tcp", addr, config)
		if err != nil {
			return "", err
		}
		defer nc.Close()
		b := make([]byte, 1024)
		n, err := nc.Read(b)
		return string(b[:n]), err
	}
	unknown := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate(t)}}
	if got, err := greeting(unknown); err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("unknown key: got %q, %v", got, err)
	}
	cert := e.registerKey("mox", false)
	known := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range 2 {
		if got, err := greeting(known); err != nil || !strings.HasPrefix(got, "* PREAUTH ") {
			t.Errorf("known key: got %q, %v", got, err)
		}
	}
	keys, err := e.keys.TLSPublicKeys(t.Context(), "mox")
	if err != nil || len(keys) != 1 {
		t.Fatalf("got %v, %v", keys, err)
	}
	if err := e.keys.RemoveTLSPublicKey(t.Context(), keys[0].Fingerprint); err != nil {
		t.Fatal(err)
	}
	if got, err := greeting(known); err == nil {
		t.Errorf("key removed: got %q", got)
	}
}

var _ Authenticator = (*auth.Authenticator)(nil)
