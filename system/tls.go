package system

import (
	"crypto/tls"
	"net/netip"
	"strings"

	"github.com/mjl-/mox/config"
)

// loginTLS returns how TLS is spoken at an endpoint where users log in: also with
// keys of their own, unless that is switched off.
func (s *System) loginTLS(e config.Endpoint) *tls.Config {
	c := s.tlsConfig(e)
	switch {
	case c == nil:
		return nil
	case e.TLS.ClientAuthDisabled:
		return s.auth.BindCertificate(c)
	}
	return s.auth.ClientCertificates(c)
}

// tlsConfig returns how TLS is spoken at an endpoint, nil if it isn't. Each
// handshake has the certificates that are configured then, so that new ones need
// no restart. It is to be called once for an endpoint: the config has its own keys
// for session tickets, which package tls changes daily.
func (s *System) tlsConfig(e config.Endpoint) *tls.Config {
	if e.TLS == nil || e.StartTLSDisabled {
		return nil
	}
	base := &tls.Config{MinVersion: e.TLS.MinVersion, SessionTicketsDisabled: e.TicketsDisabled}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		certs := chooseCertificates(e, s.certificates(e.Listener), hello.ServerName)
		if len(certs) == 0 {
			s.refused.WithLabelValues(e.Listener).Inc()
			s.log.DebugContext(hello.Context(), "client asks for a name that no certificate is for", "pkg", "system", "listener", e.Listener,
				"service", string(e.Service), "name", hello.ServerName, "remote", hello.Conn.RemoteAddr().String())
		}
		return &tls.Config{
			MinVersion:   base.MinVersion,
			Certificates: certs, // Without any, package tls tells the client that the name is not recognized.
			// Nor is a session resumed under a name that is refused.
			SessionTicketsDisabled: e.TicketsDisabled || len(certs) == 0,
		}, nil
	}
	return base
}

// certificates returns those that a listener has now. Listeners themselves don't
// change while the server runs.
func (s *System) certificates(listener string) []tls.Certificate {
	for _, e := range s.current().Endpoints {
		if e.Listener == listener && e.TLS != nil {
			return e.TLS.Certificates
		}
	}
	return nil
}

// chooseCertificates returns the certificates of an endpoint for a client that
// asks for a server name, or for none. Empty: it is to be refused.
//
// A mail server that delivers may ask for any name, as for that of the domain: to
// refuse it would only make it deliver in plain text. A mail program that asks for
// a name we haven't would not accept another one.
func chooseCertificates(e config.Endpoint, certs []tls.Certificate, name string) []tls.Certificate {
	if _, err := netip.ParseAddr(name); err == nil {
		name = "" // Addresses are not allowed as names (RFC 6066, section 3), but given by programs that are told to connect to one.
	}
	if list := covering(certs, name); name != "" && len(list) > 0 {
		return list
	}
	hostname := e.Hostname.ASCII
	if name != "" && !strings.EqualFold(name, hostname) && e.Service != config.ServiceSMTP {
		return nil
	}
	if list := covering(certs, hostname); len(list) > 0 {
		return list
	}
	return certs // Nothing better is configured. That is in the log.
}

// covering returns the certificates that are for a name. There are several if
// they have keys of several kinds: package tls chooses among them.
func covering(certs []tls.Certificate, name string) (list []tls.Certificate) {
	for _, c := range certs {
		if c.Leaf.VerifyHostname(name) == nil {
			list = append(list, c)
		}
	}
	return list
}
