package trace

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds on texts in bytes, and on lists, of events that are too large, for each
// time that they must be shortened.
var (
	textMaxes = []int{1000, 300, 100}
	listMaxes = []int{50, 10, 0}
)

// shortened returns an event that is shorter: with texts and lists cut, the more the
// higher the level is. What it shares with e is not changed.
func (e *Event) shortened(level int) Event {
	c := cutter{textMaxes[level], listMaxes[level]}
	out := *e
	c.texts(&out.MessageID, &out.From, &out.Account, &out.Subject, &out.Text)
	out.Rcpts = slices.Clone(out.Rcpts[:min(len(out.Rcpts), max(1, c.list))])
	for i := range out.Rcpts {
		c.texts(&out.Rcpts[i].Address)
	}
	out.Peer = copied(out.Peer, func(p *Peer) { c.texts(&p.Hello, &p.Protocol, &p.TLS) })
	out.Submission = copied(out.Submission, c.submission)
	out.Evidence = copied(out.Evidence, c.evidence)
	out.Verdict = copied(out.Verdict, c.verdict)
	out.Refusal = copied(out.Refusal, func(r *Refusal) { c.texts(&r.Reply, &r.Reason, &r.Text) })
	out.Attempt = copied(out.Attempt, func(a *Attempt) {
		a.Tried = cutList(c, a.Tried)
		for i := range a.Tried {
			c.texts(&a.Tried[i].Host, &a.Tried[i].Error, &a.Tried[i].Cause)
		}
		c.texts(&a.Transport, &a.Host, &a.Version, &a.PKIXError, &a.DANEError, &a.TLSError, &a.Reply, &a.Error, &a.Cause, &a.Enhanced)
	})
	out.Notice = copied(out.Notice, func(n *Notice) { c.texts(&n.To, &n.MessageID, &n.Error) })
	out.Answer = copied(out.Answer, func(a *Answer) { c.texts(&a.Action, &a.Status, &a.Diagnostic, &a.MessageID) })
	out.Change = copied(out.Change, func(h *Change) { c.texts(&h.What, &h.By, &h.Transport) })
	return out
}

// copied returns a changed copy of what v points to, nil for nil.
func copied[T any](v *T, change func(*T)) *T {
	if v == nil {
		return nil
	}
	out := *v
	change(&out)
	return &out
}

// cutter cuts texts and lists.
type cutter struct{ text, list int }

func (c cutter) texts(texts ...*string) {
	for _, s := range texts {
		*s = cut(*s, c.text)
	}
}

// cutList returns the begin of a list, for the caller to change.
func cutList[T any](c cutter, list []T) []T { return slices.Clone(list[:min(len(list), c.list)]) }

func (c cutter) submission(s *Submission) {
	c.texts(&s.Login, &s.Header, &s.SignError)
	s.Signatures = cutList(c, s.Signatures)
}

func (c cutter) evidence(e *Evidence) {
	c.texts(&e.Header)
	e.Authentication = cutList(c, e.Authentication)
	for i := range e.Authentication {
		a := &e.Authentication[i]
		c.texts(&a.Method, &a.Result, &a.About, &a.Reason)
	}
}

func (c cutter) verdict(v *Verdict) {
	c.texts(&v.Explanation, &v.Rule, &v.Mailbox, &v.Reply)
	v.Steps = cutList(c, v.Steps)
	for i := range v.Steps {
		c.texts(&v.Steps[i].Name, &v.Steps[i].Finding, &v.Steps[i].Effect)
	}
}

// textMax bounds a text that comes from the header of a message, in bytes.
const textMax = 300

// Clip returns a text from the header of a message as an event may have it: bounded,
// and by itself, so that the event does not keep the whole header in memory.
func Clip(s string) string { return strings.Clone(cut(s, textMax)) }

// cut shortens a text to at most n bytes and a mark that it was.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
