package smtpserver

import (
	"fmt"
	"time"

	"github.com/mjl-/mox/smtp"
)

// extensions returns the extensions of Options that are for this listener.
func (s *session) extensions() smtp.Extensions {
	e := s.server.opts.Extensions
	if s.listener.NoRequireTLS {
		e.RequireTLS = false
	}
	if !s.listener.Submission {
		e.FutureRelease = false // RFC 4865, section 4.2, item 2.
		e.DSN = false           // Anybody could have anybody told of success: docs/decisions/0031.
	}
	return e
}

// extensionLines returns the lines of EHLO for them. REQUIRETLS is for connections
// that have TLS (RFC 8689, section 2, item 5).
func (s *session) extensionLines(now time.Time) string {
	lines, e := "", s.extensions()
	if e.RequireTLS && s.peer.TLS != nil {
		lines += "\nREQUIRETLS"
	}
	if e.FutureRelease {
		lines += fmt.Sprintf("\nFUTURERELEASE %d %s", int64(smtp.HoldMax/time.Second), now.Add(smtp.HoldMax).UTC().Format(time.RFC3339))
	}
	if e.DSN {
		lines += "\nDSN"
	}
	return lines
}

// checkExtensions returns an error for parameters of MAIL that can't be honoured.
func (s *session) checkExtensions(m smtp.MailFrom) error {
	if m.RequireTLS && s.peer.TLS == nil {
		return smtp.Errorf(smtp.CodeEncryptionRequired, smtp.DetailEncryptionNeeded, "REQUIRETLS needs TLS here too")
	}
	return nil
}
