package transcript

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// echo answers each line with "got: " before it, and knows a few commands.
func echo(t *testing.T, conn net.Conn) {
	defer conn.Close()
	fmt.Fprintf(conn, "hello\r\n")
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch line := strings.TrimRight(line, "\r\n"); line {
		case "QUIT":
			fmt.Fprintf(conn, "bye\r\n")
			return
		case "MANY":
			fmt.Fprintf(conn, "1\r\n2\r\n3\r\ndone 17\r\n")
		case "STARTTLS":
			fmt.Fprintf(conn, "go\r\n")
			tlsConn := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
			conn, r = tlsConn, bufio.NewReader(tlsConn)
		default:
			fmt.Fprintf(conn, "got: %s\r\n", line)
		}
	}
}

func certificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Error(err)
		return tls.Certificate{}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Error(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestPlay(t *testing.T) {
	t.Parallel()
	const text = `
# A comment.
# setup: inbox=5 pedantic
S: hello
C: one
S: got: one
C2: two
S2: hello
S2~ got: (one|two)
C: three
C: four
S~ got: t.*
S: got: four
C: MANY
S*
S~ done (?P<n>\d+)
C: ${n}
S: got: 17
C< "x" * 3
C< "y\r\n"
S: got: xxxy
SLEEP 24h
C: STARTTLS
S: go
TLS
C: secret
S: got: secret
CLOSE
C: again
S: hello
S: got: again
C: QUIT
S: bye
EOF
C2: MANY
C2: QUIT
S2*
EOF2
`
	f, err := parse("test.txt", text)
	if err != nil {
		t.Fatal(err)
	}
	if f.Setup["inbox"] != "5" {
		t.Errorf("setup %v", f.Setup)
	}
	if _, ok := f.Setup["pedantic"]; !ok {
		t.Errorf("setup %v", f.Setup)
	}
	if got := strings.Join(f.Commands(), " "); got != "one two three four MANY ${n} STARTTLS secret again QUIT MANY QUIT" {
		t.Errorf("commands %q", got)
	}
	if n := len(f.Lines()); n != 12 {
		t.Errorf("%d lines", n)
	}
	synctest.Test(t, func(t *testing.T) {
		f.Play(t, func(string) net.Conn {
			client, server := net.Pipe()
			go echo(t, server)
			return client
		})
	})
}

// recorder takes the place of a test that is meant to fail.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(r)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text, want string
	}{
		{"another line", "S: hello\nC: x\nC: y\nS: got: z", "f.txt:4: S: got: z\ngot:  \"got: x\"\nthen: \"got: y\"\n"},
		{"a regexp that matches a part", "S~ hell", `got:  "hello"`},
		{"no line", "S: hello\nS: more", "f.txt:2: S: more\nthe server sent nothing more in time"},
		{"no end", "S: hello\nEOF", "nothing more in time"},
		{"more before the end", "C: QUIT\nEOF", `got:  "hello"`},
	} {
		f, err := parse("f.txt", tc.text)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			rec := &recorder{TB: t}
			func() {
				defer func() { _ = recover() }()
				f.Play(rec, func(string) net.Conn {
					client, server := net.Pipe()
					go echo(t, server)
					return client
				})
			}()
			if !strings.Contains(rec.failure, tc.want) {
				t.Errorf("%s: got %q, want it to contain %q", tc.name, rec.failure, tc.want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"X: what", "S~ (", "C< plain", `C< "a" 3`, `C< "a" * x`, "SLEEP long", "CLOSE:", "C~ x", "S< x"} {
		if _, err := parse("f.txt", "\n"+text); err == nil || !strings.HasPrefix(err.Error(), "f.txt:2: ") {
			t.Errorf("%q: got error %v", text, err)
		}
	}
}
