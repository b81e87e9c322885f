package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/trace"
)

// Bounds in characters: of a text in a trace, and of an address.
const (
	traceTextMax    = 500
	traceAddressMax = 100
	traceRcptsMax   = 20 // Named in a line.
)

// said returns a text from outside for a terminal.
func said(s string) string { return cell(s, traceTextMax) }

// address returns the address of a sender or recipient.
func address(s string) string {
	if s == "" {
		return "<>"
	}
	return cell(s, traceAddressMax)
}

// rcptTexts names recipients, with the ids they have in the queue.
func rcptTexts(list []trace.Rcpt) string {
	var words []string
	for i, r := range list {
		if i == traceRcptsMax {
			words = append(words, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		text := address(r.Address)
		if r.QueueID != 0 {
			text += fmt.Sprintf(" (%d)", r.QueueID)
		}
		words = append(words, text)
	}
	return strings.Join(words, ", ")
}

// traceTitle returns the line above the steps of a message.
func traceTitle(events []trace.Event) string {
	title, from, subject := "", "", ""
	for i := len(events) - 1; i >= 0; i-- {
		e := &events[i]
		if e.MessageID != "" {
			title = "Message <" + said(e.MessageID) + ">"
		}
		if e.Subject != "" {
			subject = ", " + fmt.Sprintf("%q", said(e.Subject))
		}
		from = " from " + address(e.From)
	}
	if title == "" {
		title = "Connection " + events[0].CID.String()
		if ids := events[0].Rcpts; len(ids) > 0 && ids[0].QueueID != 0 {
			title = "Message without Message-ID"
		}
	}
	return title + from + subject
}

// stepLines returns a step in lines: what happened, and details.
func stepLines(e *trace.Event) []string {
	switch {
	case e.Kind == trace.Submitted && e.Submission != nil:
		return submittedLines(e)
	case e.Kind == trace.Refused && e.Refusal != nil:
		return refusedLines(e)
	case e.Kind == trace.Received && e.Evidence != nil:
		return receivedLines(e)
	case e.Kind == trace.Judged && e.Verdict != nil:
		return judgedLines(e)
	case e.Kind == trace.Attempted && e.Attempt != nil:
		return attemptLines(e)
	case e.Kind == trace.Notified && e.Notice != nil:
		return noticeLines(e)
	case e.Kind == trace.Answered && e.Answer != nil:
		return answerLines(e)
	case e.Kind == trace.Changed && e.Change != nil:
		return changeLines(e)
	}
	// Of a kind that comes with a newer server, at least that it was.
	line := string(e.Kind)
	if len(e.Rcpts) > 0 {
		line += " for " + rcptTexts(e.Rcpts)
	}
	if e.Text != "" {
		line += ": " + said(e.Text)
	}
	return []string{line}
}

// lines are the lines of a step.
type lines []string

// add adds a line, if the last value is not empty.
func (l *lines) add(format string, args ...any) {
	if text, ok := args[len(args)-1].(string); ok && text == "" {
		return
	}
	for i, a := range args {
		if text, ok := a.(string); ok && text != "" {
			args[i] = said(text)
		}
	}
	*l = append(*l, fmt.Sprintf(format, args...))
}

// peerText returns who a message came from.
func peerText(p *trace.Peer) string {
	if p == nil {
		return ""
	}
	text := ""
	if place := placeText(p.Hello, p.IP); place != "" {
		text = " from " + said(place)
	}
	if p.TLS != "" {
		return text + " with " + said(p.TLS)
	}
	return text + " without TLS"
}

func submittedLines(e *trace.Event) []string {
	s := e.Submission
	l := lines{fmt.Sprintf("submitted by account %s, logged in as %s%s: %d bytes", said(e.Account), address(s.Login), peerText(e.Peer), e.Size)}
	l.add("to %s", rcptTexts(e.Rcpts))
	if s.Header != e.From {
		l.add("in its header it is from %s", s.Header)
	}
	var signed []string
	for _, sig := range s.Signatures {
		signed = append(signed, fmt.Sprintf("%s by selector %s (%s)", sig.Domain, sig.Selector, sig.Algorithm))
	}
	l.add("signed with DKIM for %s", strings.Join(signed, ", "))
	if len(signed) == 0 {
		l = append(l, "not signed with DKIM")
	}
	l.add("signing failed: %s", s.SignError)
	if r := s.RequireTLS; r != nil && *r {
		l = append(l, "must be sent with verified TLS (REQUIRETLS)")
	} else if r != nil {
		l = append(l, "needs no TLS (TLS-Required: No)")
	}
	if !s.NotBefore.IsZero() {
		l = append(l, "not to be sent before "+tableTime(s.NotBefore))
	}
	if s.Held {
		l = append(l, "held in the queue")
	}
	if s.HoldRule != 0 {
		l = append(l, fmt.Sprintf("by hold rule %d", s.HoldRule))
	}
	return l
}

func refusedLines(e *trace.Event) []string {
	r := e.Refusal
	what := map[string]string{"mail": "sender refused", "rcpt": "recipient refused", "data": "message refused"}[r.Stage]
	if what == "" {
		what = "refused"
	}
	line := what + peerText(e.Peer)
	if e.Account != "" {
		line += ", account " + said(e.Account)
	}
	l := lines{line}
	l.add("from %s", address(e.From))
	l.add("to %s", rcptTexts(e.Rcpts))
	return refusalLines(l, r)
}

// refusalLines adds why something was refused.
func refusalLines(l lines, r *trace.Refusal) lines {
	l.add("reason: %s", joinText(r.Reason, r.Text))
	if r.Reply == "" {
		return append(l, "the sender was told no more than that there is trouble here")
	}
	l.add("the sender was told: %s", r.Reply)
	return l
}

// joinText joins a word and what it means.
func joinText(word, text string) string {
	if word != "" && text != "" {
		return word + ": " + text
	}
	return word + text
}

func receivedLines(e *trace.Event) []string {
	line := "received"
	if e.Refusal != nil {
		line = "refused after it was received"
	}
	l := lines{fmt.Sprintf("%s%s: %d bytes", line, peerText(e.Peer), e.Size)}
	l.add("from %s", address(e.From))
	l.add("to %s", rcptTexts(e.Rcpts))
	if e.Evidence.Header != e.From {
		l.add("in its header it is from %s", e.Evidence.Header)
	}
	for _, a := range e.Evidence.Authentication {
		text := joinText(a.Result, a.Reason)
		if a.About != "" {
			text += "  " + a.About
		}
		l.add("%-5s  %s", a.Method, text)
	}
	if n := e.Evidence.Forged; n > 0 {
		l = append(l, fmt.Sprintf("fields of the message that say to be results of this server: %d", n))
	}
	if e.Refusal != nil {
		l = refusalLines(l, e.Refusal)
	}
	return l
}

func judgedLines(e *trace.Event) []string {
	v := e.Verdict
	who := rcptTexts(e.Rcpts)
	if e.Account != "" {
		who += ", account " + said(e.Account)
	}
	line := ""
	switch {
	case v.Delivered:
		line = "delivered to " + who + " into " + said(v.Mailbox)
	case v.Mailbox != "":
		line = "refused for " + who + ", kept in " + said(v.Mailbox)
	case v.Action == screen.Refuse.String() || v.Action == screen.Defer.String():
		line = map[string]string{screen.Refuse.String(): "refused", screen.Defer.String(): "deferred"}[v.Action] + " for " + who
	default:
		line = "accepted for " + who + ", but not delivered: the message was not taken as a whole"
	}
	l := lines{line}
	l.add("reason: %s", joinText(string(v.Reason), v.Explanation))
	l.add("by %s of the recipient", v.Rule)
	for i, s := range v.Steps {
		text := s.Name + ": " + s.Finding
		if s.Effect != "" {
			text += " -> " + s.Effect
		}
		l.add("%2d. %s", i+1, text)
	}
	if v.Wait > 0 {
		l = append(l, "after a wait of "+v.Wait.String())
	}
	l.add("trouble: %s", e.Text)
	l.add("reply for it: %s", v.Reply)
	return l
}

func noticeLines(e *trace.Event) []string {
	n := e.Notice
	if n.Error != "" {
		l := lines{}
		l.add("%s could not be told of %s: %s", address(n.To), n.Action, n.Error)
		return l
	}
	l := lines{fmt.Sprintf("%s was told: %s, about %s", address(n.To), said(n.Action), rcptTexts(e.Rcpts))}
	l.add("by message <%s>", n.MessageID)
	if n.QueueID != 0 {
		l = append(l, fmt.Sprintf("which is %d in the queue", n.QueueID))
	}
	return l
}

func answerLines(e *trace.Event) []string {
	a := e.Answer
	l := lines{fmt.Sprintf("a notification came about %s: %s", rcptTexts(e.Rcpts), said(joinText(a.Action, a.Status)))}
	l.add("of %s", a.RemoteMTA)
	l.add("it says: %s", a.Diagnostic)
	if a.Claimed {
		l = append(l, "nothing vouches for it, so it counts for nothing")
	}
	l.add("in message <%s>", a.MessageID)
	if a.Suppressed {
		l = append(l, "no more is sent to the address: it is on the account's suppression list now")
	}
	l.add("%s", e.Text)
	return l
}

func changeLines(e *trace.Event) []string {
	c := e.Change
	line := said(c.What) + " for " + rcptTexts(e.Rcpts)
	if c.By != "" {
		line += ", by " + said(c.By)
	}
	l := lines{line}
	if !c.Next.IsZero() {
		l.add("it is %s, its next attempt is planned for %s", c.State, tableTime(c.Next))
	} else {
		l.add("it is %s", c.State)
	}
	l.add("to be sent by transport %s", c.Transport)
	if c.RequireTLS != nil {
		l = append(l, fmt.Sprintf("verified TLS is required: %v", *c.RequireTLS))
	}
	return l
}

// traceNow returns where a message is for each of its recipients, as the last step
// about each says.
func traceNow(events []trace.Event) (list []string) {
	states := map[trace.Rcpt]string{}
	var order []trace.Rcpt
	for i := range events {
		for _, r := range events[i].Rcpts {
			text := stateAfter(&events[i])
			if text == "" {
				continue
			}
			if _, known := states[r]; !known {
				order = append(order, r)
			}
			states[r] = text
		}
	}
	for i, r := range order {
		if i == traceRcptsMax {
			return append(list, fmt.Sprintf("=> and %d more recipients", len(order)-i))
		}
		list = append(list, "=> "+rcptTexts([]trace.Rcpt{r})+": "+states[r])
	}
	return list
}

// stateAfter returns where a message is after a step, empty if that says nothing about
// it.
func stateAfter(e *trace.Event) string {
	at := " at " + e.Time.UTC().Format(time.RFC3339)
	switch {
	case e.Submission != nil && e.Submission.Held:
		return "held in the queue"
	case e.Submission != nil && e.Refusal == nil:
		return "in the queue, not tried yet"
	case e.Refusal != nil:
		return "refused" + at
	case e.Attempt != nil && e.Attempt.Result == trace.ResultDelayed:
		return "waits for its next attempt, planned for " + tableTime(e.Attempt.Next)
	case e.Attempt != nil:
		return said(e.Attempt.Result) + at
	case e.Change != nil && e.Change.State == "retired":
		return said(e.Change.What) + at
	case e.Change != nil && !e.Change.Next.IsZero():
		return said(e.Change.State) + ", next attempt planned for " + tableTime(e.Change.Next)
	case e.Change != nil:
		return said(e.Change.State)
	case e.Answer != nil && e.Answer.Action == "failed" && !e.Answer.Claimed:
		return "failed later, as a notification of" + strings.TrimPrefix(at, " at") + " says"
	case e.Verdict != nil && e.Verdict.Delivered:
		return "delivered" + at
	case e.Verdict != nil && e.Verdict.Reply != "":
		return "refused" + at
	case e.Kind == trace.Queued:
		return "in the queue"
	}
	return ""
}
