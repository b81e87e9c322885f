package smtpclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
)

// TestAlert has handshakes that either side refuses.
func TestAlert(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer client.Close()
	done := make(chan error, 1)
	go func() {
		defer server.Close()
		done <- tls.Server(server, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }}).Handshake()
	}()
	err := tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake()
	if alert, ok := Alert(fmt.Errorf("%w: %w", ErrTLS, err)); !ok || alert != 80 {
		t.Errorf("refused by the server: got %d, %v of %v", alert, ok, err)
	}
	if err := <-done; err == nil {
		t.Error("the server is content")
	}
	for _, err := range []error{nil, io.EOF, &net.OpError{Op: "remote error"}, &net.OpError{Op: "remote error", Err: io.EOF}, &net.OpError{Op: "read", Err: errAlert(3)}} {
		if alert, ok := Alert(err); ok {
			t.Errorf("%v: got %d", err, alert)
		}
	}
	if alert, ok := Alert(&net.OpError{Op: "local error", Err: errAlert(40)}); !ok || alert != 40 {
		t.Errorf("got %d, %v", alert, ok)
	}
}

// errAlert is like the type in crypto/tls.
type errAlert uint8

func (errAlert) Error() string { return "alert" }
