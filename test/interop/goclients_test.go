package interop

import (
	"net"
	"testing"

	"github.com/emersion/go-imap/v2/imapclient"
)

// goIMAP returns a client of go-imap that is connected with TLS and logged in.
func goIMAP(t *testing.T, s *server, handler *imapclient.UnilateralDataHandler) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialTLS(s.address(portIMAPS), &imapclient.Options{
		TLSConfig: s.tlsConfig(t), UnilateralDataHandler: handler, Dialer: &net.Dialer{Timeout: patience},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Login(login, password).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}
