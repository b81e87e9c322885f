package main

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/dnstest"
)

// daneServer is a server on loopback with a certificate for mx.example, which has
// expired.
type daneServer struct {
	config *tls.Config
	cert   *x509.Certificate
	port   int
	listen net.Listener
	done   chan struct{}
}

// newDANEServer starts a server whose connections serve answers.
func newDANEServer(t *testing.T, serve func(*daneServer, net.Conn)) *daneServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example"}, NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := &daneServer{config: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, done: make(chan struct{})}
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if s.listen, err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.port = s.listen.Addr().(*net.TCPAddr).Port
	go func() {
		defer close(s.done)
		for {
			conn, err := s.listen.Accept()
			if err != nil {
				return
			}
			serve(s, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		s.listen.Close()
		<-s.done
	})
	return s
}

// echo says once what it heard first.
func (s *daneServer) echo(raw net.Conn) {
	conn := tls.Server(raw, s.config)
	if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
		_, _ = io.WriteString(conn, "heard "+line)
	}
	_ = conn.Close()
}

// smtp is a mail server until QUIT.
func (s *daneServer) smtp(raw net.Conn) {
	conn, r := raw, bufio.NewReader(raw)
	_, _ = io.WriteString(conn, "220 hello\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch strings.TrimSpace(line) {
		case "STARTTLS":
			_, _ = io.WriteString(conn, "220 go\r\n")
			conn = tls.Server(raw, s.config)
			r = bufio.NewReader(conn)
		case "QUIT":
			_, _ = io.WriteString(conn, "221 bye\r\n")
			_ = conn.Close()
			return
		default:
			_, _ = io.WriteString(conn, "250-"+line+"250 STARTTLS\r\n")
		}
	}
}

// record returns the value of a record for the server, for usage 3, or another one.
func (s *daneServer) record(t *testing.T, usage dane.Usage) string {
	t.Helper()
	r, err := dane.MakeRecord(usage, dane.SPKI, dane.SHA256, s.cert)
	if err != nil {
		t.Fatal(err)
	}
	return r.String()
}

// daneRun returns a function that runs commands with input and a name server.
func daneRun(t *testing.T, zone string) (func(input, command, args string) (int, string, string), *dnstest.Tree) {
	t.Helper()
	tree, addr := serveTree(t, dnstest.SignedZone{Name: "example", Text: zone}, dnstest.SignedZone{Name: "plain", Text: "mx A 127.0.0.1\n@ MX 10 mx.example.\n", Unsigned: true})
	dir := t.TempDir()
	anchors, none := filepath.Join(dir, "anchors"), filepath.Join(dir, "none.conf")
	if err := os.WriteFile(anchors, []byte(strings.Join(tree.Anchors(), "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(input, command, args string) (int, string, string) {
		var out, errs bytes.Buffer
		inv := &invocation{stdin: strings.NewReader(input), stdout: &out, stderr: &errs}
		words := append([]string{"-config", none, "dane", command, "-server", addr, "-mode", "validate", "-anchors", anchors}, strings.Fields(args)...)
		code := inv.main(t.Context(), words, func(string) string { return "" })
		return code, out.String(), errs.String()
	}, tree
}

func TestDANEDial(t *testing.T) {
	t.Parallel()
	s := newDANEServer(t, (*daneServer).echo)
	run, tree := daneRun(t, fmt.Sprintf(`
mx              A    127.0.0.1
_%[1]d._tcp.mx    TLSA %[2]s
_%[1]d._tcp.mx    TLSA 3 1 1 %064[4]d
alias           CNAME mx
pkix            A    127.0.0.1
_%[1]d._tcp.pkix  TLSA %[3]s
wrong           A    127.0.0.1
_%[1]d._tcp.wrong TLSA 3 1 1 %064[4]d
bare            A    127.0.0.1
broken          A    127.0.0.1
`, s.port, s.record(t, dane.DANEEE), s.record(t, dane.PKIXEE), 0))
	tree.Fail("TLSA", fmt.Sprintf("_%d._tcp.broken.example", s.port), dnstest.Temporary)
	for _, c := range []struct {
		name, args     string
		code           int
		stdout, stderr string // What is in it.
	}{
		{"a good server", "mx.example:%d", 0, "heard hi\n", "mox: mx.example is verified by TLSA 3 1 1 "},
		{"an alias of it", "alias.example:%d", 0, "heard hi\n", "mox: alias.example is verified by TLSA 3 1 1 "},
		{"usages that count", "-usages 2,dane-ee mx.example:%d", 0, "heard hi\n", "mox: mx.example is verified by TLSA 3 1 1 "},
		{"usages that don't", "-usages dane-ta mx.example:%d", 1, "", "mox: mx.example can't be verified: it has no TLSA records that can be used\n"},
		{"a record for a common CA", "pkix.example:%d", 1, "", "TLS with pkix.example: dane: x509: certificate has expired"},
		{"another certificate", "wrong.example:%d", 1, "", "no TLSA record matches the certificate"},
		{"no records", "bare.example:%d", 1, "", "bare.example can't be verified: it has no TLSA records that DNSSEC protects\n"},
		{"without DNSSEC", "mx.plain:%d", 1, "", "mx.plain can't be verified: DNSSEC does not protect its addresses\n"},
		{"records unknown", "broken.example:%d", 1, "", "looking up TLSA records: "},
		{"no such host", "nothing.example:%d", 1, "", "no such name"},
		{"no port", "mx.example", 2, "", "mox: \"mx.example\" is not a host with a port\n"},
		{"a port that is none", "mx.example:0", 2, "", "mox: \"0\" is not a port\n"},
		{"a host that is none", "x..y:%d", 2, "", "mox: invalid domain"},
		{"a usage that is none", "-usages 4 mx.example:%d", 2, "", "mox: -usages: dane: \"4\" is no usage"},
		{"nothing", "", 2, "", "usage: mox dane dial "},
	} {
		args := c.args
		if strings.Contains(args, "%d") {
			args = fmt.Sprintf(args, s.port)
		}
		code, stdout, stderr := run("hi\n", "dial", args)
		if code != c.code || stdout != c.stdout || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: got %d, %q, %q, want %d, %q, %q", c.name, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
	}
}

func TestDANEDialMX(t *testing.T) {
	t.Parallel()
	s := newDANEServer(t, (*daneServer).smtp)
	run, _ := daneRun(t, fmt.Sprintf(`
@               MX   20 mx
@               MX   10 wrong
mx              A    127.0.0.1
_%[1]d._tcp.mx    TLSA %[2]s
wrong           A    127.0.0.1
_%[1]d._tcp.wrong TLSA 3 1 1 %064[3]d
null            MX   0 .
`, s.port, s.record(t, dane.DANEEE), 0))
	for _, c := range []struct {
		name, args     string
		code           int
		stdout, stderr string
	}{
		{"the first that is good", "example", 0, "221 bye\r\n", "mox: mx.example is verified by TLSA 3 1 1 "},
		{"one of them", "example MX.example.", 0, "221 bye\r\n", "mox: mx.example is verified by TLSA 3 1 1 "},
		{"a domain without mail servers", "mx.example", 0, "221 bye\r\n", "mox: mx.example is verified by TLSA 3 1 1 "},
		{"with a name", "-ehlohostname me.example mx.example", 0, "221 bye\r\n", "mx.example is verified"},
		{"another one", "example wrong.example", 1, "", "no TLSA record matches the certificate"},
		{"one that is not its", "example other.example", 1, "", "example has no such mail server"},
		{"a domain that takes no mail", "null.example", 1, "", "null.example has no such mail server"},
		{"without DNSSEC", "plain", 1, "", "mx.example can't be verified: DNSSEC does not protect the MX records of plain\n"},
		{"no such domain", "nothing.example", 1, "", "no such name"},
		{"no domain", "x..y", 2, "", "mox: invalid domain"},
		{"nothing", "", 2, "", "usage: mox dane dialmx "},
	} {
		code, stdout, stderr := run("QUIT\r\n", "dialmx", fmt.Sprintf("-port %d %s", s.port, c.args))
		if code != c.code || stdout != c.stdout || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: got %d, %q, %q, want %d, %q, %q", c.name, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
	}
}

func TestDANEMakeRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newDANEServer(t, (*daneServer).echo)
	key := s.config.Certificates[0].PrivateKey.(*ecdsa.PrivateKey)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := x509.MarshalPKCS8PrivateKey(x25519)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, blocks ...*pem.Block) string {
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(b)...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert := &pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}
	private := &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}
	certFile, keyFile := write("cert", cert), write("key", private)
	digest := s.record(t, dane.DANEEE) + "\n"
	for _, c := range []struct {
		name, args     string
		code           int
		stdout, stderr string
	}{
		{"of a certificate", "dane-ee spki sha2-256 " + certFile, 0, digest, ""},
		{"with numbers", "3 1 1 " + certFile, 0, digest, ""},
		{"of a key", "3 1 1 " + keyFile, 0, digest, ""},
		{"of a key in another form", "3 1 1 " + write("sec1", &pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), 0, digest, ""},
		{"of a public key", "3 1 1 " + write("public", &pem.Block{Type: "PUBLIC KEY", Bytes: s.cert.RawSubjectPublicKeyInfo}), 0, digest, ""},
		{"of a whole certificate", "2 cert full " + certFile, 0, fmt.Sprintf("2 0 0 %x\n", s.cert.Raw), ""},
		{"of a certificate behind a key", "3 cert full " + write("both", private, cert), 0, fmt.Sprintf("3 0 0 %x\n", s.cert.Raw), ""},
		{"of a key where a certificate is needed", "3 0 1 " + keyFile, 1, "", "mox: no certificate or key in it can be used for selector Cert\n"},
		{"of something else", "3 1 1 " + write("other", &pem.Block{Type: "OTHER", Bytes: pkcs8}), 1, "", "mox: no certificate or key"},
		{"of a broken certificate", "3 1 1 " + write("broken", &pem.Block{Type: "CERTIFICATE"}), 1, "", "mox: parsing certificate: "},
		{"of a broken key", "3 1 1 " + write("nokey", &pem.Block{Type: "RSA PRIVATE KEY"}), 1, "", "mox: parsing key: "},
		{"of a key that signs nothing", "3 1 1 " + write("ecdh", &pem.Block{Type: "PRIVATE KEY", Bytes: exchange}), 1, "", "mox: parsing key: it can't be that of a TLS server\n"},
		{"of a file that is not there", "3 1 1 " + filepath.Join(dir, "none"), 1, "", "mox: open "},
		{"of a file that is too large", "3 1 1 " + write("large", &pem.Block{Type: "OTHER", Bytes: make([]byte, pemSizeMax)}), 1, "", "mox: more than 1048576 bytes"},
		{"of nothing that comes in", "3 1 1", 1, "", "mox: no certificate or key in it"},
		{"an unknown usage", "4 1 1", 2, "", "mox: dane: \"4\" is no usage"},
		{"too little", "3 1", 2, "", "usage: mox dane makerecord "},
	} {
		code, stdout, stderr := run(t, append([]string{"dane", "makerecord"}, strings.Fields(c.args)...)...)
		if code != c.code || stdout != c.stdout || !strings.HasPrefix(stderr, c.stderr) {
			t.Errorf("%s: got %d, %q, %q, want %d, %q, %q", c.name, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
	}
}
