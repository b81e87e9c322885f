package delivery

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/mjl-/mox/dane"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

// errInterrupted is the cause when a delivery is broken off because the process
// stops.
var errInterrupted = errors.New("the server is stopping")

// failure is why a recipient did not get its message in an attempt.
type failure struct {
	code     int    // Reply code. Zero: there was none, and none fits.
	enhanced string // Enhanced status code, RFC 3463. Never empty.
	text     string // For people, without the reply.
	reply    string // Of the other server, with its code, "\n" between lines. Empty: it said nothing.

	permanent bool // Trying again later does not help.

	// elsewhere says that this is about one host only: another one of the domain
	// may take the message, in this attempt.
	elsewhere bool

	// interrupted says that we broke off, which tells nothing about the message.
	interrupted bool

	// suppressed says that the account does not send to the recipient.
	suppressed bool

	// canceled says that an administrator gave the message up.
	canceled bool

	// ours says that it is trouble of this server, which an operator should see.
	ours bool

	err error // For the log. Can be nil.
}

// String returns what is kept of a failure, for people.
func (f *failure) String() string {
	if f.reply == "" {
		return f.text
	}
	return f.text + ": " + strings.ReplaceAll(f.reply, "\n", " / ")
}

// Codes of failures that no reply has: RFC 3463, section 3.5, unless said
// otherwise.
const (
	statusNoAnswer      = "4.4.1"
	statusLost          = "4.4.2"
	statusDNS           = "4.4.3"
	statusUnroutable    = "5.4.4"
	statusNoRoute       = "4.4.4"
	statusLoop          = "5.4.6"
	statusExpired       = "4.4.7"
	statusNoDomain      = "5.1.2"
	statusNullMX        = "5.1.10" // RFC 7505, section 4.1.
	statusNoRequireTLS  = "5.7.30" // RFC 8689, section 4.2.1.
	statusProtocol      = "4.5.0"
	statusOurs          = "4.3.0"
	statusMisconfigured = "4.3.5"
	statusStopping      = "4.3.2"
	statusDisabled      = "4.7.1"
	statusCancelled     = "5.0.0"
	statusTooBig        = "5.3.4"
	statusNoSMTPUTF8    = "5.6.7" // RFC 6531, section 3.5.
	statusMedia         = "5.6.0"
	statusTLS           = "4.7.5" // RFC 3463, section 3.8: cryptographic failure.
)

// ours returns a temporary failure that is trouble of this server: no other host
// would do better, and no stranger needs to know more.
func ours(err error) *failure {
	return &failure{code: smtp.CodeLocalError, enhanced: statusOurs, text: "trouble at the sending server", ours: true, err: err}
}

// classify returns what an error of a conversation with a host means for the
// recipients it is about. Name is the host's, for people.
//
// A refusal is final for all hosts of a domain only if it is about the message or
// the recipient. One of a greeting or EHLO is about the host: 521 (RFC 7504) says
// no more than that it takes no mail.
func classify(name string, err error) *failure {
	f := &failure{elsewhere: true, err: err}
	if reply, ok := errors.AsType[*smtpclient.Reply](err); ok {
		return classifyReply(name, reply)
	}
	switch {
	case errors.Is(err, errInterrupted):
		f.enhanced, f.text = statusStopping, "the attempt was broken off, as the sending server stops"
		f.interrupted, f.elsewhere = true, false
	case errors.Is(err, smtpclient.ErrSize):
		f.enhanced, f.text, f.permanent = statusTooBig, "the message is larger than "+name+" takes", true
		f.code = smtp.CodeTooLarge
	case errors.Is(err, smtpclient.ErrNoSMTPUTF8):
		f.enhanced, f.text, f.permanent = statusNoSMTPUTF8, name+" can't take internationalised mail (no SMTPUTF8), which this message is", true
		f.code = smtp.CodeMailboxPermanent
	case errors.Is(err, smtpclient.ErrNoRequireTLS):
		f = noRequireTLS(name + " doesn't promise to see to that")
		f.err = err
	case errors.Is(err, smtpclient.ErrContent):
		return classifyContent(err)
	case isUnverified(err):
		f.enhanced, f.text = statusTLS, name+" has a certificate that is not good: "+certificateProblem(err)
	case errors.Is(err, smtpclient.ErrTLS), errors.Is(err, smtpclient.ErrNoTLS):
		f.enhanced, f.text = statusTLS, "no TLS with "+name
	case errors.Is(err, smtpclient.ErrProtocol):
		f.enhanced, f.text = statusProtocol, name+" doesn't speak SMTP as it should"
	case errors.Is(err, smtpclient.ErrLost), errors.Is(err, context.DeadlineExceeded):
		f.enhanced, f.text = statusLost, "the connection with "+name+" was lost, or it took too long"
	default:
		return ours(err)
	}
	return f
}

func isUnverified(err error) bool {
	_, ok := errors.AsType[*smtpclient.VerifyError](err)
	return ok
}

// certificateProblem tells why a server was not verified. What errors say besides
// is for the log: it has names from the certificate.
func certificateProblem(err error) string {
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isOtherName := errors.AsType[x509.HostnameError](err)
	switch {
	case errors.Is(err, dane.ErrMismatch):
		return "its TLSA records (DANE) are about another"
	case isInvalid && invalid.Reason == x509.Expired:
		return "it has expired, or is not valid yet"
	case isOtherName:
		return "it has another name"
	}
	return "nobody who is trusted has signed it"
}

// classifyContent is for a message that we can't send: for now if its file can't
// be read, and never if it is not what it should be.
func classifyContent(err error) *failure {
	f := ours(err)
	if _, ok := errors.AsType[*fs.PathError](err); !ok {
		f.code, f.enhanced, f.permanent = smtp.CodeTransactionFailed, statusMedia, true
		f.text = "the message has a form that can't be sent"
	}
	return f
}

func classifyReply(name string, reply *smtpclient.Reply) *failure {
	f := &failure{code: reply.Code, enhanced: reply.Enhanced, permanent: !reply.Temporary(), reply: formatReply(reply), err: reply}
	if reply.Command == "STARTTLS" {
		// A host without the TLS that is demanded of it can't be used now, whatever it
		// says: anyone on the way can say that (RFC 7672, section 2.2, RFC 8461, section 5).
		f.permanent = false
	}
	if f.enhanced == "" {
		f.enhanced = smtp.Enhanced(reply.Code, smtp.DetailOther)
	}
	if detail, ok := strings.CutPrefix(f.enhanced, "5."); ok && !f.permanent {
		f.enhanced = "4." + detail // Too many recipients, in the codes of RFC 821.
	}
	f.text = name + " refused it"
	switch {
	case reply.Command == "STARTTLS":
		f.text = "no TLS with " + name
	case !f.permanent:
		f.text = name + " didn't take it for now"
	}
	switch reply.Command {
	case "", "EHLO", "HELO":
		f.elsewhere = true
	default:
		f.elsewhere = !f.permanent
	}
	return f
}

// formatReply returns a reply as for a diagnostic: its code, enhanced code and
// text.
func formatReply(r *smtpclient.Reply) string {
	s := fmt.Sprintf("%d", r.Code)
	if r.Enhanced != "" {
		s += " " + r.Enhanced
	}
	if text := strings.Join(r.Lines, "\n"); text != "" {
		s += " " + text
	}
	return s
}

// combine returns which of two failures counts, of which next came later, from
// another host or another transaction.
//
// What a host says is worth more than that another one could not be reached. And
// what is permanent only at one host does not count if another may take the
// message later.
func combine(before, next *failure) *failure {
	switch {
	case before == nil, !next.elsewhere:
		return next
	case before.permanent != next.permanent:
		if before.permanent {
			return next
		}
		return before
	case before.reply != "" && next.reply == "":
		return before
	}
	return next
}
