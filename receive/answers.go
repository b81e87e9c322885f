package receive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

// A message that comes in can be about one that was sent: a notification of the server
// that has taken it, or whatever else comes to an address with a FromID. The queue is
// told, which knows what was sent (queue.DB.Answered).
//
// It is told before the message is delivered, and remembers the answer by a key that
// depends on the message alone. If the process dies in between, or the delivery fails,
// the other server sends the message again, and it counts once. The other way round
// what it says could be lost, or the message would be there twice.

// answerKeyHead is how much of a message its key is made of, in bytes, besides its
// size. That has the Message-ID, and what other servers wrote on the way.
const answerKeyHead = 64 << 10

// answerSource is a message that may be an answer.
type answerSource struct {
	r      *Receiver
	cid    int64
	null   bool // It has the null sender.
	letter *letter
	open   func() (source, io.Closer, error)
	now    time.Time

	verified []dns.Domain

	key    string      // Once it was looked at.
	report *dsn.Report // Nil: it is no notification.
}

// answerPlace is who may have got an answer.
type answerPlace struct{ account, fromID string }

// answers tells the queue for those that take the message what it is an answer to. An
// error means that it must not be taken now: what it says would be lost.
func (d *delivery) answers(ctx context.Context) error {
	if d.r.opts.Queue == nil || len(d.to) == 0 {
		return nil
	}
	takes := map[string]bool{}
	for _, t := range d.to {
		takes[t.account] = true
	}
	s := &answerSource{
		r: d.r, cid: d.t.Peer.CID, null: d.t.MailFrom.IsZero(), letter: &d.letter, now: d.now, verified: d.judge.inv.verifiedDomains(),
		open: func() (source, io.Closer, error) { return d.spool, io.NopCloser(nil), nil },
	}
	answered := map[string]queue.AnswerEvent{}
	seen := map[answerPlace]bool{}
	for i := range d.t.Rcpts {
		rcpt := &d.t.Rcpts[i]
		id := d.r.fromID(rcpt.Path)
		for _, p := range rcpt.places {
			place := answerPlace{p.account, id}
			if !takes[p.account] || seen[place] || !d.verdicts[i].Action.Accepts() {
				continue
			}
			seen[place] = true
			found, err := s.answer(ctx, place)
			if err != nil {
				return err
			}
			answered[p.account] = cmp.Or(answered[p.account], found)
		}
	}
	for i := range d.to {
		d.to[i].answer = answered[d.to[i].account]
	}
	return nil
}

// answers is the same for a message of the queue. Who sends from here needs no
// notification to tell of what was sent to somebody else here, so that only those to
// addresses with an id count.
func (h *handing) answers(ctx context.Context) error {
	if h.r.opts.Queue == nil {
		return nil
	}
	s := &answerSource{r: h.r, cid: h.CID, letter: &h.letter, now: h.now, open: h.open}
	seen := map[answerPlace]bool{}
	for _, c := range h.copies {
		if c.done || c.err != nil {
			continue
		}
		for _, i := range c.rcpts {
			place := answerPlace{c.account.Name(), h.r.fromID(h.To[i].Path)}
			if place.fromID == "" || seen[place] {
				continue
			}
			seen[place] = true
			found, err := s.answer(ctx, place)
			if err != nil {
				return err
			}
			c.answer = cmp.Or(c.answer, found)
		}
	}
	return nil
}

// fromID returns the id in an address of ours, empty if there is none.
func (r *Receiver) fromID(p smtp.Path) string {
	a, ok := p.Address()
	if !ok {
		return ""
	}
	_, id := r.opts.Config().SplitFromID(a)
	return id
}

// answer tells the queue, if the message can be an answer to one of an account. It
// returns what counts of it, empty if it is none.
func (s *answerSource) answer(ctx context.Context, p answerPlace) (queue.AnswerEvent, error) {
	q := s.r.opts.Queue
	known := false
	if p.fromID != "" {
		var err error
		if known, err = q.KnowsFromID(ctx, p.account, p.fromID); err != nil {
			return "", fmt.Errorf("looking up what was sent: %w", err)
		}
	}
	if !known && !s.null {
		return "", nil
	}
	if err := s.look(); err != nil {
		return "", fmt.Errorf("reading answer: %w", err)
	}
	a, ok := answerOf(s.report, known)
	if !ok {
		return "", nil
	}
	a.Account, a.Key, a.Received, a.Verified = p.account, s.key, s.now, s.verified
	if known {
		a.FromID = p.fromID
	}
	res, err := q.Answered(ctx, a)
	if err != nil {
		return "", err
	}
	if res.Message.ID == 0 {
		return "", nil
	}
	s.r.log.InfoContext(ctx, "answer to a message that was sent", "cid", cid.Format(s.cid), "account", p.account, "queue_id", res.Message.ID,
		"rcptto", res.Message.Rcpt, "event", string(res.Event), "claimed", res.Claimed, "again", res.Again, "suppressing", res.Suppressing, "enhanced", a.Enhanced)
	s.traced(a, res)
	return res.Event, nil
}

// look looks at the message, once: what it says if it is a notification, and by what
// it is known when it comes again.
func (s *answerSource) look() (err error) {
	if s.key != "" {
		return nil
	}
	part, err := message.ParsePart(s.letter.analysis.Tree)
	if err != nil {
		return err
	}
	content, closer, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	s.report, err = dsn.Parse(content.readerAt(), &part)
	if err != nil && !errors.Is(err, dsn.ErrNotDSN) {
		return err
	}
	head, err := content.head(answerKeyHead)
	if err != nil {
		return err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", content.Size())
	h.Write(head)
	s.key = base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:24])
	return nil
}

// answerEvents are the actions of notifications that say something.
var answerEvents = map[dsn.Action]queue.AnswerEvent{
	dsn.Failed: queue.AnswerFailed, dsn.Delayed: queue.AnswerDelayed, dsn.Delivered: queue.AnswerDelivered, dsn.Relayed: queue.AnswerRelayed, dsn.Expanded: queue.AnswerExpanded,
}

// answerOf returns what a message says about one that was sent. Report is nil if it is
// no notification. Known says that it came to an address with an id of the account,
// so that it is an answer whatever it says; otherwise it must be a notification that
// names a message and one recipient.
func answerOf(report *dsn.Report, known bool) (a queue.Answer, ok bool) {
	a.Event = queue.AnswerUnrecognized
	if report == nil || len(report.Recipients) != 1 || answerEvents[report.Recipients[0].Action] == "" {
		return a, known
	}
	about := report.Recipients[0]
	a.Event = answerEvents[about.Action]
	a.MessageID, a.EnvelopeID = firstID(report.Original.Get("Message-ID")), report.EnvelopeID
	for _, address := range []dsn.Address{about.Final, about.Original} {
		if address.Text != "" {
			a.Rcpts = append(a.Rcpts, address.Text)
		}
	}
	a.Code, a.Enhanced = diagnosis(about)
	a.Error, a.RemoteMTA = about.Diagnostic, about.RemoteMTA
	if a.RemoteMTA == "" {
		a.RemoteMTA = report.ReportingMTA
	}
	return a, known || len(a.Rcpts) > 0 && (a.MessageID != "" || a.EnvelopeID != "")
}

// enhancedCode is an enhanced status code as in a reply: RFC 2034, section 4.
var enhancedCode = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`)

// diagnosis returns the reply code that a notification has, 0 if it has none, and its
// enhanced code. Many write one into the diagnostic that says more than their status.
func diagnosis(about dsn.Status) (code int64, enhanced string) {
	enhanced = about.Code
	if about.DiagnosticType != "smtp" && about.DiagnosticType != "" {
		return 0, enhanced
	}
	word, rest, _ := strings.Cut(about.Diagnostic, " ")
	word, joined, ok := strings.Cut(word, "-")
	if ok {
		rest = joined + " " + rest
	}
	if len(word) != 3 || word < "200" || word > "599" || strings.Trim(word, "0123456789") != "" {
		return 0, enhanced
	}
	code = int64(word[0]-'0')*100 + int64(word[1]-'0')*10 + int64(word[2]-'0')
	detail, _, _ := strings.Cut(rest, " ")
	if enhancedCode.MatchString(detail) && detail[0] == word[0] && (enhanced == "" || strings.HasSuffix(enhanced, ".0.0") && enhanced[0] == detail[0]) {
		enhanced = detail
	}
	return code, enhanced
}

// firstID returns the first id of a Message-ID field with its brackets, empty if there
// is none.
func firstID(value string) string {
	start := strings.IndexByte(value, '<')
	if start < 0 {
		return ""
	}
	end := strings.IndexByte(value[start:], '>')
	if end < 2 {
		return ""
	}
	id := value[start : start+end+1]
	if strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return ""
	}
	return id
}
