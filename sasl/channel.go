package sasl

import (
	"crypto"
	_ "crypto/sha256" // For Hash.New.
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// Types of channel binding.
const (
	bindExporter = "tls-exporter"         // RFC 9266, the one for TLS 1.3.
	bindUnique   = "tls-unique"           // RFC 5929, section 3, up to TLS 1.2.
	bindEndPoint = "tls-server-end-point" // RFC 5929, section 4.
)

// Channel is the TLS connection under an exchange. Its two ends have the same
// bindings; somebody in between has one channel with each of them, with others.
type Channel struct {
	State *tls.ConnectionState

	// Certificate is the one that the server has shown. Nil: not known, and there
	// is no tls-server-end-point.
	Certificate *x509.Certificate
}

// ClientChannel returns the channel of a client's TLS connection, nil for none.
func ClientChannel(state *tls.ConnectionState) *Channel {
	if state == nil {
		return nil
	}
	c := &Channel{State: state}
	if len(state.PeerCertificates) > 0 {
		c.Certificate = state.PeerCertificates[0]
	}
	return c
}

// Binding returns the data of a type of binding. The error is ErrChannelBinding
// if the channel has none of it.
func (c *Channel) Binding(name string) ([]byte, error) {
	var data []byte
	var err error
	switch {
	case c == nil || c.State == nil || !c.State.HandshakeComplete:
	case name == bindExporter && c.State.Version >= tls.VersionTLS13:
		data, err = c.State.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	case name == bindUnique && c.State.Version < tls.VersionTLS13:
		data = c.State.TLSUnique // Nil after resumption without RFC 7627: two connections could have the same.
	case name == bindEndPoint && c.Certificate != nil:
		data = endPoint(c.Certificate)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrChannelBinding, name, err)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: channel has no %q", ErrChannelBinding, name)
	}
	return data, nil
}

// CanBind tells whether there is any binding.
func (c *Channel) CanBind() bool { return c.best() != "" }

// best returns the type that a client should use, empty for none.
func (c *Channel) best() string {
	for _, name := range []string{bindExporter, bindUnique, bindEndPoint} {
		if _, err := c.Binding(name); err == nil {
			return name
		}
	}
	return ""
}

// endPoint returns the hash of a certificate, with the hash of its signature but
// nothing weaker than SHA-256 (RFC 5929, section 4.1). Nil for a signature
// without a hash of its own, as of Ed25519.
func endPoint(cert *x509.Certificate) []byte {
	var h crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.DSAWithSHA256, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h = crypto.SHA512
	default:
		return nil
	}
	sum := h.New()
	sum.Write(cert.Raw)
	return sum.Sum(nil)
}
