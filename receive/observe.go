package receive

import (
	"net/netip"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dmarc"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/spf"
)

// DMARC is what was found out about a message for one recipient, and what was
// done with it: what reports to the owner of the domain in From are made of (RFC
// 9990).
type DMARC struct {
	At       time.Time
	IP       netip.Addr
	MailFrom smtp.Path
	RcptTo   smtp.Path
	From     smtp.Address
	SPF      spf.Evaluation
	DKIM     []dkim.Evaluation
	DMARC    dmarc.Evaluation
	Verdict  screen.Verdict // With the override, if the policy was not followed.
}

// evaluated tells the observer what became of a message for a recipient.
func (d *delivery) evaluated(rcpt *Recipient, v screen.Verdict) {
	i := d.judge.inv
	if d.r.opts.EvaluatedDMARC == nil || !i.checked || i.from.IsZero() || i.dmarc.Record == nil {
		return
	}
	d.r.opts.EvaluatedDMARC(DMARC{
		At: d.now, IP: d.t.Peer.IP, MailFrom: d.t.MailFrom, RcptTo: rcpt.Path, From: i.from, SPF: i.spf, DKIM: i.dkim, DMARC: i.dmarc, Verdict: v,
	})
}
