package receive

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
)

// Question is a message, of which is asked what would happen to it.
type Question struct {
	Rcpt    smtp.Path
	Content io.ReaderAt
	Size    int64

	// The envelope. What is not given is taken from the fields in front of the message,
	// if this server has received it, and they are left out then.
	IP       netip.Addr
	Hello    dns.IPDomain
	MailFrom *smtp.Path
	TLS      *bool
	At       time.Time

	// Blocklists and FirstTimeDelay are as in Peer.
	Blocklists     []dns.Domain
	FirstTimeDelay time.Duration
}

// Explain returns what would happen to a message, and why, for each place that its
// recipient stands for. Nothing is delivered, counted or remembered. The error is
// of the question, or trouble of our own.
func (r *Receiver) Explain(ctx context.Context, q Question) ([]screen.Explanation, error) {
	x := &explaining{r: r, q: q, accounts: openAccounts{r: r}}
	defer x.accounts.close(ctx)
	if err := x.read(); err != nil {
		return nil, err
	}
	return x.explain(ctx)
}

// explaining is one Explain.
type explaining struct {
	r        *Receiver
	q        Question
	t        *Transaction
	letter   letter
	judge    judge
	accounts openAccounts
	found    bool
}

// part is a message within a reader, as a source.
type part struct{ *io.SectionReader }

func (p part) readerAt() io.ReaderAt { return p.SectionReader }

func (p part) head(n int64) ([]byte, error) {
	b := make([]byte, min(n, p.Size()))
	if _, err := p.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// read reads the message and its envelope.
func (x *explaining) read() error {
	content := part{io.NewSectionReader(x.q.Content, 0, x.q.Size)}
	head, err := content.head(HeaderSizeMax)
	if err != nil {
		return err
	}
	x.t = &Transaction{Peer: &Peer{Hostname: x.r.opts.Config().Hostname, Blocklists: x.q.Blocklists, FirstTimeDelay: x.q.FirstTimeDelay}, Size: x.q.Size}
	env := readEnvelope(message.NewHeader(head), x.t.Peer.Hostname)
	if env.size > 0 {
		x.found = true
		content = part{io.NewSectionReader(x.q.Content, env.size, x.q.Size-env.size)}
	}
	x.setEnvelope(env)
	if x.letter, err = x.r.read(content); err != nil {
		return err
	}
	x.judge = judge{r: x.r, t: x.t, letter: &x.letter, content: content, size: content.Size(), now: x.q.At}
	return nil
}

// setEnvelope sets what was asked for, or else what was found.
func (x *explaining) setEnvelope(env envelope) {
	p := x.t.Peer
	if p.IP = x.q.IP; !p.IP.IsValid() {
		p.IP = env.ip
	}
	if p.Hello.Name = x.q.Hello; p.Hello.Name.IsZero() {
		p.Hello.Name = env.hello
	}
	p.Hello.Text = p.Hello.Name.XString(false)
	p.Exempt = x.r.opts.Exempt != nil && x.r.opts.Exempt(p.IP)
	x.t.MailFrom = env.mailFrom
	if x.q.MailFrom != nil {
		x.t.MailFrom = *x.q.MailFrom
	}
	if env.size == 0 {
		env.tls = true
	}
	if x.q.TLS != nil {
		env.tls = *x.q.TLS
	}
	if env.tls {
		p.TLS = &tls.ConnectionState{}
	}
	if x.q.At.IsZero() {
		if x.q.At = env.at; x.q.At.IsZero() {
			x.q.At = time.Now()
		}
	}
}

// envelope is how a message came, as the fields tell that were added in front of it.
type envelope struct {
	size     int64 // Of these fields.
	mailFrom smtp.Path
	ip       netip.Addr
	hello    dns.IPDomain
	tls      bool
	at       time.Time
}

// readEnvelope reads the fields that this server added: from Return-Path to the
// first Received, if that is ours.
func readEnvelope(h message.Header, host dns.Domain) (env envelope) {
	first := true
	for f := range h.Fields() {
		env.size += int64(len(f.Raw))
		name := strings.ToLower(f.Name)
		switch {
		case first && name != "return-path":
			return envelope{}
		case name == "return-path":
			m, _ := smtp.ParseMailFrom("FROM:"+strings.TrimSpace(f.Value())+" SMTPUTF8", smtp.ParseOptions{}) // Else it is null.
			env.mailFrom = m.Path
		case name == "received":
			if !env.received(f.Value(), host) {
				return envelope{}
			}
			return env
		}
		first = false
	}
	return envelope{}
}

// received reads a Received field as newTrace writes it, and tells whether it is ours.
func (env *envelope) received(value string, host dns.Domain) bool {
	words := strings.Fields(value)
	at := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	if at(0) != "from" {
		return false
	}
	hello, _ := smtp.ParseEHLO(at(1), smtp.ParseOptions{}) // Else it is not known.
	env.hello = hello.Name
	env.ip = parseLiteral(at(2))
	for i, w := range words {
		if w == "by" && at(i+1) != host.ASCII && at(i+1) != host.Name() {
			return false
		}
		if w == "with" {
			env.tls = strings.HasSuffix(strings.TrimSuffix(at(i+1), "A"), "S")
		}
	}
	if i := strings.LastIndexByte(value, ';'); i >= 0 {
		env.at, _ = message.ParseDate(strings.TrimSpace(value[i+1:]))
	}
	return true
}

// parseLiteral parses an address literal in a comment.
func parseLiteral(s string) netip.Addr {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "(["), "])")
	ip, _ := netip.ParseAddr(strings.TrimPrefix(s, "IPv6:")) // Else it is not known.
	return ip
}

// explain decides about each place.
func (x *explaining) explain(ctx context.Context) ([]screen.Explanation, error) {
	rcpt, e, err := x.r.lookup(x.t, x.q.Rcpt)
	if err != nil {
		return nil, err
	}
	e.NullSender, e.Received = x.t.MailFrom.IsZero(), message.CountReceived(x.letter.header)
	e.NotMember = rcpt.kind == screen.Alias && !rcpt.public && !x.letter.fromMember(&rcpt)
	if v := screen.Decide(e); !v.Action.Accepts() {
		return []screen.Explanation{x.explanation(judgement{verdict: v})}, nil
	}
	x.t.Rcpts = append(x.t.Rcpts, rcpt)
	if x.judge.inv, err = x.r.investigate(ctx, x.t, &x.letter, x.judge.content, x.judge.size); err != nil {
		return nil, err
	}
	var list []screen.Explanation
	for _, p := range rcpt.places {
		a, err := x.accounts.get(ctx, p.account)
		if err != nil {
			return nil, err
		}
		j, err := x.judge.decide(ctx, a, &rcpt, p)
		if err != nil {
			return nil, fmt.Errorf("deciding for account %q: %w", p.account, err)
		}
		list = append(list, x.explanation(j))
	}
	return list, nil
}

// explanation returns a judgement for people.
func (x *explaining) explanation(j judgement) screen.Explanation {
	v, p := j.verdict, x.t.Peer
	e := screen.Explanation{
		Rcpt: x.q.Rcpt.String(), Account: j.account, MailFrom: x.t.MailFrom.String(), Hello: p.Hello.Text, TLS: p.TLS != nil, At: x.q.At, Found: x.found,
		Steps: v.Steps, Action: v.Action.String(), Reason: v.Reason, Explanation: v.Explanation,
		Forged: message.ForgedAuthResults(x.letter.header, p.Hostname), Rule: j.rule,
	}
	if x.t.MailFrom.IsZero() {
		e.MailFrom = ""
	}
	if p.IP.IsValid() {
		e.IP = p.IP.String()
	}
	if !x.letter.from.IsZero() {
		e.From = x.letter.from.String()
	}
	e.Authentication = []screen.Authentication{}
	if x.judge.inv != nil && x.judge.inv.checked {
		e.Authentication = authentication(x.judge.inv.results(x.t).Methods)
	}
	if v.Wait > 0 {
		e.Wait = v.Wait.String()
	}
	if v.Action.Accepts() {
		e.Mailbox, e.Reply = j.mailbox, "250"
		return e
	}
	e.Reply = fmt.Sprintf("%d %s %s", v.Code, v.Enhanced, v.Text)
	if v.Keep {
		e.Rejects = x.r.opts.Config().Dynamic.Accounts[j.account].RejectsMailbox
	}
	return e
}

// authentication returns results for people.
func authentication(methods []message.AuthMethod) (list []screen.Authentication) {
	for _, m := range methods {
		var about []string
		for _, p := range m.Props {
			about = append(about, p.Type+"."+p.Name+"="+p.Value)
		}
		if m.Comment != "" {
			about = append(about, "("+m.Comment+")")
		}
		list = append(list, screen.Authentication{Method: m.Method, Result: m.Result, About: strings.Join(about, " "), Reason: m.Reason})
	}
	return list
}
