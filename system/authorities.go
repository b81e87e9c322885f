package system

import (
	"crypto/x509"
	"fmt"

	"github.com/mjl-/mox/config"
)

// roots returns the authorities that are trusted of servers that mail is sent to,
// and of web sites. Nil: those of the system.
func roots(a *config.Authorities) (*x509.CertPool, error) {
	if a == nil {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if a.SystemToo {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("reading the system's certificates of authorities: %w", err)
		}
	}
	for _, cert := range a.Certificates {
		pool.AddCert(cert)
	}
	return pool, nil
}
