package auth

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/sasl"
)

// converse carries the messages of a client to an exchange until one of them has
// enough, as a protocol does.
func converse(t *testing.T, e *Exchange, c sasl.Client) error {
	t.Helper()
	resp, clientDone, err := c.Next(nil)
	if err != nil {
		t.Fatalf("client's first message: %v", err)
	}
	for range 5 {
		challenge, done, err := e.Next(t.Context(), resp)
		if err != nil {
			return err
		}
		if challenge != nil && !clientDone {
			if resp, clientDone, err = c.Next(challenge); err != nil {
				t.Fatalf("client: %v", err)
			}
		}
		if done {
			if !clientDone {
				t.Error("server is done before the client")
			}
			return nil
		}
	}
	t.Fatal("exchange has no end")
	return nil
}

// client returns a client for a mechanism on a channel.
func client(t *testing.T, mechanism, user, password string, channel *sasl.Channel) sasl.Client {
	t.Helper()
	c, err := sasl.Choose([]string{mechanism}, mechanisms, sasl.ClientOptions{
		Username: user, Password: password, Rand: rand.Reader, Channel: channel, Certificate: mechanism == sasl.External,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// plain is a connection without TLS on which everything is allowed.
var plain = Conn{Plain: true, CRAMMD5: true, Hostname: "mail.example.org"}

// passwordMechanisms are those with a password and without channel binding.
var passwordMechanisms = []string{sasl.SCRAM256, sasl.SCRAM1, sasl.CRAMMD5, sasl.Plain, sasl.Login}

// TestExchange logs in with each mechanism, rightly and wrongly, and looks at what
// is recorded.
func TestExchange(t *testing.T) {
	t.Parallel()
	for _, mechanism := range passwordMechanisms {
		w := newWorld(t)
		for _, test := range []struct {
			name           string
			user, password string
			want           string // Account and address.
			err            error
			result         authdb.Result
		}{
			{"right", "anna@example.org", "correct horse", "anna anna@example.org", nil, authdb.OK},
			{"other spelling of the user", "Anna+x@EXAMPLE.org", "correct horse", "anna anna@example.org", nil, authdb.OK},
			{"wrong", "anna@example.org", "correct horsE", "", ErrBadCredentials, authdb.BadPassword},
			{"unknown user", "nobody@example.org", "correct horse", "", ErrBadCredentials, authdb.BadUser},
			{"no address", "anna", "correct horse", "", ErrBadCredentials, authdb.BadUser},
			{"a name with signs", "a=,b", "correct horse", "", ErrBadCredentials, authdb.BadUser},
			{"a user without password", "carl@example.org", "correct horse", "", ErrBadCredentials, authdb.BadPassword},
			{"a user without data", "dora@example.org", "correct horse", "", ErrBadCredentials, authdb.BadPassword},
			{"disabled, but wrong", "bert@example.org", "wrong horse", "", ErrBadCredentials, authdb.BadPassword},
		} {
			e, err := w.Begin(local, plain, mechanism)
			if err != nil {
				t.Fatal(err)
			}
			label := []string{"imap", string(test.result), strings.ToLower(mechanism)}
			before := w.counter(t, "mox_authentication_total", label...)
			err = converse(t, e, client(t, mechanism, test.user, test.password, nil))
			if !errors.Is(err, test.err) {
				t.Errorf("%s, %s: got error %v, want %v", mechanism, test.name, err, test.err)
			} else if got := e.Login().Account + " " + e.Login().Address.String(); err == nil && got != test.want {
				t.Errorf("%s, %s: got %s, want %s", mechanism, test.name, got, test.want)
			}
			if got := w.counter(t, "mox_authentication_total", label...); got != before+1 {
				t.Errorf("%s, %s: counted %v as %v, want one", mechanism, test.name, got-before, label)
			}
			if _, done, err := e.Next(t.Context(), []byte{}); done || !errors.Is(err, errOver) {
				t.Errorf("%s, %s: after the end: %v, %v", mechanism, test.name, done, err)
			}
		}
		if strings.Contains(w.log.String(), "horse") {
			t.Errorf("%s: log has a password", mechanism)
		}
		if mechanism != sasl.CRAMMD5 { // For which bert has no secret.
			e, err := w.Begin(local, plain, strings.ToLower(mechanism))
			if err != nil {
				t.Fatal(err)
			}
			err = converse(t, e, client(t, mechanism, "bert@example.org", "correct horse", nil))
			if d, ok := errors.AsType[*DisabledError](err); !ok || d.Reason != "on leave" {
				t.Errorf("%s, disabled: got %v", mechanism, err)
			}
		}
	}
}

// TestExchangeFailures ends exchanges without looking at a password.
func TestExchangeFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name, mechanism string
		resps           []string
		err             error
		result          authdb.Result
	}{
		{"a message that is none", sasl.Plain, []string{"x"}, sasl.ErrMessage, authdb.BadProtocol},
		{"another user's name", sasl.Plain, []string{"bert\x00anna\x00x"}, sasl.ErrAuthorization, authdb.BadCreds},
		{"another user's name with SCRAM", sasl.SCRAM256, []string{"n,a=bert,n=anna,r=x"}, sasl.ErrAuthorization, authdb.BadCreds},
		{"no SCRAM message", sasl.SCRAM1, []string{"n"}, sasl.ErrMessage, authdb.BadProtocol},
		{"no second SCRAM message", sasl.SCRAM1, []string{"n,,n=anna@example.org,r=x", "n"}, sasl.ErrMessage, authdb.BadProtocol},
		{"no digest", sasl.CRAMMD5, []string{"anna@example.org"}, sasl.ErrMessage, authdb.BadProtocol},
		{"a client that was told there is no channel binding", sasl.SCRAM256, []string{"y,,n=anna,r=x"}, sasl.ErrChannelBinding, authdb.BadChanBind},
	} {
		label := []string{"imap", string(test.result), strings.ToLower(test.mechanism)}
		before := w.counter(t, "mox_authentication_total", label...)
		e, err := w.Begin(local, plain, test.mechanism)
		for _, resp := range test.resps {
			if err == nil {
				_, _, err = e.Next(t.Context(), []byte(resp))
			}
		}
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.err)
		}
		if got := w.counter(t, "mox_authentication_total", label...); got != before+1 {
			t.Errorf("%s: counted %v as %v, want one", test.name, got-before, label)
		}
	}
	if !strings.Contains(w.log.String(), `l=warn m="failed authentication attempt"`) {
		t.Errorf("no warning of channel binding:\n%s", w.log)
	}
}

// TestCancel ends exchanges half way.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, mechanism := range []string{sasl.Plain, sasl.SCRAM256} {
		e, err := w.Begin(remote, plain, mechanism)
		if err != nil {
			t.Fatal(err)
		}
		if mechanism == sasl.SCRAM256 {
			if _, _, err := e.Next(t.Context(), []byte("n,,n=anna@example.org,r=x")); err != nil {
				t.Fatal(err)
			}
		}
		e.Cancel(t.Context())
		e.Cancel(t.Context())
		if _, _, err := e.Next(t.Context(), []byte("x")); !errors.Is(err, errOver) {
			t.Errorf("%s: after Cancel: got %v", mechanism, err)
		}
		if got := w.counter(t, "mox_authentication_total", "imap", "aborted", strings.ToLower(mechanism)); got != 1 {
			t.Errorf("%s: counted %v, want 1", mechanism, got)
		}
	}
	var got []string
	for _, a := range w.attempts.take() {
		got = append(got, fmt.Sprintf("%s %s %s %s", a.Account, a.Login, a.Mechanism, a.Result))
	}
	slices.Sort(got)
	if want := []string{"  plain aborted", "anna anna@example.org scram-sha-256 aborted"}; !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
	if n := w.failures.Count(time.Now(), 0, 0, remote.RemoteIP); n != 0 {
		t.Errorf("got %d failures, want none", n)
	}
}

// TestMechanisms shows what is announced and what can be begun.
func TestMechanisms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, tls13 := handshake(t, w.BindCertificate(serverConfig(t)), clientConfig(0, nil))
	secure := tls13.conn
	unbound := secure
	unbound.TLS, unbound.Certificate = &tls.ConnectionState{Version: tls.VersionTLS12}, nil // As resumed without extended master secret.
	withCert := secure
	state := *secure.TLS
	state.PeerCertificates = append(state.PeerCertificates, clientCertificate(t).Leaf)
	withCert.TLS = &state
	cram := secure
	cram.CRAMMD5 = true
	const scram = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 "
	for _, test := range []struct {
		name string
		conn Conn
		want string
	}{
		{"TLS", secure, scram + "PLAIN LOGIN"},
		{"with client certificate", withCert, "EXTERNAL " + scram + "PLAIN LOGIN"},
		{"with CRAM-MD5", cram, scram + "CRAM-MD5 PLAIN LOGIN"},
		{"TLS that can't be bound to", unbound, "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"},
		{"TLS has to come before", Conn{CRAMMD5: true}, ""},
		{"plain text is allowed", Conn{Plain: true}, scram + "PLAIN LOGIN"},
	} {
		names := w.Mechanisms(test.conn)
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		for _, name := range mechanisms {
			want := error(nil)
			switch {
			case test.want == "" && (name == sasl.External || strings.HasSuffix(name, "-PLUS")):
				want = ErrNeedTLS
			case test.want == "":
				want = ErrNeedTLS
			case !slices.Contains(names, name):
				want = ErrMechanism
			case test.conn.TLS == nil && strings.HasSuffix(name, "-PLUS"):
				want = ErrMechanism // A hint only.
			}
			if _, err := w.Begin(local, test.conn, name); !errors.Is(err, want) {
				t.Errorf("%s, %s: got %v, want %v", test.name, name, err, want)
			}
		}
		if _, err := w.Begin(local, test.conn, "GSSAPI"); !errors.Is(err, ErrMechanism) {
			t.Errorf("%s: unknown mechanism: got %v", test.name, err)
		}
	}
}

// TestChannels logs in with channel binding over TLS of both versions, and shows
// that who sits in between can't.
func TestChannels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	config := w.BindCertificate(serverConfig(t))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		theirs, ours := handshake(t, config, clientConfig(version, nil))
		other, _ := handshake(t, config, clientConfig(version, nil))
		for _, mechanism := range []string{sasl.SCRAM256Plus, sasl.SCRAM1Plus} {
			e, err := w.Begin(local, ours.conn, mechanism)
			if err != nil {
				t.Fatal(err)
			}
			if err := converse(t, e, client(t, mechanism, "anna@example.org", "correct horse", theirs.channel)); err != nil {
				t.Errorf("%s over %s: %v", mechanism, tls.VersionName(version), err)
			}
			if e, err = w.Begin(local, ours.conn, mechanism); err != nil {
				t.Fatal(err)
			}
			if err := converse(t, e, client(t, mechanism, "anna@example.org", "correct horse", other.channel)); !errors.Is(err, sasl.ErrChannelBinding) {
				t.Errorf("%s over %s, with another channel: got %v", mechanism, tls.VersionName(version), err)
			}
		}
		// The client that doesn't know of PLUS because the list was changed.
		e, err := w.Begin(local, ours.conn, sasl.SCRAM256)
		if err != nil {
			t.Fatal(err)
		}
		c := &sasl.SCRAMClient{Hash: crypto.SHA256, Rand: rand.Reader, Username: "anna@example.org", Password: "correct horse", Channel: theirs.channel}
		if err := converse(t, e, c); !errors.Is(err, sasl.ErrChannelBinding) {
			t.Errorf("downgrade over %s: got %v", tls.VersionName(version), err)
		}
	}
}
