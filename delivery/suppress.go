package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

// statusSuppressed is for a recipient on the list of suppressed addresses of the
// sender: delivery is not authorized (RFC 3463, section 3.8).
const statusSuppressed = "5.7.1"

// suppressed returns a failure if the account doesn't send to the recipient. When
// that can't be looked up there is another attempt: to send would be to ignore what
// may be on the list.
func (a *attempt) suppressed(ctx context.Context, r *rcpt) *failure {
	if r.Account == "" {
		return nil
	}
	s, found, err := a.sender.opts.Queue.Suppressed(ctx, r.Account, r.path)
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		return classify("", errInterrupted)
	case err != nil:
		return ours(err)
	case !found:
		return nil
	}
	return &failure{code: smtp.CodeMailboxPermanent, enhanced: statusSuppressed, permanent: true, suppressed: true, text: suppressedText(s)}
}

// suppressedText tells why nothing is sent to an address, and what to do about it.
func suppressedText(s queue.Suppression) string {
	who := "because messages could not be delivered"
	if s.Manual {
		who = "as somebody wanted that"
	}
	text := fmt.Sprintf("nothing is sent to %s, which is on the list of suppressed addresses of the account since %s, %s",
		s.Address, s.Created.UTC().Format("2006-01-02"), who)
	if s.Reason != "" {
		text += " (" + s.Reason + ")"
	}
	return text + ". If mail can be sent there again, an administrator takes it off the list with: mox queue suppress remove " +
		s.Account + " " + s.Address
}

// replied returns the command for which a server has refused, for the report;
// "connect" for its greeting, empty if the failure is no reply.
func (f *failure) replied(relayed bool) string {
	reply, ok := errors.AsType[*smtpclient.Reply](f.err)
	switch {
	case !ok || f.reply == "":
		return ""
	case relayed:
		return queue.RepliedRelay
	}
	return cmp.Or(reply.Command, "connect")
}
