package smtpserver

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/submit"
)

// transaction is a message on its way in, from MAIL on. Mail from other servers
// is for package receive, that of users for package submit.
type transaction interface {
	// recipient takes an address, or returns why not.
	recipient(ctx context.Context, r smtp.RcptTo) error

	sender() smtp.Path
	addresses() []smtp.Path // Of recipients.
	recipients() int
	smtpUTF8() bool
	size() int64 // As announced, -1 if it was not.

	// accept takes the message. The text is for the reply.
	accept(ctx context.Context, spool *receive.Spool) (text string, err error)
}

// begin begins a transaction, or returns why the sender is refused.
func (s *session) begin(ctx context.Context, m smtp.MailFrom) (transaction, error) {
	if s.listener.Submission {
		return s.beginSubmission(ctx, m)
	}
	tx := &incoming{s.server.opts.Receiver, s.listener.RequireTLS && s.peer.TLS == nil, &receive.Transaction{
		Peer: &s.peer, MailFrom: m.Path, SMTPUTF8: m.SMTPUTF8, Size: m.Size, RequireTLS: m.RequireTLS,
	}}
	return tx, tx.receiver.Sender(ctx, tx.tx)
}

// incoming is mail from another server.
type incoming struct {
	receiver *receive.Receiver
	needTLS  bool // There is none, and it is required.
	tx       *receive.Transaction
}

func (t *incoming) sender() smtp.Path { return t.tx.MailFrom }
func (t *incoming) recipients() int   { return len(t.tx.Rcpts) }
func (t *incoming) smtpUTF8() bool    { return t.tx.SMTPUTF8 }
func (t *incoming) size() int64       { return t.tx.Size }

func (t *incoming) addresses() (list []smtp.Path) {
	for _, r := range t.tx.Rcpts {
		list = append(list, r.Path)
	}
	return list
}

// recipient also refuses what comes without TLS, but for reports about TLS: they
// tell that it fails.
func (t *incoming) recipient(ctx context.Context, r smtp.RcptTo) error {
	if t.needTLS && !t.receiver.TakesTLSReports(r.Path) {
		return smtp.Errorf(smtp.CodeMustTLS, smtp.DetailSecurity, "STARTTLS comes first")
	}
	rcpt, err := t.receiver.Resolve(ctx, t.tx, r.Path)
	if err == nil {
		t.tx.Rcpts = append(t.tx.Rcpts, rcpt)
	}
	return err
}

func (t *incoming) accept(ctx context.Context, spool *receive.Spool) (string, error) {
	return "message is safe with us", t.receiver.Deliver(ctx, t.tx, spool)
}

// submission is mail from a user.
type submission struct {
	s  *session
	tx submit.Transaction
}

// beginSubmission begins a transaction of a user.
func (s *session) beginSubmission(ctx context.Context, m smtp.MailFrom) (transaction, error) {
	if s.login == nil {
		return nil, smtp.Errorf(smtp.CodeMustTLS, smtp.DetailSecurity, "log in first")
	}
	protocol := "ESMTPA"
	if s.peer.TLS != nil {
		protocol = "ESMTPSA"
	}
	t := &submission{s, submit.Transaction{
		Peer: &submit.Peer{
			CID: s.cid, Account: s.login.Account, Login: s.login.Given, IP: s.peer.IP, Hostname: s.listener.Hostname,
			Protocol: protocol, TLS: s.peer.TLS,
		},
		MailFrom: m.Path, SMTPUTF8: m.SMTPUTF8, Size: m.Size, DSN: m.DSN,
	}}
	if m.RequireTLS {
		t.tx.RequireTLS = &m.RequireTLS
	}
	if !m.Hold.IsZero() {
		at, err := m.Hold.Time(time.Now())
		if err != nil {
			return nil, err
		}
		t.tx.NotBefore, t.tx.Hold = at, m.Hold
	}
	return t, s.server.opts.Submitter.Sender(ctx, &t.tx)
}

func (t *submission) sender() smtp.Path      { return t.tx.MailFrom }
func (t *submission) addresses() []smtp.Path { return t.tx.Rcpts }
func (t *submission) recipients() int        { return len(t.tx.Rcpts) }
func (t *submission) smtpUTF8() bool         { return t.tx.SMTPUTF8 }
func (t *submission) size() int64            { return t.tx.Size }

// recipient takes what was asked about notifications for an address that is given
// several times from the first.
func (t *submission) recipient(ctx context.Context, r smtp.RcptTo) error {
	if err := t.s.server.opts.Submitter.Recipient(ctx, &t.tx, r.Path); err != nil {
		return err
	}
	if r.DSN != (smtp.RcptDSN{}) && !slices.Contains(t.tx.Rcpts, r.Path) {
		if t.tx.RcptDSN == nil {
			t.tx.RcptDSN = map[smtp.Path]smtp.RcptDSN{}
		}
		t.tx.RcptDSN[r.Path] = r.DSN
	}
	t.tx.Rcpts = append(t.tx.Rcpts, r.Path)
	return nil
}

// accept queues the message. The id in the reply is that in its Received field.
func (t *submission) accept(ctx context.Context, spool *receive.Spool) (string, error) {
	opts := t.s.server.opts
	_, err := opts.Submitter.Submit(ctx, &t.tx, spool.ReaderAt(), spool.Size())
	t.s.server.metrics.submissions.WithLabelValues(submit.Result(err)).Inc()
	return "queued as " + opts.Opaque(t.s.cid), err
}

// deliver hands a message over. If it is refused, its sender is slowed down,
// unless it is a user: whom we know, and who can do something about it.
func (s *session) deliver(ctx context.Context, spool *receive.Spool) (text string, err error) {
	text, err = s.tx.accept(ctx, spool)
	refused, _ := errors.AsType[*receive.RefusedError](err)
	if e, ok := errors.AsType[*smtp.Error](err); ok && (!e.Temporary() || refused != nil && refused.Verdict.SlowDown) && !s.listener.Submission {
		s.setSlow()
	}
	return text, err
}
