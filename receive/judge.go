package receive

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/spf"
	"github.com/mjl-/mox/store"
)

// inbox is the mailbox for mail that no rule has another one for.
const inbox = "Inbox"

// wordsMax is the number of words that explain what the junk filter says.
const wordsMax = 6

// judge decides about a message for one place: it gathers what the account and
// its settings know, asks screen, and looks for more as long as screen needs it.
type judge struct {
	r       *Receiver
	t       *Transaction
	inv     *investigation
	letter  *letter
	content io.ReaderAt
	size    int64
	now     time.Time
	ours    bool          // The sender is a user of this server.
	part    *message.Part // Once it was needed.

	blocklists *screen.Blocklists // Once they were asked.
}

// judgement is a verdict for one place, with what is kept of it.
type judgement struct {
	place
	verdict     screen.Verdict
	forwarded   bool
	forwardDKIM string            // Signature of the forwarder, which doesn't count.
	rule        *screen.RuleMatch // The ruleset that matches.
	problems    []byte            // Header fields about them.
	answer      queue.AnswerEvent // What it says about a message that the account has sent, and the queue knows. Empty: nothing.
}

// decide decides about a place.
func (j *judge) decide(ctx context.Context, a *store.Account, rcpt *Recipient, p place) (judgement, error) {
	out := judgement{place: p}
	m, err := j.message(ctx, a, rcpt, &out)
	if err != nil {
		return judgement{}, err
	}
	for {
		out.verdict = screen.Decide(screen.Evidence{Recipient: rcpt.kind, Message: m, Thresholds: j.r.thresholds})
		switch out.verdict.Needs {
		case screen.NeedsContent:
			m.Content, err = j.junk(ctx, a, j.r.opts.Config().Dynamic.Accounts[p.account])
		case screen.NeedsBlocklists:
			m.Blocklists, err = j.listings(ctx), nil
		default:
			if out.verdict.Mailbox != "" {
				out.mailbox = out.verdict.Mailbox
			}
			return out, nil
		}
		if err != nil {
			return judgement{}, err
		}
	}
}

// message gathers the evidence.
func (j *judge) message(ctx context.Context, a *store.Account, rcpt *Recipient, out *judgement) (*screen.Message, error) {
	account := j.r.opts.Config().Dynamic.Accounts[out.account]
	if out.mailbox == "" {
		out.mailbox = inbox
	}
	m := &screen.Message{
		Now: j.now, Sender: j.inv.facts.Sender(), Ours: j.ours, AuthRequired: out.target.AuthRequired, Introbox: account.Introbox,
		DMARC: j.inv.dmarcEvidence(), ARC: j.inv.arcEvidence(), Plain: j.t.Peer.TLS == nil && !j.t.Peer.NoTLS && !j.t.Peer.Exempt && !j.ours,
		NotToMe: !j.addressed(rcpt, out.place),
	}
	if j.inv.checked {
		m.SPF, m.Reverse = string(j.inv.spf.Result), string(j.inv.reverse.Result)
		if j.inv.spf.Identity != spf.MailFrom {
			m.SPF = ""
		}
	}
	if !j.t.Peer.Exempt && !account.NoFirstTimeSenderDelay {
		m.FirstWait = j.t.Peer.FirstTimeDelay
	}
	j.rules(m, out)
	m.Mailbox = out.mailbox
	j.subjectPass(m, account, out)
	var err error
	if m.Report, err = j.report(ctx, out); err != nil {
		return nil, err
	}
	if m.Histories, err = a.Histories(ctx, out.mailbox, m.Sender.Keys()); err != nil {
		return nil, fmt.Errorf("reading reputations of account %q: %w", out.account, err)
	}
	if m.SentTo, err = j.sentTo(ctx, a, m.Sender); err != nil {
		return nil, fmt.Errorf("reading recipients of account %q: %w", out.account, err)
	}
	return m, nil
}

// rules applies the first ruleset that matches.
func (j *judge) rules(m *screen.Message, out *judgement) {
	if !out.target.HasRules() {
		return
	}
	rm := config.RuleMessage{Header: j.letter.header, Verified: j.inv.verifiedDomains()}
	if !j.t.MailFrom.IsZero() {
		rm.MailFrom = j.t.MailFrom.String()
	}
	if !j.letter.from.IsZero() {
		rm.From = j.letter.from.String()
	}
	rule, index, ok := out.target.Match(rm)
	if !ok {
		return
	}
	out.rule = &screen.RuleMatch{Index: index, Comment: rule.Ruleset.Comment, Mailbox: rule.Ruleset.Mailbox}
	out.mailbox, m.RejectsTo = rule.Ruleset.Mailbox, rule.Ruleset.AcceptRejectsToMailbox
	if d := rule.ListAllowDomain; !d.IsZero() && slices.Contains(rm.Verified, d) {
		m.ListDomain = d.ASCII
	}
	if rule.Ruleset.IsForward {
		out.forwarded, m.Forwarded = true, true
		out.forwardDKIM = rule.VerifiedDomain.ASCII
		facts := j.inv.facts
		facts.Forwarded, facts.ForwardDKIM = true, out.forwardDKIM
		m.Sender = facts.Sender()
		m.SPF, m.Reverse = "", ""
	}
}

// addressed tells whether the recipient is in To or Cc.
func (j *judge) addressed(rcpt *Recipient, p place) bool {
	for _, a := range j.letter.to {
		if a == rcpt.canonical || a == p.address {
			return true
		}
	}
	return false
}

// subjectPass looks for a token in the subject, and makes one to offer.
func (j *judge) subjectPass(m *screen.Message, account config.Account, out *judgement) {
	period := account.SubjectPass.Period
	if period <= 0 || m.Sender.From == "" {
		return
	}
	h := hmac.New(sha256.New, j.r.opts.CIDKey[:])
	fmt.Fprintf(h, "subjectpass %s", out.address)
	key := h.Sum(nil)
	m.SubjectPass, m.SubjectPassOffer = screen.PassAbsent, screen.FormatPass(key, m.Sender.From, j.now)
	if screen.CheckPass(key, m.Sender.From, message.DecodeHeader(j.letter.header.Get("Subject")), j.now, period) {
		m.SubjectPass = screen.PassPresent
	}
}

// sentTo tells whom the account has written to, as far back as mail of an address
// counts.
func (j *judge) sentTo(ctx context.Context, a *store.Account, s screen.Sender) (screen.SentTo, error) {
	sent, err := a.SentTo(ctx, s.From, s.From[strings.LastIndexByte(s.From, '@')+1:], s.FromOrg)
	since := j.now.Add(-j.r.thresholds.AddressWindow)
	return screen.SentTo{Address: sent.Address.After(since), Domain: sent.Domain.After(since), Org: sent.Org.After(since)}, err
}

// junk asks the account's junk filter.
func (j *judge) junk(ctx context.Context, a *store.Account, account config.Account) (*screen.Content, error) {
	filter := account.JunkFilter
	if filter == nil {
		return &screen.Content{Off: true}, nil
	}
	part, err := j.structure()
	if err != nil {
		return nil, err
	}
	score, err := a.JunkScore(ctx, junk.Source{Content: j.content, Part: part, MailFrom: j.inv.facts.MailFrom})
	if err != nil {
		return nil, err
	}
	v := j.r.thresholds.JunkVariation
	return &screen.Content{
		Probability: score.Probability, Significant: score.Significant, Threshold: filter.Threshold + v*(2*j.r.random()-1), Words: wordsText(score.Words),
	}, nil
}

// wordsText names the words that made a score, the first of them.
func wordsText(words []junk.Evidence) string {
	var b strings.Builder
	for i, w := range words[:min(len(words), wordsMax)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q %.2f", w.Text, w.Junk)
	}
	return b.String()
}

// random returns a number between 0 and 1.
func (r *Receiver) random() float64 {
	var b [4]byte
	if _, err := io.ReadFull(r.opts.Rand, b[:]); err != nil {
		return 0.5
	}
	return float64(binary.BigEndian.Uint32(b[:])) / (1 << 32)
}
