package delivery

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/trace"
)

// triedAt is a failure at one place.
type triedAt struct {
	at      place
	failure *failure
}

// triedMax bounds the failures of one attempt that are kept for the trace.
const triedMax = 10

// tried notes a failure at a place for the trace. That counts that is worst.
func (t *try) tried(at place, f *failure) {
	if len(t.before) < triedMax {
		t.before = append(t.before, triedAt{at, f})
	}
}

// event returns an event about m.
func (d *delivery) event(kind trace.Kind, m *queue.Message) trace.Event {
	return trace.Event{
		Kind: kind, CID: trace.CID(d.id), MessageID: m.MessageID, From: m.MailFrom, Base: m.BaseFrom, Account: m.Account, Size: m.Size,
		Rcpts: []trace.Rcpt{{Address: m.Rcpt, QueueID: m.ID}},
	}
}

// traced adds an attempt to the trace of m.
func (d *delivery) traced(m *queue.Message, t *try, v *verdict) {
	log := d.sender.opts.Trace
	if log == nil {
		return
	}
	e, r, s := d.event(trace.Attempted, m), &v.report.Result, &t.security
	e.Attempt = &trace.Attempt{
		Number: m.Attempts, Took: r.Took, Transport: r.Transport, Host: r.RemoteMTA, IP: r.RemoteIP, TLS: r.TLS, Version: t.version,
		Policy: s.why, STS: s.sts, STSMatch: s.matches, DANE: s.dane, PKIXError: s.pkixErr, DANEError: s.daneErr, TLSError: s.tlsErr,
		Result: v.result(), Code: r.Code, Enhanced: r.Enhanced, Reply: trace.Clip(t.reply), Error: r.Error, Permanent: r.Permanent, Next: v.report.Next,
	}
	if t.from.IsValid() {
		e.Attempt.LocalIP = t.from.String()
	}
	if f := t.failure; f != nil && f.err != nil && f.reply == "" {
		e.Attempt.Cause = errorText(f.err)
	}
	for _, r := range t.before {
		if r.failure == t.failure && r.failure != nil {
			continue // That is the one told of.
		}
		one := trace.Tried{Host: r.at.name(), TLS: r.at.tls, Policy: r.at.security.why, Error: r.failure.String()}
		if r.failure.reply == "" {
			one.Cause = errorText(r.failure.err)
		}
		if r.at.ip.IsValid() {
			one.IP = r.at.ip.String()
		}
		e.Attempt.Tried = append(e.Attempt.Tried, one)
	}
	log.Append(e)
	for _, e := range d.notices {
		log.Append(e)
	}
	d.notices = nil
}

// name returns the name of the host, empty if none was reached.
func (p place) name() string {
	switch {
	case !p.ip.IsValid():
		return ""
	case p.host.IsZero():
		return target{ip: p.ip}.String()
	}
	return target{name: p.host}.String()
}

// tracedNotice adds to the trace of m that its sender was told something, or could
// not be told: after the attempt that this is about.
func (d *delivery) tracedNotice(m *queue.Message, n trace.Notice, err error) {
	e := d.event(trace.Notified, m)
	n.Error = errorText(err)
	e.Notice = &n
	d.notices = append(d.notices, e)
}

// tracedSuccess does the same for recipients who have the message.
func (d *delivery) tracedSuccess(list []success, id string, err error) {
	for _, one := range list {
		e := d.event(trace.Notified, one.rcpt)
		e.Notice = &trace.Notice{Action: string(one.action), To: one.rcpt.MailFrom, MessageID: id, Error: errorText(err)}
		d.sender.opts.Trace.Append(e)
	}
}

// sourceOf returns the address from which conn was made, the zero value if it has none.
func sourceOf(conn net.Conn) netip.Addr {
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// tlsVersion returns the version and cipher suite of a connection, empty for none.
func tlsVersion(cs *tls.ConnectionState) string {
	if cs == nil {
		return ""
	}
	return strings.ReplaceAll(tls.VersionName(cs.Version), " ", "") + " " + tls.CipherSuiteName(cs.CipherSuite)
}
