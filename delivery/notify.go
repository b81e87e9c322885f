package delivery

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/trace"
)

const (
	// originalMax bounds what is read of a message to find its header, in bytes. Of a
	// longer header a notification has no more than that.
	originalMax = 128 << 10

	// fullMax bounds a message that is returned as a whole in bytes, as RFC 3461,
	// section 6.2, allows. Who has sent it has it.
	fullMax = 1 << 20
)

// errUntellable means that a notification can't be made, now or later.
var errUntellable = errors.New("no notification can be composed")

// notify tells the sender of m what v says, and returns the keys its account has
// for that. When it returns nil the sender is told for certain.
//
// There is one notification for each recipient. Its key is that of the recipient's
// row with the action, and not with the attempt: a process that dies between the
// notification and the record in the queue makes another attempt, with other
// recipients or another result perhaps, and must neither tell the same twice nor
// take one recipient for told because another one was. Each action is told once
// for a row.
//
// A sender that is not ours has no such keys. If the process dies at that moment
// it may be told twice. Of success only those that are ours are told, and in another
// way (notifysuccess.go).
//
// What is known of the notification is set in told.
func (s *Sender) notify(ctx context.Context, w *queue.Work, m *queue.Message, v verdict, told *trace.Notice) ([]queue.Handed, error) {
	d, err := s.composeNotice(m, v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUntellable, err)
	}
	told.MessageID = d.MessageID
	if d.Original, d.Full, err = readOriginal(w, m, v.notice); err != nil {
		return nil, fmt.Errorf("reading message for notification: %w", err)
	}
	utf8 := noticeUTF8(m, d.To)
	content, err := d.Compose(utf8)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUntellable, err)
	}
	if s.senderAccount(m) == "" {
		told.QueueID, err = s.queueNotice(ctx, m, d, content, utf8)
		return nil, err
	}
	n := receive.Notice{
		CID: s.opts.CIDs.Next(), Key: noticeKey(m, v.notice), Account: m.Account, To: d.To, Content: content, UTF8: utf8,
	}
	if m.Report != "" {
		n.About = receive.AboutReport
	}
	return s.opts.Receiver.Notify(ctx, n)
}

// senderAccount returns the account that is told about m, empty for a sender that is
// not ours.
func (s *Sender) senderAccount(m *queue.Message) string {
	if m.Report != "" {
		return s.opts.Config().Static.Postmaster.Account
	}
	return m.Account
}

// noticeUTF8 tells whether a notification about m, for to, may have UTF-8 in its
// header: to read it takes what it took to write the message.
func noticeUTF8(m *queue.Message, to smtp.Path) bool {
	return !to.IsASCII() || m.Account != "" && m.SMTPUTF8
}

// readOriginal reads what a notification returns of a message: its header, or all
// of it if the sender asked for that, and it has failed (RFC 3461, section 4.3). What
// was to be protected by TLS all the way never goes as a whole (RFC 8689, section 5).
func readOriginal(w *queue.Work, m *queue.Message, a dsn.Action) (original []byte, full bool, err error) {
	if a == dsn.Failed && m.Return == "FULL" && !requiresTLS(m) && int64(len(m.Prefix))+w.Size <= fullMax {
		original, err = readHead(w, m.Prefix, fullMax)
		return original, true, err
	}
	original, err = readHead(w, m.Prefix, originalMax)
	return wholeFields(original, originalMax), false, err
}

// noticeKey returns the key of a notification about m.
func noticeKey(m *queue.Message, a dsn.Action) string { return m.Key + ":" + string(a) }

// secondAttempt is how long after it was queued a message certainly has had an
// attempt before the present one, if the process was running.
const secondAttempt = 10 * time.Second

// earlierNotices returns the keys that the account of a sender may have for
// notifications about m, which is to be retired. It may have one that the queue
// doesn't know of: of an attempt that was not recorded because the process died, and
// after which none was to be told any more. Hand-overs are not on record before they
// end, so that time has to tell.
func earlierNotices(m *queue.Message, account string, ended time.Time) []queue.Handed {
	if account == "" || m.MailFrom == "" || m.Attempts <= 1 && ended.Sub(m.Queued) < secondAttempt {
		return nil
	}
	return []queue.Handed{{Account: account, Key: noticeKey(m, dsn.Delayed)}, {Account: account, Key: noticeKey(m, dsn.Failed)}}
}

// composeNotice returns the notification about m, without what it returns of m.
func (s *Sender) composeNotice(m *queue.Message, v verdict) (*dsn.Message, error) {
	d, err := s.newNotice(m)
	if err != nil {
		return nil, err
	}
	r := v.report.Result
	d.Subject, d.Text, d.Date = noticeSubject(v.notice, m.Subject), noticeText(m, v), r.Start.Add(r.Took)
	about, err := aboutRecipient(m, v.notice, r)
	about.Status, about.Diagnostic, about.RetryUntil = statusFor(v), v.failure.reply, v.until
	d.Recipients = []dsn.Recipient{about}
	return d, err
}

// newNotice returns what all notifications about m have.
func (s *Sender) newNotice(m *queue.Message) (*dsn.Message, error) {
	to, err := queue.Path(m.MailFrom)
	hostname := s.opts.Config().Hostname
	return &dsn.Message{
		From:         smtp.Path{Localpart: "postmaster", IPDomain: dns.IPDomain{Domain: hostname}},
		To:           to,
		MessageID:    s.token() + "@" + hostname.ASCII,
		References:   m.MessageID,
		Date:         time.Now(),
		ReportingMTA: hostname,
		Arrival:      m.Queued,
		EnvelopeID:   m.EnvelopeID,

		FutureRelease: m.FutureRelease,
		EightBit:      s.senderAccount(m) != "", // The store takes what is, and so does IMAP.
	}, err
}

// aboutRecipient returns what all notifications say of a recipient after an attempt
// with the result r.
func aboutRecipient(m *queue.Message, a dsn.Action, r queue.Result) (dsn.Recipient, error) {
	rcpt, err := queue.Path(m.Rcpt)
	about := dsn.Recipient{Final: rcpt, Original: m.OriginalRcpt, Action: a, LastTry: r.Start}
	if r.RemoteIP != "" {
		about.RemoteIP = r.RemoteIP
		// A host without name has none to be told.
		about.RemoteMTA, _ = parseHost(r.RemoteMTA)
	}
	return about, err
}

// statusFor returns the enhanced status code. A delay is never permanent (RFC
// 3464, section 2.3.3), though a reply may have been.
func statusFor(v verdict) string {
	detail, ok := strings.CutPrefix(v.failure.enhanced, "5.")
	if ok && v.notice == dsn.Delayed {
		return "4." + detail
	}
	return v.failure.enhanced
}

// noticeSubject returns the subject of a notification about a message with the
// subject of, as it is in lists.
func noticeSubject(a dsn.Action, of string) string {
	word, sentence := "Not delivered: ", "Your message could not be delivered"
	switch a {
	case dsn.Delayed:
		word, sentence = "Delayed: ", "Your message is delayed"
	case dsn.Delivered, dsn.Expanded:
		word, sentence = "Delivered: ", "Your message was delivered"
	case dsn.Relayed:
		word, sentence = "Passed on: ", "Your message was passed on"
	case dsn.Failed:
	}
	if of == "" {
		return sentence
	}
	return word + of
}

// noticeText returns what a notification says to people.
func noticeText(m *queue.Message, v verdict) string {
	var b strings.Builder
	if v.notice == dsn.Delayed {
		b.WriteString("Your message has not been delivered yet to this recipient:\n")
	} else {
		b.WriteString("Your message could not be delivered to this recipient:\n")
	}
	fmt.Fprintf(&b, "\n    %s\n\n", m.Rcpt)
	fmt.Fprintf(&b, "The reason: %s", v.failure.text)
	if reply := v.failure.reply; reply != "" {
		b.WriteString(":\n\n")
		for line := range strings.Lines(reply) {
			b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
		}
	} else {
		b.WriteString(".\n")
	}
	b.WriteString("\n")
	if v.notice == dsn.Delayed {
		b.WriteString(delayedText(m, v))
	} else {
		b.WriteString(failedText(m, v))
	}
	b.WriteString("\n" + messageText(m))
	return b.String()
}

// messageText tells which message it is about.
func messageText(m *queue.Message) string {
	var b strings.Builder
	b.WriteString("The message:\n\n")
	fmt.Fprintf(&b, "    Sent:       %s\n", message.FormatDate(m.Queued))
	if m.Subject != "" {
		fmt.Fprintf(&b, "    Subject:    %s\n", m.Subject)
	}
	if m.MessageID != "" {
		fmt.Fprintf(&b, "    Message-ID: %s\n", m.MessageID)
	}
	return b.String()
}

// delayedText tells what happens next.
func delayedText(m *queue.Message, v verdict) string {
	var b strings.Builder
	b.WriteString("You need not send it again. The next attempts are planned for about these times:\n\n")
	final := false
	for _, at := range v.upcoming {
		fmt.Fprintf(&b, "    %s\n", message.FormatDate(at))
		final = final || !at.Before(v.until)
	}
	if final {
		b.WriteString("\nThe last of them is the final one. ")
	} else {
		fmt.Fprintf(&b, "\nMore will follow. The final one is planned for %s.\n", message.FormatDate(v.until))
	}
	if m.Notify.OnFailure() {
		b.WriteString("If that fails too, you will be told.\n")
	} else {
		b.WriteString("If that fails too, you won't be told, as you have asked for.\n")
	}
	return b.String()
}

// failedText tells that nothing happens any more.
func failedText(m *queue.Message, v verdict) string {
	if v.failure.permanent || m.Attempts <= 1 {
		return "No further attempt will be made.\n"
	}
	r := v.report.Result
	return fmt.Sprintf("This was the last of %d attempts in %s. No further attempt will be made.\n",
		m.Attempts, roughly(r.Start.Add(r.Took).Sub(m.Counted())))
}

// roughly returns a duration as people say it.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", (d+day/2)/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", (d+time.Hour/2)/time.Hour)
	}
	return fmt.Sprintf("%d minutes", (d+time.Minute-1)/time.Minute)
}

// queueNotice queues a notification about m for a sender that is not ours. It needs
// TLS if m does: RFC 8689, section 5. It returns the id that it has there.
func (s *Sender) queueNotice(ctx context.Context, m *queue.Message, d *dsn.Message, content []byte, utf8 bool) (int64, error) {
	signature, err := s.opts.Config().SignNotice(d.From, content, utf8, time.Now())
	if err != nil {
		s.log.ErrorContext(ctx, "signing notification", "from", d.From.String(), "err", err) // It goes out without.
	}
	c, err := s.opts.Queue.NewContent(ctx, int64(len(content)), bytes.NewReader(content))
	if err != nil {
		return 0, fmt.Errorf("writing notification: %w", err)
	}
	n := queue.New{
		SMTPUTF8: utf8, EightBit: utf8, Content: c, MessageID: "<" + d.MessageID + ">", Subject: d.Subject, To: []queue.NewRcpt{{Path: d.To, Prefix: signature}},
	}
	if requiresTLS(m) {
		n.RequireTLS = m.RequireTLS
	}
	queued, err := s.opts.Queue.Add(ctx, n)
	if err != nil {
		if derr := c.Discard(); derr != nil {
			s.log.ErrorContext(ctx, "discarding notification", "err", derr)
		}
		return 0, fmt.Errorf("queueing notification: %w", err)
	}
	return queued[0].ID, nil
}

// requiresTLS tells whether a message must be protected by TLS all the way.
func requiresTLS(m *queue.Message) bool { return m.RequireTLS != nil && *m.RequireTLS }

// demandsTLS returns what a message demands of a server. A notification of ours that
// requires TLS does without where that can't be had: it must not get lost, and has
// no more than a header (RFC 8689, section 5).
func demandsTLS(m *queue.Message) *bool {
	if m.Account == "" && m.MailFrom == "" && requiresTLS(m) {
		return nil
	}
	return m.RequireTLS
}

// readHead returns the first bytes of a message with prefix in front, at most max.
func readHead(w *queue.Work, prefix []byte, max int64) ([]byte, error) {
	f, err := w.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // Nothing was written.
	return io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(prefix), f), max))
}

// token returns a random word for a Message-ID.
func (s *Sender) token() string {
	r := s.random()
	var b [16]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return hex.EncodeToString(b[:])
}
