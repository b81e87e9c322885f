package screen

import (
	"fmt"
	"strings"
	"time"
)

// vague is what senders of refused mail read. It is temporary and says nothing:
// junk senders seldom try again, and learn nothing; others do, and may be known
// by then.
const vague = "error processing"

// DMARC overrides, RFC 9990, section 3.1.1.6: why mail was accepted though the
// policy asks to refuse it.
const (
	OverrideList      = "mailing_list"
	OverrideForwarded = "trusted_forwarder"
	OverrideLocal     = "local_policy"
)

// analysis is one decision about a message that was read. Its steps are methods
// in their order; the first that concludes ends it.
type analysis struct {
	m *Message
	t Thresholds
	v Verdict
	reputation
	suspicious []string // Why content is judged strictly.
	strict     bool
	blocked    bool
}

// analyze decides about a message that could be delivered.
func analyze(m *Message, t Thresholds) Verdict {
	a := &analysis{m: m, t: t}
	for _, step := range []func() bool{
		a.listAllow, a.forwarded, a.dmarc, a.authRequired, a.ours, a.findReputation, a.introduce, a.conclude, a.report, a.plausible, a.pass, a.content, a.blocklists,
	} {
		if step() {
			break
		}
	}
	if !a.v.decided() {
		a.noBadSignals()
	}
	a.v.Method = a.method
	a.v.Seen = a.v.Seen || m.Report != NoReport
	if !a.v.Action.Accepts() && a.v.Needs == NeedsNothing && m.RejectsTo != "" {
		a.toMailbox()
	}
	return a.v
}

// step notes a step.
func (a *analysis) step(name, finding, effect string) {
	a.v.Steps = append(a.v.Steps, Step{name, finding, effect})
}

func (a *analysis) accept(reason Reason, explanation string) bool {
	a.v.Action, a.v.Reason, a.v.Explanation = Accept, reason, explanation
	return true
}

// refuse refuses by a reason that the sender doesn't learn.
func (a *analysis) refuse(reason Reason, explanation string) bool {
	return a.refuseWith(reason, 451, "3.0", vague, explanation)
}

func (a *analysis) refuseWith(reason Reason, code int, detail, text, explanation string) bool {
	v := refuse(reason, code, detail, text, explanation)
	v.Steps, v.Mailbox, v.Destined, v.Override, v.Keep, v.SlowDown = a.v.Steps, a.v.Mailbox, a.v.Destined, a.v.Override, true, true
	a.v = v
	return true
}

// listAllow is for mailing lists that the user has a rule for.
func (a *analysis) listAllow() bool {
	if a.m.ListDomain == "" {
		return false
	}
	a.v.Override, a.v.List = OverrideList, true
	a.step("list", "from the mailing list of "+a.m.ListDomain+", verified", "accepted")
	return a.accept(ListAllow, "a rule of the recipient takes mail of this mailing list")
}

func (a *analysis) forwarded() bool {
	if a.m.Forwarded {
		a.v.Override = OverrideForwarded
		a.step("forward", "forwarded from another mailbox of the user", "the forwarder's reputation and DMARC don't count")
	}
	return false
}

// dmarc refuses what the domain in From disowns, unless a list, forwarder or
// sealer broke its signature whom the account has reason to believe.
func (a *analysis) dmarc() bool {
	d := a.m.DMARC
	if !d.Reject {
		if d.Result != "" {
			a.step("dmarc", d.Result, "")
		}
		return false
	}
	why, ok := a.excuse()
	if !ok {
		a.step("dmarc", "fails, and the policy is not to take it", "refused")
		return a.refuseWith(DMARCPolicy, 550, "7.26", "message is not authenticated as the policy of the domain in From asks (DMARC)", "DMARC fails, and the policy of the domain in From is not to take such mail")
	}
	if a.v.Override == "" {
		a.v.Override = OverrideLocal
	}
	a.step("dmarc", "fails, and the policy is not to take it", "not refused: "+why)
	return false
}

// excuse returns why failing DMARC is not held against a message.
func (a *analysis) excuse() (string, bool) {
	if a.m.Forwarded {
		return "it is forwarded by a rule of the recipient", true
	}
	r, s := reputations{a.m, a.t}, a.m.Sender
	if d := a.m.ARC.Sealer; d != "" && a.m.ARC.Passed && r.trusted(Key{DKIMDomain, true, d}, Key{MailFromDomain, true, d}, Key{HelloDomain, true, d}) {
		return "it was authentic when it came to " + d + ", which sealed that (ARC) and sent good mail before", true
	}
	// Both must be trusted: a signature alone could be that of a service for everyone.
	envelope := domainOf(s.MailFrom)
	if !s.MailFromVerified || !r.trusted(Key{MailFromDomain, true, envelope}) {
		return "", false
	}
	for _, d := range s.DKIM {
		if (d == envelope || strings.HasSuffix(envelope, "."+d)) && r.trusted(Key{DKIMDomain, true, d}) {
			return "it is from " + envelope + " and signed by " + d + ", which sent good mail before", true
		}
	}
	return "", false
}

// authRequired is for addresses that take verified mail only.
func (a *analysis) authRequired() bool {
	if a.m.AuthRequired == "" || a.m.Sender.Validation != ValidationNone || a.m.Ours {
		return false
	}
	a.step("authentication required", "the sender is not verified", "refused")
	code := 550
	if a.m.DMARC.Result == "temperror" {
		code = 451
	}
	return a.refuseWith(AuthRequired, code, "7.1", a.m.AuthRequired, "the address takes mail of verified senders only")
}

// ours is for mail of users of this server, who are known.
func (a *analysis) ours() bool {
	if !a.m.Ours {
		return false
	}
	a.step("submission", "sent by a user of this server", "accepted")
	return a.accept(LocalUser, "sent by a user of this server")
}

func (a *analysis) findReputation() bool {
	a.reputation = reputations{a.m, a.t}.find()
	effect := a.signal.String()
	if a.signal != unsure {
		effect += map[bool]string{true: ", for certain", false: ", not for certain"}[a.conclusive]
	}
	a.step("reputation ("+string(a.method)+")", a.finding, effect)
	return false
}

// introduce puts mail of senders without a name beside the mailbox for the others.
func (a *analysis) introduce() bool {
	m := a.m
	if m.Introbox == "" || m.Mailbox != "Inbox" || m.Forwarded || m.Report != NoReport || a.method == MethodFromAddress || a.method == MethodToAddress {
		return false
	}
	a.v.Mailbox, a.v.Destined = m.Introbox, m.Mailbox
	a.step("introbox", "the sender's address is not known", "goes to "+m.Introbox)
	return false
}

func (a *analysis) conclude() bool {
	switch {
	case !a.conclusive:
		return false
	case a.signal == good:
		return a.accept(Reason(a.method), "known: "+a.finding)
	default:
		return a.refuse(Reason(a.method), "known for junk: "+a.finding)
	}
}

func (a *analysis) report() bool {
	if a.m.Report == NoReport {
		return false
	}
	a.step("report", "an authentic report ("+string(a.m.Report)+")", "accepted")
	return a.accept(Reporting, "an authentic report")
}

// plausible looks at whether the name and the address of an unknown sender go together.
func (a *analysis) plausible() bool {
	switch a.method {
	case MethodSigner, MethodIP1, MethodIP2, MethodIP3, MethodNone:
	default:
		a.noteSuspicions()
		return false
	}
	if s := a.m.SPF; s == "fail" || s == "softfail" {
		a.step("spf", s+" for the sender, of whom little is known", "refused")
		return a.refuse(SPFPolicy, "SPF is "+s+", and little is known of the sender")
	}
	if r := a.m.Reverse; r != "" && r != "pass" {
		if a.signal == bad {
			a.step("iprev", r+", and the sender is known for junk", "refused")
			return a.refuse(ReverseName, "the address has no name that leads back to it, and "+a.finding)
		}
		a.suspicious = append(a.suspicious, "the address of the peer has no name that leads back to it")
	}
	a.noteSuspicions()
	return false
}

// noteSuspicions gathers why content is judged strictly.
func (a *analysis) noteSuspicions() {
	m := a.m
	a.strict = len(a.suspicious) > 0
	add := func(is bool, why string) {
		if is {
			a.suspicious = append(a.suspicious, why)
		}
	}
	add(m.Plain, "it came without TLS")
	add(m.NotToMe && !m.Forwarded, "the recipient is not in To or Cc")
	// Lists and forwarders break what verifies a sender; with the known ones it means nothing.
	add(a.signal == bad && a.v.Override == "", "the sender is known for junk, or for verified mail")
	if len(a.suspicious) > 0 {
		a.step("suspicions", strings.Join(a.suspicious, "; "), "content is judged strictly")
	}
}

// pass takes mail with a token that was given out.
func (a *analysis) pass() bool {
	switch a.m.SubjectPass {
	case PassPresent:
		a.step("subjectpass", "the subject has a token that was given to the sender", "accepted")
		return a.accept(SubjectPassed, "the subject has a token that was given to the sender")
	case PassAbsent:
		a.step("subjectpass", "no valid token in the subject", "")
	}
	return false
}

// content asks the junk filter.
func (a *analysis) content() bool {
	c := a.m.Content
	if c == nil {
		a.v.Needs = NeedsContent
		return true
	}
	if c.Off {
		a.step("content", "the account has no junk filter", "")
		return false
	}
	threshold, reason := c.Threshold, JunkContent
	if len(a.suspicious) > 0 {
		threshold, reason = min(threshold, a.t.JunkStrict), JunkContentStrict
	}
	finding := fmt.Sprintf("junk with probability %.3f, threshold %.3f", c.Probability, threshold)
	if !c.Significant {
		finding += ", learned from few messages"
	}
	if c.Words != "" {
		finding += "; " + c.Words
	}
	if c.Probability <= threshold || !c.Significant && !a.strict {
		a.step("content", finding, "accepted")
		return false
	}
	a.step("content", finding, "refused")
	return a.giveUp(reason, "content is junk by its words: "+finding)
}

// blocklists asks the lists in DNS about what would be accepted.
func (a *analysis) blocklists() bool {
	b := a.m.Blocklists
	if b == nil {
		a.v.Needs = NeedsBlocklists
		return true
	}
	if len(b.Listed) == 0 {
		return false
	}
	a.blocked = true
	a.step("blocklists", "the peer is in "+strings.Join(b.Listed, ", "), "refused")
	return a.giveUp(Blocklisted, "the address of the peer is in "+strings.Join(b.Listed, ", ")+" "+b.Text)
}

// giveUp refuses, with a way for people to get through if they could be one.
func (a *analysis) giveUp(reason Reason, explanation string) bool {
	m := a.m
	low := a.blocked || m.Content != nil && m.Content.Probability < m.Content.Threshold-a.t.PassMargin
	if m.SubjectPassOffer == "" || m.DMARC.Result != "pass" || a.method != MethodNone || !low {
		return a.refuse(reason, explanation)
	}
	a.step("subjectpass", "DMARC passes, and nothing is known of the sender", "a token is offered")
	text := "message looks like junk; to get it through, send it again from the same address with this text in the subject: " + m.SubjectPassOffer
	return a.refuseWith(SubjectPassGiven, 550, "7.1", text, explanation)
}

// noBadSignals accepts what nothing was found against, after a while in which
// those who send much give up.
func (a *analysis) noBadSignals() {
	a.accept(NoBadSignals, "nothing speaks against it")
	if a.m.FirstWait > 0 && !a.m.Forwarded && a.m.Report == NoReport {
		a.v.Action, a.v.Wait = Slow, a.m.FirstWait
		a.step("first time", "a sender without reputation", "waits "+a.m.FirstWait.Round(time.Second).String())
	}
}

// toMailbox delivers what would be refused, by a rule of the recipient.
func (a *analysis) toMailbox() {
	a.step("rejects", "a rule takes refused mail", "goes to "+a.m.RejectsTo)
	a.v.Action, a.v.Mailbox, a.v.Destined, a.v.Seen, a.v.Reject = Mailbox, a.m.RejectsTo, a.m.Mailbox, true, true
	a.v.Code, a.v.Enhanced, a.v.Text, a.v.Keep, a.v.SlowDown = 0, "", "", false, false
}
