package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/sasl"
)

// clientCertificate returns a certificate signed by itself.
func clientCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "laptop"}, DNSNames: []string{"localhost"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func serverConfig(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{clientCertificate(t)}}
}

// clientConfig is for one version, if that is not 0.
func clientConfig(version uint16, cert *tls.Certificate) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: version, MaxVersion: version}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return c
}

// end is one end of a TLS connection.
type end struct {
	state   tls.ConnectionState
	channel *sasl.Channel
	conn    Conn // For the server's end.
	err     error
}

// tcpPair returns two ends that can both write at once, as TLS needs it when a
// handshake fails.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// handshake connects the two. Both ends say how it went.
func handshake(t *testing.T, server, client *tls.Config) (theirs, ours end) {
	t.Helper()
	a, b := tcpPair(t)
	done := make(chan end)
	go func() {
		defer b.Close()
		c := tls.Server(b, server)
		var e end
		e.conn.Certificate, e.err = Handshake(t.Context(), c)
		e.state = c.ConnectionState()
		e.conn.TLS, e.conn.Hostname = &e.state, "mail.example.org"
		if e.err == nil {
			_, e.err = c.Write([]byte("x")) // The client takes session tickets with it.
		}
		done <- e
	}()
	c := tls.Client(a, client)
	theirs.err = c.HandshakeContext(t.Context())
	if theirs.err == nil {
		_, theirs.err = c.Read(make([]byte, 1))
	}
	_ = a.Close()
	theirs.state = c.ConnectionState()
	theirs.channel = sasl.ClientChannel(&theirs.state)
	return theirs, <-done
}

// register registers the key of a certificate for an account.
func (w *world) register(t *testing.T, cert tls.Certificate, account, address string) string {
	t.Helper()
	k, err := w.db.AddTLSPublicKey(t.Context(), authdb.TLSPublicKey{
		CertDER: cert.Certificate[0], Account: account, LoginAddress: address, NoPreauth: account == "carl",
	})
	if err != nil {
		t.Fatal(err)
	}
	return k.Fingerprint
}

// TestClientCertificates shows which handshakes succeed.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	refused := errors.New("refused by the config's own check")
	refuse := false
	base := serverConfig(t)
	base.VerifyConnection = func(tls.ConnectionState) error {
		if refuse {
			return refused
		}
		return nil
	}
	config := w.ClientCertificates(base)
	known, unknown := clientCertificate(t), clientCertificate(t)
	fingerprint := w.register(t, known, "anna", "anna@example.org")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		_, ours := handshake(t, config, clientConfig(version, nil))
		if ours.err != nil || Key(&ours.state) != "" || ours.conn.Certificate == nil {
			t.Errorf("%x, without certificate: got %v, key %q", version, ours.err, Key(&ours.state))
		}
		_, ours = handshake(t, config, clientConfig(version, &known))
		if ours.err != nil || Key(&ours.state) != fingerprint {
			t.Errorf("%x, known key: got %v, key %q", version, ours.err, Key(&ours.state))
		}
		theirs, ours := handshake(t, config, clientConfig(version, &unknown))
		if !errors.Is(ours.err, errUnknownKey) || theirs.err == nil || !strings.Contains(theirs.err.Error(), "bad certificate") {
			t.Errorf("%x, unknown key: got %v, client got %v", version, ours.err, theirs.err)
		}
		refuse = true
		if _, ours = handshake(t, config, clientConfig(version, &known)); !errors.Is(ours.err, refused) {
			t.Errorf("%x: got %v, want the error of the config", version, ours.err)
		}
		refuse = false
	}
	if !strings.Contains(w.log.String(), authdb.Fingerprint(unknown.Leaf)) {
		t.Error("log hasn't the unknown key")
	}
	if w.ClientCertificates(nil) != nil {
		t.Error("got a config from none")
	}
}

// TestResumption shows that sessions are resumed, that they know the server's
// certificate, and that a key removed since doesn't get in.
func TestResumption(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t)
		config := w.ClientCertificates(serverConfig(t))
		cert := clientCertificate(t)
		fingerprint := w.register(t, cert, "anna", "anna@example.org")
		client := clientConfig(version, &cert)
		client.ClientSessionCache = tls.NewLRUClientSessionCache(10)
		if _, ours := handshake(t, config, client); ours.err != nil || ours.state.DidResume {
			t.Fatalf("%x, first: got %v", version, ours.err)
		}
		_, ours := handshake(t, config, client)
		if ours.err != nil || !ours.state.DidResume || Key(&ours.state) != fingerprint || ours.conn.Certificate == nil {
			t.Errorf("%x, second: got %v, resumed %v", version, ours.err, ours.state.DidResume)
		}
		if err := w.db.RemoveTLSPublicKey(t.Context(), fingerprint); err != nil {
			t.Fatal(err)
		}
		if _, ours := handshake(t, config, client); !errors.Is(ours.err, errUnknownKey) {
			t.Errorf("%x, key removed: got %v", version, ours.err)
		}
	}
}

// TestChosenCertificate shows which certificate is shown, and that it is the one
// that channels are bound to.
func TestChosenCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := clientCertificate(t), clientCertificate(t)
	two.Leaf = nil // As configs may be made.
	choice := func(c *tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c, nil }
	}
	trouble := errors.New("trouble")
	for _, test := range []struct {
		name string
		base *tls.Config
		want []byte
	}{
		{"the only one", &tls.Config{Certificates: []tls.Certificate{one}}, one.Certificate[0]},
		{"the first that fits", &tls.Config{Certificates: []tls.Certificate{one, two}}, one.Certificate[0]},
		{"chosen by name", &tls.Config{Certificates: []tls.Certificate{one}, GetCertificate: choice(&two)}, two.Certificate[0]},
		{"not chosen by name", &tls.Config{Certificates: []tls.Certificate{one}, GetCertificate: choice(nil)}, one.Certificate[0]},
		{"a config for the client", &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{two}}, nil
		}}, two.Certificate[0]},
		{"no config for the client", &tls.Config{Certificates: []tls.Certificate{one}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, nil
		}}, one.Certificate[0]},
		{"trouble with a config", &tls.Config{Certificates: []tls.Certificate{one}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, trouble
		}}, nil},
		{"none", &tls.Config{GetCertificate: choice(nil)}, nil},
	} {
		theirs, ours := handshake(t, w.BindCertificate(test.base), clientConfig(0, nil))
		if (ours.err == nil) != (test.want != nil) {
			t.Errorf("%s: got %v", test.name, ours.err)
		}
		if test.want == nil || ours.err != nil {
			continue
		}
		if ours.conn.Certificate == nil || string(ours.conn.Certificate.Raw) != string(test.want) || !theirs.state.PeerCertificates[0].Equal(ours.conn.Certificate) {
			t.Errorf("%s: got another certificate", test.name)
		}
		data, err := theirs.channel.Binding("tls-server-end-point")
		own, err2 := ours.conn.channel().Binding("tls-server-end-point")
		if err != nil || err2 != nil || string(data) != string(own) || len(own) != 32 {
			t.Errorf("%s: bindings %x and %x, %v, %v", test.name, data, own, err, err2)
		}
	}
}

// TestPublicKey logs in by key alone, and with EXTERNAL.
func TestPublicKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name, account, address string
		authorize              string
		want                   string // Address.
		err                    error  // Of EXTERNAL.
	}{
		{"a user", "anna", "anna@example.org", "", "anna@example.org", nil},
		{"the same by name", "anna", "anna@example.org", "anna@example.org", "anna@example.org", nil},
		{"another address of the account", "anna", "anna@example.org", "ANNA+x@example.org", "anna@example.org", nil},
		{"another account", "anna", "anna@example.org", "bert@example.org", "", sasl.ErrAuthorization},
		{"nobody", "anna", "anna@example.org", "nobody@example.org", "", sasl.ErrAuthorization},
		{"a disabled account", "bert", "bert@example.org", "", "", ErrDisabled},
		{"a user without password", "carl", "carl@example.org", "", "carl@example.org", nil},
		{"an address that is gone", "anna", "gone@example.org", "", "", ErrBadCredentials},
		{"an address that moved", "carl", "anna@example.org", "", "", ErrBadCredentials},
		{"not registered", "", "", "", "", ErrBadCredentials},
	} {
		cert := clientCertificate(t)
		if test.account != "" {
			w.register(t, cert, test.account, test.address)
		}
		login, err := w.PublicKey(t.Context(), local, cert.Leaf)
		wantErr := test.err
		if errors.Is(wantErr, sasl.ErrAuthorization) {
			wantErr = nil
		}
		if !errors.Is(err, wantErr) || err == nil && (login.Account != test.account || login.NoPreauth != (test.account == "carl")) {
			t.Errorf("%s: got %+v, %v", test.name, login, err)
		}
		c := Conn{TLS: &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{cert.Leaf}}}
		e, err := w.Begin(local, c, sasl.External)
		if err != nil {
			t.Fatal(err)
		}
		err = converse(t, e, &sasl.ExternalClient{Authorize: test.authorize})
		if !errors.Is(err, test.err) || err == nil && e.Login().Address.String() != test.want {
			t.Errorf("%s, EXTERNAL: got %v, %v", test.name, e.Login(), err)
		}
	}
	if got := w.counter(t, "mox_authentication_total", "imap", "ok", "tlsclientauth"); got != 6 {
		t.Errorf("counted %v logins by key, want 6", got)
	}
}

// TestKeyAccount shows that who has shown a key can log in to its account alone.
func TestKeyAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cert := clientCertificate(t)
	fingerprint := w.register(t, cert, "carl", "carl@example.org")
	state := &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{cert.Leaf}}
	attempt := local
	attempt.Key = Key(state)
	if attempt.Key != fingerprint {
		t.Errorf("got key %q, want %q", attempt.Key, fingerprint)
	}
	check := func(name string, want error) {
		t.Helper()
		if _, err := w.Password(t.Context(), attempt, "anna@example.org", "correct horse"); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		for _, mechanism := range []string{sasl.Plain, sasl.SCRAM1} {
			e, err := w.Begin(local, Conn{TLS: state}, mechanism)
			if err != nil {
				t.Fatal(err)
			}
			if err := converse(t, e, client(t, mechanism, "anna@example.org", "correct horse", nil)); !errors.Is(err, want) {
				t.Errorf("%s, %s: got %v, want %v", name, mechanism, err, want)
			}
		}
	}
	check("another account", sasl.ErrAuthorization)
	for _, a := range w.attempts.take() {
		if a.PublicKey != fingerprint || a.Result != authdb.BadCreds {
			t.Errorf("recorded %+v", a)
		}
	}
	if err := w.db.RemoveTLSPublicKey(t.Context(), fingerprint); err != nil {
		t.Fatal(err)
	}
	check("the key is gone", nil)
	w.register(t, cert, "anna", "anna@example.org")
	check("its own account", nil)
}
