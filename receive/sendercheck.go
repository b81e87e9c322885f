package receive

import (
	"context"
	"errors"
	"fmt"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// The texts of these refusals say what every sender can look up itself, and nothing
// of how we judge.

// CheckHello returns an error for a peer that names itself with what does not exist:
// no mail server is called that. The name of another host passes (RFC 5321, section
// 4.1.4, forbids more), and so does one of which nothing is known for now.
func (r *Receiver) CheckHello(ctx context.Context, p *Peer, h smtp.Hello) error {
	domain := h.Name.Domain
	if domain.IsZero() || !r.asks(p) {
		return nil
	}
	_, _, err := r.opts.Resolver.LookupIP(ctx, "ip", domain.Absolute())
	if dns.IsNone(err) {
		return smtp.Errorf(smtp.CodeMailboxPermanent, smtp.DetailOther, "the name of your server has no address").Because(err)
	}
	if err != nil {
		r.log.DebugContext(ctx, "looking up name of peer", "cid", cid.Format(p.CID), "name", domain.ASCII, "err", err)
	}
	return nil
}

// checkSender returns an error for a sender to whom no reply could ever be sent:
// his domain says that it takes no mail (RFC 7505), or has nowhere to send it to.
// When that can't be found out, the peer has to try again: to go on would make it
// worth something to disturb our DNS.
func (r *Receiver) checkSender(ctx context.Context, p *Peer, from smtp.Path) error {
	if from.IsZero() || !r.asks(p) {
		return nil
	}
	if from.IPDomain.IsIP() {
		return smtp.Errorf(smtp.CodeMailboxPermanent, smtp.DetailBadSenderSystem, "sender address has no domain")
	}
	takes, err := takesMail(ctx, r.opts.Resolver, from.IPDomain.Domain)
	switch {
	case errors.Is(err, errNullMX):
		return smtp.Errorf(smtp.CodeMailboxPermanent, smtp.DetailSenderNullMX, "domain of sender takes no mail").Because(err)
	case err != nil:
		return smtp.Errorf(smtp.CodeLocalError, smtp.DetailNetwork, "domain of sender can't be looked up now").Because(err)
	case !takes:
		return smtp.Errorf(smtp.CodeMailboxPermanent, smtp.DetailSenderNullMX, "domain of sender has no mail server")
	}
	return nil
}

// asks returns whether DNS is asked about what a peer says of itself. Programs on
// this host have names such as localhost.
func (r *Receiver) asks(p *Peer) bool {
	return r.opts.Resolver != nil && !p.Exempt && !p.IP.IsLoopback()
}

// errNullMX means that a domain says it takes no mail.
var errNullMX = errors.New("receive: null MX")

// takesMail returns whether mail could be sent to a domain: it has mail exchangers,
// or else an address (RFC 5321, section 5.1). An error other than errNullMX means
// that this is not known.
func takesMail(ctx context.Context, resolver dns.Resolver, domain dns.Domain) (bool, error) {
	mxs, _, err := resolver.LookupMX(ctx, domain.Absolute())
	switch {
	case err == nil && len(mxs) == 1 && mxs[0].Host == ".":
		return false, errNullMX
	case err == nil:
		return true, nil
	case errors.Is(err, dns.ErrNotFound):
		return false, nil
	case !dns.IsNone(err):
		return false, fmt.Errorf("looking up mail exchangers of sender: %w", err)
	}
	_, _, err = resolver.LookupIP(ctx, "ip", domain.Absolute())
	if err != nil && !dns.IsNone(err) {
		return false, fmt.Errorf("looking up addresses of sender: %w", err)
	}
	return err == nil, nil
}
