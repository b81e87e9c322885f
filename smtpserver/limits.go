package smtpserver

import "time"

// Limits of one session.
const (
	// lineSizeMax bounds a command line in bytes, without CRLF. RFC 5321, section
	// 4.5.3.1.4, asks for 512 and more for each extension with parameters.
	lineSizeMax = 2048

	// recipientsMax bounds the recipients of a transaction. It is announced
	// (RFC 9422); RFC 5321, section 4.5.3.1.8, asks for at least 100.
	recipientsMax = 1000

	// errorsMax is the number of commands that may fail in one connection. Who
	// goes on does not look at the replies.
	errorsMax = 50

	// badTransactionsMax is the number of transactions that may fail before one
	// has succeeded. Addresses are being guessed.
	badTransactionsMax = 10

	// drainMax bounds the bytes that are read and thrown away, to be able to
	// reply, after a message was found to be too large or not to be mail.
	drainMax = 256 << 20

	// unknownsSlow is the number of unknown recipients that may be tried before
	// the peer is slowed down.
	unknownsSlow = 3

	// authFailuresSlow is the number of logins that may fail before the client is
	// slowed down.
	authFailuresSlow = 3

	// sleepersMaxDefault bounds the sessions in slow mode: each costs a connection
	// and a goroutine for minutes.
	sleepersMaxDefault = 500

	messageSizeMaxDefault = 100 << 20
	connectionsMaxDefault = 5000
)

// Times of one session.
const (
	// commandWait is how long the next command may take to come: the five minutes
	// of RFC 5321, section 4.5.3.2.7. It is also for each part of a message, and
	// for the peer to take what we write.
	commandWait = 5 * time.Minute

	// dataWait bounds the time in which a whole message must come.
	dataWait = 30 * time.Minute

	// handshakeWait bounds a TLS handshake.
	handshakeWait = time.Minute

	// drainWait is how long the end of a message may take to come that is refused
	// already, for bare line ends: a peer that sees an end where we see none is
	// waiting for us.
	drainWait = 5 * time.Second

	// lingerWait and lingerSizeMax bound what is still read after the last reply.
	// If we closed with bytes of the peer unread, it might never see the reply.
	lingerWait    = 3 * time.Second
	lingerSizeMax = 10 << 20

	// slowPause is the time between bytes of a reply in slow mode, and before
	// reading; slowWait bounds one reply.
	slowPause = time.Second
	slowWait  = 30 * time.Second

	// turnAwayWait bounds the reply to a connection that is not served.
	turnAwayWait = 5 * time.Second

	// lastWait is how long a peer may take to read when the server stops at once.
	lastWait = 500 * time.Millisecond

	graceDefault     = 3 * time.Second
	acceptRetryAfter = 100 * time.Millisecond
)
