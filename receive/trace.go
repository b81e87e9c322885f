package receive

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
)

// traceText makes the header fields that are added in front of a message.
type traceText struct {
	returnPath []byte
	results    []byte // Of authentication.
	received   []byte
	end        []byte // What the message needs so that its begin is not taken for ours.
}

// newTrace returns the fields for a message, RFC 5321, section 4.4. The
// recipient is named only if it is the only one: others must not learn of it.
func (r *Receiver) newTrace(t *Transaction, utf8 bool, now time.Time, end []byte) traceText {
	var rp, rec message.HeaderWriter
	rp.ReturnPath(t.MailFrom.XString(utf8))
	p := t.Peer
	received := message.Received{
		From: p.Hello.Name.XString(utf8),
		By:   p.Hostname.XName(utf8),
		With: protocol(p, utf8),
		ID:   r.opts.CIDKey.Seal(p.CID),
		Time: now,
	}
	if p.Hello.Name.IsZero() {
		received.From = literal(p.IP) // What it says of itself is no name.
	}
	if p.IP.IsValid() {
		received.FromComment = literal(p.IP)
	}
	if p.LocalIP.IsValid() {
		received.ByComment = literal(p.LocalIP)
	}
	if p.TLS != nil {
		received.WithComment = tlsText(p.TLS)
	}
	if len(t.Rcpts) == 1 {
		received.For = t.Rcpts[0].Path.XString(utf8)
	}
	rec.Received(received)
	return traceText{returnPath: rp.Bytes(), received: rec.Bytes(), end: end}
}

// prefix returns the fields for one recipient.
func (x traceText) prefix(j *judgement) []byte {
	v := j.verdict
	var w message.HeaderWriter
	w.DeliveredTo(j.deliveredTo)
	if len(v.Steps) > 0 {
		w.Field("X-Mox-Reason")
		w.Add(string(v.Reason) + ";")
		w.Add(strings.Fields(v.Explanation)...)
	}
	return slices.Concat(x.returnPath, w.Bytes(), j.problems, x.results, x.received, x.end)
}

func literal(ip netip.Addr) string { return dns.IPDomain{IP: ip.Unmap().WithZone("")}.String() }

// protocol returns the name for "with" in a Received field, RFC 3848 and RFC
// 6531, section 4.3.
func protocol(p *Peer, utf8 bool) string {
	name := "ESMTP"
	switch {
	case utf8:
		name = "UTF8SMTP"
	case !p.Extended:
		return "SMTP"
	}
	if p.TLS != nil {
		name += "S"
	}
	return name
}

// tlsText returns the version and cipher suite, RFC 8314, section 4.3.
func tlsText(cs *tls.ConnectionState) string {
	version := strings.ReplaceAll(tls.VersionName(cs.Version), " ", "")
	text := version + " " + tls.CipherSuiteName(cs.CipherSuite)
	if cs.DidResume {
		text += " resumed"
	}
	return text
}
