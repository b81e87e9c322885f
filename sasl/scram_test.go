package sasl

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// example is an example of an RFC.
type example struct {
	name                     string
	hash                     crypto.Hash
	clientNonce, serverNonce string
	salt                     string // In base64.
	first, challenge, final  string
	signature                string
}

var examples = []example{
	{
		name: "RFC 5802, section 5", hash: crypto.SHA1,
		clientNonce: "fyko+d2lbbFgONRv9qkxdawL", serverNonce: "3rfcNHYJY1ZVvWVs7j", salt: "QSXCR+Q6sek8bf92",
		first:     "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
		challenge: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
		final:     "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
		signature: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
	},
	{
		name: "RFC 7677, section 3", hash: crypto.SHA256,
		clientNonce: "rOprNGfwEbeRWgbNEkqO", serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
		first:     "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		challenge: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		final:     "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		signature: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	},
}

// TestSCRAMExamples plays the examples on both sides. Nonces are put in their
// place, since ours are made otherwise.
func TestSCRAMExamples(t *testing.T) {
	t.Parallel()
	for _, x := range examples {
		salt, err := base64.StdEncoding.DecodeString(x.salt)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := DeriveSCRAM(x.hash, "pencil", salt, 4096)
		if err != nil {
			t.Fatal(err)
		}
		s := &SCRAMServer{Hash: x.hash, Rand: rand.Reader, Lookup: func(username string) (SCRAMUser, error) {
			if username != "user" {
				t.Errorf("%s: got username %q", x.name, username)
			}
			return SCRAMUser{salt, 4096, []SCRAMKeys{keys}}, nil
		}}
		if _, _, err := s.Next([]byte(x.first)); err != nil {
			t.Fatal(err)
		}
		s.nonce, s.answer = x.clientNonce+x.serverNonce, x.challenge
		got, done, err := s.Next([]byte(x.final))
		if string(got) != x.signature || !done || err != nil {
			t.Errorf("%s, server: got %q, %v, %v, want %q", x.name, got, done, err, x.signature)
		}

		c := &SCRAMClient{Hash: x.hash, Rand: rand.Reader, Username: "user", Password: "pencil"}
		if _, _, err := c.Next(nil); err != nil {
			t.Fatal(err)
		}
		c.nonce, c.bare = x.clientNonce, x.first[len("n,,"):]
		resp, done, err := c.Next([]byte(x.challenge))
		if string(resp) != x.final || done || err != nil {
			t.Errorf("%s, client: got %q, %v, %v, want %q", x.name, resp, done, err, x.final)
		}
		if resp, done, err := c.Next([]byte(x.signature)); resp == nil || len(resp) != 0 || !done || err != nil {
			t.Errorf("%s, client at the end: got %q, %v, %v", x.name, resp, done, err)
		}
		if _, _, err := c.Next(nil); err == nil {
			t.Errorf("%s, client: goes on", x.name)
		}
	}
}

// server returns a server that knows user, with passwords.
func server(t *testing.T, hash crypto.Hash, passwords ...string) *SCRAMServer {
	t.Helper()
	u := SCRAMUser{Salt: []byte("salt of a user"), Iterations: SCRAMIterationsMin}
	for _, p := range passwords {
		k, err := DeriveSCRAM(hash, p, u.Salt, u.Iterations)
		if err != nil {
			t.Fatal(err)
		}
		u.Keys = append(u.Keys, k)
	}
	return &SCRAMServer{Hash: hash, Rand: rand.Reader, Lookup: func(string) (SCRAMUser, error) { return u, nil }}
}

// play lets the two talk until one has an error or both are done.
func play(c *SCRAMClient, s *SCRAMServer) error {
	resp, _, err := c.Next(nil)
	for err == nil {
		var challenge []byte
		var done, clientDone bool
		if challenge, done, err = s.Next(resp); err != nil {
			return err
		}
		if resp, clientDone, err = c.Next(challenge); err == nil && clientDone {
			if !done {
				return errors.New("client is done before the server")
			}
			return nil
		}
	}
	return err
}

// TestSCRAM plays clients against servers.
func TestSCRAM(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name               string
		username, password string
		passwords          []string
		index              int
		err                error
	}{
		{"the password", "user", "pencil", []string{"pencil"}, 0, nil},
		{"the first of two", "user", "pencil", []string{"pencil", "eraser"}, 0, nil},
		{"the second of two", "user", "eraser", []string{"pencil", "eraser"}, 1, nil},
		{"a wrong one", "user", "eraser", []string{"pencil"}, 0, ErrProof},
		{"a user without", "user", "pencil", nil, 0, ErrProof},
		{"a name with signs", "a=b,c=2C", "pencil", []string{"pencil"}, 0, nil},
		{"a name beyond ASCII", "jürgen@mox.example", "pencil", []string{"pencil"}, 0, nil},
		{"a password that is prepared", "user", "a\u3000b\u0065\u0301", []string{"a b\u00e9"}, 0, nil},
		{"a password that can't be prepared", "user", "a\x01", []string{"a\x01"}, 0, nil},
		{"an empty name", "", "pencil", []string{"pencil"}, 0, ErrMessage},
		{"the longest name", strings.Repeat("u", 1024), "pencil", []string{"pencil"}, 0, nil},
		{"a longer name", strings.Repeat("u", 1025), "pencil", []string{"pencil"}, 0, ErrMessage},
	} {
		for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
			s := server(t, hash, test.passwords...)
			c := &SCRAMClient{Hash: hash, Rand: rand.Reader, Username: test.username, Password: test.password}
			if err := play(c, s); !errors.Is(err, test.err) {
				t.Errorf("%s, %s: got %v, want %v", test.name, c.Name(), err, test.err)
			}
			if test.err == nil && (s.Username != test.username || s.Password != test.index) {
				t.Errorf("%s, %s: got user %q, password %d", test.name, c.Name(), s.Username, s.Password)
			}
		}
	}
}

// TestSCRAMChannel plays with the channel and what both sides believe of it.
func TestSCRAMChannel(t *testing.T) {
	t.Parallel()
	theirs, ours := connect(t, tls.VersionTLS13, nil)
	others, _ := connect(t, tls.VersionTLS13, nil)
	own, client, other := &Channel{State: &ours}, ClientChannel(&theirs), ClientChannel(&others)
	for _, test := range []struct {
		name                            string
		clientPlus, clientOffered       bool
		channel                         *Channel // The client's.
		serverPlus, serverOffered       bool
		serverChannel                   *Channel
		err                             error
		clientName, serverName, gs2Flag string
	}{
		{"bound", true, true, client, true, true, own, nil, SCRAM256Plus, SCRAM256Plus, "p=tls-exporter,,"},
		{"bound to another channel", true, true, other, true, true, own, ErrChannelBinding, SCRAM256Plus, SCRAM256Plus, "p=tls-exporter,,"},
		{"no TLS", false, false, nil, false, false, nil, nil, SCRAM256, SCRAM256, "n,,"},
		{"no TLS, but it was offered", false, true, nil, false, true, nil, nil, SCRAM256, SCRAM256, "n,,"},
		{"the server can't", false, false, client, false, false, nil, nil, SCRAM256, SCRAM256, "y,,"},
		{"the client was told the server can't", false, false, client, false, true, own, ErrChannelBinding, SCRAM256, SCRAM256, "y,,"},
		{"the client chose not to", false, true, client, false, true, own, nil, SCRAM256, SCRAM256, "n,,"},
		{"bound, the server has another mechanism", true, true, client, false, true, own, ErrChannelBinding, SCRAM256Plus, SCRAM256, "p=tls-exporter,,"},
		{"not bound, the server has another mechanism", false, true, client, true, true, own, ErrChannelBinding, SCRAM256, SCRAM256Plus, "n,,"},
		{"bound, the server has no TLS", true, true, client, true, true, nil, ErrChannelBinding, SCRAM256Plus, SCRAM256Plus, "p=tls-exporter,,"},
		{"to be bound without TLS", true, true, nil, true, true, own, ErrChannelBinding, SCRAM256Plus, SCRAM256Plus, ""},
	} {
		c := &SCRAMClient{Hash: crypto.SHA256, Plus: test.clientPlus, PlusOffered: test.clientOffered, Channel: test.channel, Rand: rand.Reader, Username: "user", Password: "pencil"}
		s := server(t, crypto.SHA256, "pencil")
		s.Plus, s.PlusOffered, s.Channel = test.serverPlus, test.serverOffered, test.serverChannel
		if err := play(c, s); !errors.Is(err, test.err) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.err)
		}
		if c.Name() != test.clientName || s.Name() != test.serverName || c.gs2 != test.gs2Flag {
			t.Errorf("%s: got %s, %s, %q", test.name, c.Name(), s.Name(), c.gs2)
		}
	}
}

// TestSCRAMServerMessages shows what a server takes and refuses of a client.
func TestSCRAMServerMessages(t *testing.T) {
	t.Parallel()
	const nonce = "AAAAAAAAAAAAAAAAAAAAAAAA" // Of 18 zeros.
	proof := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, test := range []struct {
		name, first, final string
		err                error // Of the last message.
	}{
		{"all in order", "n,,n=user,r=x", "c=biws,r=x" + nonce + ",p=" + proof, ErrProof},
		{"extensions are passed over", "n,,n=user,r=x,z=1,y=a=b", "c=biws,r=x" + nonce + ",q=1,p=" + proof, ErrProof},
		{"authorized as the same", "n,a=user,n=user,r=x", "c=" + encode([]byte("n,a=user,")) + ",r=x" + nonce + ",p=" + proof, ErrProof},
		{"authorized as another", "n,a=admin,n=user,r=x", "", ErrAuthorization},
		{"a name with signs", "n,,n=a=2Cb=3D,r=x", "c=biws,r=x" + nonce + ",p=" + proof, ErrProof},
		{"a sign that is not encoded", "n,,n=a=b,r=x", "", ErrMessage},
		{"lower-case code of a sign", "n,,n=a=2cb,r=x", "", ErrMessage},
		{"no name", "n,,n=,r=x", "", ErrMessage},
		{"no nonce", "n,,n=user,r=", "", ErrMessage},
		{"a nonce with a space", "n,,n=user,r=a b", "", ErrMessage},
		{"nothing", "", "", ErrMessage},
		{"an unknown flag", "x,,n=user,r=x", "", ErrMessage},
		{"no type of binding", "p=,,n=user,r=x", "", ErrMessage},
		{"a mandatory extension", "n,,m=1,n=user,r=x", "", ErrMessage},
		{"a late mandatory extension", "n,,n=user,r=x,m=1", "", ErrMessage},
		{"an extension without name", "n,,n=user,r=x,=1", "", ErrMessage},
		{"an extension without value", "n,,n=user,r=x,z=", "", ErrMessage},
		{"an empty identity", "n,a=,n=user,r=x", "", ErrMessage},
		{"NUL", "n,,n=us\x00er,r=x", "", ErrMessage},
		{"not UTF-8", "n,,n=us\xffer,r=x", "", ErrMessage},
		{"too long", "n,,n=user,r=" + strings.Repeat("x", scramMessageMax), "", ErrMessage},
		{"binding without TLS", "p=tls-unique,,n=user,r=x", "", ErrChannelBinding},
		{"the nonce of another exchange", "n,,n=user,r=x", "c=biws,r=x" + nonce[1:] + ",p=" + proof, ErrMessage},
		{"another flag than before", "n,,n=user,r=x", "c=" + encode([]byte("y,,")) + ",r=x" + nonce + ",p=" + proof, ErrChannelBinding},
		{"no proof", "n,,n=user,r=x", "c=biws,r=x" + nonce, ErrMessage},
		{"something behind the proof", "n,,n=user,r=x", "c=biws,r=x" + nonce + ",p=" + proof + ",z=1", ErrMessage},
		{"a short proof", "n,,n=user,r=x", "c=biws,r=x" + nonce + ",p=AAAA", ErrMessage},
		{"a proof in two lines", "n,,n=user,r=x", "c=biws,r=x" + nonce + ",p=" + proof[:8] + "\r\n" + proof[8:], ErrMessage},
		{"not base64", "n,,n=user,r=x", "c=biw!,r=x" + nonce + ",p=" + proof, ErrMessage},
	} {
		s := server(t, crypto.SHA256, "pencil")
		s.Rand = bytes.NewReader(make([]byte, scramNonceSize))
		if c, done, err := s.Next(nil); c == nil || len(c) != 0 || done || err != nil {
			t.Errorf("%s: before the first message: %q, %v, %v", test.name, c, done, err)
		}
		_, done, err := s.Next([]byte(test.first))
		if (err == nil) != (test.final != "") {
			t.Errorf("%s: first message: %v", test.name, err)
		}
		if err == nil {
			_, done, err = s.Next([]byte(test.final))
		}
		if !errors.Is(err, test.err) || done {
			t.Errorf("%s: got %v, %v, want %v", test.name, done, err, test.err)
		}
		if _, done, err := s.Next([]byte(test.final)); done || err == nil {
			t.Errorf("%s: goes on after the end", test.name)
		}
	}
}

// TestSCRAMClientMessages shows what a client takes and refuses of a server.
func TestSCRAMClientMessages(t *testing.T) {
	t.Parallel()
	const nonce = "AAAAAAAAAAAAAAAAAAAAAAAA"
	for _, test := range []struct {
		name, challenge, final string
		err                    error // Of the last message.
	}{
		{"another signature", "r=" + nonce + "s,s=AAAA,i=4096", "v=AAAA", ErrProof},
		{"refused", "r=" + nonce + "s,s=AAAA,i=4096", "e=invalid-proof", ErrRefused},
		{"no signature", "r=" + nonce + "s,s=AAAA,i=4096", "", ErrMessage},
		{"an empty signature", "r=" + nonce + "s,s=AAAA,i=4096", "v=", ErrMessage},
		{"the most iterations", "r=" + nonce + "s,s=AAAA,i=1000000,z=1", "v=AAAA", ErrProof},
		{"more iterations", "r=" + nonce + "s,s=AAAA,i=1000001", "-", ErrMessage},
		{"too few iterations", "r=" + nonce + "s,s=AAAA,i=4095", "-", ErrMessage},
		{"very many iterations", "r=" + nonce + "s,s=AAAA,i=99999999999999999999", "-", ErrMessage},
		{"a negative number", "r=" + nonce + "s,s=AAAA,i=-4096", "-", ErrMessage},
		{"a leading zero", "r=" + nonce + "s,s=AAAA,i=04096", "-", ErrMessage},
		{"another nonce", "r=B" + nonce[1:] + "s,s=AAAA,i=4096", "-", ErrMessage},
		{"only our nonce", "r=" + nonce + ",s=AAAA,i=4096", "-", ErrMessage},
		{"no salt", "r=" + nonce + "s,s=,i=4096", "-", ErrMessage},
		{"no iterations", "r=" + nonce + "s,s=AAAA", "-", ErrMessage},
		{"a mandatory extension", "m=1,r=" + nonce + "s,s=AAAA,i=4096", "-", ErrMessage},
		{"nothing", "", "-", ErrMessage},
	} {
		c := &SCRAMClient{Hash: crypto.SHA1, Rand: bytes.NewReader(make([]byte, scramNonceSize)), Username: "user", Password: "pencil"}
		if _, _, err := c.Next(nil); err != nil {
			t.Fatal(err)
		}
		_, done, err := c.Next([]byte(test.challenge))
		if (err == nil) != (test.final != "-") {
			t.Errorf("%s: challenge: %v", test.name, err)
		}
		if err == nil {
			_, done, err = c.Next([]byte(test.final))
		}
		if !errors.Is(err, test.err) || done {
			t.Errorf("%s: got %v, %v, want %v", test.name, done, err, test.err)
		}
	}
}

// TestSCRAMTrouble shows that trouble of our own ends exchanges.
func TestSCRAMTrouble(t *testing.T) {
	t.Parallel()
	broken := iotest.ErrReader(io.ErrUnexpectedEOF)
	if _, _, err := (&SCRAMClient{Hash: crypto.SHA1, Rand: broken}).Next(nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("client without random bytes: got %v", err)
	}
	s := server(t, crypto.SHA256, "pencil")
	s.Rand = broken
	if _, _, err := s.Next([]byte("n,,n=user,r=x")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("server without random bytes: got %v", err)
	}
	s = server(t, crypto.SHA256, "pencil")
	s.Lookup = func(string) (SCRAMUser, error) { return SCRAMUser{}, io.ErrClosedPipe }
	if _, _, err := s.Next([]byte("n,,n=user,r=x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("server without users: got %v", err)
	}
	if name := scramName(crypto.MD5, false); name != "" {
		t.Errorf("MD5 has the name %q", name)
	}
}

// FuzzClientFirst checks that the parts of a message are where they were.
func FuzzClientFirst(f *testing.F) {
	for _, x := range examples {
		f.Add(x.first)
	}
	f.Add("p=tls-exporter,a=b=2C,n=a=3Db,r=x,z=1")
	f.Fuzz(func(t *testing.T, message string) {
		m, err := parseClientFirst(message)
		if err != nil {
			return
		}
		if m.gs2+m.bare != message || !strings.HasPrefix(m.bare, "n="+nameEncoder.Replace(m.username)+",r="+m.nonce) {
			t.Fatalf("%q is %+v", message, m)
		}
		if m.authorize != "" && !strings.Contains(m.gs2, ",a="+nameEncoder.Replace(m.authorize)+",") {
			t.Fatalf("%q authorizes %q", message, m.authorize)
		}
	})
}

// FuzzServerFirst checks that what was parsed is written as it was, but for
// extensions.
func FuzzServerFirst(f *testing.F) {
	for _, x := range examples {
		f.Add(x.challenge)
	}
	f.Add("r=a,s=AAAA,i=4096,z=1")
	f.Fuzz(func(t *testing.T, message string) {
		m, err := parseServerFirst(message)
		if err == nil && message != m.format() && !strings.HasPrefix(message, m.format()+",") {
			t.Fatalf("%q is %q", message, m.format())
		}
	})
}

// FuzzClientFinal checks the same for the client's second message.
func FuzzClientFinal(f *testing.F) {
	for _, x := range examples {
		f.Add(x.final)
	}
	f.Add("c=AAAA,r=x,z=1,p=AAAA")
	f.Fuzz(func(t *testing.T, message string) {
		m, err := parseClientFinal(message)
		if err != nil {
			return
		}
		if message != m.withoutProof+",p="+encode(m.proof) || !strings.HasPrefix(m.withoutProof+",", "c="+encode(m.binding)+",r="+m.nonce+",") {
			t.Fatalf("%q is %+v", message, m)
		}
	})
}

// FuzzServerFinal checks that a signature is what was sent, and that a refusal is
// fit for a log.
func FuzzServerFinal(f *testing.F) {
	for _, x := range examples {
		f.Add(x.signature)
	}
	f.Add("e=invalid-proof")
	f.Fuzz(func(t *testing.T, message string) {
		signature, err := parseServerFinal(message)
		if err == nil && message != "v="+encode(signature) && !strings.HasPrefix(message, "v="+encode(signature)+",") {
			t.Fatalf("%q is %x", message, signature)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Fatalf("%q: error %q", message, err)
		}
	})
}
