package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
)

// Submit checks the message, completes its header and queues it. When it returns
// nil all recipients are on disk, with an error none is.
func (s *Submitter) Submit(ctx context.Context, t *Transaction, content io.ReaderAt, size int64) ([]queue.Message, error) {
	m := &submission{s: s, t: t, c: s.opts.Config(), now: time.Now(), came: content, size: size}
	queued, err := m.run(ctx)
	m.note(ctx, queued, err)
	m.traced(queued, err)
	return queued, err
}

// submission is one Submit; its methods are the steps, in their order.
type submission struct {
	s    *Submitter
	t    *Transaction
	c    *config.Config
	now  time.Time
	came io.ReaderAt
	size int64 // Of what came.

	to     []smtp.Path    // Each recipient once.
	toDSN  []smtp.RcptDSN // As to.
	header message.Header
	extra  map[string]string // For webhooks.
	author smtp.Address

	base    smtp.Address // Of the sender, if recipients have senders of their own.
	fromIDs []string     // As to. Nil: they don't.

	id      string // Message-ID as the message has it, see messageID.
	utf8    bool   // SMTPUTF8 is needed.
	content *spliced

	signError string // Why the message is not signed though it should be.
}

func (m *submission) run(ctx context.Context) ([]queue.Message, error) {
	if m.recipients(); len(m.to) == 0 {
		return nil, refuse(ErrRecipient, smtp.CodeTransactionFailed, smtp.DetailBadCommand, "no valid recipients")
	}
	for _, step := range []func() error{m.inspect, m.complete, m.senders} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	for _, path := range m.to {
		if err := m.s.special(ctx, screen.StageData, path); err != nil {
			return nil, err
		}
	}
	undo, err := m.s.sent.add(ctx, m.t.Peer.Account, m.addresses(), m.s.opts.Queue.Now(), m.s.limits(m.c, m.t.Peer.Account))
	if err != nil {
		return nil, err
	}
	queued, err := m.queue(ctx)
	if err != nil {
		undo()
	}
	return queued, err
}

// recipients leaves out those given twice. Postmaster without a domain is ours.
func (m *submission) recipients() {
	have := map[smtp.Path]bool{}
	for _, path := range m.t.Rcpts {
		dsn := m.t.RcptDSN[path]
		if path.IPDomain.IsZero() {
			path.IPDomain.Domain = m.c.Hostname
		}
		if !have[path] {
			m.to, m.toDSN = append(m.to, path), append(m.toDSN, dsn)
		}
		have[path] = true
	}
}

// addresses returns the recipients as they are remembered: one for all spellings
// that we know to be the same.
func (m *submission) addresses() []string {
	list := make([]string, 0, len(m.to))
	for _, path := range m.to {
		if a, ok := path.Address(); ok {
			path = m.c.Canonical(a).Path()
		}
		list = append(list, string(path.Localpart)+"@"+path.IPDomain.XString(false))
	}
	return list
}

// inspect reads the header and finds out who the author is.
func (m *submission) inspect() (err error) {
	if m.header, err = readHeader(m.came, m.size); err != nil {
		return err
	}
	if err := checkForm(m.header, m.s.opts.Pedantic); err != nil {
		return err
	}
	if m.s.opts.Pedantic && m.header.Count("Return-Path") > 0 {
		return malformed("Return-Path header field is for servers to write")
	}
	if m.extra, err = extraOf(m.header); err != nil {
		return err
	}
	if m.author, err = oneAddress(m.header, "From"); err != nil {
		return err
	}
	return m.s.maySend(m.c, m.t.Peer, m.author)
}

// complete makes the header section as it will be sent.
func (m *submission) complete() error {
	sender := m.checkSender()
	if sender != nil && m.s.opts.Pedantic {
		return sender
	}
	p := m.t.Peer
	added, err := additions(m.header, p.Hostname, m.s.opts.Rand, m.now)
	if err != nil {
		return err
	}
	head := edit(m.header, added, dropper(p.Hostname, sender != nil))
	m.content = splice(head, m.came, int64(len(m.header.Raw())), m.size)
	m.id = messageID(message.NewHeader(head).Get("Message-ID"))
	m.utf8 = m.needsUTF8(head)
	return nil
}

// checkSender returns an error for a Sender field that names somebody whom the
// user can't send as.
func (m *submission) checkSender() error {
	if m.header.Count("Sender") == 0 {
		return nil
	}
	a, err := oneAddress(m.header, "Sender")
	if err != nil {
		return err
	}
	return m.s.maySend(m.c, m.t.Peer, a)
}

// needsUTF8 tells whether the message can only go to servers with SMTPUTF8,
// whatever the client said. A header in some other charset is nothing they could
// read either, so it is sent as programs did before.
func (m *submission) needsUTF8(head []byte) bool {
	return !m.t.MailFrom.IsASCII() || slices.ContainsFunc(m.to, func(p smtp.Path) bool { return !p.IsASCII() }) ||
		message.NeedsSMTPUTF8(message.NewHeader(head)) && utf8.Valid(head)
}

// queue hands the message to the queue.
func (m *submission) queue(ctx context.Context) ([]queue.Message, error) {
	sign := m.newSigning()
	r := &bitReader{r: sign.tee(m.content)}
	content, err := m.s.opts.Queue.NewContent(ctx, m.content.size, r)
	if err != nil {
		return nil, queueError(fmt.Errorf("keeping message of %d bytes for the queue: %w", m.content.size, err))
	}
	n := queue.New{
		Account: m.t.Peer.Account, MailFrom: m.t.MailFrom, SMTPUTF8: m.utf8, EightBit: r.eightBit, Content: content,
		MessageID: m.id, Extra: m.extra, Subject: subject(m.header.Get("Subject")), RequireTLS: m.t.RequireTLS, NotBefore: m.t.NotBefore, FutureRelease: m.futureRelease(), DSN: m.t.DSN,
	}
	if n.RequireTLS == nil && message.TLSNotRequired(m.header) {
		n.RequireTLS = new(bool) // False: any TLS is better than none, but not needed.
	}
	prefix := m.prefix(ctx, sign)
	if m.fromIDs != nil {
		n.MailFrom = m.base.Path()
	}
	for i, path := range m.to {
		to := queue.NewRcpt{Path: path, Prefix: prefix, DSN: m.toDSN[i]}
		m.sender(&to, i)
		n.To = append(n.To, to)
	}
	queued, err := m.s.opts.Queue.Add(ctx, n)
	if err != nil {
		err = usedBefore(queueError(fmt.Errorf("queueing message for %d recipients: %w", len(n.To), err)))
		return nil, errors.Join(err, content.Discard())
	}
	return queued, nil
}

// futureRelease returns what the sender asked for, "" if nothing.
func (m *submission) futureRelease() string {
	if m.t.Hold.IsZero() && !m.t.NotBefore.IsZero() {
		return smtp.Hold{Until: m.t.NotBefore.UTC()}.String()
	}
	return m.t.Hold.String()
}

// prefix returns what comes in front of the message for all recipients. A
// message that can't be signed goes out without: its user could do nothing about it.
func (m *submission) prefix(ctx context.Context, sign *signing) []byte {
	trace := m.s.trace(m.t, m.utf8, m.now)
	signature, err := sign.finish()
	if err == nil && len(signature)+len(trace) > queue.PrefixMax {
		err = fmt.Errorf("signature of %d bytes", len(signature))
	}
	if err != nil {
		m.signError = err.Error()
		m.s.log.ErrorContext(ctx, "signing message", "cid", cid.Format(m.t.Peer.CID), "from", m.author.String(), "err", err)
		return trace
	}
	return slices.Concat(trace, signature)
}

// note counts and logs what came of it.
func (m *submission) note(ctx context.Context, queued []queue.Message, err error) {
	result := Result(err)
	m.s.metrics.messages.WithLabelValues(result).Inc()
	attrs := []any{
		"cid", cid.Format(m.t.Peer.CID), "account", m.t.Peer.Account, "login", m.t.Peer.Login.String(), "remote", m.t.Peer.IP,
		"mailfrom", m.t.MailFrom.String(), "from", m.author.String(), "rcptto", m.rcptText(), "size", m.size, "took", time.Since(m.now),
	}
	if err == nil {
		m.s.log.InfoContext(ctx, "message submitted", append(attrs, "messageid", m.id, "queueid", queued[0].ID)...)
	} else if result != resultError { // Else logged by who answers the user.
		m.s.log.InfoContext(ctx, "message refused", append(attrs, "reason", result, "err", err)...)
	}
}

// rcptText names the recipients for the log, not more than ten.
func (m *submission) rcptText() string {
	var b strings.Builder
	for i, path := range m.to {
		if i == 10 {
			fmt.Fprintf(&b, " and %d more", len(m.to)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(path.String())
	}
	return b.String()
}
