package smtpclient

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/mjl-/mox/dane"
)

// TestVerify has each combination of checks, with a server that is good by common
// CAs, by its records, by both and by neither.
func TestVerify(t *testing.T) {
	t.Parallel()
	checks := []Check{CheckNot, CheckOnly, CheckRequired}
	for _, pkix := range checks {
		for _, records := range checks {
			for _, goodPKIX := range []bool{false, true} {
				for _, goodDANE := range []bool{false, true} {
					t.Run(fmt.Sprintf("PKIX %d %v DANE %d %v", pkix, goodPKIX, records, goodDANE), func(t *testing.T) {
						t.Parallel()
						config, record := trusting(t, goodPKIX), recordFor(t, goodDANE)
						v := &Verify{PKIX: pkix, DANE: records, TLSA: dane.Verifier{Records: []dane.Record{record}}}
						c, err := greetTLS(t, config, v)
						want := (pkix != CheckRequired || goodPKIX) && (records != CheckRequired || goodDANE)
						if (err == nil) != want {
							t.Fatalf("got %v, want good: %v", err, want)
						}
						checkVerified(t, c, err, pkix != CheckNot, records != CheckNot, goodPKIX, goodDANE)
					})
				}
			}
		}
	}
}

// checkVerified checks what is told of a verification, with or without error.
func checkVerified(t *testing.T, c *Client, err error, pkix, records, goodPKIX, goodDANE bool) {
	t.Helper()
	var got Verified
	if err == nil {
		got = c.Verified()
	} else {
		failed, ok := errors.AsType[*VerifyError](err)
		if !ok || !errors.Is(err, ErrTLS) {
			t.Fatalf("got %v", err)
		}
		got = failed.Verified
	}
	if got.PKIX.Checked != pkix || got.PKIX.Good() != (pkix && goodPKIX) {
		t.Errorf("PKIX: got %+v", got.PKIX)
	}
	if got.DANE.Checked != records || got.DANE.Good() != (records && goodDANE) || got.DANE.Good() != (got.Record.Data != nil) {
		t.Errorf("DANE: got %+v, record %v", got.DANE, got.Record)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](got.PKIX.Err); ok != (pkix && !goodPKIX) {
		t.Errorf("PKIX: got %v", got.PKIX.Err)
	}
	if errors.Is(got.DANE.Err, dane.ErrMismatch) != (records && !goodDANE) {
		t.Errorf("DANE: got %v", got.DANE.Err)
	}
}

// trusting returns a configuration with the certificate of the server as a root, or
// with none.
func trusting(t *testing.T, good bool) *tls.Config {
	t.Helper()
	config := &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool()}
	if good {
		config.RootCAs.AddCert(certificate().Leaf)
	}
	return config
}

// recordFor returns a record for the certificate of the server, or for another.
func recordFor(t *testing.T, good bool) dane.Record {
	t.Helper()
	r, err := dane.MakeRecord(dane.DANEEE, dane.SPKI, dane.SHA256, certificate().Leaf)
	if err != nil {
		t.Fatal(err)
	}
	if !good {
		r.Data[0]++
	}
	return r
}

// greetTLS begins a conversation with a server that demands nothing.
func greetTLS(t *testing.T, config *tls.Config, v *Verify) (*Client, error) {
	t.Helper()
	conn, server := net.Pipe()
	served := make(chan error, 1)
	go func() {
		s := scriptServer{conn: server, r: bufio.NewReader(server), steps: []string{"S: 220 hello", "C: EHLO client.example", "S: 250-mx", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go", "TLS", "C: EHLO client.example", "S: 250 mx", "C: QUIT", "S: 221 bye", "EOF"}}
		served <- s.run()
	}()
	c, err := New(t.Context(), conn, Options{Hello: "client.example", TLS: TLSRequired, TLSConfig: config, Verify: v})
	if err != nil {
		<-served // It has seen an alert, or the end.
		return nil, err
	}
	if err := errors.Join(c.Close(), <-served); err != nil {
		t.Error(err)
	}
	return c, nil
}

// TestVerifyNames shows which name counts, and that who verifies is told.
func TestVerifyNames(t *testing.T) {
	t.Parallel()
	config := trusting(t, true)
	config.ServerName = "elsewhere.example"
	if _, err := greetTLS(t, config, &Verify{PKIX: CheckRequired, Name: "localhost"}); err != nil {
		t.Errorf("a name of its own for PKIX: %v", err)
	}
	_, err := greetTLS(t, config, &Verify{PKIX: CheckRequired})
	if _, ok := errors.AsType[x509.HostnameError](err); !ok {
		t.Errorf("another name: got %v", err)
	}
	if _, err := greetTLS(t, config, &Verify{}); err != nil {
		t.Errorf("no checks: %v", err)
	}
	if _, err := greetTLS(t, config, nil); !errors.Is(err, ErrTLS) {
		t.Errorf("as crypto/tls does it: got %v", err)
	}
	config.InsecureSkipVerify = true
	c, err := greetTLS(t, config, nil)
	if err != nil || c.Verified().PKIX.Checked || c.Verified().DANE.Checked {
		t.Errorf("without verification: got %v, %+v", err, c)
	}
}

// TestVerifyNothing shows that who shows nothing is not good.
func TestVerifyNothing(t *testing.T) {
	t.Parallel()
	v := &Verify{PKIX: CheckRequired, DANE: CheckRequired}
	got := v.verify(nil, &tls.Config{ServerName: "localhost"}, time.Now())
	if got.PKIX.Good() || got.DANE.Good() || !errors.Is(got.DANE.Err, dane.ErrNoCertificate) {
		t.Errorf("got %+v", got)
	}
	got = v.verify([]*x509.Certificate{certificate().Leaf}, trusting(t, true), time.Now())
	if !got.PKIX.Good() || !errors.Is(got.DANE.Err, dane.ErrNoRecords) {
		t.Errorf("without records: got %+v", got)
	}
}
