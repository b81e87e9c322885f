package smtp

import "fmt"

// Reply codes, RFC 5321, section 4.2.3, and RFC 3207, 4954, 7504.
const (
	CodeHelp               = 214
	CodeReady              = 220
	CodeClosing            = 221
	CodeAuthOK             = 235
	CodeOK                 = 250
	CodeCannotVerify       = 252
	CodeAuthContinue       = 334
	CodeStartData          = 354
	CodeUnavailable        = 421 // And the connection is closed.
	CodeMailboxUnavailable = 450 // For now.
	CodeLocalError         = 451
	CodeNoRoom             = 452 // Or too much of something.
	CodeTempAuth           = 454 // TLS or authentication, not available now.
	CodeBadCommand         = 500
	CodeBadParameter       = 501
	CodeNotImplemented     = 502
	CodeBadSequence        = 503
	CodeParamNotSupported  = 504
	CodeEncryptionRequired = 523
	CodeMustTLS            = 530 // Or must authenticate.
	CodeBadCredentials     = 535
	CodeEncryptionNeeded   = 538
	CodeMailboxPermanent   = 550
	CodeUserNotLocal       = 551
	CodeTooLarge           = 552
	CodeBadAddress         = 553
	CodeTransactionFailed  = 554
	CodeUnknownParam       = 555
	CodeDomainRefusesMail  = 556
)

// Details of enhanced status codes, RFC 3463 and its registry: what follows the
// class. The class is the first digit of the reply code (RFC 2034, section 4).
const (
	DetailOther               = "0.0"
	DetailBadMailbox          = "1.1" // No such address.
	DetailBadDestSystem       = "1.2"
	DetailBadDestSyntax       = "1.3"
	DetailDestValid           = "1.5"
	DetailBadSenderSyntax     = "1.7"
	DetailBadSenderSystem     = "1.8"
	DetailMailboxDisabled     = "2.1"
	DetailMailboxFull         = "2.2"
	DetailMessageTooLong      = "2.3" // For this mailbox.
	DetailListExpansion       = "2.4"
	DetailSystem              = "3.0"
	DetailSystemFull          = "3.1"
	DetailSystemNotAccepting  = "3.2"
	DetailMessageTooBig       = "3.4" // For this system.
	DetailNetwork             = "4.0"
	DetailConnection          = "4.2"
	DetailDirectory           = "4.3"
	DetailCongestion          = "4.5"
	DetailLoop                = "4.6"
	DetailProtocol            = "5.0"
	DetailBadCommand          = "5.1"
	DetailSyntax              = "5.2"
	DetailTooManyRecipients   = "5.3"
	DetailBadArguments        = "5.4"
	DetailMedia               = "6.0"
	DetailUTF8AddressRefused  = "6.7"
	DetailSecurity            = "7.0"
	DetailPolicy              = "7.1"
	DetailUnsupportedSecurity = "7.4"
	DetailEncryptionNeeded    = "7.10"
	DetailFutureQuota         = "7.16" // RFC 4865, section 6.
	DetailSenderNullMX        = "7.27" // RFC 7505, section 4.2.
)

// Error refuses a command. It is what a handler returns, and what one place in
// a server makes a reply of.
type Error struct {
	Code     int    // Of the reply, 400 to 599.
	Enhanced string // As "5.1.1", of the same class as Code.
	Text     string // For the peer: printable, without secrets. "\n" separates lines.
	Err      error  // The cause, for the log only. Can be nil.
	Close    bool   // The connection ends after the reply.
}

// Errorf returns an Error with a text for the peer. Text that came from the
// peer goes into it with %+q only.
func Errorf(code int, detail, format string, args ...any) *Error {
	return &Error{Code: code, Enhanced: Enhanced(code, detail), Text: fmt.Sprintf(format, args...)}
}

// Because returns a copy of e with a cause for the log.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// Closing returns a copy of e after which the connection ends.
func (e *Error) Closing() *Error {
	c := *e
	c.Close = true
	return &c
}

// Temporary returns whether the peer may try again.
func (e *Error) Temporary() bool { return e.Code < 500 }

// Error returns the reply and its cause, for the log.
func (e *Error) Error() string {
	s := fmt.Sprintf("%d %s %s", e.Code, e.Enhanced, e.Text)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Enhanced returns the enhanced status code of a detail in the class of code.
func Enhanced(code int, detail string) string {
	return string(rune('0'+code/100%10)) + "." + detail
}
