package receive

import (
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/mjl-/mox/arc"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dmarc"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/iprev"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/spf"
)

// signatureBegin is how much of a signature tells it from others, in bytes of its
// base64 (RFC 6008, section 4).
const signatureBegin = 12

// header returns the header fields about who a message comes from, the same for all
// recipients. They say nothing about what was not looked for.
func (i *investigation) header(t *Transaction) []byte {
	if !i.checked {
		return nil
	}
	var w message.HeaderWriter
	w.AuthResults(i.results(t))
	w.ReceivedSPF(i.receivedSPF(t, t.SMTPUTF8))
	return w.Bytes()
}

// results returns what was found out.
func (i *investigation) results(t *Transaction) message.AuthResults {
	utf8 := t.SMTPUTF8
	a := message.AuthResults{ID: t.Peer.Hostname.ASCII}
	if i.reverse.Result != "" {
		a.Methods = append(a.Methods, i.reverseMethod(t))
	}
	for _, e := range i.dkim {
		a.Methods = append(a.Methods, dkimMethod(e, utf8))
	}
	if len(i.dkim) == 0 {
		a.Methods = append(a.Methods, message.AuthMethod{Method: "dkim", Result: "none"})
	}
	a.Methods = append(a.Methods, i.spfMethod(t, utf8))
	if i.arc.Result != "" && i.arc.Result != arc.None {
		a.Methods = append(a.Methods, i.arcMethod(utf8))
	}
	if !i.from.IsZero() {
		a.Methods = append(a.Methods, i.dmarcMethod(utf8))
	}
	return a
}

// dnssec says in a comment that DNS was protected, besides the other texts.
func dnssec(authentic bool, texts ...string) string {
	if authentic {
		texts = append(texts, "with dnssec")
	}
	return strings.Join(texts, ", ")
}

// reasonOf returns why a result is none of the good ones, for people. The texts of
// others are not repeated in it.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	for _, known := range []error{dns.ErrBogus, dns.ErrTemporary} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return err.Error()
}

func (i *investigation) reverseMethod(t *Transaction) message.AuthMethod {
	e := i.reverse
	m := message.AuthMethod{Method: "iprev", Result: string(e.Result), Comment: dnssec(e.Authentic)}
	if e.Result != iprev.Pass {
		m.Reason = reasonOf(e.Err)
	} else {
		m.Comment = dnssec(e.Authentic, e.Name)
	}
	m.Props = []message.AuthProp{{Type: "policy", Name: "iprev", Value: t.Peer.IP.Unmap().WithZone("").String()}}
	return m
}

func dkimMethod(e dkim.Evaluation, utf8 bool) message.AuthMethod {
	m := message.AuthMethod{Method: "dkim", Result: string(e.Result), Reason: reasonOf(e.Err)}
	if e.Skipped > 0 {
		m.Comment = fmt.Sprintf("%d more signatures were not looked at", e.Skipped)
	}
	var about []string
	if e.Record != nil {
		if key, ok := e.Record.Public.(*rsa.PublicKey); ok {
			about = append(about, fmt.Sprintf("%d bits", key.N.BitLen()))
		}
	}
	s := e.Signature
	if s == nil {
		return m
	}
	m.Comment = dnssec(e.Authentic, about...)
	b := base64.StdEncoding.EncodeToString(s.Signature)
	m.Props = []message.AuthProp{
		message.AuthDomain("header", "d", s.Domain, utf8),
		{Type: "header", Name: "s", Value: s.Selector},
		{Type: "header", Name: "a", Value: s.Algorithm},
		{Type: "header", Name: "b", Value: b[:min(len(b), signatureBegin)]},
	}
	if s.Identity != "" {
		m.Props = append(m.Props, message.AuthProp{Type: "header", Name: "i", Value: s.Identity})
	}
	return m
}

func (i *investigation) spfMethod(t *Transaction, utf8 bool) message.AuthMethod {
	e := i.spf
	m := message.AuthMethod{Method: "spf", Result: string(e.Result), Comment: dnssec(e.Authentic), Reason: reasonOf(e.Problem)}
	if e.Identity == spf.MailFrom {
		m.Props = []message.AuthProp{{Type: "smtp", Name: "mailfrom", Value: t.MailFrom.XString(utf8)}}
	} else {
		m.Props = []message.AuthProp{message.AuthDomain("smtp", "helo", e.Domain, utf8)}
	}
	return m
}

func (i *investigation) arcMethod(utf8 bool) message.AuthMethod {
	m := message.AuthMethod{Method: "arc", Result: string(i.arc.Result), Reason: reasonOf(i.arc.Err)}
	if n := len(i.arc.Sets); n > 0 && i.arc.Result == arc.Pass {
		last := i.arc.Sets[n-1]
		m.Comment = dnssec(last.Authentic, fmt.Sprintf("%d sets", n))
		m.Props = []message.AuthProp{message.AuthDomain("header", "d", last.Domain, utf8)}
	}
	return m
}

func (i *investigation) dmarcMethod(utf8 bool) message.AuthMethod {
	e := i.dmarc
	m := message.AuthMethod{Method: "dmarc", Result: string(e.Result), Reason: reasonOf(e.Err)}
	var about []string
	if e.Record != nil {
		about = append(about, "policy "+string(e.Published))
		if e.RecordDomain != i.from.Domain {
			about = append(about, "of "+e.RecordDomain.ASCII)
		}
	}
	if e.Result == dmarc.ResultFail && e.Policy != e.Published {
		about = append(about, "testing")
	}
	m.Comment = dnssec(e.Authentic, about...)
	m.Props = []message.AuthProp{message.AuthDomain("header", "from", i.from.Domain, utf8)}
	if e.Result == dmarc.ResultPass || e.Result == dmarc.ResultFail {
		m.Props = append(m.Props, message.AuthProp{Type: "policy", Name: "dmarc", Value: string(e.Policy)}) // RFC 9989, section 9.1.
	}
	return m
}

// receivedSPF returns what SPF found, for programs that read no other field.
func (i *investigation) receivedSPF(t *Transaction, utf8 bool) message.ReceivedSPF {
	e := i.spf
	from := t.MailFrom.XString(utf8)
	if t.MailFrom.IsZero() {
		from = "postmaster@" + t.Peer.Hello.Name.XString(utf8)
	}
	return message.ReceivedSPF{
		Result: string(e.Result), Comment: dnssec(e.Authentic, t.Peer.Hostname.ASCII), ClientIP: t.Peer.IP, EnvelopeFrom: from,
		Hello: t.Peer.Hello.Name.XString(utf8), Problem: reasonOf(e.Problem), Receiver: t.Peer.Hostname.ASCII,
		Identity: string(e.Identity), Mechanism: e.Mechanism,
	}
}
