package submit

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/trace"
)

// Traced returns what a trace says of who submits a message.
func (p *Peer) Traced(utf8 bool) *trace.Peer {
	t := &trace.Peer{Protocol: protocol(p.Protocol, utf8)}
	if p.IP.IsValid() {
		t.IP = p.IP.String()
	}
	if p.TLS != nil {
		t.TLS = strings.ReplaceAll(tls.VersionName(p.TLS.Version), " ", "") + " " + tls.CipherSuiteName(p.TLS.CipherSuite)
	}
	return t
}

// TracedRefusal returns what a trace says of an error that a user was told at a stage:
// "mail", "rcpt" or "data".
func TracedRefusal(stage string, err error) *trace.Refusal {
	r := &trace.Refusal{Stage: stage, Reason: Result(err)}
	told, ok := errors.AsType[*smtp.Error](err)
	if !ok {
		r.Text = err.Error() // The user is told no more than that there is trouble.
		return r
	}
	r.Reply = fmt.Sprintf("%d %s %s", told.Code, told.Enhanced, told.Text)
	return r
}

// traced begins the trace of a message, or notes that it was refused.
func (m *submission) traced(queued []queue.Message, err error) {
	log := m.s.opts.Trace
	if log == nil {
		return
	}
	p := m.t.Peer
	e := trace.Event{
		Kind: trace.Submitted, CID: trace.CID(p.CID), MessageID: trace.Clip(m.id), From: m.t.MailFrom.String(), Account: p.Account,
		Subject: trace.Clip(subject(m.header.Get("Subject"))), Size: m.size, Peer: p.Traced(m.utf8),
		Submission: &trace.Submission{Login: p.Login.String(), Header: m.author.String(), RequireTLS: m.t.RequireTLS, NotBefore: m.t.NotBefore},
	}
	if err != nil {
		e.Kind, e.Refusal = trace.Refused, TracedRefusal("data", err)
		for _, path := range m.to {
			e.Rcpts = append(e.Rcpts, trace.Rcpt{Address: path.String()})
		}
		log.Append(e)
		return
	}
	for _, one := range queued {
		e.Rcpts = append(e.Rcpts, trace.Rcpt{Address: one.Rcpt, QueueID: one.ID})
		if one.State == queue.Held {
			e.Submission.Held, e.Submission.HoldRule = true, one.HoldRule
		}
		e.Submission.RequireTLS = one.RequireTLS
	}
	if e.Submission.SignError = m.signError; m.signError == "" {
		for _, sel := range m.c.Signing(m.author.Domain) {
			e.Submission.Signatures = append(e.Submission.Signatures, trace.Signature{Domain: m.author.Domain.Name(), Selector: sel.Name, Algorithm: algorithm(sel)})
		}
	}
	log.Append(e)
}

// algorithm returns the name of what a selector signs with.
func algorithm(sel dkim.Selector) string {
	switch sel.Key.Public().(type) {
	case *rsa.PublicKey:
		return "rsa-" + sel.Hash
	case ed25519.PublicKey:
		return "ed25519-" + sel.Hash
	}
	return sel.Hash
}
