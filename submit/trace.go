package submit

import (
	"crypto/tls"
	"strings"
	"time"

	"github.com/mjl-/mox/message"
)

// trace returns the fields in front of a message that tell what we did with it:
// Authentication-Results (RFC 8601) and Received (RFC 5321, section 4.4).
//
// Where the user was is nobody's business: it came from ourselves. The recipient
// is named only if it is the only one, others must not learn of it.
func (s *Submitter) trace(t *Transaction, utf8 bool, now time.Time) []byte {
	p := t.Peer
	var w message.HeaderWriter
	w.Field("Authentication-Results")
	w.Add(p.Hostname.ASCII+";", "auth=pass")
	if !t.MailFrom.IsZero() {
		w.Add("smtp.mailfrom=" + t.MailFrom.XString(utf8))
	}
	name := p.Hostname.XName(utf8)
	received := message.Received{From: name, By: name, With: protocol(p.Protocol, utf8), ID: s.opts.CIDKey.Seal(p.CID), Time: now}
	if p.TLS != nil {
		// RFC 8314, section 4.3.
		received.WithComment = strings.ReplaceAll(tls.VersionName(p.TLS.Version), " ", "") + " " + tls.CipherSuiteName(p.TLS.CipherSuite)
	}
	if len(t.Rcpts) == 1 {
		received.For = t.Rcpts[0].XString(utf8)
	}
	w.Received(received)
	return w.Bytes()
}

// protocol returns the keyword for "with" in a Received field: that of RFC 3848,
// or of RFC 6531, section 4.3, for a message that needs SMTPUTF8.
func protocol(keyword string, utf8 bool) string {
	if rest, ok := strings.CutPrefix(keyword, "ESMTP"); ok && utf8 {
		return "UTF8SMTP" + rest
	}
	return keyword
}
