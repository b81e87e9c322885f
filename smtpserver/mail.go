package smtpserver

import (
	"context"

	"github.com/mjl-/mox/smtp"
)

// mail begins a transaction, RFC 5321, section 4.1.1.2.
func (s *session) mail(ctx context.Context, m smtp.MailFrom) (reply, error) {
	switch {
	case s.tx != nil:
		return reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "MAIL was given already")
	case s.bad > badTransactionsMax && s.messages == 0 && !s.peer.Exempt:
		return reply{}, smtp.Errorf(smtp.CodeMailboxPermanent, "1.0", "too many failed transactions").Closing()
	case m.Size > s.listener.MessageSizeMax:
		return reply{}, s.tooLarge()
	}
	if err := s.checkExtensions(m); err != nil {
		return reply{}, err
	}
	tx, err := s.begin(ctx, m)
	if err != nil {
		s.bad++
		s.refused("mail", m.Path, nil, err)
		return reply{}, err
	}
	s.tx = tx
	return reply{code: smtp.CodeOK, enhanced: "2.1.0", text: "sender ok"}, nil
}

func (s *session) tooLarge() *smtp.Error {
	return smtp.Errorf(smtp.CodeTooLarge, smtp.DetailMessageTooBig, "message is larger than %d bytes", s.listener.MessageSizeMax)
}

// rcpt adds a recipient, RFC 5321, section 4.1.1.3.
func (s *session) rcpt(ctx context.Context, r smtp.RcptTo) (reply, error) {
	switch {
	case s.chunk != nil:
		return reply{}, smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "the message has begun already")
	case r.Unicode && !s.tx.smtpUTF8():
		return reply{}, smtp.Errorf(smtp.CodeBadAddress, smtp.DetailUTF8AddressRefused, "address needs MAIL with the SMTPUTF8 parameter")
	case s.tx.recipients() >= recipientsMax:
		return reply{}, smtp.Errorf(smtp.CodeNoRoom, smtp.DetailTooManyRecipients, "more than %d recipients", recipientsMax)
	}
	if err := s.tx.recipient(ctx, r); err != nil {
		s.refused("rcpt", s.tx.sender(), []smtp.Path{r.Path}, err)
		if e, ours := errorFor(err); !ours && !e.Temporary() && !s.listener.Submission {
			s.unknown()
		}
		return reply{}, err
	}
	return reply{code: smtp.CodeOK, enhanced: "2.1.5", text: "recipient ok"}, nil
}

// unknown counts a recipient that is none.
func (s *session) unknown() {
	if s.peer.Unknowns++; s.peer.Unknowns >= unknownsSlow {
		s.setSlow()
	}
}

// ready returns an error if no message can come now.
func (s *session) ready() error {
	if s.tx == nil {
		return smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "MAIL comes first")
	}
	if s.tx.recipients() == 0 {
		return smtp.Errorf(smtp.CodeTransactionFailed, smtp.DetailBadCommand, "no valid recipients")
	}
	return nil
}
