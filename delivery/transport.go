package delivery

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/proxy"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

const (
	// relaySetupMax bounds the time for all that comes before the first message with a
	// server of the configuration: greeting, EHLO, TLS and login.
	relaySetupMax = time.Minute

	// relaySendMin and relaySendPerMiB bound a transaction with one. It is near, or
	// paid for: if it takes longer, others wait for nothing.
	relaySendMin    = time.Minute
	relaySendPerMiB = time.Second
)

// party are the recipients of an attempt that go the same way.
type party struct {
	transport string // Empty: the usual way.
	rcpts     []*rcpt
}

// parties divides the messages of a Work by their transports. Those of a Work have
// made different numbers of attempts, and routes look at that. Within a party they
// are in the order in which the sender had them.
func parties(c *config.Config, w *queue.Work) (list []party) {
	for i := range w.Messages {
		r := &rcpt{Message: &w.Messages[i], index: i}
		name := c.Route(sendingOf(r.Message))
		at := slices.IndexFunc(list, func(p party) bool { return p.transport == name })
		if at < 0 {
			at, list = len(list), append(list, party{transport: name})
		}
		list[at].rcpts = append(list[at].rcpts, r)
	}
	for _, p := range list {
		slices.SortFunc(p.rcpts, func(x, y *rcpt) int { return cmp.Compare(x.ID, y.ID) })
	}
	return list
}

// sendingOf returns what routes look at of a message that is being delivered.
func sendingOf(m *queue.Message) config.Sending {
	s := config.Sending{Account: m.Account, Attempts: max(0, m.Attempts-1), Transport: m.Transport}
	// An address that can't be parsed fails in the attempt.
	if p, err := queue.Path(m.MailFrom); err == nil {
		s.From = p.IPDomain
	}
	if p, err := queue.Path(m.Rcpt); err == nil {
		s.To = p.IPDomain
	}
	return s
}

// choose sets the way of an attempt.
func (a *attempt) choose(p party) {
	a.rcpts, a.transport = p.rcpts, p.transport
	a.way, a.known = a.config.Way(p.transport)
	a.identity = newIdentity(a.config, a.port())
}

// label is how the way is called in logs, metrics and results.
func (a *attempt) label() string {
	if !a.known {
		return transportUnknown
	}
	return cmp.Or(a.way.Name, transportDirect)
}

// transportOf returns how the way of a Work is called that has made no attempt to
// send.
func transportOf(w *queue.Work) string {
	if w.Local {
		return transportLocal
	}
	return transportDirect
}

// refused returns why nothing is sent by the transport.
func (a *attempt) refused() *failure {
	if !a.known {
		return &failure{
			code: smtp.CodeLocalError, enhanced: statusMisconfigured, ours: true,
			text: fmt.Sprintf("the transport %q for the message is not configured", a.transport), err: fmt.Errorf("transports are: %q", a.config.Ways()),
		}
	}
	if e := a.way.Fail; e != nil {
		return &failure{code: e.Code, enhanced: e.Enhanced, text: e.Text, permanent: e.Code >= 500}
	}
	return nil
}

// relay returns the host that mail is handed to, if it is not one of the recipient's
// domain.
func (a *attempt) relay() ([]target, bool) {
	r := a.way.Relay
	if r == nil {
		return nil, false
	}
	return []target{{name: r.Host.Domain, ip: r.Host.IP}}, true
}

// port returns the one that hosts are asked at.
func (a *attempt) port() uint16 {
	if r := a.way.Relay; r != nil {
		return r.Port
	}
	return a.sender.opts.Port
}

// via returns how connections are to be protected, by the transport.
func (a *attempt) via() tlsVia {
	r := a.way.Relay
	if r == nil {
		return viaMX
	}
	switch r.TLS {
	case config.RelayImmediate:
		return viaImmediate
	case config.RelayUnverified:
		return viaUnverified
	case config.RelayPlain:
		return viaPlain
	case config.RelaySTARTTLS:
	}
	return viaSTARTTLS
}

// hello returns the name for EHLO.
func (a *attempt) hello() string {
	if p := a.way.Proxy; p != nil {
		return p.Hello.ASCII
	}
	return a.config.Hostname.ASCII
}

// local returns the address a connection with ip is made from. The zero value
// leaves it to the system: a proxy has its own, and a server of ours on this host
// or net may not be reached from a public one.
func (a *attempt) local(ip netip.Addr) netip.Addr {
	near := ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
	if a.way.Proxy != nil || a.way.Relay != nil && near {
		return netip.Addr{}
	}
	return a.sources[family(ip)]
}

// permitted returns the addresses that may be used by the transport.
func (a *attempt) permitted(ips []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(ips), func(ip netip.Addr) bool {
		return is4(ip) && a.way.NoIPv4 || !is4(ip) && a.way.NoIPv6
	})
}

// localhost are the addresses of the name, which is not asked for in DNS (RFC 6761,
// section 6.3).
var localhost = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// isLocalhost tells whether a host is this one, and may be.
func (a *attempt) isLocalhost(t target) bool {
	return a.way.Relay != nil && t.name == dns.Domain{ASCII: "localhost"}
}

// prepare sets what a conversation needs besides what is demanded of TLS: a login.
func (a *attempt) prepare(opts *smtpclient.Options) {
	if r := a.way.Relay; r != nil && r.Login != nil {
		opts.Auth = loginFor(r.Login)
	}
}

// loginFor returns what chooses a mechanism: the first of those configured that the
// server offers. With TLS, SCRAM tells the server when it seems to have no channel
// binding. A server that has, and whose offer somebody took away, refuses then (RFC
// 5802, section 6).
func loginFor(l *config.Login) func([]string, *tls.ConnectionState) (sasl.Client, error) {
	return func(offered []string, cs *tls.ConnectionState) (sasl.Client, error) {
		return sasl.Choose(l.Mechanisms, offered, sasl.ClientOptions{
			Username: l.Username, Password: l.Password, Rand: rand.Reader, Channel: sasl.ClientChannel(cs),
		})
	}
}

// setupTime returns how long a conversation may take until the first message.
func (a *attempt) setupTime() time.Duration {
	if a.way.Relay == nil {
		return a.sender.opts.SessionTimeout
	}
	return min(relaySetupMax, a.sender.opts.SessionTimeout)
}

// sendTime returns how long a transaction may take with a message of size bytes.
func (a *attempt) sendTime(size int64) time.Duration {
	if a.way.Relay == nil {
		return a.sender.opts.SessionTimeout
	}
	return relaySendMin + time.Duration(size>>20)*relaySendPerMiB
}

// sendWithin sends a message, in the time there is for it. When that is over the
// conversation is too.
func (a *attempt) sendWithin(c *conversation, t smtpclient.Transaction) (smtpclient.SendResult, error) {
	over := time.AfterFunc(a.sendTime(t.Size), c.cancel)
	defer over.Stop()
	return c.Send(c.ctx, t)
}

// errProxy is in the error of a connection that failed before the proxy was asked
// for it.
var errProxy = errors.New("proxy can't be reached")

// errNoLimit means that package proxy is not what it was.
var errNoLimit = errors.New("proxy can't be used with a limit of time")

// open makes a connection, through the proxy if there is one.
func (a *attempt) open(ctx context.Context, address string, local netip.Addr) (net.Conn, error) {
	p := a.way.Proxy
	if p == nil {
		return a.sender.opts.Dial(ctx, "tcp", address, local)
	}
	// It gets an IP address: names are looked up here, so that what DNSSEC says of
	// them counts.
	dialer, err := proxy.SOCKS5("tcp", p.Address, nil, toProxy{a})
	if err != nil {
		return nil, err
	}
	if d, ok := dialer.(proxy.ContextDialer); ok {
		return d.DialContext(ctx, "tcp", address)
	}
	return nil, errNoLimit // Package proxy says that it is one.
}

// toProxy makes connections to the proxy itself.
type toProxy struct{ a *attempt }

// Dial is not called: there is DialContext.
func (d toProxy) Dial(string, string) (net.Conn, error) { return nil, errNoLimit }

// DialContext connects to the proxy. Its name can be one that only this host knows,
// so that the system looks it up.
func (d toProxy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.a.sender.opts.Dial(ctx, network, address, netip.Addr{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProxy, err)
	}
	return conn, nil
}

// excuse returns what a failure means when it comes from a server that the
// configuration chose. Only what it says of a message is a verdict about that. The
// rest an operator can mend, so it is for now, and is told to him. Senders are told
// of it without replies that may have names of users.
func (a *attempt) excuse(f *failure) *failure {
	if a.way.Relay == nil || f == nil || f.interrupted {
		return f
	}
	reply, isReply := errors.AsType[*smtpclient.Reply](f.err)
	name := a.way.Relay.Host.XString(false)
	trouble := &failure{code: smtp.CodeLocalError, enhanced: statusMisconfigured, ours: true, err: f.err}
	switch {
	case errors.Is(f.err, sasl.ErrMechanism):
		trouble.text = name + ", which takes mail for this server, offers no way to log in that is configured"
	case errors.Is(f.err, smtpclient.ErrAuth), isReply && reply.Command == "AUTH":
		trouble.text = name + ", which takes mail for this server, doesn't let it log in"
		a.gate().shut(time.Now(), trouble)
	case isReply && reply.Code == smtp.CodeMustTLS:
		trouble.text = name + ", which takes mail for this server, wants it to log in"
	case isReply && isAboutMessage(reply.Command), isAboutThisMessage(f.err):
		return f
	case isUnverified(f.err), errors.Is(f.err, smtpclient.ErrTLS), errors.Is(f.err, smtpclient.ErrNoTLS):
		trouble.code, trouble.enhanced, trouble.text = 0, statusTLS, f.text
	case f.permanent, isReply && !reply.Temporary():
		trouble.text = name + ", which takes mail for this server, can't be used: " + f.text
	default:
		return f
	}
	return trouble
}

// isAboutMessage tells whether a command is one of a transaction.
func isAboutMessage(command string) bool {
	return !slices.Contains([]string{"", "EHLO", "HELO", "STARTTLS", "AUTH"}, command)
}

// isAboutThisMessage tells whether another message could be sent.
func isAboutThisMessage(err error) bool {
	return errors.Is(err, smtpclient.ErrSize) || errors.Is(err, smtpclient.ErrNoSMTPUTF8) || errors.Is(err, smtpclient.ErrNoRequireTLS) ||
		errors.Is(err, smtpclient.ErrContent)
}

// noAddress is for a host that has no address, or none that may be used. The latter
// is our doing: another route may be for a later attempt.
func (a *attempt) noAddress(t target, has bool) *failure {
	f := unroutable("the mail server " + t.String() + " has no address that can be used")
	if has && (a.way.NoIPv4 || a.way.NoIPv6) {
		f = &failure{
			code: smtp.CodeLocalError, enhanced: statusNoRoute,
			text: fmt.Sprintf("the mail server %s has no address that can be used by the transport %q", t.String(), a.way.Name),
		}
	}
	f.elsewhere = true
	return f
}
