package delivery

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

// try is what came of an attempt for one recipient.
type try struct {
	start, end time.Time
	failure    *failure // Nil: it has the message.

	host     dns.Domain // That said so. Zero: none was reached, or it has no name.
	ip       netip.Addr // Of it, and then valid also if it has no name.
	reply    string     // That took the message, for the log.
	tls      string     // How the connection was protected, for the log: a value of tlsmode.
	security security
	version  string     // Of TLS, for the trace.
	from     netip.Addr // Our address, likewise.
	before   []triedAt  // Likewise: what went wrong in the attempt, at hosts in their order.
	dialed   netip.Addr // Tried last.

	transport string // How the way is called.
	relayed   bool   // It goes to a server of the configuration.

	// dualStack says that host has addresses of both families.
	dualStack bool

	// arrival is how it got there, if it did.
	arrival arrival

	// handed are keys that accounts of ours have now.
	handed []queue.Handed
}

// arrival is where a message is that was delivered, which decides who tells of
// that: RFC 3461, sections 5.2.1 to 5.2.3 and 5.2.7.
type arrival int

const (
	arrivedElsewhere arrival = iota // At a server that was not told what the sender wants to know.
	arrivedAware                    // At one that was, and tells him.
	arrivedMailbox                  // At an account of ours.
	arrivedList                     // At the members of an alias.
)

// notice returns what tells of an arrival, empty if that is not our business.
func (a arrival) notice() dsn.Action {
	switch a {
	case arrivedElsewhere:
		return dsn.Relayed
	case arrivedMailbox:
		return dsn.Delivered
	case arrivedList:
		return dsn.Expanded
	case arrivedAware:
	}
	return ""
}

// verdict is what is to be done about a message after an attempt.
type verdict struct {
	report queue.Report

	// notice is what the sender is told, or nothing. Of failures and delays he is told
	// before they are recorded, of the rest after.
	notice dsn.Action

	// failure is why, with what counts of it. Nil if it was delivered.
	failure *failure

	// upcoming are the next planned attempts, at most upcomingMax, and until is when
	// the final one is planned. Only if there is another.
	upcoming []time.Time
	until    time.Time
}

// upcomingMax bounds how many future attempts a notification lists.
const upcomingMax = 3

// result is the value of a label, and for the log.
func (v *verdict) result() string {
	switch {
	case v.failure == nil:
		return "delivered"
	case v.report.Retry:
		return "delayed"
	}
	return "failed"
}

// decide returns what is to be done about m after an attempt. Jitter is from -1
// to 1.
//
// Who is told of what is in wanted.
func decide(m *queue.Message, t try, schedule queue.Schedule, jitter float64) verdict {
	v := verdict{failure: t.failure}
	v.report = queue.Report{ID: m.ID, Result: resultOf(t), Handed: t.handed, DialedIP: m.DialedIP}
	if t.dialed.IsValid() {
		v.report.DialedIP = t.dialed.String()
	}
	f := t.failure
	if f == nil {
		v.tell(m, t.arrival.notice())
		return v
	}
	v.report.Replied = f.replied(t.relayed)
	if f.interrupted {
		// Nothing was learned: there is another attempt as soon as we run again.
		v.report.Retry, v.report.Next = true, t.end
		return v
	}
	if otherFamilyMayDo(m, t) {
		softer := *f
		softer.permanent = false
		v.failure = &softer
		v.report.Result.Permanent = false
	}
	if !v.failure.permanent {
		next, giveUp := schedule.Next(m.Attempts, m.Counted(), t.end, jitter)
		if !giveUp {
			v.retry(m, t, schedule, next)
			return v
		}
	}
	v.tell(m, dsn.Failed)
	return v
}

// tell sets the notice of v, if the sender wants it.
func (v *verdict) tell(m *queue.Message, a dsn.Action) {
	if wanted(m, a) {
		v.notice = a
	}
}

// wanted tells whether the sender of m is to be told. He may have said when (NOTIFY,
// RFC 3461, section 4.1); if not it is of failures and delays.
//
// There is no notification for the null sender, ever (RFC 3464, section 2): two
// servers could tell each other of failures until the end of days. Of success we tell
// only those who have logged in: anybody can write the address of anybody else in
// MAIL FROM (docs/decisions/0031).
func wanted(m *queue.Message, a dsn.Action) bool {
	switch {
	case m.MailFrom == "" || a == "":
		return false
	case a == dsn.Failed:
		return m.Notify.OnFailure()
	case a == dsn.Delayed:
		return m.Notify.OnDelay() && m.Report == "" // Of reports the end is enough.
	}
	return m.Notify.OnSuccess() && m.Account != "" && m.Report == ""
}

// otherFamilyMayDo tells whether a refusal may be about the address we come from.
// Many servers refuse mail over IPv6 that they take over IPv4, so that one more
// attempt, from the other family, is worth it.
func otherFamilyMayDo(m *queue.Message, t try) bool {
	return t.failure.permanent && t.dualStack && m.Attempts <= 1 && strings.HasPrefix(t.failure.enhanced, "5.7.") && t.failure.enhanced != statusNoRequireTLS
}

// retry makes v one for another attempt at next.
func (v *verdict) retry(m *queue.Message, t try, schedule queue.Schedule, next time.Time) {
	v.report.Retry, v.report.Next = true, next
	v.until = schedule.RetryUntil(m.Counted())
	attempts, giveUp := m.Attempts, false
	for at := next; !giveUp && len(v.upcoming) < upcomingMax; {
		v.upcoming = append(v.upcoming, at)
		attempts++
		at, giveUp = schedule.Next(attempts, m.Counted(), at, 0)
	}
	if !m.DelayTold && wanted(m, dsn.Delayed) && schedule.NoticeDue(m.Counted(), t.end, next) {
		v.notice = dsn.Delayed
		v.report.DelayTold = true
	}
}

// postpone makes v one for another attempt at next, with nobody told, because
// telling failed: a message must not vanish without a word.
func (v *verdict) postpone(next time.Time) {
	v.notice = ""
	v.report.DelayTold = false
	if !v.report.Retry {
		v.report.Retry, v.report.Next = true, next
	}
}

// withoutAttempt is the failure of a message that is to fail without another
// attempt: an administrator wants that, or its time was over when the process died
// in the middle of the final attempt. Of the latter, the attempt before tells most.
func withoutAttempt(m *queue.Message, schedule queue.Schedule, reason string) *failure {
	if _, over := schedule.Next(m.Attempts, m.Counted(), m.LastAttempt, 0); !over || m.Attempts == 0 {
		return &failure{code: smtp.CodeTransactionFailed, enhanced: statusCancelled, permanent: true, canceled: true, text: "cancelled by an administrator: " + reason}
	}
	f := &failure{enhanced: statusExpired, permanent: true, text: reason}
	for _, r := range slices.Backward(m.Results) {
		if r.Enhanced != "" {
			f.code, f.enhanced = int(r.Code), r.Enhanced
			f.text += ". The one before: " + r.Error
			break
		}
	}
	return f
}

// resultOf returns what the queue keeps of an attempt.
func resultOf(t try) queue.Result {
	r := queue.Result{Transport: t.transport, Start: t.start, Took: t.end.Sub(t.start), OK: t.failure == nil, TLS: t.tls, Policy: t.security.why}
	if t.ip.IsValid() {
		r.RemoteMTA, r.RemoteIP = target{name: t.host}.String(), t.ip.String()
		if t.host.IsZero() {
			r.RemoteMTA = target{ip: t.ip}.String()
		}
	}
	if t.failure == nil {
		r.Code, r.Enhanced = smtp.CodeOK, "2.0.0"
		return r
	}
	r.Code, r.Enhanced, r.Error, r.Permanent = int64(t.failure.code), t.failure.enhanced, t.failure.String(), t.failure.permanent
	return r
}
